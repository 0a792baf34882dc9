//! A snapshot being received: chunks come in any order, and what came stays over a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, OpenMode};

use crate::error::SnapshotError;
use crate::file::{SnapshotFile, seal};
use crate::manifest::{Hash, Manifest, hash};

/// Chunks of one snapshot, stored where they belong. Which of them are good is told by their hashes alone, so nothing
/// else has to survive a crash.
pub struct Partial {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    target: PathBuf,
    manifest: Manifest,
    have: BTreeSet<u32>,
}

impl fmt::Debug for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partial")
            .field("path", &self.path)
            .field("have", &self.have.len())
            .field("count", &self.manifest.count())
            .finish_non_exhaustive()
    }
}

impl Partial {
    /// Opens or makes the file, and checks each chunk in it: reads all of it.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        target: PathBuf,
        manifest: Manifest,
    ) -> Result<Self, SnapshotError> {
        let file = disk.open(path, OpenMode::Either).map_err(SnapshotError::disk(path))?;
        // After a sync that failed the page cache may show what the medium does not hold.
        file.drop_cache().map_err(SnapshotError::disk(path))?;
        let mut partial = Self { disk, file, path: path.to_owned(), target, manifest, have: BTreeSet::new() };
        partial.check()?;
        Ok(partial)
    }

    fn check(&mut self) -> Result<(), SnapshotError> {
        let there = self.file.len().map_err(SnapshotError::disk(&self.path))?;
        let mut buffer = Vec::new();
        for chunk in 0..self.manifest.count() {
            let offset = self.manifest.offset(chunk);
            let length = self.manifest.chunk_length(chunk).expect("the chunk is below the count");
            if offset + length as u64 > there {
                break;
            }
            buffer.resize(length, 0);
            self.file.read_at(offset, &mut buffer).map_err(SnapshotError::disk(&self.path))?;
            if self.manifest.matches(chunk, &buffer) {
                self.have.insert(chunk);
            }
        }
        Ok(())
    }

    /// Takes what is equal from another snapshot's file, whole or not: blocks that have the hash and the length of a chunk
    /// that is missing here. A newer snapshot of a large state differs from an older one in a few chunks only, and what a
    /// slow link has carried of one need not come again.
    ///
    /// # Errors
    /// What was found cannot be stored. A file that cannot be read is passed over: what is in it can come again.
    pub(crate) fn take_equal(&mut self, other: &Path) -> Result<(), SnapshotError> {
        let mut wanted = self.missing_by_hash();
        let Ok(file) = self.disk.open(other, OpenMode::Existing) else { return Ok(()) };
        let Ok(there) = file.len() else { return Ok(()) };
        let block = u64::from(self.manifest.chunk_bytes.max(1));
        let mut buffer = Vec::new();
        for at in (0..there).step_by(usize::try_from(block).unwrap_or(usize::MAX)) {
            if wanted.is_empty() {
                break;
            }
            let length = usize::try_from(block.min(there - at)).unwrap_or(usize::MAX);
            buffer.resize(length, 0);
            if file.read_at(at, &mut buffer).is_err() {
                continue;
            }
            for chunk in wanted.remove(&hash(&buffer)).unwrap_or_default() {
                if self.manifest.chunk_length(chunk) == Some(length) {
                    self.store(chunk, &buffer)?;
                }
            }
        }
        Ok(())
    }

    fn missing_by_hash(&self) -> BTreeMap<Hash, Vec<u32>> {
        let mut missing: BTreeMap<Hash, Vec<u32>> = BTreeMap::new();
        for (chunk, hash) in (0..).zip(&self.manifest.chunks) {
            if !self.have.contains(&chunk) {
                missing.entry(*hash).or_default().push(chunk);
            }
        }
        missing
    }

    /// The snapshot being received.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The chunks that are there and good.
    #[must_use]
    pub fn have(&self) -> &BTreeSet<u32> {
        &self.have
    }

    /// Stores a chunk; it need not be durable before [`finish`](Self::finish).
    ///
    /// # Errors
    /// The bytes are not that chunk, or the disk fails.
    pub fn store(&mut self, chunk: u32, bytes: &[u8]) -> Result<(), SnapshotError> {
        if !self.manifest.matches(chunk, bytes) {
            return Err(SnapshotError::WrongChunk { chunk, got: bytes.len() });
        }
        self.file.write_at(self.manifest.offset(chunk), bytes).map_err(SnapshotError::disk(&self.path))?;
        self.have.insert(chunk);
        Ok(())
    }

    /// Makes the snapshot durable under its final name.
    ///
    /// # Errors
    /// Chunks are missing, or the disk fails; then the chunks stay for another try, or the snapshot is there, whole.
    pub fn finish(self) -> Result<SnapshotFile, SnapshotError> {
        let held = u32::try_from(self.have.len()).expect("there are at most CHUNKS_MAX chunks");
        let missing = self.manifest.count() - held;
        if missing > 0 {
            return Err(SnapshotError::Incomplete { missing });
        }
        seal(&*self.disk, self.file, self.manifest, &self.path, &self.target)
    }
}
