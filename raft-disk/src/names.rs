//! The names of a simulated file system: as programs see them, and as a power cut would leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::rng::Rng;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Folder,
    /// A file, by its number: a name can change while the file is open.
    File(u64),
}

/// All names, by path. Roots need none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    cached: BTreeMap<PathBuf, Target>,
    durable: BTreeMap<PathBuf, Target>,
    pending: Vec<Change>,
}

/// A change of names that is not durable. Each is kept or lost as a whole: file systems journal them.
#[derive(Clone, Debug)]
enum Change {
    Link { path: PathBuf, target: Target },
    Rename { from: PathBuf, to: PathBuf, target: Target },
    Unlink { path: PathBuf },
}

/// A path without `.` parts and trailing separators, so that every name has one spelling.
pub(crate) fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

impl Names {
    pub(crate) fn get(&self, path: &Path) -> Option<Target> {
        if is_root(path) { Some(Target::Folder) } else { self.cached.get(path).copied() }
    }

    /// The file of this name.
    pub(crate) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.get(path) {
            Some(Target::File(id)) => Ok(id),
            Some(Target::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Gives a file or folder a name that is free.
    pub(crate) fn link(&mut self, path: &Path, target: Target) -> io::Result<()> {
        self.folder(parent(path))?;
        self.apply(Change::Link { path: path.to_path_buf(), target });
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let target = Target::File(self.file(from)?);
        self.folder(parent(to))?;
        if self.get(to) == Some(Target::Folder) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            self.apply(Change::Rename { from: from.to_path_buf(), to: to.to_path_buf(), target });
        }
        Ok(())
    }

    pub(crate) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.apply(Change::Unlink { path: path.to_path_buf() });
        Ok(())
    }

    pub(crate) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        match self.get(path) {
            Some(Target::Folder) => Ok(()),
            Some(Target::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                self.create_dir_all(parent(path))?;
                self.link(path, Target::Folder)
            }
        }
    }

    /// The names right in a folder, sorted.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.folder(path)?;
        Ok(self.cached.keys().filter(|name| parent(name) == path).cloned().collect())
    }

    /// Makes the names in a folder durable.
    pub(crate) fn sync(&mut self, path: &Path) -> io::Result<()> {
        self.folder(path)?;
        // A rename from one folder to another is durable as a whole, and with it all that came before: a journal
        // keeps its order.
        let last_across = self.pending.iter().rposition(|change| change.touches(path) && change.is_across());
        let mut kept = Vec::new();
        for (at, change) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if change.touches(path) || last_across.is_some_and(|last| at <= last) {
                change.apply(&mut self.durable);
            } else {
                kept.push(change);
            }
        }
        self.pending = kept;
        Ok(())
    }

    /// The power is cut: unsynced changes are lost, or with a generator each is kept or lost. Answers the files that
    /// still have a name.
    pub(crate) fn crash(&mut self, mut rng: Option<&mut Rng>) -> BTreeSet<u64> {
        for change in std::mem::take(&mut self.pending) {
            if rng.as_mut().is_some_and(|rng| rng.coin()) {
                change.apply(&mut self.durable);
            }
        }
        // What stood in a folder that is lost is lost with it.
        let names: Vec<_> = self.durable.keys().cloned().collect();
        for name in names {
            let above = parent(&name);
            if !is_root(above) && self.durable.get(above) != Some(&Target::Folder) {
                self.durable.remove(&name);
            }
        }
        self.cached.clone_from(&self.durable);
        self.durable
            .values()
            .filter_map(|target| match target {
                Target::File(id) => Some(*id),
                Target::Folder => None,
            })
            .collect()
    }

    /// The file that a power cut would certainly leave under this name.
    pub(crate) fn durable_file(&self, path: &Path) -> Option<u64> {
        match self.durable.get(path)? {
            Target::File(id) => Some(*id),
            Target::Folder => None,
        }
    }

    fn folder(&self, path: &Path) -> io::Result<()> {
        match self.get(path) {
            Some(Target::Folder) => Ok(()),
            Some(Target::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn apply(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push(change);
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Target>) {
        match self {
            Self::Link { path, target } => {
                names.insert(path.clone(), *target);
            }
            Self::Rename { from, to, target } => {
                // Its file may have no name here yet, or another one may have taken the old name.
                if names.get(from) == Some(target) {
                    names.remove(from);
                }
                names.insert(to.clone(), *target);
            }
            Self::Unlink { path } => {
                names.remove(path);
            }
        }
    }

    fn touches(&self, folder: &Path) -> bool {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => parent(path) == folder,
            Self::Rename { from, to, .. } => parent(from) == folder || parent(to) == folder,
        }
    }

    fn is_across(&self) -> bool {
        match self {
            Self::Link { .. } | Self::Unlink { .. } => false,
            Self::Rename { from, to, .. } => parent(from) != parent(to),
        }
    }
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}

/// The folder of a name; that of a root is itself.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
