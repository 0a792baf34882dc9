//! The raw limit of a disk: records into a zero-filled, recycled file, each durable before the next.

use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::io::ReadWriteFlags;

/// How a record is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawSync {
    /// A write, then fdatasync.
    Fdatasync,
    /// One write that is durable when it returns: `RWF_DSYNC`, what `O_DSYNC` is for a whole file.
    Dsync,
}

/// A ring of records without meaning.
pub struct RawLog {
    file: File,
    sync: RawSync,
    offset: u64,
    length: u64,
}

impl RawLog {
    /// Creates the ring: `length` bytes of zeros, durable.
    #[must_use]
    pub fn create(dir: &Path, length: u64, sync: RawSync) -> Self {
        let options = File::options().create(true).truncate(true).read(true).write(true).clone();
        let file = options.open(dir.join(format!("{sync:?}.raw"))).unwrap();
        let zeros = vec![0; 1 << 20];
        (0..length >> 20).for_each(|at| file.write_all_at(&zeros, at << 20).unwrap());
        file.sync_all().unwrap();
        Self { file, sync, offset: 0, length }
    }

    /// Appends a record; it is durable when this returns.
    pub fn append(&mut self, record: &[u8]) {
        if self.offset + record.len() as u64 > self.length {
            self.offset = 0;
        }
        match self.sync {
            RawSync::Fdatasync => {
                self.file.write_all_at(record, self.offset).unwrap();
                self.file.sync_data().unwrap();
            }
            RawSync::Dsync => {
                let buffers = [IoSlice::new(record)];
                let written =
                    rustix::io::pwritev2(&self.file, &buffers, self.offset, ReadWriteFlags::DSYNC).unwrap();
                assert_eq!(written, record.len(), "a regular file takes all of it");
            }
        }
        self.offset += record.len() as u64;
    }
}
