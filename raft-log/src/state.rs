//! What the store knows of its log without reading bodies.

use std::collections::BTreeMap;

use raftkit_core::{Base, HardState, LogId, LogIndex, Membership, Restored, Term, TermRun};

/// The log's ends, terms and memberships, and the hard state: always as of the last write in the open transaction.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogState {
    pub(crate) base: Base,
    pub(crate) last: LogId,
    /// First index after the base -> term, one for each run of a term.
    pub(crate) terms: BTreeMap<LogIndex, Term>,
    /// Memberships after the base.
    pub(crate) memberships: BTreeMap<LogIndex, Membership>,
    pub(crate) hard_state: HardState,
}

impl LogState {
    /// The name of the entry at an index from the base to the last.
    pub(crate) fn id(&self, index: LogIndex) -> LogId {
        assert!(self.base.id.index <= index && index <= self.last.index, "{index} is in the log");
        let term = self.terms.range(..=index).next_back().map_or(self.base.id.term, |(_, term)| *term);
        LogId { term, index }
    }

    /// What the core is told at a start.
    pub(crate) fn restored(&self) -> Restored {
        Restored {
            base: self.base.clone(),
            term_runs: self
                .terms
                .iter()
                .map(|(first, term)| TermRun { term: *term, first: *first })
                .collect(),
            last: self.last.index,
            memberships: self.memberships.iter().map(|(index, m)| (*index, m.clone())).collect(),
            hard_state: self.hard_state,
            applied: LogIndex::ZERO,
        }
    }
}
