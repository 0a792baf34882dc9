//! Planned faults of a simulated disk: a test chooses the calls that fail and the moment of the power cut.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::faults::{Faults, Injected};
use super::{Operation, SimulatedDisk};
use crate::image::BLOCK;
use crate::names::normal;

/// # Planned and random faults
impl SimulatedDisk {
    /// Makes the `nth` call from now (0: the next one) fail with an error of this kind.
    ///
    /// A failing write may have written some of its sectors. A failing sync drops the file's dirty data: it never
    /// becomes durable, but reads show it until [`DiskFile::drop_cache`](crate::DiskFile::drop_cache) or a crash.
    pub fn fail_call(&self, nth: u64, kind: io::ErrorKind) {
        self.state().fail(None, nth, kind);
    }

    /// Like [`fail_call`](Self::fail_call), but counts only calls of one operation.
    pub fn fail_next(&self, operation: Operation, nth: u64, kind: io::ErrorKind) {
        self.state().fail(Some(operation), nth, kind);
    }

    /// Freezes the disk in the `nth` call from now (0: the next one) that changes or syncs something. The power fails
    /// during that call: its change counts as unsynced, its sync as not done.
    pub fn crash_at_call(&self, nth: u64) {
        self.state().crash_in = Some(nth);
    }

    /// Cancels planned faults and crash points that have not happened yet. [Random faults](Self::set_faults),
    /// [unreadable sectors](Self::fail_reads) and the [capacity](Self::set_capacity) stay.
    pub fn clear_faults(&self) {
        self.state().clear_planned();
    }

    /// Enables random faults from now on, including after crashes. `Faults::default()` disables them.
    pub fn set_faults(&self, faults: Faults) {
        self.state().chances = faults;
    }

    /// Returns the number of faults so far, by kind.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.state().injected
    }

    /// Limits the space, in bytes; `None` removes the limit. Existing content stays, even if it exceeds the limit.
    ///
    /// Each file takes one block of 4 KiB for itself, and one for each block of it that was written and not truncated
    /// since, durable or not. A call that needs more space than there is fails with `StorageFull`; a write first writes
    /// what fits. Overwriting, reading, syncing and renaming need no space. [`set_len`](crate::DiskFile::set_len) fails
    /// if there is no space for the extension but reserves none, so a later write into the hole can still fail. To
    /// reserve space, write zeros. Truncating, removing or replacing a file frees its space at once. Folders take no
    /// space.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity =
            bytes.map(|bytes| usize::try_from(bytes / BLOCK as u64).unwrap_or(usize::MAX));
    }

    /// Makes reads fail that touch a sector (512 B) overlapping this range of the file: the medium cannot read it, not
    /// even after a crash. Writing the whole sector, or all of it up to the end of the file, makes it readable from the
    /// cache, and permanently once the write is durable. Returns false if the file does not exist.
    pub fn fail_reads(&self, path: &Path, range: Range<u64>) -> bool {
        let mut state = self.state();
        let Ok(id) = state.names.file(&normal(path)) else { return false };
        let bound = |at| usize::try_from(at).unwrap_or(usize::MAX);
        let file = state.file(id);
        let until = bound(range.end).min(file.durable().len().max(file.cached().len()));
        file.unreadable().add(bound(range.start)..until);
        true
    }

    /// Makes all of a file readable again.
    pub fn clear_failing_reads(&self, path: &Path) {
        let mut state = self.state();
        if let Ok(id) = state.names.file(&normal(path)) {
            state.file(id).unreadable().clear();
        }
    }

    /// Returns the length of a file as a call would see it, without counting as a call; `None` if the file does not
    /// exist.
    #[must_use]
    pub fn len_of(&self, path: &Path) -> Option<u64> {
        let mut state = self.state();
        let id = state.names.file(&normal(path)).ok()?;
        Some(state.file(id).cached().len() as u64)
    }

    /// Returns the number of calls so far, including reads.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Returns the number of calls so far that change or sync something, each of which is a possible crash point.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.state().mutations
    }

    /// Makes every sync of a file or folder wait until [`release_syncs`](Self::release_syncs). A freeze or crash makes
    /// the waiting syncs fail.
    pub fn hold_syncs(&self) {
        self.state().holding = true;
    }

    /// Releases the held syncs, and those that [stall randomly](Faults::stalls).
    pub fn release_syncs(&self) {
        let mut state = self.state();
        state.holding = false;
        state.releases += 1;
        self.shared.changed.notify_all();
    }

    /// Returns the number of waiting syncs.
    #[must_use]
    pub fn held_syncs(&self) -> usize {
        self.state().held
    }
}
