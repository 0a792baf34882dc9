//! Input and output of a service: requests, answers, and the names that tell requests apart.

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, Membership, NodeId, StoreId};

use super::{ChangeError, ProposeError, ReadRefused, TransferError};
use crate::addresses::Source;
use crate::{Action, Committed, Event};

/// The driver's name for a client's request, unique in this process. Requests with rising names are served in that
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientRequestId(pub u64);

/// The service's name for a request that it sends to a peer, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// The driver's name for a request that a peer sent here, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// The freshness that a read requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Linearizable while clocks keep the stated bound: served by the leader's lease.
    Default,
    /// Linearizable without any assumption on clocks: a quorum confirms the leader.
    Consistent,
    /// The state of this node, also without a leader. On one node it never goes back, not even after a power cut.
    Stale,
}

/// An input of a service.
pub enum ServiceEvent {
    /// A report for the replica.
    Replica(Event),
    /// A client of this node wants a command committed and applied, here or on the leader. The answer is
    /// [`Reply::Proposed`].
    Propose {
        /// The driver's name for the request.
        request: ClientRequestId,
        /// The command, as the state machine reads it.
        command: Bytes,
    },
    /// A client of this node wants to read the node's state. The answer is [`Reply::ReadNow`] or [`Reply::ReadRefused`].
    Read {
        /// The driver's name for the request.
        request: ClientRequestId,
        /// How fresh the state must be.
        consistency: Consistency,
    },
    /// A client of this node wants leadership handed over, wherever the leader is. The answer is [`Reply::Transferred`].
    Transfer {
        /// The driver's name for the request.
        request: ClientRequestId,
        /// The node that shall lead; none: the most up-to-date voter.
        to: Option<NodeId>,
    },
    /// A client of this node wants the membership changed, which only the leader does: it is not forwarded. The answer is
    /// [`Reply::Changed`].
    Change {
        /// The driver's name for the request.
        request: ClientRequestId,
        /// [`Membership::id`] of the membership that the client saw: if another one is in force by now, nothing is done.
        seen: LogId,
        /// The complete target membership.
        target: Membership,
    },
    /// The client does not wait any more. No reply comes.
    Forget(ClientRequestId),
    /// A stale read has found a state. The answer is [`Reply::Show`] or [`Reply::ReadRefused`].
    Seen {
        /// The driver's name for the read.
        request: ClientRequestId,
        /// The last applied entry that the found state shows.
        at: LogIndex,
    },
    /// A peer sends a request: the body of a transport request that [is for the service](crate::is_for_service).
    Asked {
        /// The driver's name for the peer's request.
        caller: CallerId,
        /// The body of the request.
        body: Bytes,
    },
    /// A call was answered, or has failed.
    Answered {
        /// The service's name for the call.
        call: CallId,
        /// The answer, or the way in which the call failed.
        result: Result<Bytes, CallFailed>,
    },
    /// A node has greeted, and names the address at which it is reached. Give one for this node itself, too, once at
    /// the start.
    Greeted {
        /// The node, as its certificate proves.
        node: NodeId,
        /// The store id of the node's data folder.
        store: StoreId,
        /// The address of the node's transport, `host:port`.
        address: String,
        /// Whether the node has also answered at this address.
        source: Source,
    },
    /// Stop: hand leadership over if this node leads, then take no more requests, answer those that were taken, and
    /// emit [`ServiceAction::Stopped`].
    Stop,
}

/// The way in which a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailed {
    /// The call was certainly not sent.
    NotSent,
    /// The call may have arrived and may have been carried out.
    Lost,
}

/// An action that a service's driver shall do. The order is that in which the actions are to be done.
pub enum ServiceAction {
    /// An action of the replica.
    Do(Action),
    /// Send a request to a peer: answer [`ServiceEvent::Answered`].
    Call {
        /// The service's name for the call.
        call: CallId,
        /// The peer to send the request to.
        to: NodeId,
        /// The body of the request.
        body: Bytes,
    },
    /// The answer to this call is not needed any more. None needs to be given.
    HangUp(CallId),
    /// The one answer to a peer's request.
    Respond {
        /// The driver's name for the peer's request.
        caller: CallerId,
        /// The body of the answer.
        body: Bytes,
    },
    /// The answer to a client.
    Reply {
        /// The driver's name for the request.
        request: ClientRequestId,
        /// The answer.
        reply: Reply,
    },
    /// The service has stopped, after [`ServiceEvent::Stop`]: every request is answered.
    Stopped,
}

/// The answer to a client's request. It is the only one to that request, but for a stale read: that is answered
/// [`ReadNow`](Self::ReadNow), and again once the driver has said what the read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`ServiceEvent::Propose`].
    Proposed(Result<Committed, ProposeError>),
    /// To [`ServiceEvent::Read`]: the state may be read now. A stale read may not show yet what it finds: say
    /// [`ServiceEvent::Seen`] first, or [`ServiceEvent::Forget`].
    ReadNow(Freshness),
    /// To [`ServiceEvent::Seen`]: what the stale read found may be shown.
    Show(Freshness),
    /// To [`ServiceEvent::Read`] or [`ServiceEvent::Seen`]: nothing may be shown.
    ReadRefused(ReadRefused),
    /// To [`ServiceEvent::Transfer`]: the new leader.
    Transferred(Result<NodeId, TransferError>),
    /// To [`ServiceEvent::Change`]: the entry since which the membership is as wanted.
    Changed(Result<LogId, ChangeError>),
}

/// The freshness of the state that a read shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Whether a leader is known.
    pub known_leader: bool,
    /// The time since the leader was heard: zero on the leader itself and where the leader vouches for the read, none if
    /// no leader was ever heard.
    pub last_contact: Option<Duration>,
}

impl Freshness {
    /// The freshness of a read that the leader vouches for.
    pub(super) const VOUCHED: Self = Self { known_leader: true, last_contact: Some(Duration::ZERO) };
}
