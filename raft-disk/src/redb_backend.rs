//! Storage backend for redb on a file of any disk.

use std::io;
use std::sync::Arc;

use crate::DiskFile;

/// A file as the storage of a redb database, for `redb::Builder::create_with_backend`.
///
/// It has no byte-range locks: hold the folder's lock ([`Disk::lock_dir`](crate::Disk::lock_dir)) while the database is
/// open.
#[derive(Clone, Debug)]
pub struct RedbFile {
    file: Arc<dyn DiskFile>,
}

impl RedbFile {
    /// Creates the storage from `file`, which must be empty or contain a database.
    #[must_use]
    pub fn new(file: Arc<dyn DiskFile>) -> Self {
        Self { file }
    }
}

impl redb::StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, data)
    }
}
