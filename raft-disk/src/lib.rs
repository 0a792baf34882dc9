#![doc = include_str!("../README.md")]

mod change;
mod copy_on_write;
mod cuts;
mod digest;
mod folder;
mod image;
mod images;
mod names;
mod real;
mod redb_backend;
mod replace;
mod rng;
mod simulated;
mod slack;
mod unreadable;

pub use copy_on_write::CopyOnWrite;
pub use folder::create_dir_all_durably;
pub use real::RealDisk;
pub use redb_backend::RedbFile;
pub use replace::{FinalName, ReplaceError, create_aside, replace_durably};
pub use simulated::{
    Chance, DeferredSync, DiskImage, ErrorChance, Faults, Injected, Operation, SimulatedDisk, SyncId,
    SyncKind,
};
pub use slack::{Slack, is_full};

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system, shared by everything that stores data, usually behind an `Arc`.
///
/// Its guarantees are what raftkit assumes about media. A write is durable once [`DiskFile::sync`] has returned; before
/// that it may be kept, lost, or torn at 512 B, independently of other writes. A created, renamed or removed name is
/// durable once [`Disk::sync_dir`] has synced its folder. After a failed sync, nothing since the last successful one
/// can be trusted.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// The operating system's error: `NotFound` for [`OpenMode::Existing`] and [`OpenMode::ReadOnly`], `AlreadyExists`
    /// for [`OpenMode::New`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing a file with the new name.
    ///
    /// # Errors
    /// The operating system's error.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The operating system's error.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a folder and all missing folders above it. An existing folder is no error.
    ///
    /// # Errors
    /// The operating system's error.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Lists the files and folders in a folder, sorted by name.
    ///
    /// # Errors
    /// The operating system's error.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// Returns true if a file or folder has this name.
    ///
    /// # Errors
    /// The operating system's error.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Removes a file if it exists. Used to clear the leftovers of an earlier attempt to create it.
    ///
    /// # Errors
    /// The operating system's error.
    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        if self.exists(path)? { self.remove(path) } else { Ok(()) }
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The operating system's error. The state of names changed since the last successful sync is then unknown.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns the space available for new files in a folder, in bytes, or `u64::MAX` if the disk does not know.
    ///
    /// # Errors
    /// The operating system's error.
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Locks a folder against all other holders, in this process or another, until the lock is dropped or its holder
    /// dies.
    ///
    /// # Errors
    /// `WouldBlock` if the folder is already locked.
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Open an existing file for reading and writing.
    Existing,
    /// Open an existing file for reading only: every write and change of length fails. The process need not have
    /// permission to write to the file.
    ReadOnly,
    /// Create a new file; it must not exist.
    New,
    /// Open a file, creating it if it does not exist.
    Either,
}

/// An open file of a [`Disk`].
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Returns the file's length in bytes.
    ///
    /// # Errors
    /// The operating system's error.
    fn len(&self) -> io::Result<u64>;

    /// Returns true if the file is empty.
    ///
    /// # Errors
    /// The operating system's error.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Truncates the file, or extends it with zeros.
    ///
    /// # Errors
    /// The operating system's error.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Fills `buffer` with the bytes at `offset`.
    ///
    /// # Errors
    /// The operating system's error; `UnexpectedEof` if the file ends before the buffer is full.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, extending the file if necessary.
    ///
    /// # Errors
    /// The operating system's error. It is then unknown which part was written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes everything written durable (fdatasync).
    ///
    /// # Errors
    /// The operating system's error. Never retry: the cache may have dropped the data, and a second sync would succeed
    /// without it (ATC'20, "Can applications recover from fsync failures?").
    fn sync(&self) -> io::Result<()>;

    /// Writes all of `data` at `offset` and makes it durable before returning. Whether other data written to the file
    /// since the last [`sync`](Self::sync) becomes durable as well is unspecified.
    ///
    /// # Errors
    /// The operating system's error. It is then unknown which part was written, and nothing since the last successful
    /// [`sync`](Self::sync) can be trusted. Never retry.
    fn write_durably(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(offset, data)?;
        self.sync()
    }

    /// Drops the file from the page cache, so that reads show the medium. Called after an unclean shutdown.
    ///
    /// # Errors
    /// The operating system's error.
    fn drop_cache(&self) -> io::Result<()>;
}

/// A lock on a folder, held until it is dropped.
pub trait DirLock: Debug + Send + Sync + 'static {}
