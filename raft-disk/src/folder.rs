//! Creates a folder that is still there after a power cut.

use std::io;
use std::path::Path;

use crate::Disk;

/// Creates a folder and all missing folders above it, each durable before the next one is created.
///
/// The nearest existing folder is made durable in its parent too: an earlier process may have created it and died
/// before its sync.
///
/// # Errors
/// The errors of the disk. A parent of the nearest existing folder that this process may not read is assumed to belong
/// to someone else, and is not synced.
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

/// Returns the folder that contains `path`: `.` for a bare name, `None` for a root.
pub(crate) fn parent(path: &Path) -> Option<&Path> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() && path != Path::new(".") => Some(Path::new(".")),
        Some(above) if above.as_os_str().is_empty() => None,
        above => above,
    }
}
