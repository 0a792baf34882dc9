//! The synchronous store: one owner drives both halves, and all queued writes share one flush (group commit).

use std::path::Path;
use std::sync::Arc;

use raftkit_core::{Base, ClusterId, LogIndex, Restored, Write, WriteSeq};
use raftkit_disk::Disk;

use crate::compaction::Compaction;
use crate::core_slot::SharedCore;
use crate::error::{FormError, OpenError, ReadError, StoreError};
use crate::flusher::Flusher;
use crate::give_back::Home;
use crate::journal::Journal;
use crate::layout::Identity;
use crate::reader::{ReadResult, Reader};
use crate::recovery::{self, FolderLock, OpenOptions, OpenReport};
use crate::schedule::Progress;
use crate::settler::{Outcome, SettleCore, Settled, Settler};
use crate::shared::Shared;
use crate::view::View;

/// A node's log and hard state on disk. [`queue`](Self::queue) takes writes, [`flush`](Self::flush) makes all queued
/// writes durable in the journal with one sync, and [`settle`](Self::settle) later moves them into redb.
///
/// The first error ends the store, and every later call is refused: after a failed sync the page cache may have dropped
/// the data, so retrying could acknowledge writes that were never stored. Reopen the store; everything flushed earlier
/// is still there.
#[derive(Debug)]
pub struct Store {
    // Field order matters: dropping the flusher writes the witness, which must happen before the database closes.
    flusher: Flusher,
    settler: Settler,
    report: OpenReport,
}

impl Store {
    /// Opens the log in the folder `dir`, creating both if they do not exist, and durably raises its incarnation.
    ///
    /// The returned [`Restored`] is what a [`Node`](raftkit_core) needs to start, except `applied`, which is 0 because
    /// only the state machine knows it. Opening verifies every byte of the log once. If flushed data is lost, the log
    /// is kept up to the first lost entry, the hard state says that the node is [damaged](raftkit_core::Health), and
    /// [`report`](Self::report) says what is missing.
    ///
    /// # Errors
    /// The folder is in use, belongs to another node, or has a newer format; the hard state is lost; or the disk
    /// failed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: OpenOptions,
    ) -> Result<(Self, Restored), OpenError> {
        recovery::make_dir(disk.as_ref(), dir)?;
        let lock = match options.lock {
            FolderLock::HeldByCaller => None,
            FolderLock::Take => Some(recovery::lock_dir(disk.as_ref(), dir)?),
        };
        let opened = recovery::open(disk.as_ref(), dir, &options)?;
        let view = View::new(opened.state.base.id, opened.state.last, options.tail_bytes);
        let paths = (opened.path, opened.journal_path.clone());
        let floor = opened.before.at;
        let shared = Arc::new(Shared::new(paths, opened.database, lock, view, floor));
        let core = SharedCore::new(SettleCore {
            shared: shared.clone(),
            state: opened.state.clone(),
            before: opened.before,
            settled: opened.settled,
            home: Home {
                disk,
                dir: dir.to_path_buf(),
                cache_bytes: options.cache_bytes,
                slack: options.slack,
            },
            file: opened.file,
            copy: None,
            loose: 0,
            outcome: Outcome::default(),
        });
        let journal = Journal::new(opened.journal_file, opened.settled, opened.witness);
        let mut flusher = Flusher::new(core.clone(), shared.clone(), journal, opened.identity, opened.state);
        // The journal must hold the new incarnation too: if the redb commit that raised it rots, redb falls back to the
        // commit before, and the incarnation would be used a second time.
        let recorded = flusher.record_identity(vec![Write::default()]).and_then(|()| flusher.witness());
        recorded.map_err(|error| OpenError::in_journal(error, opened.journal_path))?;
        let store = Self { flusher, settler: Settler::new(core, shared), report: opened.report };
        let restored = store.restored();
        Ok((store, restored))
    }

    /// Returns what opening found and did.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Returns the identity of the log: node, store, cluster and incarnation.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.flusher.identity()
    }

    /// Returns the state a node needs to start from what is flushed; `applied` is 0. Meaningless once the store has
    /// ended.
    #[must_use]
    pub fn restored(&self) -> Restored {
        self.flusher.restored()
    }

    /// Assigns the store to a cluster, durably, after everything queued. The founder passes the founding membership as
    /// `base`: its log then starts after that entry, and the stored term and commit are raised to at least the entry's.
    /// A node that joins passes the default base, and its log stays as it is.
    ///
    /// Does nothing if the store already belongs to this cluster.
    ///
    /// # Errors
    /// The store belongs to another cluster; a base is given but the log is not empty; or the store has ended, or ends
    /// in this call.
    pub fn form(&mut self, cluster: ClusterId, base: Base) -> Result<(), FormError> {
        self.flusher.form(cluster, base)
    }

    /// Queues a write. The next flush makes it durable, after the writes queued earlier.
    pub fn queue(&mut self, write: Write) {
        self.flusher.queue(write);
    }

    /// Returns the number of writes waiting for a flush.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.flusher.queued()
    }

    /// See [`Flusher::flush`].
    ///
    /// # Errors
    /// The same as those of [`Flusher::flush`].
    pub fn flush(&mut self) -> Result<Option<WriteSeq>, StoreError> {
        self.flusher.flush()
    }

    /// See [`Flusher::witness`].
    ///
    /// # Errors
    /// The same as those of [`Flusher::witness`].
    pub fn witness(&mut self) -> Result<(), StoreError> {
        self.flusher.witness()
    }

    /// See [`Flusher::wants_witness`].
    #[must_use]
    pub fn wants_witness(&self) -> bool {
        self.flusher.wants_witness()
    }

    /// See [`Settler::settle`].
    ///
    /// # Errors
    /// The same as those of [`Settler::settle`].
    pub fn settle(&mut self) -> Result<Settled, StoreError> {
        self.settler.settle()
    }

    /// See [`Settler::compact_step`]. Entries that a flush compacted can be freed only after that flush is settled.
    ///
    /// # Errors
    /// The same as those of [`Settler::compact_step`].
    pub fn compact_step(&mut self) -> Result<Compaction, StoreError> {
        self.settler.compact_step()
    }

    /// Returns the size of the flushed writes that are not settled yet, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.flusher.unsettled_bytes()
    }

    /// See [`Reader::read`].
    ///
    /// # Errors
    /// The same as those of [`Reader::read`].
    pub fn read(&self, first: LogIndex, last: LogIndex, bytes_max: usize) -> Result<ReadResult, ReadError> {
        self.reader().read(first, last, bytes_max)
    }

    /// Returns a reader of all flushed entries, usable from any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.flusher.reader()
    }

    /// See [`Settler::give_back`].
    ///
    /// # Errors
    /// The same as those of [`Settler::give_back`].
    pub fn give_back(&mut self) -> Result<Progress, StoreError> {
        self.settler.give_back()
    }

    /// Returns the length of the database file in bytes, or 0 if the disk cannot tell.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.settler.file_bytes()
    }

    /// Returns the weight of the entries in memory, in bytes: all unsettled entries, and settled ones up to
    /// [`tail_bytes`](OpenOptions::tail_bytes).
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.flusher.memory_bytes()
    }

    /// Returns the total length of both files in bytes; counts the database as 0 if the disk cannot tell its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.file_bytes() + self.flusher.journal_bytes()
    }

    /// Splits the store for two threads: one flushes, the other settles. The files are closed when both halves are
    /// dropped.
    #[must_use]
    pub fn split(self) -> (Flusher, Settler) {
        (self.flusher, self.settler)
    }
}
