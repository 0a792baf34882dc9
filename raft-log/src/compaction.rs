//! Removes what lies below the base, a bounded number of runs at a time.

use raftkit_core::LogIndex;
use redb::{Database, Durability, ReadableDatabase, ReadableTable};

use crate::codec::run_last;
use crate::error::{Damage, Trouble};
use crate::tables::RUNS;

/// How many runs one step removes at most.
const RUNS_PER_STEP: usize = 64;

/// How far a compaction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compaction {
    /// Nothing is left below the base but a part of the run that the base is in.
    Done,
    /// Call again.
    More,
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
    let outcome = {
        let mut runs = txn.open_table(RUNS)?;
        let mut outcome = Compaction::More;
        for _ in 0..RUNS_PER_STEP {
            let whole = match runs.first()? {
                Some((key, run)) => ends_below(key.value(), run.value(), base)?,
                None => false,
            };
            if !whole {
                outcome = Compaction::Done;
                break;
            }
            runs.pop_first()?;
        }
        outcome
    };
    txn.commit()?;
    Ok(outcome)
}

/// Whether nothing of a run is above the base.
fn ends_below(key: u64, run: &[u8], base: LogIndex) -> Result<bool, Damage> {
    let last = run_last(key, run)?;
    Ok(mutant!(BaseRunRemoved, LogIndex(key), last) <= base)
}
