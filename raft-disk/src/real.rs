//! The file system of the operating system.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Advice, FlockOperation};
#[cfg(target_os = "linux")]
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use crate::{DirLock, Disk, DiskFile, OpenMode};

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Name of the lock file in a locked folder. It is never removed: removing it could let two processes hold the
    /// lock, one on the old file and one on a new one.
    pub const LOCK_FILE: &'static str = "LOCK";
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::ReadOnly);
        match mode {
            OpenMode::Existing | OpenMode::ReadOnly => {}
            OpenMode::New => {
                options.create_new(true);
            }
            OpenMode::Either => {
                options.create(true).truncate(false);
            }
        }
        Ok(Arc::new(RealFile::new(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Use fsync instead of fdatasync: for a folder, the names are both data and metadata.
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let name = path.join(Self::LOCK_FILE);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name);
        let file = match opened {
            // A process that may only read the folder can still take and respect the lock, if the lock file exists.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                File::open(&name).map_err(|_| error)?
            }
            result => result?,
        };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { _file: file }))
    }
}

/// An open file of the operating system.
#[derive(Debug)]
struct RealFile {
    file: File,
    /// Set once the kernel or the file system has rejected durable writes. They are then done as a write and a sync.
    #[cfg(target_os = "linux")]
    without_durable_writes: AtomicBool,
}

impl RealFile {
    fn new(file: File) -> Self {
        Self {
            file,
            #[cfg(target_os = "linux")]
            without_durable_writes: AtomicBool::new(false),
        }
    }

    #[cfg(target_os = "linux")]
    fn write_and_sync(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(offset, data)?;
        self.sync()
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    #[cfg(target_os = "linux")]
    fn write_durably(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.without_durable_writes.load(Ordering::Relaxed) {
            return self.write_and_sync(offset, data);
        }
        let whole = (offset, data);
        let (mut offset, mut data) = whole;
        // Check the range here: the kernel takes u64::MAX for "the current position", and fails with EINVAL for other
        // offsets above i64::MAX.
        if i64::try_from(offset.saturating_add(data.len() as u64)).is_err() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        while !data.is_empty() {
            match pwritev2(&self.file, &[io::IoSlice::new(data)], offset, ReadWriteFlags::DSYNC) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    data = &data[written..];
                }
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    self.without_durable_writes.store(true, Ordering::Relaxed);
                    return self.write_and_sync(whole.0, whole.1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?)
    }
}

/// A lock held through the open file: the kernel releases it with the last descriptor.
#[derive(Debug)]
struct RealLock {
    _file: File,
}

impl DirLock for RealLock {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test")]

    use super::*;

    #[test]
    fn a_durable_write_is_whole_with_and_without_help_of_the_kernel() {
        let folder = tempfile::tempdir().unwrap();
        for without in [false, true] {
            let path = folder.path().join(without.to_string());
            let options = OpenOptions::new().read(true).write(true).create_new(true).open(path);
            let file = RealFile::new(options.unwrap());
            file.without_durable_writes.store(without, Ordering::Relaxed);
            let data: Vec<u8> = (0..3_000_000_u32).map(|at| at.to_le_bytes()[0]).collect();
            file.write_durably(7, &data).unwrap();
            let mut seen = vec![1; data.len()];
            file.read_at(7, &mut seen).unwrap();
            assert!(seen == data && file.len().unwrap() == 7 + data.len() as u64);
            file.write_durably(9, b"").unwrap();
        }
    }
}
