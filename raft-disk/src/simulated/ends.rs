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
}

impl State {
    pub(super) fn crash(&mut self, kind: CrashKind) {
        self.generation += 1;
        self.frozen = false;
        self.holding = false;
        self.held = 0;
        self.locks.clear();
        self.clear_planned();
        let cut = self.crash_deferred(kind);
        let mut rng = match kind {
            CrashKind::Drawn => Some(&mut self.rng),
            CrashKind::LosingAll => None,
        };
        let (named, lost_names) = self.names.crash(cut, rng.as_deref_mut());
        let (mut lost, mut torn) = (0, 0);
        for file in self.files.values_mut() {
            file.crash(cut, rng.as_deref_mut(), |fate| match fate {
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
}
