//! The node: the dispatch of each input to the code of its role, and what is done at the end of each call.

use alloc::sync::Arc;
use core::mem::{self, Discriminant};

use crate::common::Common;
use crate::invariants::Before;
use crate::role::{Follower, Following, Leading, Role, Tenure};
use crate::{Done, Effects, Fatal, Input, LogId, NodeId, Outcome, Proposal, RoleChange, Term, Ticket, Time};

/// Upper bound on terms and indexes that come from outside. Larger ones are rejected, as incrementing them
/// could overflow.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

/// One member of a Raft group: the whole protocol as a deterministic state machine.
///
/// `Clone` branches it: two nodes that are fed the same inputs emit the same effects, bit for bit.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) common: Common,
    pub(crate) role: Role,
    /// The last role, term and leader that were reported to the driver.
    pub(crate) reported: RoleChange,
    pub(crate) reported_for: Option<ReportedFor>,
    /// True once the node has ended: it then ignores everything, and answers every request `Stopped`.
    pub(crate) ended: bool,
}

/// Cache key: no [`RoleChange`] is emitted while role, term, leader and membership are unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportedFor {
    role: Discriminant<Role>,
    term: Term,
    leader: Option<NodeId>,
    membership: LogId,
}

impl Node {
    /// Processes one input and appends to `effects` what the driver must do. Never blocks and never fails
    /// half-way. A `now` before that of an earlier call counts as the earlier one.
    ///
    /// # Panics
    /// If the node's own state contradicts itself afterwards. That is a bug of this crate: no input can cause
    /// it.
    pub fn handle(&mut self, now: Time, input: Input, effects: &mut Effects) {
        let before = cfg!(debug_assertions).then(|| Before::of(self));
        self.process(now, input, effects);
        self.assert_sound();
        if let Some(before) = before {
            self.assert_invariants(&before);
        }
    }

    /// Processes one input, on the role that this node has.
    fn process(&mut self, now: Time, input: Input, effects: &mut Effects) {
        self.common.note_gap(now);
        self.common.now = self.common.now.max(now);
        if self.ended {
            return answer_stopped(input, effects);
        }
        match input {
            Input::Tick => self.on_tick(effects),
            Input::Message(message) => self.on_message(message, effects),
            Input::Propose(proposals) => match self.leading() {
                Some(mut leading) => leading.on_propose(proposals, effects),
                None => self.redirect(tickets_of(&proposals), effects),
            },
            Input::Transfer { ticket, to } => match self.leading() {
                Some(mut leading) => leading.on_transfer(ticket, to, effects),
                None => self.redirect([ticket], effects),
            },
            Input::Change(change) => match self.leading() {
                Some(mut leading) => leading.on_change(*change, effects),
                None => self.redirect([change.ticket], effects),
            },
            Input::Read { ticket, mode } => self.on_read(ticket, mode, effects),
            Input::PersistCommit => self.common.writes.persist_commit(),
            Input::Compact(to) => self.common.on_compact(to),
            Input::Persisted(seq) => self.on_persisted(seq, effects),
            Input::WriteFailed => self.end(Fatal::WriteFailed, effects),
            Input::Applied(index) => return self.common.on_applied(index), // No effect depends on it.
            Input::Fetched { id, result } => self.on_fetched(id, result, effects),
            Input::SnapshotInstalled { base, membership } => {
                self.on_snapshot_installed(base, Arc::new(*membership), effects);
            }
            Input::SnapshotSent { to, result } => {
                if let Some(mut leading) = self.leading() {
                    leading.on_snapshot_sent(to, result);
                }
            }
            Input::Unreachable(peer) => {
                if let Some(mut leading) = self.leading() {
                    leading.on_unreachable(peer);
                }
            }
        }
        self.finish(effects);
    }

    /// Answers requests that only a leader can take.
    fn redirect(&self, tickets: impl IntoIterator<Item = Ticket>, effects: &mut Effects) {
        answer_all(tickets, Outcome::NotLeader(self.leader()), effects);
    }

    /// By when the driver must give a [`Tick`](Input::Tick); `Time(u64::MAX)` if there is nothing to wait
    /// for.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        if self.ended {
            return Time(u64::MAX);
        }
        let common = &self.common;
        let own = match &self.role {
            Role::Leader(leader) => common.leader_deadline(leader),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                common.campaign.at.min(common.forwarded.deadline())
            }
        };
        let transfer = common.transfer.as_ref().map(|transfer| transfer.deadline);
        let others = [common.commit_deadline(), transfer, common.heal_deadline(), common.promise.lower_at];
        others.into_iter().flatten().fold(own, Time::min)
    }

    /// Handles every deadline that has been reached.
    fn on_tick(&mut self, effects: &mut Effects) {
        let common = &mut self.common;
        if common.commit_deadline().is_some_and(|due| due <= common.now) {
            common.writes.persist_commit();
        }
        common.expire_transfer(effects);
        if let Some(mut leading) = self.leading() {
            match leading.tick(effects) {
                Tenure::Continues => {}
                Tenure::Ends => self.become_follower(self.common.term, None, effects),
            }
            return;
        }
        if let Some(leader) = self.leader() {
            self.common.retry_forwarded_reads(leader, effects);
        }
        if self.common.campaign.at <= self.common.now {
            self.on_campaign_time(effects);
        }
    }

    /// Ends every call of `handle`: sends what can be sent, hands out the staged write, and what may be
    /// applied.
    fn finish(&mut self, effects: &mut Effects) {
        if self.ended {
            return;
        }
        match &mut self.role {
            Role::Leader(leader) => {
                let mut leading = Leading { common: &mut self.common, leader };
                leading.promote_staging();
                leading.replicate(effects);
                if leading.resigns() {
                    leading.hand_over(effects);
                    self.become_follower(self.common.term, None, effects);
                }
            }
            Role::Follower(follower) => {
                Following { common: &mut self.common, follower }.heal(effects);
            }
            Role::PreCandidate(_) | Role::Candidate(_) => {} // A damaged node does not campaign.
        }
        self.common.lower_promise();
        self.common.flush_writes(effects);
        self.common.hand_out_committed(effects);
        self.report_role(effects);
    }

    /// Ends the node: it stops taking part, and everyone who waits gets an outcome.
    ///
    /// There is no retry. After a failed fsync the kernel may drop the dirty pages and report success for the
    /// next fsync, so an entry that is acknowledged then may be on no disk ("fsyncgate"). Only a restart,
    /// which reads the log back, finds out what the disk holds.
    pub(crate) fn end(&mut self, why: Fatal, effects: &mut Effects) {
        self.ended = true;
        self.common.writes.abandon();
        let before = mem::replace(&mut self.role, Role::Follower(Follower::default()));
        if let Role::Leader(led) = before {
            led.stop(self.common.term, effects);
        }
        self.common.forwarded.stop(effects);
        if let Some(transfer) = self.common.transfer.take() {
            answer_all(transfer.ticket, Outcome::Stopped, effects);
        }
        self.common.ballot.grant = None;
        effects.fatal = Some(why);
        self.report_role(effects);
    }

    /// Reports role, term and leader to the driver, if one of them has changed.
    fn report_role(&mut self, effects: &mut Effects) {
        let (role, leader) = (mem::discriminant(&self.role), self.leader());
        let still = ReportedFor {
            role,
            term: self.common.term,
            leader,
            membership: self.common.memberships.current().id(),
        };
        if self.reported_for == Some(still) {
            return;
        }
        self.reported_for = Some(still);
        let now = self.role_change();
        if now != self.reported {
            self.reported = now;
            effects.role = Some(now);
        }
    }

    /// Role, term and leader as they are now.
    pub(crate) fn role_change(&self) -> RoleChange {
        RoleChange { role: self.role(), term: self.common.term, leader: self.leader() }
    }
}

/// Answers all these tickets with the same outcome, one that says that nothing was done.
pub(crate) fn answer_all(tickets: impl IntoIterator<Item = Ticket>, outcome: Outcome, effects: &mut Effects) {
    effects.done.extend(tickets.into_iter().map(|ticket| Done { ticket, outcome }));
}

/// The tickets of these proposals, in order.
pub(crate) fn tickets_of(proposals: &[Proposal]) -> impl Iterator<Item = Ticket> {
    proposals.iter().map(|proposal| proposal.ticket)
}

/// Answers every ticket given to a node that has ended.
fn answer_stopped(input: Input, effects: &mut Effects) {
    match input {
        Input::Propose(proposals) => answer_all(tickets_of(&proposals), Outcome::Stopped, effects),
        Input::Read { ticket, .. } | Input::Transfer { ticket, .. } => {
            answer_all([ticket], Outcome::Stopped, effects);
        }
        Input::Change(change) => answer_all([change.ticket], Outcome::Stopped, effects),
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
        | Input::Unreachable(_) => {}
    }
}
