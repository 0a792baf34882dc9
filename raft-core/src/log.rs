//! The core's view of the log: its bounds, the term of every entry, and the newest entries, up to a bound in
//! bytes. The rest is on disk.

use crate::entries::Entries;
use crate::tail::Tail;
use crate::term_runs::TermRuns;
use crate::{LogId, LogIndex, Term};

/// Bounds, terms and tail of the log. `base.index <= last`; the tail ends at `last` and starts above the
/// base.
///
/// `durable` is the last index whose present entry is known to be on disk. After a reset it is below the base
/// until the reset itself is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    base: LogId,
    last: LogIndex,
    durable: LogIndex,
    runs: TermRuns,
    tail: Tail,
}

impl Log {
    /// A log as read back from disk, with an empty tail.
    pub(crate) fn restore(base: LogId, runs: TermRuns, last: LogIndex, tail_bytes_max: usize) -> Self {
        Self { base, last, durable: last, runs, tail: Tail::new(tail_bytes_max) }
    }

    /// The last compacted entry.
    pub(crate) fn base(&self) -> LogId {
        self.base
    }

    /// The index of the last entry, durable or not; the base's when the log is empty.
    pub(crate) fn last_index(&self) -> LogIndex {
        self.last
    }

    /// The id of the last entry, durable or not; the base's when the log is empty.
    pub(crate) fn last(&self) -> LogId {
        self.id(self.last).unwrap_or(self.base)
    }

    /// The last index whose present entry is on disk.
    pub(crate) fn durable(&self) -> LogIndex {
        self.durable
    }

    /// Raises the durable index.
    pub(crate) fn persisted_to(&mut self, index: LogIndex) {
        self.durable = self.durable.max(index.min(self.last));
        self.tail.evict(self.durable);
    }

    /// The term of the entry at `index`; none outside of base and last index.
    #[inline]
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        self.runs.term_between(self.base, self.last, index)
    }

    /// The id of the entry at `index`; none outside of base and last index.
    pub(crate) fn id(&self, index: LogIndex) -> Option<LogId> {
        self.term(index).map(|term| LogId { term, index })
    }

    /// True when the log holds this entry, or it is the base.
    #[inline]
    pub(crate) fn holds(&self, id: LogId) -> bool {
        self.term(id.index) == Some(id.term)
    }

    /// The last entry at or below `limit` whose term is not above `term`, possibly the base. None if it would
    /// be below the base.
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

    /// Appends consecutive entries, `bytes` in weight.
    pub(crate) fn append(&mut self, entries: Entries, bytes: usize) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let (next, len) = (self.last.next(), entries.len() as u64);
        assert!(
            first.id.index == next && last.id.index.0 - next.0 + 1 == len,
            "{len} entries from {} to {} do not continue a log that ends at {}",
            first.id,
            last.id,
            self.last
        );
        self.last = last.id.index;
        self.runs.push(first.id);
        if last.id.term > first.id.term {
            entries.iter().for_each(|entry| self.runs.push(entry.id));
        }
        self.tail.push(entries, bytes);
        self.tail.evict(self.durable);
    }

    /// Truncates the log from `index` on, which is above the base.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        let Some(last) = index.previous().filter(|last| *last >= self.base.index && *last < self.last) else {
            return;
        };
        self.tail.truncate_from(index);
        self.last = last;
        self.durable = self.durable.min(last);
        self.runs.truncate_from(index);
    }

    /// Empties the log, which then starts after `base`.
    pub(crate) fn reset(&mut self, base: LogId) {
        self.durable = self.durable.min(base.index.previous().unwrap_or_default());
        self.base = base;
        self.last = base.index;
        self.runs.clear();
        self.tail.clear();
    }

    /// Compacts up to and including `to`, which is durable.
    pub(crate) fn compact(&mut self, to: LogIndex) {
        let Some(base) = self.id(to) else { return };
        self.runs.compact(to, self.last);
        self.base = base;
        self.tail.compact(to);
    }

    /// The first index whose entry is in memory; the index after the last when there is none.
    pub(crate) fn tail_first(&self) -> LogIndex {
        self.tail.first_index().unwrap_or(self.last.next())
    }

    /// The entries in memory.
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The term runs, for the invariants.
    pub(crate) fn runs(&self) -> &TermRuns {
        &self.runs
    }

    /// True when the tail fits the rest: it is consecutive, lies above the base, ends at the last index, and
    /// agrees with its recorded weight and with the term runs.
    pub(crate) fn tail_is_consistent(&self) -> bool {
        self.tail_first() > self.base.index && self.tail.is_consistent(self.last, |index| self.term(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Entry, Payload};
    use bytes::Bytes;

    fn entry(term: u64, index: u64) -> Entry {
        Entry { id: LogId::new(term, index), payload: Payload::Command(Bytes::from_static(b"12345678")) }
    }

    /// Base 1.1, then indexes 2 to 5 of term 2 and 6 to 8 of term 4; an entry weighs 40 bytes.
    fn log(tail_bytes_max: usize) -> Log {
        let mut log = Log::restore(LogId::GENESIS, TermRuns::default(), LogIndex(1), tail_bytes_max);
        let entries =
            |term, indexes: core::ops::RangeInclusive<u64>| indexes.map(move |index| entry(term, index));
        log.append(entries(2, 2..=3).collect(), 80);
        log.append(entries(2, 4..=5).chain(entries(4, 6..=8)).collect(), 200);
        log
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
