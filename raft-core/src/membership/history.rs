//! The memberships in the log. The newest is in force, committed or not; if it is truncated, the one before
//! is in force again (thesis, section 4.1).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Membership;
use crate::LogIndex;

/// The membership as of the log's base, and those appended after it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MembershipHistory {
    base: (LogIndex, Arc<Membership>),
    later: Vec<(LogIndex, Arc<Membership>)>,
}

impl MembershipHistory {
    /// A history in which `base` is in force from the log's start, and each of `later` from its index on.
    pub(crate) fn new(base: (LogIndex, Arc<Membership>), later: Vec<(LogIndex, Arc<Membership>)>) -> Self {
        Self { base, later }
    }

    /// The membership in force.
    pub(crate) fn current(&self) -> &Membership {
        &self.newest().1
    }

    /// The membership in force, shared, for callers that keep it.
    pub(crate) fn current_shared(&self) -> &Arc<Membership> {
        &self.newest().1
    }

    /// True when the membership in force is committed, and so can no longer be truncated.
    pub(crate) fn is_committed(&self, commit: LogIndex) -> bool {
        self.newest().0 <= commit
    }

    /// The membership that is in force again if the current one is truncated; the current one if no older one
    /// is known.
    pub(crate) fn previous(&self) -> &Membership {
        let before = self.later.len().checked_sub(2).map(|at| &self.later[at]);
        &before.unwrap_or(&self.base).1
    }

    /// The index of the membership entry before the newest one; none if the log after the base does not hold
    /// both.
    pub(crate) fn second_newest(&self) -> Option<LogIndex> {
        self.later.len().checked_sub(2).map(|at| self.later[at].0)
    }

    /// The membership in force as of `index`; the base's for an index before the base.
    pub(crate) fn as_of(&self, index: LogIndex) -> &Membership {
        &self.later.iter().rev().find(|(at, _)| *at <= index).unwrap_or(&self.base).1
    }

    /// Records a membership that was appended.
    pub(crate) fn append(&mut self, index: LogIndex, membership: Arc<Membership>) {
        self.later.push((index, membership));
    }

    /// Drops the memberships from `index` on. True when that changed the one in force.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) -> bool {
        let kept = self.later.partition_point(|(at, _)| *at < index);
        let changed = kept < self.later.len();
        self.later.truncate(kept);
        changed
    }

    /// Compacts up to `to`: the newest membership at or below it becomes the base.
    pub(crate) fn compact(&mut self, to: LogIndex) {
        let gone = self.later.partition_point(|(at, _)| *at <= to);
        let newest = self.later.drain(..gone).next_back();
        if let Some(base) = newest {
            self.base = base;
        }
    }

    /// Resets the history to the membership of a snapshot.
    pub(crate) fn reset(&mut self, index: LogIndex, membership: Arc<Membership>) {
        self.base = (index, membership);
        self.later.clear();
    }

    /// The indexes of the memberships after the base, for the invariants.
    pub(crate) fn later_indexes(&self) -> impl Iterator<Item = LogIndex> + '_ {
        self.later.iter().map(|(index, _)| *index)
    }

    fn newest(&self) -> &(LogIndex, Arc<Membership>) {
        self.later.last().unwrap_or(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogId, Member, NodeId, StoreId};

    fn only(node: u64) -> Arc<Membership> {
        let member = [(NodeId(node), Member::new(StoreId(0), ""))];
        Arc::new(Membership::founding(member.into_iter().collect()).at(LogId::new(1, node)))
    }

    #[test]
    fn truncation_brings_the_one_before_back_and_compaction_keeps_the_newest() {
        let mut history = MembershipHistory::new((LogIndex(1), only(1)), Vec::new());
        history.append(LogIndex(4), only(4));
        history.append(LogIndex(6), only(6));
        assert_eq!(history.current(), &*only(6));
        assert_eq!(history.previous(), &*only(4));
        assert_eq!(history.as_of(LogIndex(5)), &*only(4));
        assert!(history.truncate_from(LogIndex(5)));
        assert!(!history.truncate_from(LogIndex(5)));
        assert_eq!((history.current(), history.previous()), (&*only(4), &*only(1)));
        history.compact(LogIndex(3));
        assert_eq!(history.as_of(LogIndex(3)), &*only(1));
        history.compact(LogIndex(4));
        assert_eq!((history.current(), history.previous()), (&*only(4), &*only(4)));
        assert_eq!(history.later_indexes().count(), 0);
    }
}
