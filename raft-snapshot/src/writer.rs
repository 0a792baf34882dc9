//! A snapshot being written on this node.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_core::{LogId, Membership};
use raftkit_disk::{Disk, DiskFile};

use crate::error::SnapshotError;
use crate::file::{SnapshotFile, seal};
use crate::manifest::{CHUNKS_MAX, Hash, Manifest, check_shape, hash};

/// Writes the bytes of a snapshot in order, holding one chunk in memory. Removes its file if it is dropped unfinished.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    /// Temporary name of the file; `None` once the snapshot is finished.
    temporary: Option<PathBuf>,
    folder: PathBuf,
    membership: Membership,
    chunk_bytes: u32,
    chunks: Vec<Hash>,
    /// Number of bytes written to the file.
    written: u64,
    /// The chunk being filled.
    current: Vec<u8>,
}

impl fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("temporary", &self.temporary)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl SnapshotWriter {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        file: Arc<dyn DiskFile>,
        temporary: PathBuf,
        folder: PathBuf,
        membership: Membership,
        chunk_bytes: u32,
    ) -> Self {
        let temporary = Some(temporary);
        Self {
            disk,
            file,
            temporary,
            folder,
            membership,
            chunk_bytes,
            chunks: Vec::new(),
            written: 0,
            current: Vec::new(),
        }
    }

    /// Makes the snapshot durable as the one that ends with entry `id`, replacing a snapshot of the same name.
    ///
    /// # Errors
    /// The disk fails. The temporary file is removed, and either an older snapshot of the same name is still there, or
    /// this one is complete.
    ///
    /// # Panics
    /// Never: a writer can be finished only once.
    pub fn finish(mut self, id: LogId) -> Result<SnapshotFile, SnapshotError> {
        let temporary = self.temporary.clone().expect("only finish takes the name");
        self.close_chunk().map_err(SnapshotError::disk(&temporary))?;
        let manifest = Manifest {
            id,
            membership: std::mem::take(&mut self.membership),
            length: self.written,
            chunk_bytes: self.chunk_bytes,
            chunks: std::mem::take(&mut self.chunks),
        };
        check_shape(manifest.length, manifest.chunk_bytes, manifest.count())
            .map_err(|source| SnapshotError::Manifest { path: temporary.clone(), source })?;
        let path = self.folder.join(crate::dir::file_name(id));
        let file = seal(&*self.disk, Arc::clone(&self.file), manifest, &temporary, &path)?;
        self.temporary = None;
        Ok(file)
    }

    fn close_chunk(&mut self) -> io::Result<()> {
        if self.current.is_empty() {
            return Ok(());
        }
        if self.chunks.len() >= CHUNKS_MAX as usize {
            return Err(io::Error::other(format!("the snapshot has more than {CHUNKS_MAX} chunks")));
        }
        self.file.write_at(self.written, &self.current)?;
        self.chunks.push(hash(&self.current));
        self.written += self.current.len() as u64;
        self.current.clear();
        Ok(())
    }
}

impl Write for SnapshotWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let room = self.chunk_bytes as usize - self.current.len();
        let length = buffer.len().min(room);
        self.current.extend_from_slice(&buffer[..length]);
        if length == room {
            self.close_chunk()?;
        }
        Ok(length)
    }

    /// Does nothing: bytes are written chunk by chunk, and become durable with [`finish`](SnapshotWriter::finish).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SnapshotWriter {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Ignore errors: a leftover file only takes space until the folder is next opened.
            let _ = self.disk.remove(&temporary);
        }
    }
}
