//! Errors of snapshot files.

use std::io;
use std::path::PathBuf;

use raftkit_core::LogId;
use raftkit_disk::ReplaceError;

use crate::manifest::{ChunkNumber, ManifestError};

/// Reasons why a snapshot file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A call to the disk failed.
    #[error("{path}: {source}", path = path.display())]
    Disk {
        /// Path of the file or folder.
        path: PathBuf,
        /// The error that the disk returned.
        source: io::Error,
    },
    /// The snapshot does not exist.
    #[error("there is no snapshot {id}")]
    Missing {
        /// Id of the snapshot.
        id: LogId,
    },
    /// A file is malformed.
    #[error("{path} is damaged: {what}", path = path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A chunk in a file does not match its hash.
    #[error("{path} is damaged: chunk {chunk} does not match its hash", path = path.display())]
    DamagedChunk {
        /// Path of the file.
        path: PathBuf,
        /// Number of the chunk.
        chunk: ChunkNumber,
    },
    /// The manifest of a file, read or to be written, is invalid.
    #[error("{path}: {source}", path = path.display())]
    Manifest {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with the manifest.
        source: ManifestError,
    },
    /// The chunk does not exist.
    #[error("the snapshot has {count} chunks, there is no chunk {chunk}")]
    NoSuchChunk {
        /// Number of the chunk.
        chunk: ChunkNumber,
        /// Number of chunks in the snapshot.
        count: u32,
    },
    /// The bytes given do not match the chunk's length and hash.
    #[error("the {got} bytes given are not chunk {chunk}: length or hash differ")]
    WrongChunk {
        /// Number of the chunk.
        chunk: ChunkNumber,
        /// Number of bytes given.
        got: usize,
    },
    /// Chunks are missing at the end of a transfer.
    #[error("{missing} chunks are missing")]
    Incomplete {
        /// Number of missing chunks.
        missing: u32,
    },
}

impl SnapshotError {
    /// Returns a function that adds a path to the disk's error.
    pub(crate) fn disk(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { path, source }
    }
}

impl From<ReplaceError> for SnapshotError {
    fn from(error: ReplaceError) -> Self {
        let ReplaceError { path, source, name: _ } = error;
        Self::Disk { path, source }
    }
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Disk { source, .. } => source,
            error @ SnapshotError::Missing { .. } => Self::new(io::ErrorKind::NotFound, error),
            error @ (SnapshotError::Damaged { .. }
            | SnapshotError::DamagedChunk { .. }
            | SnapshotError::Manifest { .. }
            | SnapshotError::NoSuchChunk { .. }
            | SnapshotError::WrongChunk { .. }
            | SnapshotError::Incomplete { .. }) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
