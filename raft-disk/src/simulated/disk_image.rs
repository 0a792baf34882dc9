//! The durable content of a simulated disk, to inspect, change, and build disks from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::SimulatedDisk;
use super::state::State;
use crate::cuts::Cuts;
use crate::digest::Digest;
use crate::image::Image;
use crate::images::FileImages;
use crate::names::{Names, Target, folders_above, normal};

/// The durable content of a disk: its names and the content of its files. Copies are cheap whatever the size of the
/// files, so a test can build thousands of disks from one image, each slightly different.
///
/// Two images are equal if the same names have the same content.
#[derive(Clone, Default)]
pub struct DiskImage {
    names: BTreeMap<PathBuf, Target>,
    files: BTreeMap<u64, Image>,
}

impl DiskImage {
    /// Creates an empty image.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Iterates over the files, sorted by name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.names.iter().filter(|(_, target)| **target != Target::Folder).map(|(path, _)| path.as_path())
    }

    /// Returns the length of a file, in bytes.
    #[must_use]
    pub fn len(&self, path: &Path) -> Option<u64> {
        self.file(path).map(|file| file.len() as u64)
    }

    /// Returns true if the image contains nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the content of a file.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.file(path).map(Image::to_vec)
    }

    /// Stores a file, replacing any file with the same name and creating the folders above it.
    pub fn put(&mut self, path: &Path, content: &[u8]) {
        let path = normal(path);
        for above in folders_above(&path) {
            self.names.insert(above.to_path_buf(), Target::Folder);
        }
        let id = self.files.keys().next_back().map_or(0, |last| last + 1);
        let mut image = Image::default();
        image.write(0, content);
        self.files.insert(id, image);
        self.names.insert(path, Target::File(id));
        self.files.retain(|id, _| self.names.values().any(|target| *target == Target::File(*id)));
    }

    /// Flips the bits `mask` of one byte of a file. Returns false if that byte does not exist.
    pub fn rot(&mut self, path: &Path, offset: u64, mask: u8) -> bool {
        let Some(Target::File(id)) = self.names.get(&normal(path)) else { return false };
        let Some(file) = self.files.get_mut(id) else { return false };
        let mut byte = [0];
        let Some(at) = usize::try_from(offset).ok().filter(|at| file.read(*at, &mut byte)) else {
            return false;
        };
        file.write(at, &[byte[0] ^ mask]);
        true
    }

    fn file(&self, path: &Path) -> Option<&Image> {
        match self.names.get(&normal(path))? {
            Target::File(id) => self.files.get(id),
            Target::Folder => None,
        }
    }
}

impl PartialEq for DiskImage {
    fn eq(&self, other: &Self) -> bool {
        self.names.keys().eq(other.names.keys())
            && self.names.keys().all(|name| self.file(name) == other.file(name))
    }
}

impl Eq for DiskImage {}

impl fmt::Debug for DiskImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lengths = self.names.keys().map(|name| (name, self.len(name)));
        f.debug_map().entries(lengths).finish()
    }
}

impl SimulatedDisk {
    /// Creates a disk with the content of the image, all of it durable.
    #[must_use]
    pub fn from_image(seed: u64, image: &DiskImage) -> Self {
        Self::with(State::from_image(seed, image))
    }

    /// Returns what the medium is certain to hold now: the state that
    /// [`crash_losing_all_unsynced`](Self::crash_losing_all_unsynced) would leave.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        let state = self.state();
        let mut names = state.names.clone();
        names.crash(&Cuts::default(), None);
        let files = names.files().filter_map(|id| Some((id, state.files.get(&id)?.durable().clone())));
        DiskImage { files: files.collect(), names: names.durable().clone() }
    }

    /// Stores a durable file, replacing the content of any file with the same name and creating the folders above it.
    /// It acts as if the disk were removed and written to in another machine: it does not count as a call, meets no
    /// fault, and works while the disk is frozen.
    pub fn put(&self, path: &Path, content: &[u8]) {
        let path = normal(path);
        let mut image = Image::default();
        image.write(0, content);
        let mut state = self.state();
        let id = state.names.file(&path).unwrap_or(state.next_file);
        state.next_file = state.next_file.max(id + 1);
        state.files.insert(id, FileImages::durable_from(image));
        state.names.place(&path, id);
    }

    /// Flips the bits `mask` of one durable byte, to simulate rot. Returns false if the file or byte does not exist.
    pub fn rot(&self, path: &Path, offset: u64, mask: u8) -> bool {
        let mut state = self.state();
        let Ok(id) = state.names.file(&normal(path)) else { return false };
        let rotten = usize::try_from(offset).is_ok_and(|at| state.file(id).rot(at, mask));
        state.injected.rotten_bytes += u64::from(rotten && mask != 0);
        rotten
    }

    /// Returns a digest of everything on the disk, durable and cached, names and content, of the counters (calls,
    /// mutations, lives), and of the state of the random generator. Two runs with the same seed and the same calls have
    /// the same digest on every platform; the first difference shows where they diverged.
    ///
    /// It is cheap enough to call often: holes cost nothing, and an unchanged block is not digested again.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let state = self.state();
        let mut digest = Digest::default();
        state.names.digest(&mut digest);
        for (id, file) in &state.files {
            digest.add(*id);
            file.digest(&mut digest);
        }
        for number in [state.calls, state.mutations, state.generation, state.rng.state()] {
            digest.add(number);
        }
        digest.finish()
    }

    /// Returns what the medium is certain to hold under a name: the content that
    /// [`crash_losing_all_unsynced`](Self::crash_losing_all_unsynced) would leave.
    #[must_use]
    pub fn durable(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match state.names.durable().get(&normal(path))? {
            Target::File(id) => state.files.get(id).map(|file| file.durable().to_vec()),
            Target::Folder => None,
        }
    }

    /// Returns true if a power cut could leave other content than [`durable`](Self::durable) says, because the cache
    /// holds changes that no sync has covered. Works while the disk is frozen.
    #[must_use]
    pub fn is_dirty(&self, path: &Path) -> bool {
        let state = self.state();
        let file = state.names.get(&normal(path)).and_then(|target| match target {
            Target::File(id) => state.files.get(&id),
            Target::Folder => None,
        });
        file.is_some_and(FileImages::is_dirty)
    }
}

impl State {
    fn from_image(seed: u64, image: &DiskImage) -> Self {
        let mut state = Self::new(seed);
        state.names = Names::durable_from(image.names.clone());
        state.next_file = image.files.keys().next_back().map_or(0, |last| last + 1);
        state.files =
            image.files.iter().map(|(id, file)| (*id, FileImages::durable_from(file.clone()))).collect();
        state
    }
}
