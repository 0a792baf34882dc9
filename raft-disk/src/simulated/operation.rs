//! The operations of a simulated disk.

/// The operation that a call to the disk performs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Disk::open`](crate::Disk::open) of an existing file.
    Open,
    /// [`Disk::open`](crate::Disk::open) in a mode that may create the file.
    Create,
    /// [`Disk::rename`](crate::Disk::rename).
    Rename,
    /// [`Disk::remove`](crate::Disk::remove).
    Remove,
    /// [`Disk::create_dir_all`](crate::Disk::create_dir_all).
    CreateDir,
    /// [`Disk::list`](crate::Disk::list).
    List,
    /// [`Disk::exists`](crate::Disk::exists).
    Exists,
    /// [`Disk::sync_dir`](crate::Disk::sync_dir).
    SyncDir,
    /// [`Disk::free_bytes`](crate::Disk::free_bytes).
    FreeBytes,
    /// [`Disk::lock_dir`](crate::Disk::lock_dir).
    Lock,
    /// [`DiskFile::len`](crate::DiskFile::len).
    Len,
    /// [`DiskFile::set_len`](crate::DiskFile::set_len).
    SetLen,
    /// [`DiskFile::read_at`](crate::DiskFile::read_at).
    Read,
    /// [`DiskFile::write_at`](crate::DiskFile::write_at).
    Write,
    /// [`DiskFile::sync`](crate::DiskFile::sync).
    Sync,
    /// [`DiskFile::drop_cache`](crate::DiskFile::drop_cache).
    DropCache,
}

impl Operation {
    /// Returns true if the operation changes or syncs something, so that a power cut during it can have visible
    /// effects.
    #[must_use]
    pub fn is_mutation(self) -> bool {
        match self {
            Self::Create
            | Self::Rename
            | Self::Remove
            | Self::CreateDir
            | Self::SyncDir
            | Self::SetLen
            | Self::Write
            | Self::Sync => true,
            Self::Open
            | Self::List
            | Self::Exists
            | Self::FreeBytes
            | Self::Lock
            | Self::Len
            | Self::Read
            | Self::DropCache => false,
        }
    }

    pub(super) fn is_sync(self) -> bool {
        match self {
            Self::SyncDir | Self::Sync => true,
            Self::Open
            | Self::Create
            | Self::Rename
            | Self::Remove
            | Self::CreateDir
            | Self::List
            | Self::Exists
            | Self::FreeBytes
            | Self::Lock
            | Self::Len
            | Self::SetLen
            | Self::Read
            | Self::Write
            | Self::DropCache => false,
        }
    }
}
