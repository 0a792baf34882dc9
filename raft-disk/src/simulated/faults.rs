//! Random faults, and counters of those that happened.

use std::fmt;
use std::io;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use super::Operation;
use crate::rng::Rng;

/// Probability of an event, each time that it could happen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Chance {
    /// The event happens if 64 random bits are below this: in this many of 2^64 cases.
    below: u128,
}

impl Chance {
    /// The event never happens. No random number is drawn for it, so other draws stay the same.
    pub const NEVER: Self = Self { below: 0 };
    /// The event always happens.
    pub const ALWAYS: Self = Self { below: 1 << 64 };

    /// The event happens once in `times` on average; never for 0.
    #[must_use]
    pub const fn one_in(times: u64) -> Self {
        if times == 0 { Self::NEVER } else { Self::of(1, times) }
    }

    /// The event happens `cases` times in `all` on average; always if `cases` exceeds `all`, never if `all` is 0.
    #[must_use]
    pub const fn of(cases: u64, all: u64) -> Self {
        if all == 0 {
            return Self::NEVER;
        }
        if cases >= all {
            return Self::ALWAYS;
        }
        // A lossless cast: `u128::from` is not const.
        Self { below: ((cases as u128) << 64) / all as u128 }
    }

    pub(super) fn strikes(self, rng: &mut Rng) -> bool {
        self != Self::NEVER && u128::from(rng.next()) < self.below
    }

    /// Draws how many of the next `cases` pass before the event first happens; `cases` if it does not. Needs one draw
    /// for any number of cases, since n of them pass with probability (1 - p)^n. Uses integers, because logarithms
    /// differ between platforms.
    pub(super) fn passes(self, rng: &mut Rng, cases: u64) -> u64 {
        if self == Self::NEVER || cases == 0 {
            return cases;
        }
        let (drawn, mut powers) = (u128::from(rng.next()), [0; 64]);
        // (1 - p)^(2^k), scaled by 2^64; each is the square of the one before.
        let powers = &mut powers[..=cases.ilog2() as usize];
        let mut power = Self::ALWAYS.below - self.below;
        for slot in powers.iter_mut() {
            *slot = power;
            power = (power * power) >> 64;
        }
        let (mut passed, mut all_pass) = (0, Self::ALWAYS.below);
        for (k, power) in powers.iter().enumerate().rev() {
            let all = (all_pass * power) >> 64;
            if drawn < all {
                (passed, all_pass) = (passed + (1 << k), all);
            }
        }
        cases.min(passed)
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chance({} / 2^64)", self.below)
    }
}

/// Random faults of a simulated disk; by default none.
///
/// All are drawn from the disk's own seed, and none in a call with a planned fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Failing calls. They are tried in this order, and the first that strikes is the call's error.
    pub errors: Vec<ErrorChance>,
    /// Probability that a sync of a file or folder stalls. It then waits for
    /// [`release_syncs`](super::SimulatedDisk::release_syncs), or is [marked](super::DeferredSync::stalled) if syncs
    /// are deferred.
    pub stalls: Chance,
    /// Probability that a durable sector rots at a crash: one of its bits flips, or noise replaces the whole sector.
    pub rot_at_crash: Chance,
    /// Like `rot_at_crash`, for each durable sector that a read touches, before the read sees it.
    pub rot_at_read: Chance,
    /// The files that may rot randomly, and folders whose files may. Empty means none: a cluster survives rot of one
    /// copy, but not of all.
    pub may_rot: Vec<PathBuf>,
}

/// Random errors in calls of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorChance {
    /// The operation that fails.
    pub operation: Operation,
    /// The error: `Other` for EIO, `StorageFull` for ENOSPC.
    pub kind: io::ErrorKind,
    /// Probability of the error in each call.
    pub chance: Chance,
}

impl Faults {
    pub(super) fn may_rot(&self, path: &Path) -> bool {
        self.may_rot.iter().any(|above| path.starts_with(above))
    }
}

/// Numbers of faults on a simulated disk so far. Each fault is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injected {
    /// Number of power cuts.
    pub crashes: u64,
    /// Power cuts that lost or tore a write, a change of length, or a change of a name.
    pub crashes_with_loss: u64,
    /// Number of killed processes.
    pub kills: u64,
    /// Kills that left a write, a change of length, or a change of a name unsynced in the cache.
    pub kills_with_unsynced: u64,
    /// Unsynced writes and changes of length that a crash lost.
    pub lost_writes: u64,
    /// Unsynced writes of which a crash kept only some sectors.
    pub torn_writes: u64,
    /// Unsynced creations, renames and removals that a crash lost.
    pub lost_names: u64,
    /// Syncs of files and folders that failed.
    pub failed_syncs: u64,
    /// Other calls that failed for lack of space.
    pub full: u64,
    /// Other calls that failed, including reads of unreadable sectors.
    pub io_errors: u64,
    /// Syncs that stalled randomly.
    pub stalls: u64,
    /// Number of bytes that rotted.
    pub rotten_bytes: u64,
}

impl Injected {
    /// Counts a simulated error.
    pub(super) fn error(&mut self, operation: Operation, kind: io::ErrorKind) {
        if operation.is_sync() {
            self.failed_syncs += 1;
        } else if kind == io::ErrorKind::StorageFull {
            self.full += 1;
        } else {
            self.io_errors += 1;
        }
    }
}

impl AddAssign for Injected {
    /// Adds up the counters of several disks.
    fn add_assign(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.crashes_with_loss += other.crashes_with_loss;
        self.kills += other.kills;
        self.kills_with_unsynced += other.kills_with_unsynced;
        self.lost_writes += other.lost_writes;
        self.torn_writes += other.torn_writes;
        self.lost_names += other.lost_names;
        self.failed_syncs += other.failed_syncs;
        self.full += other.full;
        self.io_errors += other.io_errors;
        self.stalls += other.stalls;
        self.rotten_bytes += other.rotten_bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_pass_as_if_each_were_drawn() {
        let (mut rng, mut one_by_one) = (Rng::new(1), Rng::new(2));
        for (chance, cases) in [(Chance::one_in(2), 5), (Chance::one_in(7), 30), (Chance::of(2, 3), 8)] {
            let mut counts = vec![[0_i32; 2]; cases + 1];
            for _ in 0..20_000 {
                let passed = chance.passes(&mut rng, cases as u64);
                counts[usize::try_from(passed).expect("at most the cases")][0] += 1;
                counts[(0..cases).take_while(|_| !chance.strikes(&mut one_by_one)).count()][1] += 1;
            }
            // Five standard deviations of the difference of two counts.
            let far = |[one, two]: &[i32; 2]| (one - two).pow(2) > 25 * (one + two).max(4);
            assert!(!counts.iter().any(far), "{chance:?}: {counts:?}");
        }
    }

    #[test]
    fn the_ends_are_exact() {
        let mut rng = Rng::new(1);
        assert_eq!(Chance::NEVER.passes(&mut rng, 100), 100);
        assert_eq!(Chance::ALWAYS.passes(&mut rng, 100), 0);
        assert_eq!(Chance::one_in(2).passes(&mut rng, 0), 0);
        let rare = Chance::of(1, u64::MAX);
        assert_eq!(rare.passes(&mut rng, 1 << 30), 1 << 30);
        assert!((0..100).any(|_| rare.passes(&mut rng, u64::MAX) < u64::MAX));
    }
}
