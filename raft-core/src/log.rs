//! The log as the core sees it: cursors, term boundaries and a byte-bounded tail of bodies; the rest is on disk.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::term_runs::TermRuns;
use crate::{Entry, LogId, LogIndex, Term};

/// Cursors, terms and tail. `base.index <= last`; the tail ends at `last` and never reaches below the base.
///
/// `durable` is the last index whose entry, as it stands here, is known to be on disk. After a reset it is below the
/// base until the reset is durable itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    base: LogId,
    last: LogIndex,
    durable: LogIndex,
    runs: TermRuns,
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    tail_bytes_max: usize,
}

impl Log {
    /// A log read back from disk, with nothing of it in memory.
    pub(crate) fn restore(base: LogId, runs: TermRuns, last: LogIndex, tail_bytes_max: usize) -> Self {
        Self { base, last, durable: last, runs, tail: VecDeque::new(), tail_bytes: 0, tail_bytes_max }
    }

    /// The last entry that is no longer held.
    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    /// The last index.
    pub(crate) fn last_index(&self) -> LogIndex {
        self.last
    }

    /// The last entry.
    pub(crate) fn last(&self) -> LogId {
        self.id(self.last).unwrap_or(self.base)
    }

    /// The last index that is on disk as it stands here.
    pub(crate) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// Raises the durable index.
    pub(crate) fn persisted_to(&mut self, index: LogIndex) {
        self.durable = self.durable.max(index.min(self.last));
        self.evict();
    }

    /// The term of `index`, from the base to the last.
    #[inline]
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.index {
            Some(self.base.term)
        } else if index < self.base.index || index > self.last {
            None
        } else {
            self.runs.term(index)
        }
    }

    /// The entry at `index`, from the base to the last.
    pub(crate) fn id(&self, index: LogIndex) -> Option<LogId> {
        self.term(index).map(|term| LogId { term, index })
    }

    /// True when the log holds this entry, or starts right after it.
    #[inline]
    pub(crate) fn holds(&self, id: LogId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// The last entry at or below `limit` whose term is not above `term`, the base if there is no other; none below it.
    pub(crate) fn last_not_above(&self, limit: LogIndex, term: Term) -> Option<LogId> {
        let limit = limit.min(self.last);
        if limit < self.base.index {
            return None;
        }
        self.runs
            .last_not_above(limit, term)
            .or(Some(self.base))
            .filter(|found| found.index > self.base.index || self.base.term <= term)
    }

    /// Appends an entry that follows the last one.
    #[inline]
    pub(crate) fn append(&mut self, entry: Entry) {
        debug_assert_eq!(entry.id.index, self.last.next(), "entries are consecutive");
        self.last = entry.id.index;
        self.runs.push(entry.id);
        self.tail_bytes = self.tail_bytes.saturating_add(entry.weight());
        self.tail.push_back(entry);
        self.evict();
    }

    /// Drops `index` and all after it; `index` is above the base.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        let Some(last) = index.previous().filter(|last| *last >= self.base.index && *last < self.last) else {
            return;
        };
        while self.tail.back().is_some_and(|entry| entry.id.index > last) {
            let dropped = self.tail.pop_back().expect("there is a last one");
            self.tail_bytes -= dropped.weight();
        }
        self.last = last;
        self.durable = self.durable.min(last);
        self.runs.truncate_from(index);
    }

    /// Drops everything; the log then starts after `base`, once that is durable.
    pub(crate) fn reset(&mut self, base: LogId) {
        self.durable = self.durable.min(base.index.previous().unwrap_or_default());
        self.base = base;
        self.last = base.index;
        self.runs.clear();
        self.tail.clear();
        self.tail_bytes = 0;
    }

    /// Drops everything up to and including `to`, which is durable.
    pub(crate) fn compact(&mut self, to: LogIndex) {
        let Some(base) = self.id(to) else { return };
        self.runs.compact(to, self.last);
        self.base = base;
        // All at once: they are dropped where they lie.
        let gone = to.next().0.saturating_sub(self.tail_first().0);
        let gone = usize::try_from(gone).map_or(self.tail.len(), |gone| gone.min(self.tail.len()));
        self.tail_bytes -= self.tail.range(..gone).map(Entry::weight).sum::<usize>();
        self.tail.drain(..gone);
    }

    /// The first index whose entry is in memory; past the last when none is.
    pub(crate) fn tail_first(&self) -> LogIndex {
        self.tail.front().map_or(self.last.next(), |entry| entry.id.index)
    }

    /// Entries from `first` to `last` up to `bytes_max`, but at least one, and their weight. None when memory lacks
    /// the first.
    pub(crate) fn slice(
        &self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: usize,
    ) -> Option<(Vec<Entry>, usize)> {
        let start = first.0.checked_sub(self.tail_first().0).and_then(|start| usize::try_from(start).ok())?;
        let mut bytes = 0_usize;
        let mut count = 0_usize;
        for entry in self.tail.iter().skip(start).take_while(|entry| entry.id.index <= last) {
            let with = bytes.saturating_add(entry.weight());
            if count > 0 && with > bytes_max {
                break;
            }
            bytes = with;
            count += 1;
        }
        (count > 0).then(|| (self.tail.range(start..start + count).cloned().collect(), bytes))
    }

    /// The weight of the entry at `index`, where memory holds it.
    pub(crate) fn weight(&self, index: LogIndex) -> Option<usize> {
        let at = index.0.checked_sub(self.tail_first().0).and_then(|at| usize::try_from(at).ok())?;
        self.tail.get(at).map(Entry::weight)
    }

    /// The term runs, for the invariants.
    pub(crate) fn runs(&self) -> &TermRuns {
        &self.runs
    }

    /// True when the tail is consecutive, ends at the last index, lies above the base and weighs what it says.
    pub(crate) fn tail_is_consistent(&self) -> bool {
        let consecutive =
            self.tail.iter().zip(self.tail.iter().skip(1)).all(|(a, b)| a.id.index.next() == b.id.index);
        let ends = self.tail.back().is_none_or(|entry| entry.id.index == self.last);
        let terms = self.tail.iter().all(|entry| self.term(entry.id.index) == Some(entry.id.term));
        let weight = self.tail.iter().map(Entry::weight).sum::<usize>();
        consecutive && ends && terms && self.tail_first() > self.base.index && weight == self.tail_bytes
    }

    /// Keeps the tail below its bound. What is not on disk yet stays: nothing else could hand it out.
    #[inline]
    fn evict(&mut self) {
        if self.tail_bytes > self.tail_bytes_max {
            self.evict_durable();
        }
    }

    fn evict_durable(&mut self) {
        while self.tail_bytes > self.tail_bytes_max
            && let Some(dropped) = self.tail.pop_front_if(|entry| entry.id.index <= self.durable)
        {
            self.tail_bytes -= dropped.weight();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;
    use bytes::Bytes;

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: LogId::new(term, index), payload: Payload::Command(Bytes::from_static(b"12345678")) }
    }

    /// Base 1.1, then indexes 2 to 5 of term 2 and 6 to 8 of term 4; an entry weighs 40 bytes.
    fn log(tail_bytes_max: usize) -> Log {
        let mut log = Log::restore(LogId::GENESIS, TermRuns::default(), LogIndex(1), tail_bytes_max);
        (2..=5).for_each(|index| log.append(entry(2, index)));
        (6..=8).for_each(|index| log.append(entry(4, index)));
        log
    }

    #[test]
    fn what_is_not_durable_is_never_evicted() {
        let mut log = log(80);
        assert_eq!(log.tail_first(), LogIndex(2));
        log.persisted_to(LogIndex(4));
        assert_eq!(log.tail_first(), LogIndex(5), "the durable ones may go");
        log.persisted_to(LogIndex(8));
        assert_eq!(log.tail_first(), LogIndex(7), "two of 40 bytes fit");
        assert!(log.tail_is_consistent());
    }

    #[test]
    fn a_slice_keeps_to_its_bytes_but_has_at_least_one_entry() {
        let log = log(1000);
        let slice =
            |first, bytes| log.slice(LogIndex(first), LogIndex(8), bytes).map(|(entries, _)| entries.len());
        assert_eq!(slice(2, 80), Some(2));
        assert_eq!(slice(2, 1), Some(1));
        assert_eq!(slice(7, 1000), Some(2));
        assert_eq!(slice(9, 1000), None);
        assert_eq!(slice(1, 1000), None);
    }

    #[test]
    fn truncation_takes_the_durable_index_back_and_compaction_moves_the_base() {
        let mut log = log(1000);
        log.persisted_to(LogIndex(8));
        log.truncate_from(LogIndex(6));
        assert_eq!((log.last(), log.durable()), (LogId::new(2, 5), LogIndex(5)));
        log.compact(LogIndex(4));
        assert_eq!(
            (log.base(), log.tail_first(), log.last()),
            (LogId::new(2, 4), LogIndex(5), LogId::new(2, 5))
        );
        assert_eq!(log.term(LogIndex(3)), None);
        log.compact(LogIndex(5));
        assert_eq!((log.base(), log.last()), (LogId::new(2, 5), LogId::new(2, 5)));
        assert!(log.tail_is_consistent());
    }

    #[test]
    fn a_reset_log_is_not_durable_at_its_base() {
        let mut log = log(1000);
        log.persisted_to(LogIndex(8));
        log.reset(LogId::new(5, 7));
        assert_eq!((log.last(), log.durable()), (LogId::new(5, 7), LogIndex(6)));
        log.persisted_to(LogIndex(7));
        assert_eq!(log.durable(), LogIndex(7));
    }
}
