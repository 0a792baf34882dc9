//! The store's in-memory knowledge of its log, without entry bodies, and how a write changes it.

use std::collections::BTreeMap;

use raftkit_core::{
    Base, Entry, HardState, LogId, LogIndex, Membership, Payload, Restored, Term, TermRun, Write,
};

use crate::error::StoreError;

/// Ends, terms and memberships of the log, and the hard state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) base: Base,
    pub(crate) last: LogId,
    /// Terms after the base: the first index of each run of entries with the same term.
    pub(crate) terms: BTreeMap<LogIndex, Term>,
    /// Memberships after the base, by index.
    pub(crate) memberships: BTreeMap<LogIndex, Membership>,
    pub(crate) hard_state: HardState,
}

/// What a truncation removes.
#[derive(Debug)]
pub(crate) struct Truncated {
    /// First indexes of the removed terms.
    pub(crate) terms: Vec<LogIndex>,
    /// Indexes of the removed memberships.
    pub(crate) memberships: Vec<LogIndex>,
}

/// What a compaction removes.
#[derive(Debug)]
pub(crate) struct Compacted {
    /// First indexes of the removed terms.
    pub(crate) terms: Vec<LogIndex>,
    /// Indexes of the removed memberships. The last of them becomes the base's membership.
    pub(crate) memberships: Vec<LogIndex>,
    /// The term that continues after the new base, with its new first index: the one right after the base.
    pub(crate) first: Option<(LogIndex, Term)>,
}

impl LogState {
    /// Returns the id of the entry at an index between the base and the last entry, both included.
    pub(crate) fn id(&self, index: LogIndex) -> LogId {
        assert!(self.base.id.index <= index && index <= self.last.index, "{index} is in the log");
        let term = self.terms.range(..=index).next_back().map_or(self.base.id.term, |(_, term)| *term);
        LogId { term, index }
    }

    /// Applies one write, its parts in the order of the fields.
    ///
    /// # Errors
    /// The write does not fit the log, which is a bug of the caller. Parts applied before the error stay applied.
    pub(crate) fn apply(&mut self, write: &Write) -> Result<(), StoreError> {
        if let Some(base) = &write.reset_to {
            self.reset(base);
        }
        if let Some(from) = write.truncate_from {
            self.truncate(from)?;
        }
        for entry in &write.append {
            self.append(entry)?;
        }
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(to) = write.compact_to {
            self.compact(to)?;
        }
        self.assert_sound();
        Ok(())
    }

    /// Checks that ends, terms and memberships agree, in constant time except for the search in the maps. An opening
    /// checks more of what it has read, and reports a contradiction as damage; here it would be a bug.
    ///
    /// # Panics
    /// They contradict each other.
    pub(crate) fn assert_sound(&self) {
        let (base, last) = (self.base.id, self.last);
        assert!(
            base.index <= last.index && base.term <= last.term,
            "the log goes from {base} back to {last}"
        );
        let first = self.terms.first_key_value().map(|(first, _)| *first);
        let expected = (base.index < last.index).then(|| base.index.next());
        assert_eq!(first, expected, "the first term starts right after the base");
        let newest = self.terms.last_key_value().map_or(base.term, |(_, term)| *term);
        assert_eq!(newest, last.term, "the last term is the last entry's");
        let memberships = [self.memberships.first_key_value(), self.memberships.last_key_value()];
        let is_in_log = |index: LogIndex| base.index < index && index <= last.index;
        assert!(
            memberships.into_iter().flatten().all(|(index, _)| is_in_log(*index)),
            "memberships are in the log"
        );
    }

    /// Drops everything; the log now starts after `base`.
    pub(crate) fn reset(&mut self, base: &Base) {
        self.terms.clear();
        self.memberships.clear();
        self.base = base.clone();
        self.last = base.id;
    }

    /// Drops the entries from `from` on; returns `None` if there are none.
    pub(crate) fn truncate(&mut self, from: LogIndex) -> Result<Option<Truncated>, StoreError> {
        if from <= self.base.id.index {
            return Err(StoreError::TruncatesBase { from, base: self.base.id });
        }
        if from > self.last.index {
            return Ok(None);
        }
        self.last = self.id(from.previous().expect("it is above the base"));
        Ok(Some(Truncated {
            terms: self.terms.split_off(&from).into_keys().collect(),
            memberships: self.memberships.split_off(&from).into_keys().collect(),
        }))
    }

    /// Appends an entry. Returns true if it starts a new term.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<bool, StoreError> {
        let (id, last) = (entry.id, self.last);
        if id.index != last.index.next() {
            return Err(StoreError::Gap { expected: last.index.next(), got: id });
        }
        if id.term < last.term {
            return Err(StoreError::TermWentBack { last, got: id });
        }
        let starts = self.terms.is_empty() || id.term != last.term;
        if starts {
            self.terms.insert(id.index, id.term);
        }
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.insert(id.index, Membership::clone(membership));
        }
        self.last = id;
        Ok(starts)
    }

    /// Moves the base up to `to`; returns `None` if it is there already.
    pub(crate) fn compact(&mut self, to: LogIndex) -> Result<Option<Compacted>, StoreError> {
        if to <= self.base.id.index {
            return Ok(None);
        }
        if to > self.last.index {
            return Err(StoreError::CompactsBeyondEnd { to, last: self.last });
        }
        let id = self.id(to);
        let kept = self.terms.split_off(&to.next());
        let terms = std::mem::replace(&mut self.terms, kept).into_keys().collect();
        let goes_on = to < self.last.index && !self.terms.contains_key(&to.next());
        let first = goes_on.then(|| (to.next(), id.term));
        self.terms.extend(first);
        let kept = self.memberships.split_off(&to.next());
        let mut memberships = Vec::new();
        for (index, membership) in std::mem::replace(&mut self.memberships, kept) {
            memberships.push(index);
            self.base.membership = membership;
        }
        self.base.id = id;
        Ok(Some(Compacted { terms, memberships, first }))
    }

    /// Returns the state that the core needs at a start.
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
