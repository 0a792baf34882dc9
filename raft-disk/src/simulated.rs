//! A file system in memory that fails as real ones do: power cuts, torn and lost writes, failed and stuck syncs, rot.

mod handle;
mod state;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::names::{Target, normal};
use crate::{DirLock, Disk, DiskFile, OpenMode, RealDisk};

use handle::{SimulatedFile, SimulatedLock};
pub use state::Operation;
use state::{State, Verdict};

/// A file system in memory, with faults. Clones are the same disk; any thread may use it.
///
/// For the same seed and the same calls in the same order it behaves the same, bit for bit. See the [crate's
/// documentation](crate) for what it simulates.
#[derive(Clone)]
pub struct SimulatedDisk {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Told when held syncs may go on, or the disk was frozen or crashed.
    changed: Condvar,
}

impl SimulatedDisk {
    /// An empty disk. The seed draws what becomes of unsynced changes at a crash.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::new(State::new(seed)), changed: Condvar::new() }) }
    }

    /// Cuts the power and brings it back: every handle and lock from before is dead, each unsynced change of a file was
    /// kept, lost or torn at 512 B on its own, each unsynced change of a name was kept or lost. What is left is what
    /// this disk now holds. Faults not yet met and held syncs are forgotten.
    pub fn crash(&self) {
        self.state().crash(state::CrashKind::Drawn);
        self.shared.changed.notify_all();
    }

    /// As [`crash`](Self::crash), and nothing that was not synced is left.
    pub fn crash_losing_all_unsynced(&self) {
        self.state().crash(state::CrashKind::LosingAll);
        self.shared.changed.notify_all();
    }

    /// Lets every call fail from now on, until a crash. To crash a program, freeze first, then drop what it holds, then
    /// crash: what its destructors write would otherwise reach the disk, as it could not in a power cut.
    pub fn freeze(&self) {
        self.state().frozen = true;
        self.shared.changed.notify_all();
    }

    /// True from a freeze, or the call that [`crash_at_call`](Self::crash_at_call) named, until the crash.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }

    /// Lets the `nth` call from now fail (0: the next one) with an error of this kind.
    ///
    /// A write that fails may have written some of its sectors. A sync that fails drops the file's dirty data: it will
    /// never be durable, but reads go on showing it until [`DiskFile::drop_cache`] or a crash.
    pub fn fail_call(&self, nth: u64, kind: io::ErrorKind) {
        self.state().fail(None, nth, kind);
    }

    /// As [`fail_call`](Self::fail_call), counting only calls of one operation.
    pub fn fail_next(&self, operation: Operation, nth: u64, kind: io::ErrorKind) {
        self.state().fail(Some(operation), nth, kind);
    }

    /// Freezes the disk at the `nth` call from now that changes or syncs something (0: the next one). That call is under
    /// way when the power goes: its change counts as unsynced, its sync as not done.
    pub fn crash_at_call(&self, nth: u64) {
        self.state().crash_in = Some(nth);
    }

    /// Forgets faults and crash points that were not yet met.
    pub fn clear_faults(&self) {
        self.state().clear_faults();
    }

    /// How many calls there were, reads included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// How many calls there were that change or sync something: the crash points so far.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.state().mutations
    }

    /// Lets every sync from now on wait, of files and of folders, until [`release_syncs`](Self::release_syncs), or a
    /// freeze or crash, at which they fail.
    pub fn hold_syncs(&self) {
        self.state().holding = true;
    }

    /// Lets the held syncs go on.
    pub fn release_syncs(&self) {
        self.state().holding = false;
        self.shared.changed.notify_all();
    }

    /// How many syncs are waiting.
    #[must_use]
    pub fn held_syncs(&self) -> usize {
        self.state().held
    }

    /// Flips the bits `mask` of one byte that is durable: rot. False when there is no such file or byte.
    pub fn rot(&self, path: &Path, offset: u64, mask: u8) -> bool {
        let mut state = self.state();
        let Ok(id) = state.names.file(&normal(path)) else { return false };
        state.files.get_mut(&id).is_some_and(|file| file.rot(offset, mask))
    }

    /// What the medium certainly holds under a name: what [`crash_losing_all_unsynced`](Self::crash_losing_all_unsynced)
    /// would leave.
    #[must_use]
    pub fn durable(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.names.durable_file(&normal(path))?;
        state.files.get(&id).map(|file| file.durable().to_vec())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock half-way through a change.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call without a handle, of the present life of the disk.
    fn call<T>(&self, operation: Operation, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        match state.enter(operation) {
            Verdict::Go => act(&mut state),
            Verdict::Fail(error) => Err(error),
            Verdict::Cut(error) => {
                // Under way when the power goes: made, but unsynced.
                let _ = act(&mut state);
                Err(error)
            }
        }
    }

    /// Waits while syncs are held. Fails when the disk was frozen or crashed meanwhile.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>) -> io::Result<MutexGuard<'a, State>> {
        let generation = state.generation;
        state.held += 1;
        let mut state = self
            .shared
            .changed
            .wait_while(state, |state| state.holding && !state.frozen && state.generation == generation)
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
                path: path.clone(),
            }) as _)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Operation::Rename, |state| state.names.rename(&normal(from), &normal(to)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Operation::Remove, |state| state.names.unlink(&normal(path)))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.call(Operation::CreateDir, |state| state.names.create_dir_all(&normal(path)))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.call(Operation::List, |state| state.names.list(&normal(path)))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call(Operation::Exists, |state| Ok(state.names.get(&normal(path)).is_some()))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        match state.enter(Operation::SyncDir) {
            Verdict::Go => self.wait(state)?.names.sync(&normal(path)),
            // The names stay unknown: a crash draws what became of them.
            Verdict::Fail(error) | Verdict::Cut(error) => Err(error),
        }
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
