//! Applies writes to the tables, all in one transaction.

use raftkit_core::{Base, Entry, LogIndex, Payload, Write};
use redb::{ReadableTable, WriteTransaction};

use crate::codec::{RunBuilder, run_last, run_prefix};
use crate::error::Trouble;
use crate::layout::encode_hard_state;
use crate::state::LogState;
use crate::tables::{
    Ends, IndexTable, MEMBERSHIPS, META, RUNS, TERMS, encode_ends, put_membership, put_meta, put_term, record,
};

/// A run is closed at this size, in bytes. Reading an entry means reading its run from the start, so long runs would
/// slow reads.
const RUN_BYTES_MAX: usize = 256 << 10;

/// Writes being applied in one transaction, together with the state. If the transaction fails, the store ends.
pub(crate) struct Batch<'txn> {
    txn: &'txn WriteTransaction,
    state: &'txn mut LogState,
    terms: IndexTable<'txn>,
    memberships: IndexTable<'txn>,
    /// Appended entries not in the table yet. Consecutive writes share a run.
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

    /// Writes out what is still in memory. The transaction must not be committed before this.
    pub(crate) fn finish(mut self) -> Result<(), Trouble> {
        self.write_run()?;
        self.state.assert_sound();
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

    /// Drops everything; the log now starts after `base`.
    fn reset(&mut self, base: &Base) -> Result<(), Trouble> {
        self.run = None;
        // Delete the whole table at once, since a log may be long. Old runs above the base must go as well, because
        // their indexes will be reused.
        self.txn.delete_table(RUNS)?;
        self.txn.open_table(RUNS)?;
        self.terms.retain(|_, _| false)?;
        self.memberships.retain(|_, _| false)?;
        self.state.reset(base);
        self.ends_changed = true;
        self.base_changed = true;
        Ok(())
    }

    fn truncate(&mut self, from: LogIndex) -> Result<(), Trouble> {
        let Some(gone) = self.state.truncate(from)? else { return Ok(()) };
        self.write_run()?;
        let last = self.state.last.index;
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
        for first in gone.terms {
            self.terms.remove(first.0)?;
        }
        for index in gone.memberships {
            self.memberships.remove(index.0)?;
        }
        self.ends_changed = true;
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> Result<(), Trouble> {
        let id = entry.id;
        if self.state.append(entry)? {
            put_term(&mut self.terms, id.index, id.term)?;
        }
        let (kind, payload) = entry.payload.to_parts();
        if self.run.as_ref().is_some_and(|run| run.len() + payload.len() > RUN_BYTES_MAX) {
            self.write_run()?;
        }
        self.run.get_or_insert_with(|| RunBuilder::new(id.index)).push(id, kind, &payload);
        if let Payload::Membership(membership) = &entry.payload {
            put_membership(&mut self.memberships, id.index, membership)?;
        }
        self.ends_changed = true;
        Ok(())
    }

    /// Moves the base. The entries below it are removed later, by `compact_step`.
    fn compact(&mut self, to: LogIndex) -> Result<(), Trouble> {
        let Some(gone) = self.state.compact(to)? else { return Ok(()) };
        for first in gone.terms {
            self.terms.remove(first.0)?;
        }
        if let Some((first, term)) = gone.first {
            put_term(&mut self.terms, first, term)?;
        }
        for index in gone.memberships {
            self.memberships.remove(index.0)?;
            self.base_changed = true;
        }
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
