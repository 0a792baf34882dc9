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
    /// A process has inputs in its inbox, or has reached its deadline.
    Wake(NodeId, u64),
    /// A process that stood still in the middle of a round goes on, and reads the clock.
    GoOn(NodeId, u64),
    /// Bytes arrive.
    Arrive(Packet),
    /// A process asks its dialler for the next step of its connection to a peer.
    Dialler(NodeId, u64, NodeId),
    /// A packet of an attempt to connect arrives.
    Shake(Shake),
    /// A process checks a live connection: its peer and its number.
    Keep(NodeId, u64, NodeId, u64),
    /// A connection breaks.
    Lost(NodeId, u64, NodeId, u64),
    /// A thread's work is done.
    Done(NodeId, u64, Thread),
    /// A thread of the log wakes by its own timer.
    Wakes(NodeId, u64, Thread),
    /// The state machine's thread has had nothing to do for a while.
    IdleMachine(NodeId, u64),
    /// A node is to be started.
    Start(NodeId),
    /// A line of the script is due.
    Script(usize),
    /// A client sends its next request.
    Client(u64),
    /// The client that follows a node sends its next stale read.
    Watch(NodeId, u64),
    /// A client reads the state, as the service has allowed.
    Look(NodeId, u64, ClientRequestId),
    /// A client stops waiting for its answer.
    GiveUp(NodeId, u64, ClientRequestId),
    /// A call from one node to another is lost, or has not been answered in time.
    CallLost(NodeId, u64, CallId, bool),
    /// A frame of the bulk lane has left a node.
    Leaves(NodeId, u64, Leaving),
    /// A transport reports a peer as unreachable.
    Unreachable(NodeId, u64, NodeId),
    /// A crash that waited for a step of a snapshot is due: its kind, and the time until the next start.
    Trapped(NodeId, u64, Crash, u64),
    /// A full disk has space again.
    Space(NodeId),
    /// The operator checks the members.
    Operator,
    /// A link with a rate can take more.
    Pump(NodeId, NodeId),
    /// A link with a rate has carried a frame.
    Carried {
        from: NodeId,
        /// Number of the sending process.
        life: u64,
        to: NodeId,
        lane: Lane,
        /// Number of the connection that an answer goes back on.
        asked_on: Option<u64>,
        frame: bytes::Bytes,
    },
    /// The check of a busy cluster's progress is due.
    Steady,
}
