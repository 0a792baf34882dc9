//! Changes of the membership: who may take part is itself an entry, which acts as soon as it is appended (paper, section
//! 6; thesis, chapter 4).
//!
//! ```text
//!   C_old --- one voter more or less ------------------------------------> C_new
//!     |                                                                      ^
//!     +--- more ---> C_old,new --- committed: the leader appends C_new ------+      whoever leads by then
//! ```
//!
//! The next change waits until the last one is committed, and the first one of a term until the leader has committed an
//! entry of that term: two leaders could otherwise each commit a change that the other does not know (Ongaro 2015).

use alloc::sync::Arc;

use crate::raft::Node;
use crate::role::Role;
use crate::{
    ChangeRefused, Done, Effects, Health, LogId, Membership, MembershipChange, NodeId, Outcome, Payload,
    Ticket,
};

/// A change that someone waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenChange {
    /// Who.
    pub(crate) ticket: Ticket,
    /// Its first entry.
    pub(crate) first: LogId,
}

impl Node {
    pub(crate) fn on_change(&mut self, change: MembershipChange, effects: &mut Effects) {
        let MembershipChange { ticket, seen, target } = change;
        match self.begin_change(seen, target) {
            Ok(first) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.change = Some(OpenChange { ticket, first });
                }
            }
            Err(outcome) => effects.done.push(Done { ticket, outcome }),
        }
    }

    /// Appends the first entry of the change, or says why not.
    fn begin_change(&mut self, seen: LogId, target: Membership) -> Result<LogId, Outcome> {
        let Role::Leader(leader) = &self.role else { return Err(Outcome::NotLeader(self.leader())) };
        if let Some(transfer) = &self.transfer {
            return Err(Outcome::NotLeader(Some(transfer.to)));
        }
        let current = self.memberships.current();
        if current.id() != seen {
            return Err(Outcome::Conflict(current.id()));
        }
        let settled = !current.is_joint() && self.memberships.is_committed(self.commit);
        if !settled {
            return Err(Outcome::Refused(ChangeRefused::InProgress));
        }
        if self.commit < leader.term_start {
            return Err(Outcome::Refused(ChangeRefused::NotReady));
        }
        check_target(current, &target).map_err(Outcome::Refused)?;
        let is_damaged = |node: &&NodeId| {
            !current.voters().contains(*node)
                && leader.progress.get(*node).is_some_and(|peer| peer.health == Health::Damaged)
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

    /// Appends a membership as an entry of this leader's; it is in force from here on.
    pub(crate) fn append_membership(&mut self, membership: Membership) -> LogId {
        let id = LogId { term: self.term, index: self.log.last_index().next() };
        self.append_own(Payload::Membership(Arc::new(membership.at(id))), None);
        id
    }

    /// The membership in force may just have been committed: leave joint, answer who asked, and step down where this node
    /// does not vote any more.
    pub(crate) fn settle_membership(&mut self, effects: &mut Effects) {
        let Role::Leader(leader) = &self.role else { return };
        if !self.memberships.is_committed(self.commit) || self.commit < leader.term_start {
            return;
        }
        if self.memberships.current().is_joint() {
            let left = self.memberships.current().leave();
            self.append_membership(left);
            return;
        }
        let (own, current) = (self.config.node, self.memberships.current());
        let (id, votes) = (current.id(), current.is_voter(own));
        let Role::Leader(leader) = &mut self.role else { return };
        leader.resigns = !votes;
        if let Some(change) = leader.change.take() {
            effects.done.push(Done { ticket: change.ticket, outcome: Outcome::Committed(id) });
        }
        // Those whose answers reads waited for may vote no more: a leader that is left alone hears no other answer.
        self.confirm_reads(effects);
    }

    /// A leader that removed itself has led until its removal was committed, without counting itself (thesis, section
    /// 4.2.2). Now that its followers know, the best of them need not wait for a time-out.
    pub(crate) fn resign(&mut self, effects: &mut Effects) {
        if matches!(&self.role, Role::Leader(leader) if leader.resigns) {
            self.hand_over(effects);
        }
    }

    /// True when this node may campaign: it votes, under its own store, or it did until a change that is not committed yet
    /// and that perhaps only it holds (thesis, section 4.2.2).
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

/// Whether any change from `current` could lead to `target`.
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

/// True when the voters of both differ by at most one: then any majority of the one shares a node with any of the other
/// (thesis, section 4.1).
pub(crate) fn is_single(current: &Membership, target: &Membership) -> bool {
    current.voters().symmetric_difference(target.voters()).count() <= 1
}
