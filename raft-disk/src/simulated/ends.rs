//! How a life of a simulated disk ends.

use super::SimulatedDisk;
use super::state::State;
use crate::change::Fate;

/// What becomes of unsynced changes.
#[derive(Clone, Copy)]
pub(super) enum CrashKind {
    Drawn,
    LosingAll,
}

/// # The end of a life
impl SimulatedDisk {
    /// Cuts the power and brings it back: every handle and lock from before is dead, each unsynced change of a file was
    /// kept, lost or torn at 512 B on its own, each unsynced change of a name was kept or lost. What is left is what
    /// this disk now holds. Faults not yet met and held syncs are forgotten.
    pub fn crash(&self) {
        self.state().crash(CrashKind::Drawn);
        self.shared.changed.notify_all();
    }

    /// As [`crash`](Self::crash), and nothing that was not synced is left.
    pub fn crash_losing_all_unsynced(&self) {
        self.state().crash(CrashKind::LosingAll);
        self.shared.changed.notify_all();
    }

    /// Kills the process (kill -9) and lets the machine go on: every handle and lock from before is dead, and nothing of
    /// the page cache is lost. What was written is still shown by reads and still unsynced: a later sync or crash decides
    /// about it. After a failed sync reads go on showing what the medium does not hold, until
    /// [`drop_cache`](crate::DiskFile::drop_cache). Files without a name go away.
    ///
    /// While syncs are [deferred](Self::defer_syncs), the program was really waiting for the first of those outstanding
    /// that had not done its work. As in a crash it is drawn how many of them, in the order of their calls, had; what their
    /// thread did after it had called the next one, to content or names, has not happened, and vanishes from the cache too
    /// unless it is durable already.
    ///
    /// Faults not yet met and held syncs are forgotten; [faults by chance](Self::set_faults) stay.
    pub fn kill(&self) {
        self.state().kill();
        self.shared.changed.notify_all();
    }

    /// Lets every call fail from now on, until a crash or a kill. To end a program, freeze first, then drop what it holds,
    /// then crash or kill: what its destructors write would otherwise reach the disk, as it could not in a power cut.
    pub fn freeze(&self) {
        self.state().frozen = true;
        self.shared.changed.notify_all();
    }

    /// True from a freeze, or the call that [`crash_at_call`](Self::crash_at_call) named, until the crash or kill.
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
        // A name that is gone only in the cache comes back if a crash loses its removal, and so must its file.
        let named = self.names.files_ever();
        self.files.retain(|id, _| named.contains(id));
        for file in self.files.values_mut() {
            file.kill(&cuts);
            unsynced |= file.is_dirty();
        }
        self.injected.kills += 1;
        self.injected.kills_with_unsynced += u64::from(unsynced);
    }

    /// What a crash and a kill have in common: the process is gone.
    fn end_life(&mut self) {
        self.generation += 1;
        self.frozen = false;
        self.holding = false;
        self.held = 0;
        self.locks.clear();
        self.clear_planned();
    }
}
