//! What goes into the service and what comes out: requests, answers, and the names that tell them apart.

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, Membership, NodeId, StoreId};

use super::RequestError;
use crate::addresses::Source;
use crate::{Action, Event};

/// The driver's name of a client's request, unique in this process. Rising names are served in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

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

/// What a client of this node wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Have this command committed and applied, here or on the leader.
    Propose(Bytes),
    /// Read this node's state.
    Read(Consistency),
    /// Hand leadership over, wherever the leader is; none: to the most up-to-date voter.
    Transfer(Option<NodeId>),
    /// Change who takes part. Only on the leader: it is not forwarded.
    Change {
        /// [`Membership::id`] of what the client saw: if another one is in force by now, nothing is done.
        seen: LogId,
        /// The whole membership wanted.
        target: Membership,
    },
}

/// Something that happened to a service.
pub enum ServiceEvent {
    /// For the replica: reports of workers, messages, [`Event::Unreachable`]. Never a tick, and nothing that has a
    /// ticket: these are the service's own.
    Replica(Event),
    /// A client of this node asks.
    Ask {
        /// The driver's name for it.
        request: RequestId,
        /// What it wants.
        what: Request,
    },
    /// That client does not wait any more. No reply comes.
    Forget(RequestId),
    /// What a stale read has found. The answer is [`Reply::Show`], or why it may not be shown.
    Seen {
        /// Whose read.
        request: RequestId,
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
    /// What the replica wants done. Never [`Action::Answer`]: the service hears the answers.
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
        request: RequestId,
        /// The answer.
        reply: Reply,
    },
    /// After [`ServiceEvent::Stop`]: everything is answered.
    Stopped,
}

/// What a client is told. The last it hears of its request, but for a stale read's [`ReadNow`](Self::ReadNow).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The command is committed, durable on a quorum, and applied.
    Committed {
        /// As this entry.
        id: LogId,
        /// The state machine's answer.
        response: Bytes,
    },
    /// The state may be read now. A stale read may not show yet what it finds: say [`ServiceEvent::Seen`] first, or
    /// [`ServiceEvent::Forget`].
    ReadNow {
        /// Whether a leader is known.
        known_leader: bool,
        /// How long ago the leader was heard: zero where it vouches for the read, none where it never was.
        last_contact: Option<Duration>,
    },
    /// What a stale read found may be shown.
    Show {
        /// Whether a leader is known.
        known_leader: bool,
        /// How long ago the leader was heard: zero on the leader itself, none where it never was.
        last_contact: Option<Duration>,
    },
    /// Leadership has gone to this node.
    Transferred(NodeId),
    /// The membership is as wanted, since this entry.
    Changed(LogId),
    /// There is no result.
    Failed(RequestError),
}
