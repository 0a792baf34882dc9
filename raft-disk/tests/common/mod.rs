//! Helpers for several test files.

use std::path::Path;
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, OpenMode, SimulatedDisk};

/// Creates an empty file with a durable name.
pub(crate) fn create(disk: &SimulatedDisk, name: &str) -> Arc<dyn DiskFile> {
    let file = disk.open(Path::new(name), OpenMode::New).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file
}

/// The content that reads show.
pub(crate) fn content(disk: &SimulatedDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(Path::new(name), OpenMode::Existing).ok()?;
    let mut buffer = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut buffer).unwrap();
    Some(buffer)
}
