//! The store: one owner, synchronous, group commit.

use std::path::Path;
use std::sync::Arc;

use raftkit_core::{Base, ClusterId, HardState, LogId, Restored, Write, WriteSeq};
use raftkit_disk::{Disk, DiskFile};

use crate::batch::Batch;
use crate::compaction::{self, Compaction};
use crate::error::{FormError, OpenError, StoreError, Trouble};
use crate::reader::Reader;
use crate::recovery::{self, FolderLock, OpenOptions};
use crate::shared::Shared;
use crate::state::LogState;
use crate::tables::{Identity, META, encode_identity, put_meta, record};

/// A node's log and hard state on disk. Writes are queued, then made durable together by [`flush`](Self::flush).
///
/// The first error ends it: every later call is refused, because what became of the failed write is unknown (a failed
/// sync may have dropped it from the cache). Open it again: what was flushed is there.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    file: Arc<dyn DiskFile>,
    identity: Identity,
    state: LogState,
    queue: Vec<Write>,
    ended: bool,
}

impl Store {
    /// Opens the log in the folder `dir`, making both if they are not there, and raises its incarnation durably.
    ///
    /// Tells what a [`Node`](raftkit_core) needs to start, but for what its state machine has applied, which is left at
    /// 0. Apart from one check of every page's checksum it reads no entries.
    ///
    /// # Errors
    /// The folder is in use, or another node's, or of a newer format, or damaged; or the disk failed.
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
        let store = Self {
            shared: Arc::new(Shared::new(opened.path, opened.database, lock)),
            file: opened.file,
            identity: opened.identity,
            state: opened.state,
            queue: Vec::new(),
            ended: false,
        };
        let restored = store.restored();
        Ok((store, restored))
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

    /// Makes the store one of a cluster, durably. A founder gives the founding membership as the `base`, and its log
    /// then starts after that entry, of whose term and index are the hard state's term and commit at least. One that
    /// joins gives the default base, and its log stays as it is.
    ///
    /// Does nothing when the store is of this cluster already.
    ///
    /// # Errors
    /// The store is of another cluster; a base is given and the log is not empty; the store has ended or ends with this.
    pub fn form(&mut self, cluster: ClusterId, base: Base) -> Result<(), FormError> {
        self.alive()?;
        match self.identity.cluster {
            Some(present) if present == cluster => return Ok(()),
            Some(present) => return Err(FormError::OtherCluster { present, asked: cluster }),
            None => {}
        }
        let founding = base.id != LogId::ZERO;
        if founding && self.state.last != LogId::ZERO {
            return Err(FormError::NotEmpty { base: self.state.base.id, last: self.state.last });
        }
        let identity = Identity { cluster: Some(cluster), ..self.identity };
        let state = &mut self.state;
        let result = self.shared.with(|database| {
            let txn = database.begin_write()?;
            put_meta(&mut txn.open_table(META)?, record::IDENTITY, &encode_identity(&identity))?;
            if founding {
                let old = state.hard_state;
                let vote = if old.term >= base.id.term { old.vote } else { None };
                let hard_state = HardState {
                    term: old.term.max(base.id.term),
                    vote,
                    commit: old.commit.max(base.id.index),
                    health: old.health,
                };
                let mut batch = Batch::new(&txn, state)?;
                batch.apply(&Write {
                    reset_to: Some(base.clone().into()),
                    hard_state: Some(hard_state),
                    ..Write::default()
                })?;
                batch.finish()?;
            }
            Ok(txn.commit()?)
        });
        self.end_on_error(result)?;
        self.identity = identity;
        Ok(())
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

    /// Makes all queued writes durable, in order, together: one transaction, one sync. After a crash either all of them
    /// are there or none. Answers the last one's name; none when nothing was queued.
    ///
    /// # Errors
    /// Any error ends the store. What became of these writes is unknown; earlier ones are safe.
    pub fn flush(&mut self) -> Result<Option<WriteSeq>, StoreError> {
        self.alive()?;
        let writes = std::mem::take(&mut self.queue);
        let Some(last) = writes.last().map(|write| write.seq) else { return Ok(None) };
        let state = &mut self.state;
        let result = self.shared.with(|database| {
            let txn = database.begin_write()?;
            let mut batch = Batch::new(&txn, state)?;
            for write in &writes {
                batch.apply(write)?;
            }
            batch.finish()?;
            Ok(txn.commit()?)
        });
        self.end_on_error(result)?;
        Ok(Some(last))
    }

    /// A reader of what is flushed, for any thread.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// Frees the space of some entries that are compacted; call it until it is done, between flushes. It costs no sync
    /// of its own: it becomes durable with the next flush, and is done again if a crash comes before.
    ///
    /// # Errors
    /// Any error ends the store.
    pub fn compact_step(&mut self) -> Result<Compaction, StoreError> {
        self.alive()?;
        let base = self.state.base.id.index;
        let result = self.shared.with(|database| compaction::step(database, base));
        self.end_on_error(result)
    }

    /// The file's length in bytes; 0 when the disk does not tell. A file never gets much smaller while it is open: freed
    /// space is used again first.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.file.len().unwrap_or(0)
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.ended { Err(StoreError::Ended) } else { Ok(()) }
    }

    fn end_on_error<T>(&mut self, result: Result<T, Trouble>) -> Result<T, StoreError> {
        self.ended |= result.is_err();
        result.map_err(|trouble| trouble.into_store_error(&self.shared.path))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Readers may live on; the file and the folder's lock must not.
        self.shared.close();
    }
}
