//! Counts of what happened in a run.

/// Counts of a run, beside the disks' own counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Links that were cut.
    pub partitions: u64,
    /// Messages that were lost.
    pub lost: u64,
    /// Frames that were cut in two.
    pub split: u64,
    /// Processes that stood still.
    pub pauses: u64,
    /// Processes that were killed or lost their power.
    pub crashes: u64,
    /// Clean stops.
    pub stops: u64,
    /// Sectors that were made to rot.
    pub rots: u64,
    /// Data folders that were lost.
    pub wipes: u64,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Writes whose outcome a node could not tell.
    pub doubts: u64,
    /// Reads that were answered.
    pub reads: u64,
    /// Changes of membership that were answered.
    pub changes: u64,
}

impl std::ops::AddAssign for Counts {
    /// Sums up several runs.
    fn add_assign(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.lost += other.lost;
        self.split += other.split;
        self.pauses += other.pauses;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.rots += other.rots;
        self.wipes += other.wipes;
        self.writes += other.writes;
        self.doubts += other.doubts;
        self.reads += other.reads;
        self.changes += other.changes;
    }
}
