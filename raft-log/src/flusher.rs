//! The half of a store that owns the journal: it takes writes and makes them durable, many with one sync.

use std::sync::Arc;

use raftkit_core::{Base, ClusterId, HardState, LogId, Restored, Write, WriteSeq};

use crate::codec::PAYLOAD_BYTES_MAX;
use crate::error::{FormError, StoreError, Trouble};
use crate::journal::record::{RECORD_BYTES_MIN, encoded_len, payload_len};
use crate::journal::{Journal, padded};
use crate::mutants;
use crate::reader::Reader;
use crate::settler::{Settled, SharedCore};
use crate::shared::{Shared, Unsettled};
use crate::state::LogState;
use crate::tables::Identity;

/// Takes writes and makes them durable, beside a [`Settler`](crate::Settler) on another thread.
#[derive(Debug)]
pub struct Flusher {
    shared: Arc<Shared>,
    /// The other half, for when the journal is full.
    core: SharedCore,
    journal: Journal,
    identity: Identity,
    /// As of the last flush.
    state: LogState,
    queue: Vec<Write>,
}

/// Writes that go into one record, and how the log is after them.
struct Group {
    writes: Vec<Write>,
    bytes: usize,
    hard_state: HardState,
    last: LogId,
}

impl Flusher {
    pub(crate) fn new(
        core: SharedCore,
        shared: Arc<Shared>,
        journal: Journal,
        identity: Identity,
        state: LogState,
    ) -> Self {
        Self { shared, core, journal, identity, state, queue: Vec::new() }
    }

    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What a node needs to start on what is flushed; `applied` is left at 0. Of no use once the store has ended.
    #[must_use]
    pub fn restored(&self) -> Restored {
        self.state.restored()
    }

    /// A reader of what is flushed, for any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// As [`Store::form`](crate::Store::form).
    ///
    /// # Errors
    /// As there.
    pub fn form(&mut self, cluster: ClusterId, base: Base) -> Result<(), FormError> {
        self.shared.alive()?;
        match self.identity.cluster {
            Some(present) if present == cluster => return Ok(()),
            Some(present) => return Err(FormError::OtherCluster { present, asked: cluster }),
            None => {}
        }
        let mut write = Write::default();
        if base.id != LogId::ZERO {
            if self.state.last != LogId::ZERO {
                return Err(FormError::NotEmpty { base: self.state.base.id, last: self.state.last });
            }
            let old = self.state.hard_state;
            write.hard_state = Some(HardState {
                term: old.term.max(base.id.term),
                vote: old.vote.filter(|_| old.term >= base.id.term),
                commit: old.commit.max(base.id.index),
                health: old.health,
                promise: old.promise,
            });
            write.reset_to = Some(base.into());
        }
        self.flush()?;
        self.identity.cluster = Some(cluster);
        self.record_identity(vec![write])?;
        // The witness names the cluster too: whatever else is lost, the node does not forget where it belongs.
        Ok(self.witness()?)
    }

    /// Writes down the identity as it is now, and with it these writes.
    pub(crate) fn record_identity(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        let result = self.group(writes);
        let groups = self.shared.end_on_error(result)?;
        let identity = Some(self.identity);
        groups.into_iter().try_for_each(|group| self.write_group(group, identity))
    }

    /// Takes a write, to be made durable by the next flush, after those taken before it.
    pub fn queue(&mut self, write: Write) {
        self.queue.push(write);
    }

    /// How many writes wait for a flush.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Makes all queued writes durable, in order. They go into one record of the journal, with one sync, as long as they
    /// fit into a quarter of it; more go into several. Each write is there as a whole after a crash, or not at all, and
    /// none without those before it. Answers the last one's name; none when nothing was queued.
    ///
    /// Waits for redb when the journal is full, and for a write that is larger than a quarter of the journal.
    ///
    /// # Errors
    /// Any error ends the store. What became of these writes is unknown; earlier ones are safe.
    pub fn flush(&mut self) -> Result<Option<WriteSeq>, StoreError> {
        self.shared.alive()?;
        let mut writes = std::mem::take(&mut self.queue);
        let Some(last) = writes.last().map(|write| write.seq) else { return Ok(None) };
        self.queue.extend(mutant!(AckAtSubmit, writes.pop(), None));
        let result = self.group(writes);
        for group in self.shared.end_on_error(result)? {
            self.write_group(group, None)?;
        }
        Ok(Some(last))
    }

    /// Checks writes, and groups them into records, before anything is written.
    fn group(&mut self, writes: Vec<Write>) -> Result<Vec<Group>, Trouble> {
        let bytes_max = self.journal.record_bytes_max();
        let mut groups: Vec<Group> = Vec::new();
        for write in mutants::split(writes) {
            check_sizes(&write)?;
            self.state.apply(&write)?;
            let bytes = encoded_len(&write);
            let (hard_state, last) = (self.state.hard_state, self.state.last);
            match groups.last_mut() {
                Some(group) if group.bytes + bytes <= bytes_max && !mutants::is_alone() => {
                    group.writes.push(write);
                    group.bytes += bytes;
                    (group.hard_state, group.last) = (hard_state, last);
                }
                Some(_) | None => {
                    let bytes = RECORD_BYTES_MIN + encoded_len(&Write::default()) * 8 + bytes;
                    groups.push(Group { writes: vec![write], bytes, hard_state, last });
                }
            }
        }
        Ok(groups)
    }

    fn write_group(&mut self, group: Group, identity: Option<Identity>) -> Result<(), StoreError> {
        if group.bytes > self.journal.record_bytes_max() {
            return self.write_around(group, identity);
        }
        self.make_room(group.bytes)?;
        let before = self.journal.mark();
        let newest = group.writes.iter().rev().find_map(|write| write.hard_state);
        let hard_state = mutant!(HardStateNotInEachRecord, newest.unwrap_or_default(), group.hard_state);
        let mark = self.journal.prepare(&hard_state, group.last, |record| {
            if let Some(identity) = identity.as_ref().filter(|_| !mutant!(IdentityNotInJournal)) {
                record.identity(identity);
            }
            for write in mutants::in_order(&group.writes) {
                record.write(write);
            }
        });
        self.commit_record(mark)?;
        self.shared.flushed(Unsettled { mark, writes: group.writes, identity, bytes: mark.at - before.at });
        Ok(())
    }

    fn commit_record(&mut self, mark: crate::journal::Mark) -> Result<(), StoreError> {
        let result = self.journal.commit(mark);
        self.shared.end_on_journal_error(result)
    }

    /// Puts what is too large for the ring into redb at once, and into the journal only that it is there.
    fn write_around(&mut self, group: Group, identity: Option<Identity>) -> Result<(), StoreError> {
        self.make_room(RECORD_BYTES_MIN + 1)?;
        let core = self.core.clone();
        let mut core = core.lock();
        while core.settle()? == Settled::More {}
        let mark =
            self.journal.prepare(&group.hard_state, group.last, crate::journal::record::Encoder::elsewhere);
        let flush = Unsettled { mark, writes: group.writes, identity, bytes: 0 };
        // Readers must not take what redb holds from here on for what it held before.
        self.shared.show(&flush);
        if mutant!(OversizedRecordFirst) {
            self.commit_record(mark)?;
            return core.settle_at_once(&flush, group.bytes as u64);
        }
        core.settle_at_once(&flush, group.bytes as u64)?;
        drop(core);
        mutant!(OversizedAckBeforeRecord, Ok(()), self.commit_record(mark))
    }

    /// Waits until a record of so many bytes does not touch what is still needed.
    fn make_room(&mut self, bytes: usize) -> Result<(), StoreError> {
        let bytes = padded(bytes);
        while !self.journal.has_room(bytes, self.shared.floor()) {
            let mut core = self.core.lock();
            if self.journal.has_room(bytes, self.shared.floor()) {
                break;
            }
            match core.settle()? {
                Settled::More => {}
                Settled::All => core.advance()?,
            }
        }
        Ok(())
    }

    /// Writes down beside the journal up to where it is, if that is not known there yet: a rotten last record can be told
    /// from a torn one then. Call it when there has been nothing to flush for a moment; it costs a sync.
    ///
    /// # Errors
    /// Any error ends the store.
    pub fn witness(&mut self) -> Result<(), StoreError> {
        self.shared.alive()?;
        if !self.journal.wants_witness() {
            return Ok(());
        }
        let (hard_state, last) = (self.state.hard_state, self.state.last);
        let result = self.journal.write_witness(&self.identity, hard_state, last);
        self.shared.end_on_journal_error(result)
    }

    /// True when [`witness`](Self::witness) has something to do.
    #[must_use]
    pub fn wants_witness(&self) -> bool {
        self.journal.wants_witness()
    }

    /// What is flushed and not settled, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.shared.unsettled_bytes()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.shared.view().bytes()
    }

    /// The journal's length in bytes.
    #[must_use]
    pub(crate) fn journal_bytes(&self) -> u64 {
        self.journal.file_bytes()
    }
}

fn check_sizes(write: &Write) -> Result<(), StoreError> {
    for entry in &write.append {
        let got = payload_len(entry);
        if got > PAYLOAD_BYTES_MAX {
            return Err(StoreError::EntryTooLarge { id: entry.id, got, max: PAYLOAD_BYTES_MAX });
        }
    }
    Ok(())
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // Serves the next opening only.
        let _ = self.witness();
    }
}
