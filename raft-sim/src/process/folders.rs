//! The files of a node on its disk, and the start of a node on another node's data folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftkit_core::{NodeId, StoreId};
use raftkit_disk::{DiskImage, SimulatedDisk};
use raftkit_log::{OpenOptions, Store};

use crate::plan::script::Area;
use crate::process::host::Harm;
use crate::subject::Subject;
use crate::world::World;
use crate::{Mark, Promise, Settings};

/// File name of the log's database.
const LOG: &str = "log.redb";
/// File name of the log's journal.
pub(crate) const JOURNAL: &str = "journal";

/// The folders of a node.
pub(crate) struct Folders {
    pub(crate) log: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) snapshots: PathBuf,
}

impl Folders {
    /// All parts in one folder, as in the server, or each in a folder of its own, which the parts' documentation allows. In one
    /// folder a part that syncs the folder also makes names of the other parts durable, which hides a sync that one of
    /// them has forgotten.
    pub(crate) fn of(settings: &Settings) -> Self {
        let (log, state, snapshots) = match settings.apart {
            0 => ("/data", "/data", "/data/snapshots"),
            _ => ("/log/data", "/state/data", "/snapshots/data"),
        };
        Self { log: log.into(), state: state.into(), snapshots: snapshots.into() }
    }

    /// Path of the log's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.log.join(LOG)
    }

    /// Files of an area that exist on the disk.
    pub(crate) fn files_of(&self, image: &DiskImage, area: Area) -> Vec<PathBuf> {
        let log = [self.database(), self.log.join(JOURNAL)];
        let is_in = |path: &Path| match area {
            Area::Log | Area::LogCommit => *path == log[0],
            Area::Journal | Area::Record => *path == log[1],
            Area::Snapshots => path.starts_with(&self.snapshots),
            Area::State | Area::StateCommit => {
                !path.starts_with(&self.snapshots)
                    && !log.iter().any(|file| file == path)
                    && path.starts_with(&self.state)
            }
        };
        image.files().filter(|path| is_in(path)).map(Path::to_path_buf).collect()
    }
}

impl<S: Subject> World<S> {
    /// Opens a copy of the data folder of node `of` as node `id`, as after a mix-up of folders, and checks that it is refused.
    pub(crate) fn misplace(&mut self, id: NodeId, of: NodeId) {
        let (image, folders) = (self.hosts[&of].disk.image(), Folders::of(&self.settings));
        let is_whole = folders.files_of(&image, Area::Log).len() == 1 && self.hosts[&of].harm == Harm::None;
        if id == of || !is_whole {
            return;
        }
        self.hit(Mark::Misplaced);
        let copy = SimulatedDisk::from_image(self.rng.bits(), &image);
        let options = OpenOptions { cache_bytes: 1 << 20, ..OpenOptions::new(id, StoreId(0)) };
        if Store::open(Arc::new(copy), &folders.log, options).is_ok() {
            let what = format!("{id} opens the log of {of}");
            self.ensure(Err((Promise::OwnFolder, what)));
        }
    }
}
