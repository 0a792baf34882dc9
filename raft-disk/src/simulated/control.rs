//! What a simulated disk can be told to do wrong.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::faults::{Faults, Injected};
use super::{Operation, SimulatedDisk};
use crate::image::BLOCK;
use crate::names::normal;

/// # Faults, planned and by chance
impl SimulatedDisk {
    /// Lets the `nth` call from now fail (0: the next one) with an error of this kind.
    ///
    /// A write that fails may have written some of its sectors. A sync that fails drops the file's dirty data: it will
    /// never be durable, but reads go on showing it until [`DiskFile::drop_cache`](crate::DiskFile::drop_cache) or a crash.
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

    /// Forgets planned faults and crash points that were not yet met. Those [by chance](Self::set_faults), sectors that
    /// [cannot be read](Self::fail_reads) and the [capacity](Self::set_capacity) stay.
    pub fn clear_faults(&self) {
        self.state().clear_planned();
    }

    /// Lets faults happen by chance from now on, also after crashes. `Faults::default()` ends them.
    pub fn set_faults(&self, faults: Faults) {
        self.state().chances = faults;
    }

    /// How many faults there were so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.state().injected
    }

    /// Limits the space, in bytes; `None` for no limit. What is there already stays, also if it is more.
    ///
    /// Each file takes a block of 4 KiB for itself and one for each block of it that was written and not cut off since,
    /// whether or not it is durable. A call that needs more than there is fails with `StorageFull`: a write then has
    /// written what fitted in. Writing over what was written before never does, nor does reading, syncing or renaming.
    /// [`set_len`](crate::DiskFile::set_len) fails if there is no space for what it adds, but takes none: a write into
    /// the hole that it left can fail later. To reserve space, write zeros. Space comes back at once when a file is cut,
    /// removed or renamed over. Folders take none.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity =
            bytes.map(|bytes| usize::try_from(bytes / BLOCK as u64).unwrap_or(usize::MAX));
    }

    /// Lets reads fail that touch a sector (512 B) which this range of the file touches: the medium cannot read it, not
    /// even after a crash. A sector is readable again from the cache once it was written as a whole, or up to the end of
    /// the file, and for good once that is durable. False when there is no such file.
    pub fn fail_reads(&self, path: &Path, range: Range<u64>) -> bool {
        let mut state = self.state();
        let Ok(id) = state.names.file(&normal(path)) else { return false };
        let bound = |at| usize::try_from(at).unwrap_or(usize::MAX);
        let file = state.file(id);
        let until = bound(range.end).min(file.durable().len().max(file.cached().len()));
        file.unreadable().add(bound(range.start)..until);
        true
    }

    /// Lets all of a file be read again.
    pub fn clear_failing_reads(&self, path: &Path) {
        let mut state = self.state();
        if let Ok(id) = state.names.file(&normal(path)) {
            state.file(id).unreadable().clear();
        }
    }

    /// The length of a file as a call would find it, without a call; none when there is no such file.
    #[must_use]
    pub fn len_of(&self, path: &Path) -> Option<u64> {
        let mut state = self.state();
        let id = state.names.file(&normal(path)).ok()?;
        Some(state.file(id).cached().len() as u64)
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

    /// Lets the held syncs go on, and those that [stall by chance](Faults::stalls).
    pub fn release_syncs(&self) {
        let mut state = self.state();
        state.holding = false;
        state.releases += 1;
        self.shared.changed.notify_all();
    }

    /// How many syncs are waiting.
    #[must_use]
    pub fn held_syncs(&self) -> usize {
        self.state().held
    }
}
