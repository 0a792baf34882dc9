//! The snapshot worker. It owns the snapshot folder: all reads and writes of snapshots happen here.

use std::collections::BTreeMap;

use raftkit_core::LogId;
use raftkit_snapshot::{ChunkNumber, Manifest, Partial, SnapshotDir, SnapshotFile};

use crate::{SnapshotReport, SnapshotWork};

/// Owns a [`SnapshotDir`] and does its [`SnapshotWork`].
#[derive(Debug)]
pub struct SnapshotWorker {
    dir: SnapshotDir,
    open: BTreeMap<LogId, SnapshotFile>,
    partial: Option<Partial>,
}

impl SnapshotWorker {
    /// A worker for this folder.
    #[must_use]
    pub fn new(dir: SnapshotDir) -> Self {
        Self { dir, open: BTreeMap::new(), partial: None }
    }

    /// Does one piece of work. Returns the report, if that kind of work has one.
    pub fn run(&mut self, work: SnapshotWork) -> Option<SnapshotReport> {
        match work {
            SnapshotWork::Build { view, membership } => {
                Some(SnapshotReport::Built(self.build(view, membership).map_err(|error| error.to_string())))
            }
            SnapshotWork::ReadChunk { to, snapshot, chunk } => {
                let bytes = self.file(snapshot).and_then(|file| file.read_chunk(chunk));
                let bytes = bytes.map_err(|error| error.to_string());
                Some(SnapshotReport::ChunkRead { to, snapshot, chunk, bytes })
            }
            SnapshotWork::OpenPartial(manifest) => {
                Some(SnapshotReport::PartialOpened(self.open_partial(&manifest)))
            }
            SnapshotWork::StoreChunk { chunk, bytes } => {
                let partial = self.partial.as_mut().ok_or_else(|| NO_PARTIAL.to_owned());
                let stored = partial
                    .and_then(|partial| partial.store(chunk, &bytes).map_err(|error| error.to_string()));
                Some(SnapshotReport::ChunkStored(stored.map(|()| chunk)))
            }
            SnapshotWork::FinishPartial => {
                let partial = self.partial.take().ok_or_else(|| NO_PARTIAL.to_owned());
                let finished =
                    partial.and_then(|partial| partial.finish().map_err(|error| error.to_string()));
                Some(SnapshotReport::Received(finished))
            }
            SnapshotWork::DropPartial => {
                self.partial = None;
                None
            }
            SnapshotWork::Keep(keep) => {
                self.open.retain(|id, _| keep.contains(id));
                // A snapshot that cannot be removed now is removed with the next such work; it costs nothing but
                // space.
                let _ = self.dir.remove_all_but(&keep);
                None
            }
        }
    }

    fn build(
        &mut self,
        view: Box<dyn crate::SnapshotView>,
        membership: raftkit_core::Membership,
    ) -> Result<Manifest, crate::MachineError> {
        let id = view.id();
        let mut writer = self.dir.create(membership).map_err(storage)?;
        view.write_to(&mut writer)?;
        let file = writer.finish(id).map_err(storage)?;
        let manifest = file.manifest().clone();
        self.open.insert(id, file);
        Ok(manifest)
    }

    fn file(&mut self, id: LogId) -> Result<&SnapshotFile, raftkit_snapshot::SnapshotError> {
        if !self.open.contains_key(&id) {
            let file = self.dir.open(id)?;
            self.open.insert(id, file);
        }
        Ok(self.open.get(&id).expect("it was put there if it was not"))
    }

    fn open_partial(
        &mut self,
        manifest: &Manifest,
    ) -> Result<std::collections::BTreeSet<ChunkNumber>, String> {
        let partial = self.dir.partial(manifest).map_err(|error| error.to_string())?;
        let have = partial.have().clone();
        self.partial = Some(partial);
        Ok(have)
    }
}

const NO_PARTIAL: &str = "no snapshot is coming in";

fn storage(error: impl std::error::Error + Send + Sync + 'static) -> crate::MachineError {
    crate::MachineError::Storage(Box::new(error))
}
