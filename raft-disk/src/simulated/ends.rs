//! The ways in which a life of a simulated disk ends.

use super::SimulatedDisk;
use super::state::State;
use crate::change::Fate;

/// Fate of unsynced changes.
#[derive(Clone, Copy)]
pub(super) enum CrashKind {
    Drawn,
    LosingAll,
}

/// # The end of a life
impl SimulatedDisk {
    /// Cuts the power and restores it. All earlier handles and locks are dead. Each unsynced change of a file is
    /// independently kept, lost, or torn at 512 B, and each unsynced change of a name is kept or lost. What is left is
    /// the disk's new content. Pending planned faults and held syncs are cancelled.
    pub fn crash(&self) {
        self.state().crash(CrashKind::Drawn);
        self.shared.changed.notify_all();
    }

    /// Like [`crash`](Self::crash), but loses everything unsynced.
    pub fn crash_losing_all_unsynced(&self) {
        self.state().crash(CrashKind::LosingAll);
        self.shared.changed.notify_all();
    }

    /// Kills the process (kill -9) while the machine keeps running. All earlier handles and locks are dead, but the
    /// page cache survives: written data is still visible to reads and still unsynced, so a later sync or crash decides
    /// its fate. After a failed sync, reads show data that the medium does not hold until
    /// [`drop_cache`](crate::DiskFile::drop_cache). Files without a name are removed.
    ///
    /// While syncs are [deferred](Self::defer_syncs), each thread of the program was really waiting for one of its
    /// outstanding syncs. As in a crash, the disk draws how many of them, in the order of their calls, had finished.
    /// What the thread did after calling the next one, to content or names, has not happened and vanishes from the
    /// cache as well, unless it is already durable.
    ///
    /// Pending planned faults and held syncs are cancelled; [random faults](Self::set_faults) stay.
    pub fn kill(&self) {
        self.state().kill();
        self.shared.changed.notify_all();
    }

    /// Makes every call fail from now on, until a crash or kill. To end a program, freeze the disk, drop what the
    /// program holds, then crash or kill. Otherwise the writes of its destructors would reach the disk, which cannot
    /// happen in a power cut.
    pub fn freeze(&self) {
        self.state().frozen = true;
        self.shared.changed.notify_all();
    }

    /// Returns true from a freeze, or from the call chosen by [`crash_at_call`](Self::crash_at_call), until the crash
    /// or kill.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }
}

impl State {
    fn crash(&mut self, kind: CrashKind) {
        self.end_life();
        let cuts = self.end_deferred(kind);
        let mut rng = match kind {
            CrashKind::Drawn => Some(&mut self.rng),
            CrashKind::LosingAll => None,
        };
        let (named, lost_names) = self.names.crash(&cuts, rng.as_deref_mut());
        let (mut lost, mut torn) = (0, 0);
        for file in self.files.values_mut() {
            file.crash(&cuts, rng.as_deref_mut(), |fate| match fate {
                Fate::Kept => {}
                Fate::Lost => lost += 1,
                Fate::Torn => torn += 1,
            });
        }
        self.files.retain(|id, _| named.contains(id));
        self.injected.crashes += 1;
        self.injected.crashes_with_loss += u64::from(lost + torn + lost_names > 0);
        self.injected.lost_names += lost_names;
        self.injected.lost_writes += lost;
        self.injected.torn_writes += torn;
        self.rot_at_crash();
    }

    fn kill(&mut self) {
        self.end_life();
        let cuts = self.end_deferred(CrashKind::Drawn);
        let mut unsynced = self.names.kill(&cuts);
        // Keep the files whose name is gone only in the cache: the name comes back if a crash loses the removal.
        let named = self.names.files_ever();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            file.kill(&cuts);
            unsynced |= file.is_dirty();
        }
        self.injected.kills += 1;
        self.injected.kills_with_unsynced += u64::from(unsynced);
    }

    /// Ends the process, for both a crash and a kill.
    fn end_life(&mut self) {
        self.generation += 1;
        self.frozen = false;
        self.holding = false;
        self.held = 0;
        self.locks.clear();
        self.clear_planned();
    }
}
