//! The names in a simulated file system: as programs see them, and as a power cut would leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::cuts::Cuts;
use crate::digest::Digest;
use crate::rng::Rng;

/// The target of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Folder,
    /// A file, by number, because its name can change while it is open.
    File(u64),
}

impl Target {
    fn file(self) -> Option<u64> {
        match self {
            Self::File(id) => Some(id),
            Self::Folder => None,
        }
    }
}

/// All names by path, except roots, which need none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    cached: BTreeMap<PathBuf, Target>,
    durable: BTreeMap<PathBuf, Target>,
    /// Changes that are not durable yet, in order, each with its moment.
    pending: Vec<(u64, Change)>,
}

/// A change of names that is not durable. File systems journal such changes, so each is kept or lost as a whole.
#[derive(Clone, Debug)]
enum Change {
    Link { path: PathBuf, target: Target },
    Rename { from: PathBuf, to: PathBuf, target: Target },
    Unlink { path: PathBuf },
}

/// Removes `.` components and trailing separators from a path, so that every name has a single spelling.
pub(crate) fn normal(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}

impl Names {
    pub(crate) fn get(&self, path: &Path) -> Option<Target> {
        if is_root(path) { Some(Target::Folder) } else { self.cached.get(path).copied() }
    }

    /// Returns the file with this name.
    pub(crate) fn file(&self, path: &Path) -> io::Result<u64> {
        match self.get(path) {
            Some(Target::File(id)) => Ok(id),
            Some(Target::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Gives a file or folder a name that is not in use.
    pub(crate) fn link(&mut self, moment: u64, path: &Path, target: Target) -> io::Result<()> {
        self.folder(parent(path))?;
        self.apply(moment, Change::Link { path: path.to_path_buf(), target });
        Ok(())
    }

    pub(crate) fn rename(&mut self, moment: u64, from: &Path, to: &Path) -> io::Result<()> {
        let target = Target::File(self.file(from)?);
        self.folder(parent(to))?;
        if self.get(to) == Some(Target::Folder) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from != to {
            self.apply(moment, Change::Rename { from: from.to_path_buf(), to: to.to_path_buf(), target });
        }
        Ok(())
    }

    pub(crate) fn unlink(&mut self, moment: u64, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.apply(moment, Change::Unlink { path: path.to_path_buf() });
        Ok(())
    }

    pub(crate) fn create_dir_all(&mut self, moment: u64, path: &Path) -> io::Result<()> {
        match self.get(path) {
            Some(Target::Folder) => Ok(()),
            Some(Target::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                self.create_dir_all(moment, parent(path))?;
                self.link(moment, path, Target::Folder)
            }
        }
    }

    /// Lists the names directly in a folder, sorted.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.folder(path)?;
        Ok(self.cached.keys().filter(|name| parent(name) == path).cloned().collect())
    }

    /// Makes the changes of names in a folder before `mark` durable, as far as they have happened.
    pub(crate) fn sync(&mut self, path: &Path, mark: u64, has_happened: impl Fn(u64) -> bool) {
        // A rename between folders becomes durable as a whole, together with everything before it, because a journal
        // keeps its order.
        let last_across = self
            .pending
            .iter()
            .rfind(|(at, change)| {
                *at < mark && has_happened(*at) && change.touches(path) && change.is_across()
            })
            .map(|(at, _)| *at);
        let mut kept = Vec::new();
        for (at, change) in std::mem::take(&mut self.pending) {
            let covered = change.touches(path) || last_across.is_some_and(|last| at <= last);
            if at < mark && covered && has_happened(at) {
                change.apply(&mut self.durable);
            } else {
                kept.push((at, change));
            }
        }
        self.pending = kept;
    }

    /// Cuts the power. Changes at or after a cut are lost. Without a generator all other pending changes are lost as
    /// well; with one, each is kept or lost. Returns the files that still have a name, and the number of changes lost.
    pub(crate) fn crash(&mut self, cuts: &Cuts, mut rng: Option<&mut Rng>) -> (BTreeSet<u64>, u64) {
        if self.pending.is_empty() {
            return (self.files().collect(), 0);
        }
        let mut lost = 0;
        for (at, change) in std::mem::take(&mut self.pending) {
            if rng.as_mut().is_some_and(|rng| cuts.has_happened(at) && rng.coin()) {
                change.apply(&mut self.durable);
            } else {
                lost += 1;
            }
        }
        remove_orphans(&mut self.durable);
        self.cached.clone_from(&self.durable);
        (self.files().collect(), lost)
    }

    /// Kills the process: changes at or after a cut have not happened, unless they are durable. Returns true if other
    /// changes are still not durable.
    pub(crate) fn kill(&mut self, cuts: &Cuts) -> bool {
        let before = self.pending.len();
        self.pending.retain(|(at, _)| cuts.has_happened(*at));
        if self.pending.len() < before {
            self.cached.clone_from(&self.durable);
            for (_, change) in &self.pending {
                change.apply(&mut self.cached);
            }
            remove_orphans(&mut self.cached);
            // A durable name in a folder that was never created cannot be seen.
            self.durable.retain(|name, _| has_folder(name, &self.cached));
        }
        !self.pending.is_empty()
    }

    /// Returns the files that have a name, or could get one back when a crash keeps or loses certain changes.
    pub(crate) fn files_ever(&self) -> BTreeSet<u64> {
        let pending = self.pending.iter().filter_map(|(_, change)| change.target());
        let targets = self.cached.values().chain(self.durable.values()).copied().chain(pending);
        targets.filter_map(Target::file).collect()
    }

    /// Adds the durable names, the cached names and the pending changes to a digest.
    pub(crate) fn digest(&self, digest: &mut Digest) {
        for names in [&self.durable, &self.cached] {
            digest.add(names.len() as u64);
            for (name, target) in names {
                digest.add_bytes(name.as_os_str().as_encoded_bytes());
                digest.add(target.file().unwrap_or(u64::MAX));
            }
        }
        digest.add(self.pending.len() as u64);
        self.pending.iter().for_each(|(moment, _)| digest.add(*moment));
    }

    /// Returns all files that have a name; a file with two names appears twice.
    pub(crate) fn files(&self) -> impl Iterator<Item = u64> {
        self.cached.values().copied().filter_map(Target::file)
    }

    /// Returns a name of the file.
    pub(crate) fn path_of(&self, id: u64) -> Option<&Path> {
        self.cached.iter().find(|(_, target)| **target == Target::File(id)).map(|(path, _)| path.as_path())
    }

    /// Returns the names that a power cut is certain to leave.
    pub(crate) fn durable(&self) -> &BTreeMap<PathBuf, Target> {
        &self.durable
    }

    /// Creates names that are all durable.
    pub(crate) fn durable_from(names: BTreeMap<PathBuf, Target>) -> Self {
        Self { cached: names.clone(), durable: names, pending: Vec::new() }
    }

    /// Gives a file a durable name, creating durable folders for it.
    pub(crate) fn place(&mut self, path: &Path, id: u64) {
        self.pending.retain(|(_, change)| !change.names(path));
        for names in [&mut self.cached, &mut self.durable] {
            names.extend(folders_above(path).map(|above| (above.to_path_buf(), Target::Folder)));
            names.insert(path.to_path_buf(), Target::File(id));
        }
    }

    pub(crate) fn folder(&self, path: &Path) -> io::Result<()> {
        match self.get(path) {
            Some(Target::Folder) => Ok(()),
            Some(Target::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn apply(&mut self, moment: u64, change: Change) {
        change.apply(&mut self.cached);
        self.pending.push((moment, change));
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Target>) {
        match self {
            Self::Link { path, target } => {
                names.insert(path.clone(), *target);
            }
            Self::Rename { from, to, target } => {
                // The file may have no name here yet, or another file may have taken the old name.
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

    /// Returns the target that the change gives a name, if any.
    fn target(&self) -> Option<Target> {
        match self {
            Self::Link { target, .. } | Self::Rename { target, .. } => Some(*target),
            Self::Unlink { .. } => None,
        }
    }

    fn touches(&self, folder: &Path) -> bool {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => parent(path) == folder,
            Self::Rename { from, to, .. } => parent(from) == folder || parent(to) == folder,
        }
    }

    fn names(&self, name: &Path) -> bool {
        match self {
            Self::Link { path, .. } | Self::Unlink { path } => path == name,
            Self::Rename { from, to, .. } => from == name || to == name,
        }
    }

    fn is_across(&self) -> bool {
        match self {
            Self::Link { .. } | Self::Unlink { .. } => false,
            Self::Rename { from, to, .. } => parent(from) != parent(to),
        }
    }
}

/// Removes names whose folder is gone.
fn remove_orphans(names: &mut BTreeMap<PathBuf, Target>) {
    // In this order, a folder comes before its content.
    for name in names.keys().cloned().collect::<Vec<_>>() {
        if !has_folder(&name, names) {
            names.remove(&name);
        }
    }
}

fn has_folder(name: &Path, names: &BTreeMap<PathBuf, Target>) -> bool {
    let above = parent(name);
    is_root(above) || names.get(above) == Some(&Target::Folder)
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none()
}

/// Returns the folders above a name, except the root.
pub(crate) fn folders_above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1).filter(|above| !is_root(above))
}

/// Returns the folder of a name; a root is its own folder.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
