//! The state on all servers, whatever their role (paper, Figure 2).

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::backlog::Backlog;
use crate::election::{Ballot, CampaignTimer};
use crate::heal::Condition;
use crate::hearing::NewestIncarnation;
use crate::log::Log;
use crate::membership::MembershipHistory;
use crate::promise::Promise;
use crate::read_index::ForwardedReads;
use crate::rng::Rng;
use crate::standstill::Standstill;
use crate::transfer::Transfer;
use crate::writes::Writes;
use crate::{
    Body, Config, Effects, HardState, Incarnation, LogIndex, Message, NodeId, RequestId, RequestNumber,
    Round, StoreId, Term, Time,
};

/// A commit index that no write has carried is written on its own once no write has been issued for this
/// long.
const COMMIT_IDLE: Duration = Duration::from_millis(20);

/// What every node has and keeps when its role changes. Its methods are those that any role may call.
///
/// It does not hold the role, so no method here can change it: that is for [`Node`](crate::Node), which holds
/// both.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) config: Config,
    /// The time of the present call of `handle`; it never goes back.
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    /// The current term (`currentTerm`).
    pub(crate) term: Term,
    /// The vote in that term (`votedFor`).
    pub(crate) ballot: Ballot,
    pub(crate) log: Log,
    pub(crate) memberships: MembershipHistory,
    /// The highest index known to be committed (`commitIndex`).
    pub(crate) commit: LogIndex,
    /// The last index handed to the state machine in an [`Apply`](crate::Apply).
    pub(crate) handed_out: LogIndex,
    /// The last index that the state machine has applied (`lastApplied`).
    pub(crate) applied: LogIndex,
    pub(crate) writes: Writes,
    /// When the commit index is written on its own; none while a write has carried it.
    pub(crate) commit_due: Option<Time>,
    pub(crate) health: Condition,
    pub(crate) promise: Promise,
    /// When a leader was last heard; none on a leader.
    pub(crate) leader_heard: Option<Time>,
    pub(crate) standstill: Standstill,
    pub(crate) campaign: CampaignTimer,
    /// The newest incarnation heard from each member.
    pub(crate) incarnations: BTreeMap<NodeId, NewestIncarnation>,
    /// The number of the last request or fetch of this incarnation.
    pub(crate) last_number: u64,
    /// The last round of this node's last leadership.
    pub(crate) last_round: Round,
    /// Proposals accepted as a leader and not applied yet, and the pace at which they are applied.
    pub(crate) backlog: Backlog,
    /// The leadership transfer under way.
    pub(crate) transfer: Option<Transfer>,
    /// Reads that wait for the leader's answer.
    pub(crate) forwarded: ForwardedReads,
}

/// The envelope fields that all messages of this node have in common during its current term.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    from: NodeId,
    store: StoreId,
    incarnation: Incarnation,
    term: Term,
}

impl Envelope {
    /// A message to this node, with this content.
    pub(crate) fn to(&self, to: NodeId, body: Body) -> Message {
        Message {
            from: self.from,
            from_store: self.store,
            from_incarnation: self.incarnation,
            to,
            term: self.term,
            body,
        }
    }
}

impl Common {
    /// Starts a new term, in which this node has not voted yet. Does nothing if the node is in that term.
    pub(crate) fn enter_term(&mut self, term: Term) {
        if term > self.term {
            self.term = term;
            self.ballot = Ballot::default();
        }
    }

    /// Hands out the staged write. The commit index alone waits for a following write, which may carry it.
    pub(crate) fn flush_writes(&mut self, effects: &mut Effects) {
        let hard = self.hard_state();
        let written = effects.writes.len();
        self.writes.flush(self.now, hard, self.log.last_index(), effects);
        if hard.commit > self.writes.queued().commit {
            if self.commit_due.is_none() || effects.writes.len() > written {
                self.commit_due = Some(self.now.after(COMMIT_IDLE));
            }
        } else {
            self.commit_due = None;
        }
    }

    /// When the commit index is written on its own. Not while a write is under way, as a following one may
    /// carry it.
    pub(crate) fn commit_deadline(&self) -> Option<Time> {
        self.commit_due.filter(|_| self.writes.is_idle())
    }

    /// The hard state as it is now, durable or not.
    pub(crate) fn hard_state(&self) -> HardState {
        HardState {
            term: self.term,
            vote: self.ballot.vote,
            commit: self.commit,
            health: self.health.health(),
            promise: self.promise.longest,
        }
    }

    /// The envelope of the messages that are sent now.
    pub(crate) fn envelope(&self) -> Envelope {
        Envelope {
            from: self.config.node,
            store: self.config.store,
            incarnation: self.config.incarnation,
            term: self.term,
        }
    }

    /// Draws the id of a new request.
    pub(crate) fn next_request(&mut self) -> RequestId {
        self.last_number += 1;
        RequestId { incarnation: self.config.incarnation, number: RequestNumber(self.last_number) }
    }
}
