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
mod rng;
mod simulated;
mod slack;
mod unreadable;

pub use copy_on_write::CopyOnWrite;
pub use folder::create_dir_all_durably;
pub use real::RealDisk;
pub use redb_backend::RedbFile;
pub use simulated::{
    Chance, DeferredSync, DiskImage, ErrorChance, Faults, Injected, Operation, SimulatedDisk, SyncId,
    SyncKind,
};
pub use slack::{Slack, is_full};

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file system. Shared by everything that stores; cheap to clone behind its `Arc`.
///
/// What it promises is what raftkit assumes about media: a write is durable once [`DiskFile::sync`] has returned; before
/// that it may be kept, lost or torn at 512 B, independently of others; a created, renamed or removed name is durable
/// once its folder was synced by [`Disk::sync_dir`]; after a failed sync nothing since the last good one can be trusted.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Opens a file.
    ///
    /// # Errors
    /// As of the operating system: `NotFound` for [`OpenMode::Existing`] and [`OpenMode::ReadOnly`], `AlreadyExists`
    /// for [`OpenMode::New`].
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file, replacing what has the new name.
    ///
    /// # Errors
    /// As of the operating system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// As of the operating system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder and those above it; fine if it is there.
    ///
    /// # Errors
    /// As of the operating system.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// The files and folders in a folder, sorted by name.
    ///
    /// # Errors
    /// As of the operating system.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;

    /// True when a file or folder has this name.
    ///
    /// # Errors
    /// As of the operating system.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Removes a file if there is one of this name: what an attempt to make it has left over, before the next attempt.
    ///
    /// # Errors
    /// As of the operating system.
    fn remove_if_there(&self, path: &Path) -> io::Result<()> {
        if self.exists(path)? { self.remove(path) } else { Ok(()) }
    }

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// As of the operating system. What was renamed since the last good sync is then unknown.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// How much may still be written into new files in a folder, in bytes, as far as it is known; a disk that does not know
    /// says `u64::MAX`.
    ///
    /// # Errors
    /// As of the operating system.
    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    /// Locks a folder against every other holder, in this process or another, until the lock is dropped or its holder
    /// dies.
    ///
    /// # Errors
    /// `WouldBlock` when another holds it.
    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
}

/// How to open a file: for reading and writing, or for reading only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// It must be there.
    Existing,
    /// It must be there, and is not changed: every write and change of length fails. It may be a file that this
    /// process is allowed only to read.
    ReadOnly,
    /// It must not be there.
    New,
    /// It is made if it is not there.
    Either,
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As of the operating system.
    fn len(&self) -> io::Result<u64>;

    /// True when it holds nothing.
    ///
    /// # Errors
    /// As of the operating system.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends it with zeros.
    ///
    /// # Errors
    /// As of the operating system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// As of the operating system; `UnexpectedEof` when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `data` at `offset`, extending the file if need be.
    ///
    /// # Errors
    /// As of the operating system. What part was written is then unknown.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes everything written durable (fdatasync).
    ///
    /// # Errors
    /// As of the operating system. Never try again: the data may be gone from the cache (ATC'20, "Can applications
    /// recover from fsync failures?").
    fn sync(&self) -> io::Result<()>;

    /// Writes all of `data` at `offset`, and makes that durable before it returns. What else was written to the file
    /// since its last [`sync`](Self::sync) may be made durable by it or not.
    ///
    /// # Errors
    /// As of the operating system. What part was written is then unknown, and as after a failed [`sync`](Self::sync)
    /// nothing since the last good one can be trusted: never try again.
    fn write_durably(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.write_at(offset, data)?;
        self.sync()
    }

    /// Drops what the page cache holds of the file, so that a read shows the medium. Called after an unclean end.
    ///
    /// # Errors
    /// As of the operating system.
    fn drop_cache(&self) -> io::Result<()>;
}

/// Holds a folder until it is dropped.
pub trait DirLock: Debug + Send + Sync + 'static {}
