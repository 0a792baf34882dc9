//! A disk that shows the content of another disk and keeps every change in memory, so that an opening with all its
//! repairs can be tried out without touching the disk below.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raftkit_disk::{CopyOnWrite, DirLock, Disk, DiskFile, OpenMode};
use redb::StorageBackend;

/// A disk on top of another one, which is only read. Folders are not tracked, only the files in them.
#[derive(Debug)]
pub(super) struct ShadowDisk {
    below: Arc<dyn Disk>,
    /// Files opened, created or renamed on this disk; `None` for a removed file.
    files: Mutex<BTreeMap<PathBuf, Option<Arc<ShadowFile>>>>,
}

/// A file whose changes stay in memory. All its handles see the same content.
#[derive(Debug)]
struct ShadowFile {
    shown: CopyOnWrite,
    below: Arc<dyn DiskFile>,
}

/// The empty content below a file created in memory.
#[derive(Debug)]
struct Nothing;

impl ShadowDisk {
    pub(super) fn new(below: Arc<dyn Disk>) -> Self {
        Self { below, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<ShadowFile>>>> {
        // Poisoning can be ignored: each change is a single insertion.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the file with this name, as this disk shows it.
    fn find(&self, path: &Path) -> io::Result<Option<Arc<ShadowFile>>> {
        if let Some(known) = self.files().get(path) {
            return Ok(known.clone());
        }
        if !self.below.exists(path)? {
            return Ok(None);
        }
        let file = Arc::new(ShadowFile::over(self.below.open(path, OpenMode::ReadOnly)?)?);
        self.files().insert(path.to_path_buf(), Some(file.clone()));
        Ok(Some(file))
    }
}

impl Disk for ShadowDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = match (self.find(path)?, mode) {
            (Some(_), OpenMode::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), OpenMode::Existing | OpenMode::ReadOnly | OpenMode::Either) => file,
            (None, OpenMode::Existing | OpenMode::ReadOnly) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::New | OpenMode::Either) => {
                let made = Arc::new(ShadowFile::over(Arc::new(Nothing))?);
                self.files().insert(path.to_path_buf(), Some(made.clone()));
                made
            }
        };
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.find(from)?.ok_or(io::ErrorKind::NotFound)?;
        let mut files = self.files();
        files.insert(from.to_path_buf(), None);
        files.insert(to.to_path_buf(), Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        self.files().insert(path.to_path_buf(), None);
        Ok(())
    }

    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = self.below.list(path)?;
        let files = self.files();
        names.retain(|name| !files.contains_key(name));
        let known = files.iter().filter(|(name, file)| file.is_some() && name.parent() == Some(path));
        names.extend(known.map(|(name, _)| name.clone()));
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.files().get(path) {
            Some(known) => Ok(known.is_some()),
            None => self.below.exists(path),
        }
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    /// Unsupported: the inspection already holds the lock on the disk below.
    fn lock_dir(&self, _path: &Path) -> io::Result<Box<dyn DirLock>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl ShadowFile {
    fn over(below: Arc<dyn DiskFile>) -> io::Result<Self> {
        Ok(Self { shown: CopyOnWrite::new(below.clone())?, below })
    }
}

impl DiskFile for ShadowFile {
    fn len(&self) -> io::Result<u64> {
        StorageBackend::len(&self.shown)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        StorageBackend::set_len(&self.shown, len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        StorageBackend::read(&self.shown, offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        StorageBackend::write(&self.shown, offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Drops the cache of the disk below, so that reads show what the medium holds.
    fn drop_cache(&self) -> io::Result<()> {
        self.below.drop_cache()
    }
}

impl DiskFile for Nothing {
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn set_len(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn read_at(&self, _offset: u64, _buffer: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn write_at(&self, _offset: u64, _data: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use raftkit_disk::SimulatedDisk;

    use super::*;

    fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
        let file = disk.open(path, OpenMode::ReadOnly).expect("it is there");
        let mut bytes = vec![0; usize::try_from(file.len().expect("it is readable")).expect("it is short")];
        file.read_at(0, &mut bytes).expect("it is readable");
        bytes
    }

    #[test]
    fn what_is_changed_here_is_seen_here_and_not_below() {
        let below = SimulatedDisk::new(1);
        let [a, b, c] = ["/d/a", "/d/b", "/d/c"].map(Path::new);
        below.put(a, b"aaaa");
        below.put(b, b"bbbb");
        let mutations = below.mutations();
        let shadow = ShadowDisk::new(Arc::new(below.clone()));
        let file = shadow.open(a, OpenMode::Existing).expect("it is there");
        file.write_durably(1, b"xy").expect("it goes to memory");
        assert_eq!(content(&shadow, a), b"axya");
        file.set_len(2).expect("it goes to memory");
        assert_eq!(content(&shadow, a), b"ax");

        let made = shadow.open(c, OpenMode::New).expect("it is not there");
        made.write_at(0, b"new").expect("it goes to memory");
        assert!(shadow.open(c, OpenMode::New).is_err());
        shadow.rename(c, b).expect("it is there");
        assert_eq!((content(&shadow, b), shadow.exists(c).ok()), (b"new".to_vec(), Some(false)));
        shadow.remove(a).expect("it is there");
        assert!(shadow.open(a, OpenMode::Existing).is_err() && shadow.rename(a, c).is_err());
        assert_eq!(shadow.list(Path::new("/d")).expect("it is there"), [b]);

        assert_eq!((content(&below, a), content(&below, b)), (b"aaaa".to_vec(), b"bbbb".to_vec()));
        assert_eq!((below.mutations(), below.exists(c).ok()), (mutations, Some(false)));
    }
}
