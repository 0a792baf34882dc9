//! What goes into the service and what comes out: requests, answers, and the names that tell them apart.

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, Membership, NodeId, StoreId};

use super::{ChangeError, ProposeError, ReadRefused, TransferError};
use crate::addresses::Source;
use crate::{Action, Committed, Event};

/// The driver's name of a client's request, unique in this process. Rising names are served in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientRequestId(pub u64);

/// The service's name of a request that it sends to a peer, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// The driver's name of a request that a peer sent here, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Linearizable while clocks keep the stated bound: by the leader's lease.
    Default,
    /// Linearizable with no assumption on clocks: a quorum confirms the leader.
    Consistent,
    /// What this node has, also without a leader. Never goes back on one node, also over a power cut.
    Stale,
}

/// Something that happened to a service.
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
    /// That client does not wait any more. No reply comes.
    Forget(ClientRequestId),
    /// What a stale read has found. The answer is [`Reply::Show`], or [`Reply::ReadRefused`].
    Seen {
        /// Whose read.
        request: ClientRequestId,
        /// The last applied entry that it shows.
        at: LogIndex,
    },
    /// A peer asks: the body of a transport request that [is for the service](crate::is_for_service).
    Asked {
        /// The driver's name for it.
        caller: CallerId,
        /// What it said.
        body: Bytes,
    },
    /// What became of a call.
    Answered {
        /// Which.
        call: CallId,
        /// Its answer, or why there is none.
        result: Result<Bytes, CallFailed>,
    },
    /// A node has greeted: where it says that it is reached. Also this node itself, once at its start.
    Greeted {
        /// Who, as its certificate proves.
        node: NodeId,
        /// Its data folder.
        store: StoreId,
        /// Where its transport is reached, `host:port`.
        address: String,
        /// Whether it was also reached there.
        source: Source,
    },
    /// Hand leadership over if this node leads, then take nothing more, answer what was taken, and say
    /// [`ServiceAction::Stopped`].
    Stop,
}

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailed {
    /// It was certainly not sent.
    NotSent,
    /// It may have been carried out.
    Lost,
}

/// Something that a service wants done, in this order.
pub enum ServiceAction {
    /// What the replica wants done.
    Do(Action),
    /// Ask a peer: answer [`ServiceEvent::Answered`].
    Call {
        /// The service's name for it.
        call: CallId,
        /// Whom.
        to: NodeId,
        /// What.
        body: Bytes,
    },
    /// The answer to that call is of no more use. None need come.
    HangUp(CallId),
    /// The one answer to a peer that asked.
    Respond {
        /// Whom.
        caller: CallerId,
        /// The answer.
        body: Bytes,
    },
    /// The answer to a client.
    Reply {
        /// To which request.
        request: ClientRequestId,
        /// The answer.
        reply: Reply,
    },
    /// After [`ServiceEvent::Stop`]: everything is answered.
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

/// How fresh the state is that a read shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Whether a leader is known.
    pub known_leader: bool,
    /// The time since the leader was heard: zero on the leader itself and where the leader vouches for the read, none if
    /// no leader was ever heard.
    pub last_contact: Option<Duration>,
}

impl Freshness {
    /// A read that the leader vouches for.
    pub(super) const VOUCHED: Self = Self { known_leader: true, last_contact: Some(Duration::ZERO) };
}
