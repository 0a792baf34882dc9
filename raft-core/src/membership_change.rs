//! Membership changes. A membership is a log entry that is in force as soon as it is appended (paper, section
//! 6; thesis, chapter 4).
//!
//! ```text
//!   C_old --- one voter more or less ------------------------------------> C_new
//!     |                                                                      ^
//!     +--- more ---> C_old,new --- committed: the leader appends C_new ------+      whoever leads by then
//! ```
//!
//! A change starts only when the last one is committed and the leader has committed an entry of its own term.
//! Otherwise two leaders can each commit a change that the other does not know (Ongaro 2015). Of the voters
//! S1 to S4, S1 leads term 1 and appends "add S5" to its own log alone. S2 wins term 2 with the votes of S2,
//! S3 and S4, appends "remove S1", and commits it on S2 and S3, two of its three voters. S1 wins term 3 with
//! S1, S4 and S5, three of its five voters, and overwrites what S2 committed. With the rule, S2 first commits
//! an entry of term 2 on three of the four voters, and S1 can no longer win.

use alloc::sync::Arc;

use crate::common::Common;
use crate::role::Leading;
use crate::{
    ChangeRefused, Done, Effects, Health, LogId, Membership, MembershipChange, NodeId, Outcome, Payload,
    Ticket,
};

/// A membership change whose caller waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingChange {
    /// The ticket of the caller that asked for the change.
    pub(crate) ticket: Ticket,
    /// The first entry of the change.
    pub(crate) first: LogId,
}

impl Leading<'_> {
    /// Begins a membership change that a caller asked for.
    pub(crate) fn on_change(&mut self, change: MembershipChange, effects: &mut Effects) {
        let MembershipChange { ticket, seen, target } = change;
        match self.begin_change(seen, target) {
            Ok(first) => self.leader.change = Some(PendingChange { ticket, first }),
            Err(outcome) => effects.done.push(Done { ticket, outcome }),
        }
    }

    /// Appends the first entry of the change, or returns why the change is refused.
    fn begin_change(&mut self, seen: LogId, target: Membership) -> Result<LogId, Outcome> {
        let common = &*self.common;
        if let Some(transfer) = &common.transfer {
            return Err(Outcome::NotLeader(Some(transfer.to)));
        }
        let current = common.memberships.current();
        if current.id() != seen {
            return Err(Outcome::Conflict(current.id()));
        }
        let settled = !current.is_joint() && common.memberships.is_committed(common.commit);
        if !settled {
            return Err(Outcome::Refused(ChangeRefused::InProgress));
        }
        if common.commit < self.leader.term_start {
            return Err(Outcome::Refused(ChangeRefused::NotReady));
        }
        check_target(current, &target).map_err(Outcome::Refused)?;
        let is_damaged = |node: &&NodeId| {
            !current.voters().contains(*node)
                && self.leader.progress.get(*node).is_some_and(|peer| peer.health == Health::Damaged)
        };
        if let Some(node) = target.voters().iter().find(is_damaged) {
            return Err(Outcome::Refused(ChangeRefused::Damaged { node: *node }));
        }
        if current.says_the_same(&target) {
            return Err(Outcome::Committed(current.id()));
        }
        let next = if is_single(current, &target) { target } else { current.join(&target) };
        Ok(self.append_membership(next))
    }

    /// Appends a membership entry. It is in force from its append on.
    pub(crate) fn append_membership(&mut self, membership: Membership) -> LogId {
        let id = LogId { term: self.common.term, index: self.common.log.last_index().next() };
        self.append_own(Payload::Membership(Arc::new(membership.at(id))), None);
        id
    }

    /// Acts on the commit of the membership in force: ends joint consensus, answers the caller, and marks
    /// this leader to step down if it is no voter any more.
    pub(crate) fn settle_membership(&mut self, effects: &mut Effects) {
        let Self { common, leader } = self;
        if !common.memberships.is_committed(common.commit) || common.commit < leader.term_start {
            return;
        }
        if common.memberships.current().is_joint() {
            let left = common.memberships.current().leave();
            self.append_membership(left);
            return;
        }
        let (own, current) = (common.config.node, common.memberships.current());
        let (id, votes) = (current.id(), current.is_voter(own));
        leader.resigns = !votes;
        if let Some(change) = leader.change.take() {
            effects.done.push(Done { ticket: change.ticket, outcome: Outcome::Committed(id) });
        }
        // The voters whose answers the waiting reads lacked may have been removed, and a leader that is now
        // the only voter gets no further answer that would prompt it.
        self.confirm_reads(effects);
    }

    /// True when this leader steps down at the end of the call, as its own removal is committed. Until then it
    /// leads without counting itself (thesis, section 4.2.2). The best successor is told to campaign, so that
    /// nobody has to wait for a time-out.
    pub(crate) fn resigns(&self) -> bool {
        self.leader.resigns
    }
}

impl Common {
    /// True when this node may campaign: it is sound, and a voter under its own data folder, either now or
    /// before an uncommitted change (thesis, section 4.2.2).
    ///
    /// The latter matters if the removed node alone holds the change. Of the voters S1 and S2, S1 leads,
    /// appends its own removal and crashes before it sends the entry. S2 still needs the vote of S1, whose
    /// log is longer, so S1 refuses. If S1 could not campaign, the cluster would have no leader for good. It
    /// may, wins the vote of S2, and commits the entry.
    pub(crate) fn may_campaign(&self) -> bool {
        let votes = |membership: &Membership| {
            let own = self.config.node;
            membership.is_voter(own) && membership.store(own) == Some(self.config.store)
        };
        let current = self.memberships.current();
        let votes = votes(current)
            || !self.memberships.is_committed(self.commit) && votes(self.memberships.previous());
        votes && self.is_sound()
    }
}

/// Checks whether `target` can be the target of a change from `current` at all.
pub(crate) fn check_target(current: &Membership, target: &Membership) -> Result<(), ChangeRefused> {
    if target.is_joint() {
        return Err(ChangeRefused::Joint);
    }
    if target.voters().is_empty() {
        return Err(ChangeRefused::NoVoters);
    }
    let changed = |node: &&NodeId| target.contains(**node) && target.store(**node) != current.store(**node);
    match current.voters().iter().find(changed) {
        Some(node) => Err(ChangeRefused::StoreChanged { node: *node }),
        None => Ok(()),
    }
}

/// True when the sets of voters differ by at most one node, so that one entry can change the one into the
/// other.
///
/// Nodes switch to the new membership at different times, so a majority of the old voters and one of the new
/// voters may act at the same time. If one voter differs, any two such majorities share a node, and its vote
/// decides (thesis, section 4.1). If more differ they can be disjoint: in a change from {S1, S2, S3} to {S1,
/// S2, S3, S4, S5}, S1 and S2 can elect a leader by the old membership while S3, S4 and S5 elect another by
/// the new one, in the same term (paper, Figure 10). Such a change goes through joint consensus, in which
/// every decision needs a majority of both.
pub(crate) fn is_single(current: &Membership, target: &Membership) -> bool {
    current.voters().symmetric_difference(target.voters()).count() <= 1
}
