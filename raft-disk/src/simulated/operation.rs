//! The operations of a simulated disk.

/// The operation that a call to the disk performs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// [`Disk::open`](crate::Disk::open) of an existing file.
    Open,
    /// [`Disk::open`](crate::Disk::open) in a mode that may create the file.
    Create,
    /// A call of [`Disk::rename`](crate::Disk::rename).
    Rename,
    /// A call of [`Disk::remove`](crate::Disk::remove).
    Remove,
    /// A call of [`Disk::create_dir_all`](crate::Disk::create_dir_all).
    CreateDir,
    /// A call of [`Disk::list`](crate::Disk::list).
    List,
    /// A call of [`Disk::exists`](crate::Disk::exists).
    Exists,
    /// A call of [`Disk::sync_dir`](crate::Disk::sync_dir).
    SyncDir,
    /// A call of [`Disk::free_bytes`](crate::Disk::free_bytes).
    FreeBytes,
    /// A call of [`Disk::lock_dir`](crate::Disk::lock_dir).
    Lock,
    /// A call of [`DiskFile::len`](crate::DiskFile::len).
    Len,
    /// A call of [`DiskFile::set_len`](crate::DiskFile::set_len).
    SetLen,
    /// A call of [`DiskFile::read_at`](crate::DiskFile::read_at).
    Read,
    /// A call of [`DiskFile::write_at`](crate::DiskFile::write_at).
    Write,
    /// A call of [`DiskFile::sync`](crate::DiskFile::sync).
    Sync,
    /// A call of [`DiskFile::drop_cache`](crate::DiskFile::drop_cache).
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
