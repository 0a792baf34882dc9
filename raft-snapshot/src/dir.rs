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
/// | name | content |
/// | --- | --- |
/// | `<term>-<index>.snapshot` | a finished snapshot, durable and whole |
/// | `<term>-<index>.partial` | a snapshot being received; its good chunks are reused when the transfer resumes, or for
/// a newer one |
/// | `<number>.tmp` | a snapshot being written by this node; removed at the next start |
///
/// Terms and indexes have 20 digits, so that names sort in the order of entries.
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
    /// Opens a folder, creating it if necessary. Removes what an earlier process left unfinished, except received
    /// chunks.
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
        // Sync the folder before anything in it is relied upon: an earlier process may have renamed a file and died
        // before its sync.
        disk.sync_dir(&dir)?;
        Ok(Self { disk, dir, chunk_bytes: CHUNK_BYTES, next_temporary: Arc::default() })
    }

    /// Sets the chunk size for snapshots written to this folder.
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

    /// Begins a snapshot of this node's state. `membership` is the one in force at the entry that the snapshot will be
    /// named after.
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

    /// Opens the snapshot that ends with entry `id`.
    ///
    /// # Errors
    /// The snapshot does not exist or is damaged, or the disk fails.
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

    /// Opens the newest snapshot, if there is one.
    ///
    /// # Errors
    /// The newest snapshot is damaged, or the disk fails. An older snapshot is never opened instead.
    pub fn latest(&self) -> Result<Option<SnapshotFile>, SnapshotError> {
        let ids = self.ids(FINISHED)?;
        ids.last().map(|(id, _)| self.open(*id)).transpose()
    }

    /// Removes all snapshots not named in `keep`, and the received chunks of snapshots that are not named and are older
    /// than the newest in `keep`. Open files stay readable.
    ///
    /// # Errors
    /// The disk fails.
    pub fn remove_all_but(&self, keep: &[LogId]) -> Result<(), SnapshotError> {
        let newest = keep.iter().max();
        let finished = self.ids(FINISHED)?.into_iter().filter(|(id, _)| !keep.contains(id));
        // A snapshot named in `keep` may still be arriving, so its chunks must stay.
        let named = |id: &LogId| keep.contains(id);
        let partial = self.ids(PARTIAL)?.into_iter().filter(|(id, _)| Some(id) <= newest && !named(id));
        for (_, path) in finished.chain(partial) {
            self.disk.remove(&path).map_err(SnapshotError::disk(&path))?;
        }
        Ok(())
    }

    /// Begins or resumes receiving a snapshot. Reuses good chunks left by an earlier attempt, and equal chunks of other
    /// snapshots in the folder, complete or not. Only one snapshot is received at a time: chunks of all others are
    /// removed.
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

    /// Lists the files of one kind by the entries they are named after, in order. Files with other names are ignored.
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

/// Returns the file name of a finished snapshot.
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
