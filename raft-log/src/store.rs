//! The store: one owner, synchronous, group commit. Both halves in one thread.

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
use crate::reader::{ReadResult, Reader};
use crate::recovery::{self, FolderLock, OpenOptions, OpenReport};
use crate::schedule::Progress;
use crate::settler::{Outcome, SettleCore, Settled, Settler};
use crate::shared::Shared;
use crate::tables::Identity;
use crate::view::View;

/// A node's log and hard state on disk. Writes are queued, then made durable together by [`flush`](Self::flush), in the
/// journal; [`settle`](Self::settle) moves them into redb, now and then.
///
/// The first error ends it: every later call is refused, because what became of the failed write is unknown (a failed
/// sync may have dropped it from the cache). Open it again: what was flushed is there.
#[derive(Debug)]
pub struct Store {
    // The order matters: the witness is written before the database closes.
    flusher: Flusher,
    settler: Settler,
    report: OpenReport,
}

impl Store {
    /// Opens the log in the folder `dir`, making both if they are not there, and raises its incarnation durably.
    ///
    /// Tells what a [`Node`](raftkit_core) needs to start, but for what its state machine has applied, which is left at
    /// 0. Every byte that is kept is checked once. If something that was flushed is lost, what is whole is kept up to
    /// there, and the hard state says that the node is [damaged](raftkit_core::Health); [`report`](Self::report) says
    /// what is lost.
    ///
    /// # Errors
    /// The folder is in use, or another node's, or of a newer format; the hard state is lost; or the disk failed.
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
        // Into the journal too: should the commit that raised it rot, the incarnation is not used twice.
        let recorded = flusher.record_identity(vec![Write::default()]).and_then(|()| flusher.witness());
        recorded.map_err(|error| OpenError::in_journal(error, opened.journal_path))?;
        let store = Self { flusher, settler: Settler::new(core, shared), report: opened.report };
        let restored = store.restored();
        Ok((store, restored))
    }

    /// What opening found and did.
    #[must_use]
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Whose log it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.flusher.identity()
    }

    /// What a node needs to start on what is flushed; `applied` is left at 0. Of no use once the store has ended.
    #[must_use]
    pub fn restored(&self) -> Restored {
        self.flusher.restored()
    }

    /// Makes the store one of a cluster, durably, after all that is queued. A founder gives the founding membership as
    /// the `base`, and its log then starts after that entry, of whose term and index are the hard state's term and
    /// commit at least. One that joins gives the default base, and its log stays as it is.
    ///
    /// Does nothing when the store is of this cluster already.
    ///
    /// # Errors
    /// The store is of another cluster; a base is given and the log is not empty; the store has ended or ends with this.
    pub fn form(&mut self, cluster: ClusterId, base: Base) -> Result<(), FormError> {
        self.flusher.form(cluster, base)
    }

    /// Takes a write, to be made durable by the next flush, after those taken before it.
    pub fn queue(&mut self, write: Write) {
        self.flusher.queue(write);
    }

    /// How many writes wait for a flush.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.flusher.queued()
    }

    /// As [`Flusher::flush`].
    ///
    /// # Errors
    /// As there.
    pub fn flush(&mut self) -> Result<Option<WriteSeq>, StoreError> {
        self.flusher.flush()
    }

    /// As [`Flusher::witness`].
    ///
    /// # Errors
    /// As there.
    pub fn witness(&mut self) -> Result<(), StoreError> {
        self.flusher.witness()
    }

    /// As [`Flusher::wants_witness`].
    #[must_use]
    pub fn wants_witness(&self) -> bool {
        self.flusher.wants_witness()
    }

    /// As [`Settler::settle`].
    ///
    /// # Errors
    /// As there.
    pub fn settle(&mut self) -> Result<Settled, StoreError> {
        self.settler.settle()
    }

    /// As [`Settler::compact_step`]. What a flush compacted can be freed once it is settled.
    ///
    /// # Errors
    /// As there.
    pub fn compact_step(&mut self) -> Result<Compaction, StoreError> {
        self.settler.compact_step()
    }

    /// What is flushed and not settled, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.flusher.unsettled_bytes()
    }

    /// As [`Reader::read`].
    ///
    /// # Errors
    /// As there.
    pub fn read(&self, first: LogIndex, last: LogIndex, bytes_max: usize) -> Result<ReadResult, ReadError> {
        self.reader().read(first, last, bytes_max)
    }

    /// A reader of what is flushed, for any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.flusher.reader()
    }

    /// As [`Settler::give_back`].
    ///
    /// # Errors
    /// As there.
    pub fn give_back(&mut self) -> Result<Progress, StoreError> {
        self.settler.give_back()
    }

    /// The length of the database's file, in bytes; 0 when the disk does not tell.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.settler.file_bytes()
    }

    /// The weight of the entries in memory, in bytes: what is not settled, and of what is as much as
    /// [`tail_bytes`](OpenOptions::tail_bytes) allows.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.flusher.memory_bytes()
    }

    /// The files' length in bytes; without the database's when the disk does not tell.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.file_bytes() + self.flusher.journal_bytes()
    }

    /// Takes the store apart, for two threads: one that flushes, one that settles. The files are closed when both are
    /// dropped.
    #[must_use]
    pub fn split(self) -> (Flusher, Settler) {
        (self.flusher, self.settler)
    }
}
