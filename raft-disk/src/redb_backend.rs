//! A file of any disk as redb's storage.

use std::io;
use std::sync::Arc;

use crate::DiskFile;

/// A file as redb's storage, for `redb::Builder::create_with_backend`.
///
/// It offers no byte-range locks: hold the folder's lock ([`Disk::lock_dir`](crate::Disk::lock_dir)) while a database in
/// it is open.
#[derive(Clone, Debug)]
pub struct RedbFile {
    file: Arc<dyn DiskFile>,
}

impl RedbFile {
    /// redb's storage on `file`, which is empty or holds a database.
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
