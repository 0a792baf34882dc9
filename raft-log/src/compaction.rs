//! Removes what lies below the base, a bounded number of runs at a time.

use raftkit_core::LogIndex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable};

use crate::codec::run_last;
use crate::error::{Damage, Trouble};
use crate::tables::{IndexTable, RUNS};

/// How many runs one step removes at most.
const RUNS_PER_STEP: usize = 64;
/// A settling frees at least this much, in bytes of entries, where it is there to be freed.
const BYTES_PER_SETTLING_MIN: u64 = 1 << 20;

/// How far a compaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing is left below the base but a part of the run that the base is in.
    Done,
    /// Call again.
    More,
}

/// How much is removed at once, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    runs: usize,
    /// In bytes of entries; reached with the run that exceeds it.
    bytes: u64,
}

impl Limit {
    const STEP: Self = Self { runs: RUNS_PER_STEP, bytes: u64::MAX };

    /// For a settling that adds about `added` bytes. It frees twice as many as it adds, and more runs than it can add, so that
    /// what is compacted and not freed gets less with each settling: the file has a bound under any load.
    pub(crate) fn beside(added: u64) -> Self {
        let runs = usize::try_from(added >> 16).unwrap_or(usize::MAX);
        Self { runs: runs.saturating_add(RUNS_PER_STEP), bytes: (2 * added).max(BYTES_PER_SETTLING_MIN) }
    }
}

/// Removes some runs that end at or below `base`.
///
/// The commit is not made durable by itself, so it costs no sync: the next flush makes it durable too. Should it be lost
/// before, the runs are still there, below the base, which is durable since the flush that moved it.
pub(crate) fn step(database: &Database, base: LogIndex) -> Result<Compaction, Trouble> {
    // Without looking first, a call that has nothing to do would leave an empty commit.
    let found = match database.begin_read()?.open_table(RUNS)?.first()? {
        Some((key, run)) => ends_below(key.value(), run.value(), base)?,
        None => false,
    };
    if !found {
        return Ok(Compaction::Done);
    }
    let mut txn = database.begin_write()?;
    txn.set_durability(Durability::None)?;
    let outcome = remove(&mut txn.open_table(RUNS)?, base, Limit::STEP)?;
    txn.commit()?;
    Ok(outcome)
}

/// Removes runs that end at or below `base`, up to a limit.
pub(crate) fn remove(runs: &mut IndexTable<'_>, base: LogIndex, limit: Limit) -> Result<Compaction, Trouble> {
    let mut bytes = 0;
    for _ in 0..limit.runs {
        let len = match runs.first()? {
            Some((key, run)) if ends_below(key.value(), run.value(), base)? => run.value().len(),
            Some(_) | None => return Ok(Compaction::Done),
        };
        runs.pop_first()?;
        bytes += len as u64;
        if bytes >= limit.bytes {
            break;
        }
    }
    Ok(Compaction::More)
}

/// Whether nothing of a run is above the base.
fn ends_below(key: u64, run: &[u8], base: LogIndex) -> Result<bool, Damage> {
    let last = run_last(key, run)?;
    Ok(last <= base)
}
