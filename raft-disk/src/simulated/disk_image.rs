//! What a simulated disk holds durably, to look at, to change and to build disks from.

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

/// The durable content of a disk: its names, and the bytes of its files. A copy costs little, however large the files
/// are, so that a test can build thousands of disks from one, each a little different.
///
/// Two are equal when the same names have the same content.
#[derive(Clone, Default)]
pub struct DiskImage {
    names: BTreeMap<PathBuf, Target>,
    files: BTreeMap<u64, Image>,
}

impl DiskImage {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The files, by name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.names.iter().filter(|(_, target)| **target != Target::Folder).map(|(path, _)| path.as_path())
    }

    /// The length of a file, in bytes.
    #[must_use]
    pub fn len(&self, path: &Path) -> Option<u64> {
        self.file(path).map(|file| file.len() as u64)
    }

    /// True when there is nothing on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The content of a file.
    #[must_use]
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        self.file(path).map(Image::to_vec)
    }

    /// Puts a file there, with the folders above it, in place of what has its name.
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

    /// Flips the bits `mask` of one byte of a file. False when there is no such byte.
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
    /// A disk that holds what the image holds, all of it durable.
    #[must_use]
    pub fn from_image(seed: u64, image: &DiskImage) -> Self {
        Self::with(State::from_image(seed, image))
    }

    /// What the medium certainly holds now: what
    /// [`crash_losing_all_unsynced`](Self::crash_losing_all_unsynced) would leave.
    #[must_use]
    pub fn image(&self) -> DiskImage {
        let state = self.state();
        let mut names = state.names.clone();
        names.crash(&Cuts::default(), None);
        let files = names.files().filter_map(|id| Some((id, state.files.get(&id)?.durable().clone())));
        DiskImage { files: files.collect(), names: names.durable().clone() }
    }

    /// Puts a durable file there, with the folders above it, in place of the content of what has its name. It is not
    /// counted as a call, meets no fault and may be done while the disk is frozen: the disk is taken out and written to
    /// elsewhere.
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

    /// Flips the bits `mask` of one byte that is durable: rot. False when there is no such file or byte.
    pub fn rot(&self, path: &Path, offset: u64, mask: u8) -> bool {
        let mut state = self.state();
        let Ok(id) = state.names.file(&normal(path)) else { return false };
        let rotten = usize::try_from(offset).is_ok_and(|at| state.file(id).rot(at, mask));
        state.injected.rotten_bytes += u64::from(rotten && mask != 0);
        rotten
    }

    /// A digest of all that the disk holds, durably and in the cache, of names and content; of what it counted (calls,
    /// mutations, lives) and of what it will draw. Two runs of one seed agree on it, on any machine, as long as they made the
    /// same calls; where it differs first, they went apart.
    ///
    /// Holes cost nothing, and a block that was digested before costs next to nothing until it is written again: it may
    /// be asked for often.
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

    /// What the medium certainly holds under a name: what [`crash_losing_all_unsynced`](Self::crash_losing_all_unsynced)
    /// would leave.
    #[must_use]
    pub fn durable(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match state.names.durable().get(&normal(path))? {
            Target::File(id) => state.files.get(id).map(|file| file.durable().to_vec()),
            Target::Folder => None,
        }
    }

    /// Whether a power cut could leave something else of a file than [`durable`](Self::durable) says: the cache holds
    /// changes of its content that no sync has covered. It may be asked while the disk is frozen.
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
