//! Requests that wait: each stands in an index of what wakes it and in an index of its deadline, so an event touches
//! only the requests that it concerns.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, Membership, NodeId, ReadMode, Ticket, Time};

use super::{CallId, CallerId, ClientRequestId};

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// A client of this node.
    Client(ClientRequestId),
    /// A peer, for a client of its own. It asks the leader, so its request is never forwarded again.
    Peer(CallerId),
}

impl Asker {
    const FIRST: Self = Self::Client(ClientRequestId(0));
    const LAST: Self = Self::Peer(CallerId(u64::MAX));
}

/// What a request wants, as far as it takes to send the request again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Proposal(Bytes),
    Read(ReadMode),
    StaleRead,
    Transfer(Option<NodeId>),
    Change(Box<(LogId, Membership)>),
}

/// The kinds of request that are forwarded to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forwarded {
    Proposal,
    Transfer,
}

/// ```text
///             +------- NotLeader, or certainly not sent -----------+
///             v                                                    |
///   Idle -> Held -> Here | There -> (Deposed) -> answered          |
///             ^        |                                           |
///             |        +-- ReadAt --> Applying --> ReadNow         |
///           Paused <-----------------------------------------------+
///
///   Idle -> Replaying -> ReadNow, Idle -> Seen, Showing -> Show      a stale read
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for nothing here: the request was just taken, or its client is reading.
    Idle,
    /// Waits for a leader to be known.
    Held,
    /// Waits to be sent again: the leader `tried` has done nothing and will not.
    Paused { tried: NodeId },
    /// Waits for the replica's answer; `leader` was the known leader when the replica was asked.
    Here { ticket: Ticket, leader: NodeId },
    /// Waits for the answer of the leader that the request was forwarded to.
    There { call: CallId, kind: Forwarded, leader: NodeId },
    /// The leader that a proposal was forwarded to leads no more; its answer may still be under way.
    Deposed { call: CallId, leader: NodeId },
    /// A read waits until this index is applied.
    Applying { index: LogIndex },
    /// A stale read waits until the node shows again what it may have shown before.
    Replaying,
    /// A stale read has found a state, which is shown once a commit index that covers it is durable.
    Showing { at: LogIndex },
}

/// A change of the replica's state that wakes a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// Some leader is known.
    AnyLeader,
    /// A leader other than this one is known: the request is worth another try.
    OtherLeader(NodeId),
    /// A leader other than this one is known: this one may have failed with the request.
    Deposal(NodeId),
    /// Everything up to this index is applied.
    Applied(LogIndex),
    /// The state shows everything that it may have shown before, so stale reads may be answered.
    Replayed,
    /// A commit index of at least this is durable.
    Durable(LogIndex),
}

/// A request that is not answered.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) wanted: Wanted,
    /// The time until which the request may wait for a leader.
    pub(super) hold_until: Time,
    pub(super) state: State,
    /// The deadline of the present state; none while the client is waited for.
    pub(super) wake: Option<Time>,
}

impl Waiter {
    fn cause(&self) -> Option<Cause> {
        match self.state {
            State::Held => Some(Cause::AnyLeader),
            State::Paused { tried } => Some(Cause::OtherLeader(tried)),
            State::There { kind: Forwarded::Proposal, leader, .. } => Some(Cause::Deposal(leader)),
            State::Applying { index } => Some(Cause::Applied(index)),
            State::Replaying => Some(Cause::Replayed),
            State::Showing { at } => Some(Cause::Durable(at)),
            // A transfer changes the leader itself, and is answered after that.
            State::There { kind: Forwarded::Transfer, .. } => None,
            State::Idle | State::Here { .. } | State::Deposed { .. } => None,
        }
    }

    /// Whether the request may have been carried out, or may be yet. A read changes nothing.
    pub(super) fn may_be_done(&self) -> bool {
        let changes = match self.wanted {
            Wanted::Proposal(_) | Wanted::Transfer(_) | Wanted::Change(_) => true,
            Wanted::Read(_) | Wanted::StaleRead => false,
        };
        changes && matches!(self.state, State::Here { .. } | State::There { .. } | State::Deposed { .. })
    }
}

/// All requests that are not answered.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    all: BTreeMap<Asker, Waiter>,
    causes: BTreeSet<(Cause, Asker)>,
    deadlines: BTreeSet<(Time, Asker)>,
    /// Requests that the replica was asked for, each with the leader known then.
    tickets: BTreeMap<Ticket, (Asker, NodeId)>,
    /// Requests that were forwarded, each with the node that was the leader.
    calls: BTreeMap<CallId, (Asker, Forwarded, NodeId)>,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get(&self, asker: Asker) -> Option<&Waiter> {
        self.all.get(&asker)
    }

    pub(super) fn first_deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Adds a request, which waits for nothing yet.
    pub(super) fn add(&mut self, asker: Asker, wanted: Wanted, hold_until: Time) {
        let waiter = Waiter { wanted, hold_until, state: State::Idle, wake: None };
        let twice = self.all.insert(asker, waiter);
        assert!(twice.is_none(), "{asker:?} names two requests");
    }

    /// Sets what a request waits for, and until when. A request that is gone stays gone.
    pub(super) fn set(&mut self, asker: Asker, state: State, wake: Option<Time>) {
        self.unlink(asker);
        let Some(waiter) = self.all.get_mut(&asker) else { return };
        (waiter.state, waiter.wake) = (state, wake);
        self.causes.extend(waiter.cause().map(|cause| (cause, asker)));
        self.deadlines.extend(wake.map(|at| (at, asker)));
        match state {
            State::Here { ticket, leader } => drop(self.tickets.insert(ticket, (asker, leader))),
            State::There { call, kind, leader } => drop(self.calls.insert(call, (asker, kind, leader))),
            State::Deposed { call, leader } => {
                self.calls.insert(call, (asker, Forwarded::Proposal, leader));
            }
            State::Idle
            | State::Held
            | State::Paused { .. }
            | State::Applying { .. }
            | State::Replaying
            | State::Showing { .. } => {}
        }
    }

    pub(super) fn remove(&mut self, asker: Asker) -> Option<Waiter> {
        self.unlink(asker);
        self.all.remove(&asker)
    }

    fn unlink(&mut self, asker: Asker) {
        let Some(waiter) = self.all.get(&asker) else { return };
        if let Some(cause) = waiter.cause() {
            self.causes.remove(&(cause, asker));
        }
        if let Some(wake) = waiter.wake {
            self.deadlines.remove(&(wake, asker));
        }
        match waiter.state {
            State::Here { ticket, .. } => drop(self.tickets.remove(&ticket)),
            State::There { call, .. } | State::Deposed { call, .. } => drop(self.calls.remove(&call)),
            State::Idle
            | State::Held
            | State::Paused { .. }
            | State::Applying { .. }
            | State::Replaying
            | State::Showing { .. } => {}
        }
    }

    /// The request with this ticket and the leader that was known when the replica was asked. The request waits for
    /// nothing any more. None if nobody waits under this ticket.
    pub(super) fn take_ticket(&mut self, ticket: Ticket) -> Option<(Asker, NodeId)> {
        let taken = *self.tickets.get(&ticket)?;
        self.set(taken.0, State::Idle, None);
        Some(taken)
    }

    /// The request that was forwarded by this call, its kind, and the leader that was asked; likewise.
    pub(super) fn take_call(&mut self, call: CallId) -> Option<(Asker, Forwarded, NodeId)> {
        let taken = *self.calls.get(&call)?;
        self.set(taken.0, State::Idle, None);
        Some(taken)
    }

    /// Requests whose deadline has come, the earliest first.
    pub(super) fn due(&self, now: Time) -> Vec<Asker> {
        self.deadlines.range(..=(now, Asker::LAST)).map(|(_, asker)| *asker).collect()
    }

    /// Requests that a cause from `first` to `last` wakes.
    pub(super) fn woken(&self, first: Cause, last: Cause) -> Vec<Asker> {
        self.causes.range((first, Asker::FIRST)..=(last, Asker::LAST)).map(|(_, asker)| *asker).collect()
    }

    /// Requests that wait for a leader other than `leader`.
    pub(super) fn woken_by_other(&self, cause: fn(NodeId) -> Cause, leader: NodeId) -> Vec<Asker> {
        let below = leader.0.checked_sub(1).map(|last| self.woken(cause(NodeId(0)), cause(NodeId(last))));
        let above =
            leader.0.checked_add(1).map(|first| self.woken(cause(NodeId(first)), cause(NodeId(u64::MAX))));
        below.into_iter().chain(above).flatten().collect()
    }

    /// All requests.
    pub(super) fn everybody(&self) -> Vec<Asker> {
        self.all.keys().copied().collect()
    }

    /// True if no request waits. Then no index may hold anything.
    pub(super) fn is_empty(&self) -> bool {
        let empty = self.all.is_empty();
        if empty {
            assert!(self.causes.is_empty() && self.deadlines.is_empty(), "an index outlived its waiter");
            assert!(self.tickets.is_empty() && self.calls.is_empty(), "a name outlived its waiter");
        }
        empty
    }
}
