//! An in-memory file system that fails like real ones: power cuts, torn and lost writes, failed and stuck syncs, rot.

mod control;
mod deferred;
mod disk_image;
mod ends;
mod faults;
mod handle;
mod operation;
mod rot;
mod space;
mod state;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::image::BLOCK;
use crate::names::{Target, normal};
use crate::{DirLock, Disk, DiskFile, OpenMode, RealDisk};

use deferred::Covers;
pub use deferred::{DeferredSync, SyncId, SyncKind};
pub use disk_image::DiskImage;
pub use faults::{Chance, ErrorChance, Faults, Injected};
use handle::{SimulatedFile, SimulatedLock};
pub use operation::Operation;
use state::{State, Verdict};

/// An in-memory file system with faults. Clones refer to the same disk, and any thread may use it.
///
/// The same seed and the same calls in the same order give the same behaviour, bit for bit. The [crate's
/// documentation](crate) lists what is simulated.
#[derive(Clone)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Notified when held syncs may continue, or when the disk is frozen or crashes.
    changed: Condvar,
}

impl SimulatedDisk {
    /// Creates an empty disk. The seed determines the fate of unsynced changes in a crash.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(State::new(seed))
    }

    fn with(state: State) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Poisoning can be ignored: nothing panics halfway through a change while holding the lock.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call that needs no handle, in the present life of the disk.
    fn call<T>(&self, operation: Operation, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        match state.enter(operation) {
            Verdict::Go => act(&mut state),
            Verdict::Fail(error) => Err(error),
            Verdict::Cut(error) => {
                // The power fails during the call: the change is made, but unsynced.
                let _ = act(&mut state);
                Err(error)
            }
        }
    }

    /// Waits while syncs are held, or, if this one stalls, until syncs are released. Fails if the disk is frozen or
    /// crashes meanwhile.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        stalls: bool,
    ) -> io::Result<MutexGuard<'a, State>> {
        let (generation, releases) = (state.generation, state.releases);
        state.held += 1;
        let mut state = self
            .shared
            .changed
            .wait_while(state, |state| {
                let waits = state.holding || (stalls && state.releases == releases);
                waits && !state.frozen && state.generation == generation
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.generation == generation {
            state.held -= 1;
        }
        state.alive(generation)?;
        Ok(state)
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let path = normal(path);
        let operation = match mode {
            OpenMode::Existing | OpenMode::ReadOnly => Operation::Open,
            OpenMode::New | OpenMode::Either => Operation::Create,
        };
        self.call(operation, |state| {
            let id = state.open(&path, mode)?;
            Ok(Arc::new(SimulatedFile {
                disk: self.clone(),
                generation: state.generation,
                id,
                mode,
                path: Arc::from(&*path),
            }) as _)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Operation::Rename, |state| {
            let moment = state.tick();
            state.names.rename(moment, &normal(from), &normal(to))
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Operation::Remove, |state| {
            let moment = state.tick();
            state.names.unlink(moment, &normal(path))
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call(Operation::CreateDir, |state| {
            let moment = state.tick();
            state.names.create_dir_all(moment, &normal(path))
        })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.call(Operation::List, |state| state.names.list(&normal(path)))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call(Operation::Exists, |state| Ok(state.names.get(&normal(path)).is_some()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = normal(path);
        let mut state = self.state();
        match state.enter(Operation::SyncDir) {
            Verdict::Go => {
                state.names.folder(&path)?;
                let (mark, stalls) = (state.tick(), state.stalls());
                if state.deferring {
                    state.defer(Covers::Folder, &Arc::from(path), stalls);
                } else {
                    self.wait(state, stalls)?.names.sync(&path, mark, |_| true);
                }
                Ok(())
            }
            // Leave the names pending: a crash decides their fate.
            Verdict::Fail(error) | Verdict::Cut(error) => Err(error),
        }
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        self.call(Operation::FreeBytes, |state| Ok((state.free() as u64).saturating_mul(BLOCK as u64)))
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let path = normal(path);
        self.call(Operation::Lock, |state| {
            state.open(&path.join(RealDisk::LOCK_FILE), OpenMode::Either)?;
            if !state.locks.insert(path.clone()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let lock = SimulatedLock { disk: self.clone(), generation: state.generation, path: path.clone() };
            Ok(Box::new(lock) as _)
        })
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("SimulatedDisk")
            .field("files", &state.files.len())
            .field("calls", &state.calls)
            .finish()
    }
}
