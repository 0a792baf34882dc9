//! The memberships in the log: the newest one acts, committed or not, and truncation brings the one before back
//! (thesis, section 4.1).

use alloc::vec::Vec;

use crate::{LogIndex, Membership};

/// The membership as of the log's base, and those appended after it, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MembershipHistory {
    base: (LogIndex, Membership),
    later: Vec<(LogIndex, Membership)>,
}

impl MembershipHistory {
    /// `base` is in force from the log's start, `later` from their indexes on.
    pub(crate) fn new(base: (LogIndex, Membership), later: Vec<(LogIndex, Membership)>) -> Self {
        Self { base, later }
    }

    /// The one in force.
    pub(crate) fn current(&self) -> &Membership {
        &self.newest().1
    }

    /// The entry that the one in force stands in.
    pub(crate) fn index(&self) -> LogIndex {
        self.newest().0
    }

    /// The one that was in force right after `index`; the base's for an index before it.
    pub(crate) fn as_of(&self, index: LogIndex) -> &Membership {
        &self.later.iter().rev().find(|(at, _)| *at <= index).unwrap_or(&self.base).1
    }

    /// Notes one that was appended.
    pub(crate) fn append(&mut self, index: LogIndex, membership: Membership) {
        self.later.push((index, membership));
    }

    /// Takes back those at `index` and after; true when the one in force changed.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) -> bool {
        let kept = self.later.partition_point(|(at, _)| *at < index);
        let changed = kept < self.later.len();
        self.later.truncate(kept);
        changed
    }

    /// The log now starts after `to`.
    pub(crate) fn compact(&mut self, to: LogIndex) {
        let gone = self.later.partition_point(|(at, _)| *at <= to);
        if let Some(base) = self.later.drain(..gone).next_back() {
            self.base = base;
        }
    }

    /// The log was reset to a snapshot.
    pub(crate) fn reset(&mut self, index: LogIndex, membership: Membership) {
        self.base = (index, membership);
        self.later.clear();
    }

    /// The indexes after the base, for the invariants.
    pub(crate) fn later_indexes(&self) -> impl Iterator<Item = LogIndex> + '_ {
        self.later.iter().map(|(index, _)| *index)
    }

    fn newest(&self) -> &(LogIndex, Membership) {
        self.later.last().unwrap_or(&self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, NodeId, StoreId};
    use alloc::string::String;

    fn only(node: u64) -> Membership {
        let member = Member { store: StoreId(0), address: String::new() };
        Membership::founding([(NodeId(node), member)].into_iter().collect())
    }

    #[test]
    fn truncation_brings_the_one_before_back_and_compaction_keeps_the_newest() {
        let mut history = MembershipHistory::new((LogIndex(1), only(1)), Vec::new());
        history.append(LogIndex(4), only(4));
        history.append(LogIndex(6), only(6));
        assert_eq!((history.index(), history.current()), (LogIndex(6), &only(6)));
        assert_eq!(history.as_of(LogIndex(5)), &only(4));
        assert!(history.truncate_from(LogIndex(5)));
        assert!(!history.truncate_from(LogIndex(5)));
        assert_eq!((history.index(), history.current()), (LogIndex(4), &only(4)));
        history.compact(LogIndex(3));
        assert_eq!(history.as_of(LogIndex(3)), &only(1));
        history.compact(LogIndex(4));
        assert_eq!((history.index(), history.current()), (LogIndex(4), &only(4)));
        assert_eq!(history.later_indexes().count(), 0);
    }
}
