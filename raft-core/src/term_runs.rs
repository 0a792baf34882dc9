//! The terms of a log's entries without the entries: one record for each term covers the whole log.

use alloc::vec::Vec;

use crate::{LogId, LogIndex, Term, TermRun};

/// The term runs of the log after its base, in order; terms and first indexes both rise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TermRuns {
    runs: Vec<TermRun>,
}

impl TermRuns {
    /// Term runs that were checked to rise.
    pub(crate) fn new(runs: Vec<TermRun>) -> Self {
        Self { runs }
    }

    /// The term of `index`; none before the first run. The caller checks the last index.
    #[inline]
    pub(crate) fn term(&self, index: LogIndex) -> Option<Term> {
        // Nearly always it is the newest term.
        match self.runs.last() {
            Some(run) if run.first <= index => Some(run.term),
            Some(_) | None => self.earlier_term(index),
        }
    }

    /// The term of `index` in a log from `base` to `last`; none outside of them.
    #[inline]
    pub(crate) fn term_between(&self, base: LogId, last: LogIndex, index: LogIndex) -> Option<Term> {
        if index == base.index {
            Some(base.term)
        } else if index < base.index || index > last {
            None
        } else {
            self.term(index)
        }
    }

    fn earlier_term(&self, index: LogIndex) -> Option<Term> {
        let after = self.runs.partition_point(|run| run.first <= index);
        self.runs[..after].last().map(|run| run.term)
    }

    /// Records that `id` was appended.
    #[inline]
    pub(crate) fn push(&mut self, id: LogId) {
        if self.runs.last().is_none_or(|run| run.term < id.term) {
            self.runs.push(TermRun { term: id.term, first: id.index });
        }
    }

    /// Drops `index` and everything after it.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        while self.runs.last().is_some_and(|run| run.first >= index) {
            self.runs.pop();
        }
    }

    /// Drops everything up to and including `to`; `last` is the log's last index.
    pub(crate) fn compact(&mut self, to: LogIndex, last: LogIndex) {
        let after = self.runs.partition_point(|run| run.first <= to);
        if after == 0 {
            return;
        }
        // The run that contains `to` continues after it, unless the next run or the end of the log follows
        // directly.
        let next = to.next();
        let goes_on = next <= last && self.runs.get(after).is_none_or(|run| run.first > next);
        let drop_to = if goes_on { after - 1 } else { after };
        self.runs.drain(..drop_to);
        if goes_on && let Some(first) = self.runs.first_mut() {
            first.first = next;
        }
    }

    /// Drops all runs, as the log was emptied.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
    }

    /// The last entry at or below `limit` whose term is not above `term`; none before the first run. Runs of
    /// higher terms are skipped as a whole: this is what makes conflict hints go back by terms (paper,
    /// section 5.3).
    pub(crate) fn last_not_above(&self, limit: LogIndex, term: Term) -> Option<LogId> {
        let mut end = limit;
        for run in self.runs.iter().rev() {
            if run.first > end {
                continue;
            }
            if run.term <= term {
                return Some(LogId { term: run.term, index: end });
            }
            end = run.first.previous()?;
        }
        None
    }

    /// Becomes a copy of `other`, reusing the allocation.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.runs.clone_from(&other.runs);
    }

    /// The runs, for the invariants.
    pub(crate) fn as_slice(&self) -> &[TermRun] {
        &self.runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(of: &[(u64, u64)]) -> TermRuns {
        TermRuns::new(
            of.iter().map(|(term, first)| TermRun { term: Term(*term), first: LogIndex(*first) }).collect(),
        )
    }

    #[test]
    fn a_term_reaches_from_its_first_index_to_the_next_run() {
        let runs = runs(&[(1, 3), (4, 6)]);
        let terms: [Option<u64>; 6] =
            core::array::from_fn(|i| runs.term(LogIndex(i as u64 + 2)).map(|term| term.0));
        assert_eq!(terms, [None, Some(1), Some(1), Some(1), Some(4), Some(4)]);
    }

    #[test]
    fn truncation_takes_back_whole_runs_and_keeps_a_cut_one() {
        let mut cut = runs(&[(1, 3), (4, 6)]);
        cut.truncate_from(LogIndex(7));
        assert_eq!(cut, runs(&[(1, 3), (4, 6)]));
        cut.truncate_from(LogIndex(6));
        assert_eq!(cut, runs(&[(1, 3)]));
        cut.push(LogId::new(1, 6));
        cut.push(LogId::new(5, 7));
        assert_eq!(cut, runs(&[(1, 3), (5, 7)]));
    }

    #[test]
    fn compaction_moves_the_start_of_the_run_it_cuts() {
        let full = runs(&[(1, 3), (4, 6)]);
        for (to, last, left) in [
            (2, 9, runs(&[(1, 3), (4, 6)])),
            (3, 9, runs(&[(1, 4), (4, 6)])),
            (5, 9, runs(&[(4, 6)])),
            (7, 9, runs(&[(4, 8)])),
            (9, 9, runs(&[])),
        ] {
            let mut cut = full.clone();
            cut.compact(LogIndex(to), LogIndex(last));
            assert_eq!(cut, left, "compacted to {to}");
        }
    }

    #[test]
    fn the_last_entry_not_above_a_term_skips_runs_of_greater_terms() {
        let runs = runs(&[(1, 3), (4, 6), (6, 9)]);
        let find = |limit, term| runs.last_not_above(LogIndex(limit), Term(term));
        assert_eq!(find(10, 6), Some(LogId::new(6, 10)));
        assert_eq!(find(10, 5), Some(LogId::new(4, 8)));
        assert_eq!(find(7, 5), Some(LogId::new(4, 7)));
        assert_eq!(find(7, 3), Some(LogId::new(1, 5)));
        assert_eq!(find(7, 0), None);
    }
}
