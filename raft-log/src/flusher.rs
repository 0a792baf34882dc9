//! The half of a store that owns the journal: it takes writes and makes them durable, many with one sync.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use raftkit_core::{Base, ClusterId, HardState, LogId, Restored, Write, WriteSeq};

use crate::codec::PAYLOAD_BYTES_MAX;
use crate::core_slot::{Held, SharedCore};
use crate::error::{FormError, StoreError, Trouble};
use crate::journal::record::{RECORD_BYTES_MIN, encoded_len, payload_len};
use crate::journal::{Journal, Mark, padded};
use crate::reader::Reader;
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
    /// What is left of the flush under way, oldest first.
    groups: VecDeque<Group>,
    /// The last write of the flush under way.
    flushes_to: Option<WriteSeq>,
}

/// Writes that go into one record, and how the log is after them.
#[derive(Debug)]
struct Group {
    writes: Vec<Write>,
    /// Of the last of them.
    seq: WriteSeq,
    /// The identity, where it changed.
    identity: Option<Identity>,
    bytes: usize,
    hard_state: HardState,
    last: LogId,
    /// Where the journal is with it, once redb holds what is too large for the ring.
    around: Option<Mark>,
}

/// One step of a flush: each makes something durable, and the next one relies on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The ring is full: free some of it.
    Room,
    /// Put what is too large for the ring into redb.
    Around,
    /// Write a record.
    Record,
}

/// A step that was begun: all that it asks of the disk is asked.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The other half, as long as the step needs it.
    held: Option<Held>,
    /// The last write that is durable with it; none where it is not the end of any.
    seq: Option<WriteSeq>,
    /// What is in the journal with it.
    result: Result<Option<Unsettled>, Trouble>,
}

/// How far a flush has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// There are more steps. All writes up to this one are durable, where that is news.
    More(Option<WriteSeq>),
    /// All writes up to this one are durable; none where nothing was queued.
    All(Option<WriteSeq>),
}

/// What a step has added to what is unsettled, in bytes of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Added {
    /// What was unsettled right before.
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
        let result = self.group(writes, Some(self.identity));
        self.groups = self.shared.end_on_error(result)?;
        self.finish().map(drop)
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
        self.start()?;
        self.finish()
    }

    /// Starts a flush of all that is queued. Nothing is written yet.
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

    /// True while the next step needs the other half's database and that has it: who begins the step now waits for it.
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

    /// Does the disk's part of the next step of the flush under way. Who reads, and who settles, sees nothing of it until it
    /// [ends](Self::end); but what is too large for the ring is seen by readers at once.
    pub(crate) fn begin(&mut self) -> Begun {
        let (held, result) = match self.shared.alive().map(|()| self.step()) {
            Err(error) => (None, Err(error.into())),
            Ok(None) => (None, Ok(None)),
            Ok(Some(Step::Room)) => {
                let mut held = self.core.take_out();
                // The other half may have freed some while this waited for it.
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

    /// Ends a step that was [begun](Self::begin), once all that it has synced is durable.
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

    /// Checks writes, and groups them into records, before anything is written.
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

    /// Puts what is too large for the ring into redb at once; that it is there is what the journal's next record says.
    fn write_around(&mut self, core: &mut Held) -> Result<(), Trouble> {
        core.settle_all()?;
        let Some(group) = self.groups.front_mut() else { return Ok(()) };
        let mark =
            self.journal.prepare(&group.hard_state, group.last, crate::journal::record::Encoder::elsewhere);
        group.around = Some(mark);
        let (writes, bytes) = (std::mem::take(&mut group.writes), group.bytes);
        let flush = Unsettled { mark, writes, identity: group.identity, bytes: 0 };
        // Readers must not take what redb holds from here on for what it held before.
        self.shared.show(&flush);
        core.settle_around(&flush, bytes as u64)
    }

    /// Writes down beside the journal up to where it is, if that is not known there yet: a rotten last record can be told
    /// from a torn one then. Call it when there has been nothing to flush for a moment; it costs a sync.
    ///
    /// # Errors
    /// Any error ends the store.
    pub fn witness(&mut self) -> Result<(), StoreError> {
        let begun = self.begin_witness();
        self.end(begun).map(drop)
    }

    /// Does the disk's part of a [witness](Self::witness), as one step; not while a flush is under way.
    pub(crate) fn begin_witness(&mut self) -> Begun {
        Begun { held: None, seq: None, result: self.write_witness().map(|()| None) }
    }

    fn write_witness(&mut self) -> Result<(), Trouble> {
        self.shared.alive()?;
        // One that is dropped in the middle of a flush has the state of after it, which no record holds.
        if self.journal.wants_witness() && self.groups.is_empty() {
            let (hard_state, last) = (self.state.hard_state, self.state.last);
            let disk = |source| StoreError::Disk { path: self.shared.journal_path.clone(), source };
            self.journal.write_witness(&self.identity, hard_state, last).map_err(disk)?;
        }
        Ok(())
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

    /// The weight of the entries in memory, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
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
