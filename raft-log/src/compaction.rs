//! Removes entries below the base, a bounded number of runs at a time.

use raftkit_core::LogIndex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable};

use crate::codec::run_last;
use crate::error::{Damage, Trouble};
use crate::tables::{IndexTable, RUNS};

/// Maximum number of runs that one step removes.
const RUNS_PER_STEP: usize = 64;
/// Each settling frees at least this many bytes of entries, if that many are compacted.
const BYTES_PER_SETTLING_MIN: u64 = 1 << 20;

/// Whether compaction has more to free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing is left below the base, except the lower part of the run that contains it.
    Done,
    /// There is more to free: call again.
    More,
}

/// Limit on how much one call removes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    runs: usize,
    /// Bytes of entries; the run that exceeds the limit is the last one removed.
    bytes: u64,
}

impl Limit {
    const STEP: Self = Self { runs: RUNS_PER_STEP, bytes: u64::MAX };

    /// Returns the limit for a settling that adds about `added` bytes. The settling frees twice the bytes that it adds,
    /// and more runs than it can add, so compacted entries shrink with each settling and the file is bounded under any
    /// load.
    pub(crate) fn beside(added: u64) -> Self {
        let runs = usize::try_from(added >> 16).unwrap_or(usize::MAX);
        Self { runs: runs.saturating_add(RUNS_PER_STEP), bytes: (2 * added).max(BYTES_PER_SETTLING_MIN) }
    }
}

/// Removes some runs that end at or below `base`.
///
/// The commit is not durable by itself, so it costs no sync; the next durable commit covers it. If a crash loses it,
/// the runs are still there, below a base that has been durable since the flush that moved it.
pub(crate) fn step(database: &Database, base: LogIndex) -> Result<Compaction, Trouble> {
    // Look first: a call with nothing to do would otherwise leave an empty commit.
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

/// Returns whether a run lies completely at or below the base.
fn ends_below(key: u64, run: &[u8], base: LogIndex) -> Result<bool, Damage> {
    let last = run_last(key, run)?;
    Ok(last <= base)
}
