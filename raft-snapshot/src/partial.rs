//! A snapshot being received: chunks arrive in any order and survive a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, OpenMode};

use crate::error::SnapshotError;
use crate::file::{SnapshotFile, seal};
use crate::manifest::{ChunkNumber, Hash, Manifest, hash};

/// Chunks of one snapshot, stored at their final places in the file. Their hashes alone tell which of them are good, so
/// nothing else has to survive a crash.
pub struct Partial {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    target: PathBuf,
    manifest: Manifest,
    have: BTreeSet<ChunkNumber>,
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
    /// Opens or creates the file, and checks every chunk in it by reading the whole file.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        target: PathBuf,
        manifest: Manifest,
    ) -> Result<Self, SnapshotError> {
        let file = disk.open(path, OpenMode::Either).map_err(SnapshotError::disk(path))?;
        // Drop the cache first: after a failed sync, it may show data that the medium does not hold.
        file.drop_cache().map_err(SnapshotError::disk(path))?;
        let mut partial = Self { disk, file, path: path.to_owned(), target, manifest, have: BTreeSet::new() };
        partial.check()?;
        Ok(partial)
    }

    fn check(&mut self) -> Result<(), SnapshotError> {
        let there = self.file.len().map_err(SnapshotError::disk(&self.path))?;
        let mut buffer = Vec::new();
        for chunk in self.manifest.numbers() {
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

    /// Copies matching blocks from the file of another snapshot, complete or not: those with the hash and length of a
    /// chunk that is missing here. A newer snapshot of a large state differs from an older one in a few chunks only,
    /// and a slow link need not carry the others twice.
    ///
    /// # Errors
    /// A chunk cannot be stored. A file that cannot be read is skipped, because its chunks can be received instead.
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

    fn missing_by_hash(&self) -> BTreeMap<Hash, Vec<ChunkNumber>> {
        let mut missing: BTreeMap<Hash, Vec<ChunkNumber>> = BTreeMap::new();
        for (chunk, hash) in self.manifest.numbers().zip(&self.manifest.chunks) {
            if !self.have.contains(&chunk) {
                missing.entry(*hash).or_default().push(chunk);
            }
        }
        missing
    }

    /// Returns the manifest of the snapshot being received.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the numbers of the chunks that are stored and good.
    #[must_use]
    pub fn have(&self) -> &BTreeSet<ChunkNumber> {
        &self.have
    }

    /// Stores a chunk. It becomes durable with [`finish`](Self::finish).
    ///
    /// # Errors
    /// The bytes do not match the chunk's length and hash, or the disk fails.
    pub fn store(&mut self, chunk: ChunkNumber, bytes: &[u8]) -> Result<(), SnapshotError> {
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
    /// Chunks are missing, or the disk fails. Afterwards either the chunks are still stored for another attempt, or the
    /// snapshot is complete.
    pub fn finish(self) -> Result<SnapshotFile, SnapshotError> {
        let held = u32::try_from(self.have.len()).expect("there are at most CHUNKS_MAX chunks");
        let missing = self.manifest.count() - held;
        if missing > 0 {
            return Err(SnapshotError::Incomplete { missing });
        }
        seal(&*self.disk, self.file, self.manifest, &self.path, &self.target)
    }
}
