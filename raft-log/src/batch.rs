//! Applies writes to the tables, in one transaction.

use raftkit_core::{Base, Entry, LogIndex, Membership, Payload, Write};
use redb::{ReadableTable, WriteTransaction};

use crate::codec::{PAYLOAD_BYTES_MAX, RunBuilder, run_last, run_prefix};
use crate::error::{StoreError, Trouble};
use crate::state::LogState;
use crate::tables::{
    Ends, IndexTable, MEMBERSHIPS, META, RUNS, TERMS, encode_ends, encode_hard_state, put_membership,
    put_meta, put_term, record,
};

/// A run is ended at this size, in bytes: a read goes through the run that it starts in from its beginning.
const RUN_BYTES_MAX: usize = 256 << 10;

/// Writes on their way into one transaction. The state goes with them; if the transaction fails, the store ends.
pub(crate) struct Batch<'txn> {
    txn: &'txn WriteTransaction,
    state: &'txn mut LogState,
    terms: IndexTable<'txn>,
    memberships: IndexTable<'txn>,
    /// Appended entries that are not in the table yet: appends of several writes share a run.
    run: Option<RunBuilder>,
    ends_changed: bool,
    base_changed: bool,
    hard_state_changed: bool,
}

impl<'txn> Batch<'txn> {
    pub(crate) fn new(txn: &'txn WriteTransaction, state: &'txn mut LogState) -> Result<Self, Trouble> {
        Ok(Self {
            txn,
            state,
            terms: txn.open_table(TERMS)?,
            memberships: txn.open_table(MEMBERSHIPS)?,
            run: None,
            ends_changed: false,
            base_changed: false,
            hard_state_changed: false,
        })
    }

    /// Applies one write, its parts in the order of the fields.
    pub(crate) fn apply(&mut self, write: &Write) -> Result<(), Trouble> {
        if let Some(base) = &write.reset_to {
            self.reset(base)?;
        }
        if let Some(from) = write.truncate_from {
            self.truncate(from)?;
        }
        for entry in &write.append {
            self.append(entry)?;
        }
        if let Some(hard_state) = write.hard_state {
            self.state.hard_state = hard_state;
            self.hard_state_changed = true;
        }
        if let Some(to) = write.compact_to {
            self.compact(to)?;
        }
        Ok(())
    }

    /// Writes out what is still in memory. The transaction may be committed after it.
    pub(crate) fn finish(mut self) -> Result<(), Trouble> {
        self.write_run()?;
        let mut meta = self.txn.open_table(META)?;
        if self.ends_changed {
            let ends = Ends { base: self.state.base.id, last: self.state.last };
            put_meta(&mut meta, record::ENDS, &encode_ends(&ends))?;
        }
        if self.base_changed {
            put_meta(&mut meta, record::BASE_MEMBERSHIP, &self.state.base.membership.encode())?;
        }
        if self.hard_state_changed {
            put_meta(&mut meta, record::HARD_STATE, &encode_hard_state(&self.state.hard_state))?;
        }
        Ok(())
    }

    /// Drops everything and starts the log after `base`.
    pub(crate) fn reset(&mut self, base: &Base) -> Result<(), Trouble> {
        self.run = None;
        // As a table, not run by run: a log may be long. Stale runs above the base must not stay: their indexes are
        // given away again.
        self.txn.delete_table(RUNS)?;
        self.txn.open_table(RUNS)?;
        self.terms.retain(|_, _| false)?;
        self.memberships.retain(|_, _| false)?;
        self.state.terms.clear();
        self.state.memberships.clear();
        self.state.base = base.clone();
        self.state.last = base.id;
        self.ends_changed = true;
        self.base_changed = true;
        Ok(())
    }

    fn truncate(&mut self, from: LogIndex) -> Result<(), Trouble> {
        if from <= self.state.base.id.index {
            return Err(Trouble::Refused(StoreError::TruncatesBase { from, base: self.state.base.id }));
        }
        if from > self.state.last.index {
            return Ok(());
        }
        self.write_run()?;
        let last = from.previous().expect("it is above the base");
        let mut runs = self.txn.open_table(RUNS)?;
        let straddling = loop {
            match runs.last()? {
                Some((key, _)) if key.value() >= from.0 => {}
                Some((key, run)) => {
                    let cut = run_last(key.value(), run.value())? > last;
                    break cut.then(|| {
                        run_prefix(key.value(), run.value(), last).map(|prefix| (key.value(), prefix))
                    });
                }
                None => break None,
            }
            runs.pop_last()?;
        };
        if let Some((key, prefix)) = straddling.transpose()? {
            runs.insert(key, prefix.as_slice())?;
        }
        self.state.last = self.state.id(last);
        for first in self.state.terms.split_off(&from).into_keys() {
            self.terms.remove(first.0)?;
        }
        for index in self.state.memberships.split_off(&from).into_keys() {
            self.memberships.remove(index.0)?;
        }
        self.ends_changed = true;
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let (id, last) = (entry.id, self.state.last);
        if id.index != last.index.next() {
            return Err(Trouble::Refused(StoreError::Gap { expected: last.index.next(), got: id }));
        }
        if id.term < last.term {
            return Err(Trouble::Refused(StoreError::TermWentBack { last, got: id }));
        }
        let (kind, payload) = entry.payload.to_parts();
        if payload.len() > PAYLOAD_BYTES_MAX {
            let (got, max) = (payload.len(), PAYLOAD_BYTES_MAX);
            return Err(Trouble::Refused(StoreError::EntryTooLarge { id, got, max }));
        }
        if self.run.as_ref().is_some_and(|run| run.len() + payload.len() > RUN_BYTES_MAX) {
            self.write_run()?;
        }
        self.run.get_or_insert_with(|| RunBuilder::new(id.index)).push(id, kind, &payload);
        if self.state.terms.last_key_value().is_none_or(|(_, term)| *term != id.term) {
            put_term(&mut self.terms, id.index, id.term)?;
            self.state.terms.insert(id.index, id.term);
        }
        if let Payload::Membership(membership) = &entry.payload {
            put_membership(&mut self.memberships, id.index, membership)?;
            self.state.memberships.insert(id.index, Membership::clone(membership));
        }
        self.state.last = id;
        self.ends_changed = true;
        Ok(())
    }

    /// Moves the base. What lies below it is removed later, by `compact_step`.
    fn compact(&mut self, to: LogIndex) -> Result<(), Trouble> {
        if to <= self.state.base.id.index {
            return Ok(());
        }
        if to > self.state.last.index {
            return Err(Trouble::Refused(StoreError::CompactsBeyondEnd { to, last: self.state.last }));
        }
        let id = self.state.id(to);
        let kept = self.state.terms.split_off(&to.next());
        for first in std::mem::replace(&mut self.state.terms, kept).into_keys() {
            self.terms.remove(first.0)?;
        }
        // The run of a term that goes on after the base starts right after it now.
        if to < self.state.last.index && !self.state.terms.contains_key(&to.next()) {
            put_term(&mut self.terms, to.next(), id.term)?;
            self.state.terms.insert(to.next(), id.term);
        }
        let kept = self.state.memberships.split_off(&to.next());
        for (index, membership) in std::mem::replace(&mut self.state.memberships, kept) {
            self.memberships.remove(index.0)?;
            self.state.base.membership = membership;
            self.base_changed = true;
        }
        self.state.base.id = id;
        self.ends_changed = true;
        Ok(())
    }

    fn write_run(&mut self) -> Result<(), Trouble> {
        if let Some(run) = self.run.take() {
            let (key, value) = run.finish();
            self.txn.open_table(RUNS)?.insert(key, value.as_slice())?;
        }
        Ok(())
    }
}
