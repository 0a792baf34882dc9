//! The half of a store that owns the journal: it makes many queued writes durable with one sync.
//!
//! A flush becomes visible to the settling half only after its record is durable, and is reported after that. If it
//! were visible earlier, redb could reach a journal position that a power cut then removes from the journal, and the
//! chain of records would not continue from there.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use raftkit_core::{Base, ClusterId, HardState, LogId, Restored, Write, WriteSeq};

use crate::codec::PAYLOAD_BYTES_MAX;
use crate::core_slot::{Held, SharedCore};
use crate::error::{FormError, StoreError, Trouble};
use crate::journal::record::{RECORD_BYTES_MIN, encoded_len, payload_len};
use crate::journal::{Journal, padded};
use crate::layout::{Identity, Mark};
use crate::reader::Reader;
use crate::shared::{Shared, Unsettled};
use crate::state::LogState;

/// Queues writes and makes them durable, while a [`Settler`](crate::Settler) works on another thread.
#[derive(Debug)]
pub struct Flusher {
    shared: Arc<Shared>,
    /// The settling half's core, needed when the journal is full or a write is too large for it.
    core: SharedCore,
    journal: Journal,
    identity: Identity,
    /// State of the log after the last flush.
    state: LogState,
    queue: Vec<Write>,
    /// Groups of the flush under way that are not durable yet, oldest first.
    groups: VecDeque<Group>,
    /// Sequence number of the last write in the flush under way.
    flushes_to: Option<WriteSeq>,
}

/// Writes that share one record, and the state of the log after them.
#[derive(Debug)]
struct Group {
    writes: Vec<Write>,
    /// Sequence number of the group's last write.
    seq: WriteSeq,
    /// The new identity, if this group changes it.
    identity: Option<Identity>,
    bytes: usize,
    hard_state: HardState,
    last: LogId,
    /// Journal position after this group, set once redb holds a group that is too large for the ring.
    around: Option<Mark>,
}

/// One step of a flush. Each step makes something durable that the next step relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Free some of the full ring.
    Room,
    /// Write a group that is too large for the ring directly into redb.
    Around,
    /// Write a record to the journal.
    Record,
}

/// A step whose disk calls have all been made, but whose effects are not visible yet.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The settling half's core, held for as long as the step needs it.
    held: Option<Held>,
    /// Last write that this step makes durable; `None` if the step completes no write.
    seq: Option<WriteSeq>,
    /// The flush that this step adds to the journal, if any.
    result: Result<Option<Unsettled>, Trouble>,
}

/// Progress of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// More steps follow. All writes up to the given one are durable; `None` if the step completed no write.
    More(Option<WriteSeq>),
    /// The flush is finished. All writes up to the given one are durable; `None` if nothing was queued.
    All(Option<WriteSeq>),
}

/// Growth of the unsettled part of the journal through one step, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// Unsettled bytes right before the step.
    pub(crate) before: u64,
    pub(crate) bytes: u64,
}

impl Flusher {
    pub(crate) fn new(
        core: SharedCore,
        shared: Arc<Shared>,
        journal: Journal,
        identity: Identity,
        state: LogState,
    ) -> Self {
        Self {
            shared,
            core,
            journal,
            identity,
            state,
            queue: Vec::new(),
            groups: VecDeque::new(),
            flushes_to: None,
        }
    }

    /// Returns the identity of the log: node, store, cluster and incarnation.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the state a node needs to start from what is flushed; `applied` is 0. Meaningless once the store has
    /// ended.
    #[must_use]
    pub fn restored(&self) -> Restored {
        self.state.restored()
    }

    /// Returns a reader of all flushed entries, usable from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// See [`Store::form`](crate::Store::form).
    ///
    /// # Errors
    /// The same as those of [`Store::form`](crate::Store::form).
    pub fn form(&mut self, cluster: ClusterId, base: Base) -> Result<(), FormError> {
        self.shared.alive()?;
        match self.identity.cluster {
            Some(present) if present == cluster => return Ok(()),
            Some(present) => return Err(FormError::OtherCluster { present, asked: cluster }),
            None => {}
        }
        // Flush first: the base must not replace queued entries unseen, nor a queued vote be forgotten.
        self.flush()?;
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
        self.identity.cluster = Some(cluster);
        self.record_identity(vec![write])?;
        // Write the witness, so that it names the cluster too: the node then knows its cluster whatever else is lost.
        Ok(self.witness()?)
    }

    /// Makes the current identity durable in one flush with these writes.
    pub(crate) fn record_identity(&mut self, writes: Vec<Write>) -> Result<(), StoreError> {
        let result = self.group(writes, Some(self.identity));
        self.groups = self.shared.end_on_error(result)?;
        self.finish().map(drop)
    }

    /// Queues a write. The next flush makes it durable, after the writes queued earlier.
    pub fn queue(&mut self, write: Write) {
        self.queue.push(write);
    }

    /// Returns the number of writes waiting for a flush.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Makes all queued writes durable, in order, and returns the sequence number of the last; `None` if nothing was
    /// queued. Writes that fit into a quarter of the journal share one record and one sync; more writes take several
    /// records. After a crash each write is either completely there or not at all, and no write is there without those
    /// before it.
    ///
    /// Waits for redb if the journal is full, or if a write is larger than a quarter of the journal.
    ///
    /// # Errors
    /// Any error ends the store. The fate of these writes is then unknown; those of earlier flushes are safe.
    pub fn flush(&mut self) -> Result<Option<WriteSeq>, StoreError> {
        self.start()?;
        self.finish()
    }

    /// Starts a flush of all queued writes, without writing anything yet.
    pub(crate) fn start(&mut self) -> Result<(), StoreError> {
        self.shared.alive()?;
        let writes = std::mem::take(&mut self.queue);
        self.flushes_to = writes.last().map(|write| write.seq);
        let result = self.group(writes, None);
        self.groups = self.shared.end_on_error(result)?;
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<WriteSeq>, StoreError> {
        loop {
            let begun = self.begin();
            if let (Flushed::All(seq), _) = self.end(begun)? {
                return Ok(seq);
            }
        }
    }

    /// Returns true if the next step needs the database while the settling half holds it, so that beginning the step
    /// would block.
    pub(crate) fn would_wait(&self) -> bool {
        matches!(self.step(), Some(Step::Room | Step::Around)) && self.core.is_out()
    }

    fn step(&self) -> Option<Step> {
        let group = self.groups.front()?;
        let is_large = group.bytes > self.journal.record_bytes_max();
        let bytes = if is_large { RECORD_BYTES_MIN + 1 } else { group.bytes };
        let has_room = self.journal.has_room(padded(bytes), self.shared.floor());
        Some(match (is_large, group.around) {
            (_, None) if !has_room => Step::Room,
            (true, None) => Step::Around,
            (false, _) | (true, Some(_)) => Step::Record,
        })
    }

    /// Makes the disk calls of the next step. Readers and the settling half see its effects only after
    /// [`end`](Self::end), except that readers see a group too large for the ring at once.
    pub(crate) fn begin(&mut self) -> Begun {
        let (held, result) = match self.shared.alive().map(|()| self.step()) {
            Err(error) => (None, Err(error.into())),
            Ok(None) => (None, Ok(None)),
            Ok(Some(Step::Room)) => {
                let mut held = self.core.take_out();
                // The settling half may have made room while this one waited for the core.
                let result = if self.step() == Some(Step::Room) { held.make_room() } else { Ok(()) };
                (Some(held), result.map(|()| None))
            }
            Ok(Some(Step::Around)) => {
                let mut held = self.core.take_out();
                let result = self.write_around(&mut held);
                (Some(held), result.map(|()| None))
            }
            Ok(Some(Step::Record)) => {
                let Some(group) = self.groups.pop_front() else { unreachable!("the step is of a group") };
                let seq = Some(group.seq);
                let result = self.write_record(group);
                return Begun { held: None, seq, result };
            }
        };
        Begun { held, seq: None, result }
    }

    /// Ends a step that was [begun](Self::begin), once everything it synced is durable.
    pub(crate) fn end(&mut self, begun: Begun) -> Result<(Flushed, Option<Added>), StoreError> {
        let flush = match begun.held {
            Some(held) => held.put_back(begun.result)?,
            None => self.shared.end_on_error(begun.result)?,
        };
        let added = flush.map(|flush| {
            let bytes = flush.bytes;
            Added { before: self.shared.flushed(flush), bytes }
        });
        let is_last = self.groups.is_empty();
        Ok((if is_last { Flushed::All(self.flushes_to.take()) } else { Flushed::More(begun.seq) }, added))
    }

    /// Checks all writes and groups them into records, before anything is written.
    fn group(&mut self, writes: Vec<Write>, identity: Option<Identity>) -> Result<VecDeque<Group>, Trouble> {
        let bytes_max = self.journal.record_bytes_max();
        let mut groups: VecDeque<Group> = VecDeque::new();
        for write in writes {
            check_sizes(&write)?;
            self.state.apply(&write)?;
            let (seq, bytes) = (write.seq, encoded_len(&write));
            let (hard_state, last) = (self.state.hard_state, self.state.last);
            match groups.back_mut() {
                Some(group) if group.bytes + bytes <= bytes_max => {
                    group.writes.push(write);
                    group.bytes += bytes;
                    (group.seq, group.hard_state, group.last) = (seq, hard_state, last);
                }
                Some(_) | None => {
                    let bytes = RECORD_BYTES_MIN + encoded_len(&Write::default()) * 8 + bytes;
                    let (writes, around) = (vec![write], None);
                    groups.push_back(Group { writes, seq, identity, bytes, hard_state, last, around });
                }
            }
        }
        Ok(groups)
    }

    fn write_record(&mut self, group: Group) -> Result<Option<Unsettled>, Trouble> {
        let Group { writes, identity, hard_state, last, around, .. } = group;
        if let Some(mark) = around {
            self.commit_record(mark)?;
            return Ok(None);
        }
        let before = self.journal.mark();
        let mark = self.journal.prepare(&hard_state, last, |record| {
            if let Some(identity) = identity.as_ref() {
                record.identity(identity);
            }
            for write in &writes {
                record.write(write);
            }
        });
        self.commit_record(mark)?;
        Ok(Some(Unsettled { mark, writes, identity, bytes: mark.at - before.at }))
    }

    fn commit_record(&mut self, mark: Mark) -> Result<(), StoreError> {
        let disk = |source: io::Error| StoreError::Disk { path: self.shared.journal_path.clone(), source };
        self.journal.commit(mark).map_err(disk)
    }

    /// Writes a group that is too large for the ring directly into redb. The journal's next record then states that
    /// redb holds it.
    fn write_around(&mut self, core: &mut Held) -> Result<(), Trouble> {
        core.settle_all()?;
        let Some(group) = self.groups.front_mut() else { return Ok(()) };
        let mark =
            self.journal.prepare(&group.hard_state, group.last, crate::journal::record::Encoder::elsewhere);
        group.around = Some(mark);
        let (writes, bytes) = (std::mem::take(&mut group.writes), group.bytes);
        let flush = Unsettled { mark, writes, identity: group.identity, bytes: 0 };
        // Change the view before redb changes, so that no reader takes new entries for the old ones at the same
        // indexes.
        self.shared.show(&flush);
        core.settle_around(&flush, bytes as u64)
    }

    /// Updates the witness, which stands beside the ring, to the current journal position if necessary. A rotten last
    /// record can then be told from a torn one. Costs a sync, so call it when no flush has happened for a moment.
    ///
    /// # Errors
    /// Any error ends the store.
    pub fn witness(&mut self) -> Result<(), StoreError> {
        let begun = self.begin_witness();
        self.end(begun).map(drop)
    }

    /// Makes the disk calls of a [witness](Self::witness) as one step. Must not be called while a flush is under way.
    pub(crate) fn begin_witness(&mut self) -> Begun {
        Begun { held: None, seq: None, result: self.write_witness().map(|()| None) }
    }

    fn write_witness(&mut self) -> Result<(), Trouble> {
        self.shared.alive()?;
        // In the middle of a flush, `state` is already the state after it, which no record holds yet: write no witness
        // then.
        if self.journal.wants_witness() && self.groups.is_empty() {
            let (hard_state, last) = (self.state.hard_state, self.state.last);
            let disk = |source| StoreError::Disk { path: self.shared.journal_path.clone(), source };
            self.journal.write_witness(&self.identity, hard_state, last).map_err(disk)?;
        }
        Ok(())
    }

    /// Returns true if [`witness`](Self::witness) has something to write.
    #[must_use]
    pub fn wants_witness(&self) -> bool {
        self.journal.wants_witness()
    }

    /// Returns the size of the flushed writes that are not settled yet, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.shared.unsettled_bytes()
    }

    /// Returns the weight of the entries in memory, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.shared.view().bytes()
    }

    /// Returns the journal's length in bytes.
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
        // Ignore errors: this witness only helps the next opening.
        let _ = self.witness();
    }
}
