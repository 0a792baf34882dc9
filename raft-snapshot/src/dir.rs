//! The folder that holds a node's snapshots.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raftkit_core::{LogId, Membership};
use raftkit_disk::{Disk, OpenMode, create_dir_all_durably};

use crate::error::SnapshotError;
use crate::file::SnapshotFile;
use crate::manifest::{CHUNK_BYTES, CHUNK_BYTES_MAX, Manifest};
use crate::partial::Partial;
use crate::writer::SnapshotWriter;

const FINISHED: &str = "snapshot";
const PARTIAL: &str = "partial";
const TEMPORARY: &str = "tmp";

/// A folder of snapshots.
///
/// | name | what it is |
/// | --- | --- |
/// | `<term>-<index>.snapshot` | a finished snapshot, durable and whole |
/// | `<term>-<index>.partial` | one being received; its good chunks are used when the transfer goes on, or for a newer one |
/// | `<number>.tmp` | one being written here; removed at the next start |
///
/// Terms and indexes have 20 digits, so the order of names is that of entries.
#[derive(Clone)]
pub struct SnapshotDir {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    chunk_bytes: u32,
    next_temporary: Arc<AtomicU64>,
}

impl fmt::Debug for SnapshotDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotDir").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl SnapshotDir {
    /// Opens a folder, or makes it; removes what an earlier life left unfinished, except chunks that were received.
    ///
    /// # Errors
    /// The disk fails.
    pub fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> io::Result<Self> {
        create_dir_all_durably(&*disk, &dir)?;
        for path in disk.list(&dir)? {
            if extension(&path) == TEMPORARY {
                disk.remove(&path)?;
            }
        }
        // A name that an earlier life could not make durable must not be lost after it was read and relied upon.
        disk.sync_dir(&dir)?;
        Ok(Self { disk, dir, chunk_bytes: CHUNK_BYTES, next_temporary: Arc::default() })
    }

    /// The same folder, with another chunk size for the snapshots written here.
    ///
    /// # Panics
    /// The size is 0 or above [`CHUNK_BYTES_MAX`].
    #[must_use]
    pub fn with_chunk_bytes(mut self, chunk_bytes: u32) -> Self {
        assert!(
            (1..=CHUNK_BYTES_MAX).contains(&chunk_bytes),
            "a chunk of {chunk_bytes} bytes is out of bounds"
        );
        self.chunk_bytes = chunk_bytes;
        self
    }

    /// Begins a snapshot of this node's state; `membership` is that as of the entry that it will be named after.
    ///
    /// # Errors
    /// The disk fails.
    pub fn create(&self, membership: Membership) -> Result<SnapshotWriter, SnapshotError> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number}.{TEMPORARY}"));
        let file = self.disk.open(&path, OpenMode::New).map_err(SnapshotError::disk(&path))?;
        let (disk, dir) = (Arc::clone(&self.disk), self.dir.clone());
        Ok(SnapshotWriter::new(disk, file, path, dir, membership, self.chunk_bytes))
    }

    /// Opens the snapshot of the entry `id`.
    ///
    /// # Errors
    /// There is none, the disk fails, or the file is damaged.
    pub fn open(&self, id: LogId) -> Result<SnapshotFile, SnapshotError> {
        let path = self.dir.join(file_name(id));
        if !self.disk.exists(&path).map_err(SnapshotError::disk(&path))? {
            return Err(SnapshotError::Missing { id });
        }
        let file = SnapshotFile::open(&*self.disk, &path)?;
        let named = file.manifest().id;
        if named == id {
            Ok(file)
        } else {
            Err(SnapshotError::Damaged { path, what: format!("it holds snapshot {named}") })
        }
    }

    /// Opens the newest snapshot, if there is any.
    ///
    /// # Errors
    /// The disk fails, or the file is damaged: an older one is never opened in its place.
    pub fn latest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        let ids = self.ids(FINISHED)?;
        ids.last().map(|(id, _)| self.open(*id)).transpose()
    }

    /// Removes the snapshots not named in `keep`, and received chunks of snapshots not named there either that are older
    /// than the newest in `keep`. Files that are open can be read on.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove_all_but(&self, keep: &[LogId]) -> Result<(), SnapshotError> {
        let newest = keep.iter().max();
        let finished = self.ids(FINISHED)?.into_iter().filter(|(id, _)| !keep.contains(id));
        // What is named may still be coming in: its chunks are no leftovers.
        let named = |id: &LogId| keep.contains(id);
        let partial = self.ids(PARTIAL)?.into_iter().filter(|(id, _)| Some(id) <= newest && !named(id));
        for (_, path) in finished.chain(partial) {
            self.disk.remove(&path).map_err(SnapshotError::disk(&path))?;
        }
        Ok(())
    }

    /// Begins to receive a snapshot, or goes on with it: chunks that an earlier try left are used where they are good, and
    /// so are equal chunks of other snapshots that are here, whole or not. One snapshot is received at a time; what was
    /// received of others is removed.
    ///
    /// # Errors
    /// The disk fails.
    pub fn partial(&self, manifest: &Manifest) -> Result<Partial, SnapshotError> {
        let path = self.dir.join(name(manifest.id, PARTIAL));
        let target = self.dir.join(file_name(manifest.id));
        let mut partial = Partial::open(Arc::clone(&self.disk), &path, target, manifest.clone())?;
        let others: Vec<_> = self.ids(PARTIAL)?.into_iter().filter(|(id, _)| *id != manifest.id).collect();
        for (_, path) in others.iter().chain(&self.ids(FINISHED)?).rev() {
            partial.take_equal(path)?;
        }
        for (_, path) in others {
            self.disk.remove(&path).map_err(SnapshotError::disk(&path))?;
        }
        Ok(partial)
    }

    /// The entries that files of one kind are named after, in order. Names of other shapes are not ours.
    fn ids(&self, kind: &str) -> Result<Vec<(LogId, PathBuf)>, SnapshotError> {
        let paths = self.disk.list(&self.dir).map_err(SnapshotError::disk(&self.dir))?;
        let mut ids: Vec<_> = paths
            .into_iter()
            .filter(|path| extension(path) == kind)
            .filter_map(|path| Some((parse(&path)?, path)))
            .collect();
        ids.sort();
        Ok(ids)
    }
}

/// The name of a finished snapshot.
pub(crate) fn file_name(id: LogId) -> String {
    name(id, FINISHED)
}

fn name(id: LogId, kind: &str) -> String {
    format!("{:020}-{:020}.{kind}", id.term.0, id.index.0)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or("")
}

fn parse(path: &Path) -> Option<LogId> {
    let (term, index) = path.file_stem()?.to_str()?.split_once('-')?;
    Some(LogId::new(term.parse().ok()?, index.parse().ok()?))
}
