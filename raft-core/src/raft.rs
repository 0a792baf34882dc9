//! The node's state, and the dispatch of each input to the file that handles it.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::{self, Discriminant};
use core::time::Duration;

use crate::backlog::Backlog;
use crate::heal::Condition;
use crate::hearing::Life;
use crate::log::Log;
use crate::membership::MembershipHistory;
use crate::read_index::ForwardedReads;
use crate::rng::Rng;
use crate::role::{Following, Role};
use crate::transfer::Transfer;
use crate::writes::Writes;
use crate::{
    Body, Config, Done, Effects, Fatal, HardState, Incarnation, Input, LogId, LogIndex, Message, NodeId,
    Outcome, RequestId, RoleChange, SnapshotEffect, StoreId, Term, Ticket, Time,
};

/// Upper bound on terms and indexes that come from outside. Larger ones are rejected, as incrementing them
/// could overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

/// A commit index that no write has carried is written on its own once no write has been issued for this
/// long.
const COMMIT_IDLE: Duration = Duration::from_millis(20);

/// One member of a Raft group: the whole protocol as a deterministic state machine.
///
/// `Clone` branches it: two nodes that are fed the same inputs emit the same effects, bit for bit.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) rng: Rng,
    pub(crate) term: Term,
    pub(crate) vote: Option<NodeId>,
    pub(crate) log: Log,
    pub(crate) memberships: MembershipHistory,
    pub(crate) commit: LogIndex,
    /// The last index handed to the state machine in an [`Apply`](crate::Apply).
    pub(crate) handed: LogIndex,
    pub(crate) applied: LogIndex,
    pub(crate) writes: Writes,
    pub(crate) commit_due: Option<Time>,
    pub(crate) role: Role,
    pub(crate) health: Condition,
    /// No vote is granted before this time, except in a leadership transfer: the end of this node's promise.
    pub(crate) sticky_until: Time,
    /// The longest promise that may be in force, as stored by the newest write.
    pub(crate) promise: Duration,
    /// When the promises end that an earlier incarnation gave under a longer `leader_timeout`; none if there
    /// are none.
    pub(crate) lower_promise_at: Option<Time>,
    pub(crate) leader_heard: Option<Time>,
    /// When this node last detected a standstill of its own and restarted its time-outs for it.
    pub(crate) excused: Option<Time>,
    /// When `handle` was last called after a gap that no running driver leaves.
    pub(crate) resumed: Time,
    /// When a node other than the leader starts or restarts a campaign.
    pub(crate) campaign_at: Time,
    /// Range the delay before a campaign is drawn from; valid for the membership entry in `patience_of`.
    pub(crate) patience: (Duration, Duration),
    pub(crate) patience_of: Option<LogId>,
    /// A vote that was granted and is sent once it is durable.
    pub(crate) grant: Option<Grant>,
    /// The candidate's data folder that got this term's vote; none after a restart, as it is not stored.
    pub(crate) vote_store: Option<StoreId>,
    /// The newest incarnation heard from each member.
    pub(crate) lives: BTreeMap<NodeId, Life>,
    pub(crate) last_number: u64,
    pub(crate) last_round: u64,
    /// Proposals accepted as a leader and not applied yet, and the pace at which they are applied.
    pub(crate) backlog: Backlog,
    pub(crate) transfer: Option<Transfer>,
    pub(crate) forwarded: ForwardedReads,
    pub(crate) told: RoleChange,
    pub(crate) told_while: Option<Told>,
    pub(crate) ended: bool,
}

/// A vote that was granted and is not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) to: NodeId,
    pub(crate) request: RequestId,
}

/// Cache key: no [`RoleChange`] is emitted while role, term, leader and membership are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    role: Discriminant<Role>,
    term: Term,
    leader: Option<NodeId>,
    membership: LogId,
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

impl Node {
    /// Processes one input and appends to `effects` what the driver must do. Never blocks and never fails
    /// half-way. A `now` before that of an earlier call counts as the earlier one.
    pub fn handle(&mut self, now: Time, input: Input, effects: &mut Effects) {
        self.note_gap(now);
        self.now = self.now.max(now);
        if self.ended {
            return answer_stopped(input, effects);
        }
        match input {
            Input::Tick => self.on_tick(effects),
            Input::Message(message) => self.on_message(message, effects),
            Input::Propose(proposals) => self.on_propose(proposals, effects),
            Input::Read { ticket, mode } => self.on_read(ticket, mode, effects),
            Input::Transfer { ticket, to } => self.on_transfer(ticket, to, effects),
            Input::Change(change) => self.on_change(*change, effects),
            Input::PersistCommit => self.writes.persist_commit(),
            Input::Compact(to) => self.on_compact(to),
            Input::Persisted(seq) => self.on_persisted(seq, effects),
            Input::WriteFailed => self.end(Fatal::WriteFailed, effects),
            Input::Applied(index) => {
                self.applied = self.applied.max(index.min(self.handed));
                self.backlog.note_applied(self.now, self.applied);
                return; // No effect depends on it.
            }
            Input::Fetched { request, result } => self.on_fetched(request, result, effects),
            Input::SnapshotInstalled { base, membership } => {
                self.on_snapshot_installed(base, Arc::new(*membership), effects);
            }
            Input::SnapshotSent { to, result } => self.on_snapshot_sent(to, result),
            Input::Unreachable(peer) => self.on_unreachable(peer),
        }
        self.finish(effects);
    }

    /// By when the driver must give a [`Tick`](Input::Tick); `Time(u64::MAX)` if there is nothing to wait
    /// for.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        if self.ended {
            return Time(u64::MAX);
        }
        let own = match &self.role {
            Role::Leader(leader) => self.leader_deadline(leader),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.campaign_at.min(self.forwarded.deadline())
            }
        };
        let transfer = self.transfer.as_ref().map(|transfer| transfer.deadline);
        let others = [self.commit_deadline(), transfer, self.heal_deadline(), self.lower_promise_at];
        others.into_iter().flatten().fold(own, Time::min)
    }

    /// Handles every deadline that has been reached.
    fn on_tick(&mut self, effects: &mut Effects) {
        if self.commit_deadline().is_some_and(|due| due <= self.now) {
            self.writes.persist_commit();
        }
        self.expire_transfer(effects);
        if matches!(self.role, Role::Leader(_)) {
            self.tick_leader(effects);
        } else {
            self.retry_forwarded_reads(effects);
            if self.campaign_at <= self.now {
                self.on_campaign_time(effects);
            }
        }
    }

    /// Ends every call of `handle`: sends what can be sent, hands out the staged write, and what may be
    /// applied.
    fn finish(&mut self, effects: &mut Effects) {
        if self.ended {
            return;
        }
        if matches!(self.role, Role::Leader(_)) {
            self.promote_staging();
            self.replicate(effects);
            self.resign(effects);
        } else if !self.is_sound() {
            self.heal(effects);
        }
        self.lower_promise();
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
        self.hand_out_committed(effects);
        self.tell_role(effects);
    }

    /// Ends the node: it stops taking part, and everyone who waits gets an outcome.
    ///
    /// There is no retry. After a failed fsync the kernel may drop the dirty pages and report success for the
    /// next fsync, so an entry that is acknowledged then may be on no disk ("fsyncgate"). Only a restart,
    /// which reads the log back, finds out what the disk holds.
    pub(crate) fn end(&mut self, why: Fatal, effects: &mut Effects) {
        self.ended = true;
        self.writes.abandon();
        let before = mem::replace(&mut self.role, Role::Follower(Following::default()));
        if let Role::Leader(led) = before {
            led.stop(self.term, effects);
        }
        self.forwarded.stop(effects);
        if let Some(transfer) = self.transfer.take() {
            effects.done.extend(transfer.ticket.map(|ticket| Done { ticket, outcome: Outcome::Stopped }));
        }
        self.grant = None;
        effects.fatal = Some(why);
        self.tell_role(effects);
    }

    fn tell_role(&mut self, effects: &mut Effects) {
        let (role, leader) = (mem::discriminant(&self.role), self.leader());
        let still = Told { role, term: self.term, leader, membership: self.memberships.current().id() };
        if self.told_while == Some(still) {
            return;
        }
        self.told_while = Some(still);
        let now = self.role_change();
        if now != self.told {
            self.told = now;
            effects.role = Some(now);
        }
    }

    /// When the commit index is written on its own. Not while a write is under way, as a following one may
    /// carry it.
    fn commit_deadline(&self) -> Option<Time> {
        self.commit_due.filter(|_| self.writes.is_idle())
    }

    pub(crate) fn role_change(&self) -> RoleChange {
        RoleChange { role: self.role(), term: self.term, leader: self.leader() }
    }

    pub(crate) fn hard_state(&self) -> HardState {
        HardState {
            term: self.term,
            vote: self.vote,
            commit: self.commit,
            health: self.health.health(),
            promise: self.promise,
        }
    }

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
        RequestId { incarnation: self.config.incarnation, number: self.last_number }
    }
}

/// Answers every ticket given to a node that has ended.
fn answer_stopped(input: Input, effects: &mut Effects) {
    let tickets: Vec<Ticket> = match input {
        Input::Propose(proposals) => proposals.into_iter().map(|proposal| proposal.ticket).collect(),
        Input::Read { ticket, .. } | Input::Transfer { ticket, .. } => alloc::vec![ticket],
        Input::Change(change) => alloc::vec![change.ticket],
        Input::Tick
        | Input::Message(_)
        | Input::PersistCommit
        | Input::Compact(_)
        | Input::Persisted(_)
        | Input::WriteFailed
        | Input::Applied(_)
        | Input::Fetched { .. }
        | Input::SnapshotInstalled { .. }
        | Input::SnapshotSent { .. }
        | Input::Unreachable(_) => Vec::new(),
    };
    effects.done.extend(tickets.into_iter().map(|ticket| Done { ticket, outcome: Outcome::Stopped }));
}

/// Cancels the snapshot transfers that this leader has requested from its driver.
pub(crate) fn cancel_snapshots(leader: &crate::role::Leader, effects: &mut Effects) {
    for (to, progress) in &leader.progress {
        if matches!(progress.state, crate::progress::ProgressState::Snapshot { asked: true, .. }) {
            effects.snapshots.push(SnapshotEffect::Cancel { to: *to });
        }
    }
}
