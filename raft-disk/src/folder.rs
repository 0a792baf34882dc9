//! Making a folder so that it is still there after a power cut.

use std::io;
use std::path::Path;

use crate::Disk;

/// Makes a folder and those above it, each durable before the next one is made.
///
/// Also the nearest folder that is there already is made durable in the one above it: an earlier process may have made
/// it and died before its sync.
///
/// # Errors
/// As of the disk. A folder above the nearest one that may not be read is taken to be none of ours.
pub fn create_dir_all_durably(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let above = parent(path);
    if disk.exists(path)? {
        let Some(above) = above else { return Ok(()) };
        return match disk.sync_dir(above) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            result => result,
        };
    }
    if let Some(above) = above {
        create_dir_all_durably(disk, above)?;
    }
    disk.create_dir_all(path)?;
    above.map_or(Ok(()), |above| disk.sync_dir(above))
}

/// The folder that holds the name `path`; `.` for a bare name, none for a root.
fn parent(path: &Path) -> Option<&Path> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() && path != Path::new(".") => Some(Path::new(".")),
        Some(above) if above.as_os_str().is_empty() => None,
        above => above,
    }
}
