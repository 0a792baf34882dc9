//! What can go wrong with snapshot files.

use std::io;
use std::path::PathBuf;

use raftkit_core::LogId;

use crate::manifest::ManifestError;

/// Why a snapshot file cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed.
    #[error("{path}: {source}", path = path.display())]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// How.
        source: io::Error,
    },
    /// There is no such snapshot.
    #[error("there is no snapshot {id}")]
    Missing {
        /// Which was asked for.
        id: LogId,
    },
    /// A file is not what it should be.
    #[error("{path} is damaged: {what}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A chunk in a file does not match its hash.
    #[error("{path} is damaged: chunk {chunk} does not match its hash", path = path.display())]
    DamagedChunk {
        /// Which file.
        path: PathBuf,
        /// Which chunk.
        chunk: u32,
    },
    /// A file's manifest, or one to be written.
    #[error("{path}: {source}", path = path.display())]
    Manifest {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// There is no such chunk.
    #[error("the snapshot has {count} chunks, there is no chunk {chunk}")]
    NoSuchChunk {
        /// Which was asked for.
        chunk: u32,
        /// How many there are.
        count: u32,
    },
    /// Bytes given in are not the chunk that they should be.
    #[error("the {got} bytes given are not chunk {chunk}: length or hash differ")]
    WrongChunk {
        /// Which chunk.
        chunk: u32,
        /// How many bytes there were.
        got: usize,
    },
    /// Chunks are missing at the end of a transfer.
    #[error("{missing} chunks are missing")]
    Incomplete {
        /// How many.
        missing: u32,
    },
}

impl SnapshotError {
    /// Says at which path the disk failed.
    pub(crate) fn disk(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { path, source }
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
