//! Counters of the injected faults.

use std::fmt;

use crate::trace;
use crate::world::World;

counts! {
    /// A fault that a run injects.
    Fault,
    /// The number of each.
    Injected:
    Crash = "crashes",
    UnsyncedLost = "of them with writes lost",
    Partition = "partitions",
    Pause = "pauses",
    Stall = "disk stalls",
    Lost = "messages lost",
    Duplicated = "messages sent twice",
    Delayed = "messages held back",
    SnapshotLost = "snapshots lost",
    SlowRead = "slow reads of the log",
    WriteFailed = "writes failed",
    Damage = "logs cut short",
    Wipe = "data folders lost",
    Unreadable = "logs unreadable",
    Drift = "clocks that drift",
    Settings = "starts with other settings",
}

impl World {
    /// Counts and traces a fault.
    pub fn inject(&mut self, fault: Fault, words: fmt::Arguments<'_>) {
        self.injected.hit(fault);
        trace::event(self.now, words);
    }
}
