//! A read concurrent with a write, at the one moment when it could return a mixture.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::*;
use raftkit_core::*;
use raftkit_disk::{DirLock, Disk, DiskFile, OpenMode, SimulatedDisk};
use raftkit_log::*;

type Act = Box<dyn FnOnce() + Send>;

/// An action to perform in the next read of the database file, on the reader's own thread.
#[derive(Clone, Default)]
struct Hook(Arc<Mutex<Option<Act>>>);

impl Hook {
    fn set(&self, act: impl FnOnce() + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(act));
    }

    fn run(&self) {
        let act = self.0.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
    }

    fn has_run(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

/// A disk with the hook in its database file.
#[derive(Debug)]
struct HookedDisk(SimulatedDisk, Hook);

#[derive(Debug)]
struct HookedFile(Arc<dyn DiskFile>, Option<Hook>);

impl Disk for HookedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let hook = (path == Path::new(FILE)).then(|| self.1.clone());
        Ok(Arc::new(HookedFile(self.0.open(path, mode)?, hook)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        Disk::lock_dir(&self.0, path)
    }
}

impl DiskFile for HookedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.1.iter().for_each(Hook::run);
        self.0.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write_durably(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_durably(offset, data)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.0.drop_cache()
    }
}

/// The first half of the range is in the database, the rest in memory. While the reader is in the first half, the log
/// is truncated in the middle of it and continues with other entries.
#[test]
fn a_read_is_no_mixture_of_before_and_after_a_truncation() {
    let hook = Hook::default();
    let disk = Arc::new(HookedDisk(SimulatedDisk::new(1), hook.clone()));
    let (mut store, _) = Store::open(disk, Path::new(DIR), options()).unwrap();
    let entries =
        |term, first, last| (first..=last).map(|index| command(term, index, 50)).collect::<Vec<_>>();
    store.queue(append(1, entries(1, 1, 5)));
    store.flush().unwrap();
    settle(&mut store);
    store.queue(append(2, entries(1, 6, 9)));
    store.flush().unwrap();
    let reader = store.reader();
    hook.set(move || {
        store.queue(Write { truncate_from: Some(LogIndex(4)), ..append(3, entries(2, 4, 9)) });
        store.flush().unwrap();
        // Keep the store alive until the read is over.
        std::mem::forget(store);
    });
    let read = reader.read(LogIndex(1), LogIndex(9), usize::MAX).unwrap();
    assert!(hook.has_run(), "the reader read no file");
    let entries = |term, first, last| (first..=last).map(move |index| command(term, index, 50));
    assert_eq!(read, ReadResult::Entries(entries(1, 1, 3).chain(entries(2, 4, 9)).collect()));
}
