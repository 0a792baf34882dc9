//! The names of a simulated file system: as programs see them, and as a power cut would leave them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::cuts::Cuts;
use crate::digest::Digest;
use crate::rng::Rng;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Folder,
    /// A file, by its number: a name can change while the file is open.
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

/// All names, by path. Roots need none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    cached: BTreeMap<PathBuf, Target>,
    durable: BTreeMap<PathBuf, Target>,
    /// In order, each with its moment.
    pending: Vec<(u64, Change)>,
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

    /// The names right in a folder, sorted.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.folder(path)?;
        Ok(self.cached.keys().filter(|name| parent(name) == path).cloned().collect())
    }

    /// Makes what happened to the names in a folder before `mark` durable, as far as it has happened.
    pub(crate) fn sync(&mut self, path: &Path, mark: u64, has_happened: impl Fn(u64) -> bool) {
        // A rename from one folder to another is durable as a whole, and with it all that came before: a journal
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

    /// The power is cut: changes behind a cut are lost, and without a generator all others too; with one each is kept
    /// or lost. Answers the files that still have a name, and how many changes were lost.
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

    /// The process is killed: changes behind a cut have not happened, unless they are durable. True when others are not
    /// durable yet.
    pub(crate) fn kill(&mut self, cuts: &Cuts) -> bool {
        let before = self.pending.len();
        self.pending.retain(|(at, _)| cuts.has_happened(*at));
        if self.pending.len() < before {
            self.cached.clone_from(&self.durable);
            for (_, change) in &self.pending {
                change.apply(&mut self.cached);
            }
            remove_orphans(&mut self.cached);
            // What is durable of a folder that never was is never seen.
            self.durable.retain(|name, _| has_folder(name, &self.cached));
        }
        !self.pending.is_empty()
    }

    /// The files that have a name, or will have one if a crash loses or keeps the right changes.
    pub(crate) fn files_ever(&self) -> BTreeSet<u64> {
        let pending = self.pending.iter().filter_map(|(_, change)| change.target());
        let targets = self.cached.values().chain(self.durable.values()).copied().chain(pending);
        targets.filter_map(Target::file).collect()
    }

    /// Of what is durable, what is cached, and which changes lie between.
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

    /// All files that have a name, one with two names twice.
    pub(crate) fn files(&self) -> impl Iterator<Item = u64> {
        self.cached.values().copied().filter_map(Target::file)
    }

    /// A name of the file.
    pub(crate) fn path_of(&self, id: u64) -> Option<&Path> {
        self.cached.iter().find(|(_, target)| **target == Target::File(id)).map(|(path, _)| path.as_path())
    }

    /// What a power cut would certainly leave.
    pub(crate) fn durable(&self) -> &BTreeMap<PathBuf, Target> {
        &self.durable
    }

    /// Names that are durable.
    pub(crate) fn durable_from(names: BTreeMap<PathBuf, Target>) -> Self {
        Self { cached: names.clone(), durable: names, pending: Vec::new() }
    }

    /// Gives a file a name that is durable, in folders that are.
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

    /// What it gives a name.
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

/// What stands in a folder that is lost is lost with it.
fn remove_orphans(names: &mut BTreeMap<PathBuf, Target>) {
    // In this order a folder comes before what stands in it.
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

/// The folders that a name stands in, but for the root.
pub(crate) fn folders_above(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().skip(1).filter(|above| !is_root(above))
}

/// The folder of a name; that of a root is itself.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}
