//! Replaces a file so that a power cut leaves either the old file or the complete new one.
//!
//! ```text
//!   create_aside --> write --> replace_durably: sync the file, rename it, sync the folder
//! ```
//!
//! Each step is needed. Without the sync of the file, a power cut could keep the rename and lose the bytes. Without the
//! sync of the folder, it could bring back the old file after the new one was reported to be durable.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder::parent;
use crate::{Disk, DiskFile, OpenMode};

/// An error of [`replace_durably`].
#[derive(Debug)]
pub struct ReplaceError {
    /// The file or folder that the failed call was made on.
    pub path: PathBuf,
    /// The error that the disk returned.
    pub source: io::Error,
    /// State of the final name when the call failed.
    pub name: FinalName,
}

/// The file that a final name stands for after [`replace_durably`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinalName {
    /// The name still stands for the old file, or for none. The new file still has its temporary name.
    Old,
    /// The name stands for the new file, but a power cut may bring back the old one.
    New,
}

impl fmt::Display for ReplaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.source)
    }
}

impl std::error::Error for ReplaceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<ReplaceError> for io::Error {
    fn from(error: ReplaceError) -> Self {
        error.source
    }
}

/// Creates an empty file under a temporary name, and removes what an earlier attempt may have left under that name.
///
/// # Errors
/// The errors of the disk.
pub fn create_aside(disk: &dyn Disk, aside: &Path) -> io::Result<Arc<dyn DiskFile>> {
    disk.remove_if_there(aside)?;
    disk.open(aside, OpenMode::New)
}

/// Makes `file`, which is complete and has the temporary name `aside`, durable under the name `path`. A file that had
/// that name is replaced. Both names must be in the same folder.
///
/// # Errors
/// The first call that fails, with the state of the final name at that time. Nothing may be tried again: after a failed
/// sync it is unknown what is durable.
pub fn replace_durably(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    aside: &Path,
    path: &Path,
) -> Result<(), ReplaceError> {
    let failed = |path: &Path, name| {
        let path = path.to_owned();
        move |source| ReplaceError { path, source, name }
    };
    file.sync().map_err(failed(aside, FinalName::Old))?;
    disk.rename(aside, path).map_err(failed(path, FinalName::Old))?;
    let Some(folder) = parent(path) else { return Ok(()) };
    disk.sync_dir(folder).map_err(failed(folder, FinalName::New))
}
