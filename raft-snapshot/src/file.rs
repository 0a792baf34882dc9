//! A finished snapshot file: opening, checking and reading it.
//!
//! ```text
//! the snapshot's bytes | manifest | manifest length u64 | "RKSNAPF1"
//! ```
//!
//! The manifest stands at the end because the hashes are known only then. A single rename makes the whole file visible.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use raftkit_disk::{Disk, DiskFile, OpenMode, replace_durably};

use crate::error::SnapshotError;
use crate::manifest::{ChunkNumber, MANIFEST_BYTES_MAX, Manifest};

const MAGIC: [u8; 8] = *b"RKSNAPF1";
const FOOTER: u64 = 16;

/// A finished snapshot. It stays readable even if the file is replaced or removed meanwhile.
#[derive(Clone)]
pub struct SnapshotFile {
    file: Arc<dyn DiskFile>,
    manifest: Arc<Manifest>,
    path: Arc<PathBuf>,
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("path", &self.path)
            .field("id", &self.manifest.id)
            .finish_non_exhaustive()
    }
}

impl SnapshotFile {
    /// Opens a file and checks its manifest. Chunks are checked when they are read.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<Self, SnapshotError> {
        let file = disk.open(path, OpenMode::Existing).map_err(SnapshotError::disk(path))?;
        let manifest = read_manifest(&*file, path)?;
        Ok(Self { file, manifest: Arc::new(manifest), path: Arc::new(path.to_owned()) })
    }

    /// Returns the manifest of the snapshot.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Reads one chunk and checks its hash.
    ///
    /// # Errors
    /// The chunk does not exist or is damaged, or the disk fails.
    pub fn read_chunk(&self, chunk: ChunkNumber) -> Result<Bytes, SnapshotError> {
        let count = self.manifest.count();
        let length = self.manifest.chunk_length(chunk).ok_or(SnapshotError::NoSuchChunk { chunk, count })?;
        let mut bytes = vec![0; length];
        self.file
            .read_at(self.manifest.offset(chunk), &mut bytes)
            .map_err(SnapshotError::disk(&self.path))?;
        if !self.manifest.matches(chunk, &bytes) {
            return Err(SnapshotError::DamagedChunk { path: self.path.to_path_buf(), chunk });
        }
        Ok(bytes.into())
    }

    /// Returns a reader of the whole snapshot, which checks each chunk before returning any of its bytes. It holds one
    /// chunk in memory.
    #[must_use]
    pub fn reader(&self) -> SnapshotReader {
        SnapshotReader { file: self.clone(), next: ChunkNumber(0), current: Bytes::new() }
    }
}

/// Reads a [`SnapshotFile`] from start to end. Damage is an error of kind `InvalidData`.
#[derive(Debug)]
pub struct SnapshotReader {
    file: SnapshotFile,
    next: ChunkNumber,
    current: Bytes,
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            if self.next.0 == self.file.manifest.count() {
                return Ok(0);
            }
            self.current = self.file.read_chunk(self.next)?;
            self.next.0 += 1;
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// Appends the manifest to the snapshot's bytes, truncates the file there, and makes it durable under its final name.
pub(crate) fn seal(
    disk: &dyn Disk,
    file: Arc<dyn DiskFile>,
    manifest: Manifest,
    from: &Path,
    to: &Path,
) -> Result<SnapshotFile, SnapshotError> {
    let encoded = manifest.encode();
    let length = encoded.len() as u64;
    let mut tail = encoded;
    tail.extend_from_slice(&length.to_le_bytes());
    tail.extend_from_slice(&MAGIC);
    file.set_len(manifest.length + tail.len() as u64).map_err(SnapshotError::disk(from))?;
    file.write_at(manifest.length, &tail).map_err(SnapshotError::disk(from))?;
    replace_durably(disk, &*file, from, to)?;
    Ok(SnapshotFile { file, manifest: Arc::new(manifest), path: Arc::new(to.to_owned()) })
}

fn read_manifest(file: &dyn DiskFile, path: &Path) -> Result<Manifest, SnapshotError> {
    let damaged = |what: String| SnapshotError::Damaged { path: path.to_owned(), what };
    let total = file.len().map_err(SnapshotError::disk(path))?;
    let at = total.checked_sub(FOOTER).ok_or_else(|| damaged(format!("it has only {total} bytes")))?;
    let mut footer = [0; 16];
    file.read_at(at, &mut footer).map_err(SnapshotError::disk(path))?;
    let (length, magic) = footer.split_at(8);
    if magic != MAGIC {
        return Err(damaged("it does not end with the magic bytes".into()));
    }
    let length = u64::from_le_bytes(length.try_into().expect("half of 16 bytes"));
    let fits = usize::try_from(length).ok().filter(|length| *length <= MANIFEST_BYTES_MAX);
    let (Some(size), Some(start)) = (fits, at.checked_sub(length)) else {
        return Err(damaged(format!("its manifest would have {length} bytes")));
    };
    let mut encoded = vec![0; size];
    file.read_at(start, &mut encoded).map_err(SnapshotError::disk(path))?;
    let manifest = Manifest::decode(&encoded)
        .map_err(|source| SnapshotError::Manifest { path: path.to_owned(), source })?;
    if manifest.length != start {
        return Err(damaged(format!("it holds {start} bytes, its manifest says {}", manifest.length)));
    }
    Ok(manifest)
}
