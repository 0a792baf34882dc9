//! Events that are planned for a virtual time.

use raftkit_core::NodeId;
use raftkit_replica::{CallId, ClientRequestId};

use crate::network::bulk::Leaving;
use crate::network::connections::Shake;
use crate::network::{Lane, Packet};
use crate::plan::script::Crash;
use crate::process::host::Thread;

/// An event that is planned.
pub(crate) enum Happening {
    /// A process has something in its inbox, or a deadline.
    Wake(NodeId, u64),
    /// A process that stood still reads the clock.
    GoOn(NodeId, u64),
    /// Bytes arrive.
    Arrive(Packet),
    /// A process asks the dialler of its connection to a peer.
    Dialler(NodeId, u64, NodeId),
    /// A packet of an attempt to connect arrives.
    Shake(Shake),
    /// A process looks after a connection that stands: to whom, and which.
    Keep(NodeId, u64, NodeId, u64),
    /// A connection breaks.
    Lost(NodeId, u64, NodeId, u64),
    /// A thread's work is done.
    Done(NodeId, u64, Thread),
    /// A thread of the log wakes by itself.
    Wakes(NodeId, u64, Thread),
    /// The state machine's thread has had nothing to do for a while.
    IdleMachine(NodeId, u64),
    /// A node is to be started.
    Start(NodeId),
    /// A line of the script is due.
    Script(usize),
    /// A client asks.
    Client(u64),
    /// The client that follows a node asks for its next stale read.
    Watch(NodeId, u64),
    /// A client reads what it was told that it may read.
    Look(NodeId, u64, ClientRequestId),
    /// A client does not wait any more.
    GiveUp(NodeId, u64, ClientRequestId),
    /// A call is not answered in time.
    CallLost(NodeId, u64, CallId, bool),
    /// A frame of the bulk lane has left a node.
    Leaves(NodeId, u64, Leaving),
    /// A transport has lost a peer.
    Unreachable(NodeId, u64, NodeId),
    /// A crash that waited for its moment is due: how, and for how long.
    Trapped(NodeId, u64, Crash, u64),
    /// A full disk has space again.
    Space(NodeId),
    /// The operator looks after the members.
    Operator,
    /// A link with a rate takes more.
    Pump(NodeId, NodeId),
    /// A link with a rate has carried a frame.
    Carried {
        from: NodeId,
        /// The sending process.
        life: u64,
        to: NodeId,
        lane: Lane,
        /// The connection that an answer goes back on.
        asked_on: Option<u64>,
        frame: bytes::Bytes,
    },
    /// The check of a busy cluster's progress is due.
    Steady,
}
