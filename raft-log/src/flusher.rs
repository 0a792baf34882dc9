//! The half of a store that owns the journal: it makes many queued writes durable with one sync.
//!
//! A flush becomes visible to the settling half only after its record is durable, and is reported after that. If it
//! were visible earlier, redb could reach a journal position that a power cut then removes from the journal, and the
//! chain of records would not continue from there.

mod steps;

use std::collections::VecDeque;
use std::sync::Arc;

use raftkit_core::{Base, ClusterId, HardState, LogId, Restored, Write, WriteSeq};

use crate::core_slot::SharedCore;
use crate::error::{FormError, StoreError, Trouble};
use crate::journal::Journal;
use crate::layout::Identity;
use crate::reader::Reader;
use crate::shared::Shared;
use crate::state::LogState;
use steps::Group;
pub(crate) use steps::{Begun, Flushed};

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

impl Drop for Flusher {
    fn drop(&mut self) {
        // Ignore errors: this witness only helps the next opening.
        let _ = self.witness();
    }
}
