//! Replays the journal into a sound database.

use std::path::Path;

use raftkit_core::{HardState, Health, Incarnation, LogIndex, Write};
use redb::Database;

use super::load::Loaded;
use super::report::{LogDamage, Lost, OpenReport, Replayed};
use super::{in_opening, newest};
use crate::error::{Damage, OpenError, Trouble};
use crate::journal::image::{Chain, Image};
use crate::journal::sealed::Record;
use crate::layout::Mark;
use crate::layout::{FORMAT, Identity};
use crate::settler::write_flushes;
use crate::shared::contain;
use crate::state::LogState;

/// Moves what only the journal holds into the database, raises the incarnation, and makes both durable.
pub(super) fn replay(
    database: &Database,
    image: &Image,
    loaded: Loaded,
    report: &mut OpenReport,
    (path, journal_path): (&Path, &Path),
) -> Result<(Identity, LogState, Mark), OpenError> {
    let damaged = |damage| OpenError::Damaged { path: journal_path.to_path_buf(), damage };
    let Loaded { mut identity, mut state, settled } = loaded;
    let chain = image.follow(settled).map_err(damaged)?;
    let whole = chain.records.iter().position(|record| record.elsewhere).unwrap_or(chain.records.len());
    let (records, elsewhere) = chain.records.split_at(whole);
    // If records are missing, the database may be from before the last opening, and its incarnation and cluster
    // outdated.
    identity = newest(
        identity,
        records.iter().filter_map(|record| record.identity).chain([image.witness().identity]),
    );
    identity = Identity { incarnation: Incarnation(identity.incarnation.0 + 1), format: FORMAT, ..identity };
    report.dropped_torn = chain.torn;
    report.replayed = replayed(records);
    let mut mark = records.last().map_or(settled, |record| record.mark);
    let mut last_write = Vec::new();
    if report.upgraded_from.is_some() && records.is_empty() {
        // No record brings a hard state in the current format, so write the old one again: all tables must have one
        // format.
        last_write.push(Write { hard_state: Some(state.hard_state), ..Write::default() });
    }
    let mut damage = None;
    if let Some((first, last)) = lost_records(&chain, elsewhere) {
        let newest = image.newest().map_err(damaged)?;
        last_write.push(Write {
            hard_state: Some(HardState {
                health: Health::Damaged,
                commit: known_commit(records).unwrap_or(state.hard_state.commit),
                ..newest.hard_state
            }),
            ..Write::default()
        });
        mark = image.fresh_mark().map_err(damaged)?;
        damage = Some((Damage::Journal { first, last }, newest.last.index));
    }
    let result = contain(|| {
        let txn = database.begin_write()?;
        let flushes = records.iter().map(|record| (record.writes.as_slice(), None));
        let end = std::iter::once((last_write.as_slice(), Some(&identity)));
        write_flushes(&txn, &mut state, flushes.chain(end), mark)?;
        Ok(txn.commit()?)
    });
    match result {
        Err(Trouble::Refused(_)) => return Err(damaged(Damage::Contradiction { what: "journal and log" })),
        other => other.map_err(|trouble| in_opening(trouble, path.to_path_buf()))?,
    }
    if let Some((damage, last)) = damage {
        let lost = Lost::Entries { first: state.last.index.next(), last };
        report.damage = Some(LogDamage { file: journal_path.to_path_buf(), damage, lost });
    }
    Ok((identity, state, mark))
}

/// Returns the commit index that the last of these records states. Lost records may have stated a higher one, but they
/// may also have replaced some of the remaining entries, which must not count as committed then.
fn known_commit(records: &[Record]) -> Option<LogIndex> {
    let mut writes = records.iter().rev().flat_map(|record| record.writes.iter().rev());
    writes.find_map(|write| write.hard_state).map(|hard_state| hard_state.commit)
}

fn replayed(records: &[Record]) -> Replayed {
    let entries =
        records.iter().flat_map(|record| &record.writes).map(|write| write.append.len() as u64).sum();
    Replayed { records: records.len() as u64, entries }
}

/// Returns the range of lost records: those missing after the chain, and those whose changes should be in the database
/// but are not.
pub(crate) fn lost_records(chain: &Chain, elsewhere: &[Record]) -> Option<(u64, u64)> {
    match (elsewhere.first(), chain.lost) {
        (Some(record), lost) => {
            let last = elsewhere.last().map_or(record.mark.seq, |record| record.mark.seq);
            Some((record.mark.seq, lost.map_or(last, |lost| lost.last)))
        }
        (None, Some(lost)) => Some((lost.first, lost.last)),
        (None, None) => None,
    }
}
