//! Searches a damaged database past the first damage.

use std::ops::RangeInclusive;
use std::sync::Arc;

use raftkit_core::{LogId, LogIndex};
use raftkit_disk::{CopyOnWrite, DiskFile};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use crate::codec::{RunCursor, unseal};
use crate::error::{Damage, Trouble};
use crate::layout::Mark;
use crate::layout::{decode_hard_state, decode_identity, decode_mark};
use crate::recovery;
use crate::shared::{close_unwritten, contain};
use crate::tables::{
    Ends, MEMBERSHIPS, META, RUNS, TERMS, decode_ends, decode_membership, decode_term, meta, record,
};

/// Cache size while reading the file, in bytes.
const CACHE_BYTES: usize = 4 << 20;
/// Upper bound on the entries in a run: a run has at most 256 KiB, and an entry at least 17 bytes.
const RUN_ENTRIES_MAX: u64 = 16 << 10;
/// Give up after this many indexes in a row without a readable run, because each attempt may cost a panic in redb.
const VAIN_MAX: u64 = 64 << 10;

/// A range of indexes, both ends included.
pub(super) type Range = RangeInclusive<LogIndex>;

/// Findings in a database.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Journal position that the database covers, if that is readable.
    pub(super) settled: Option<Mark>,
    /// Last entry according to the database, if that is readable.
    pub(super) last: Option<LogId>,
    /// All damage, with the affected entries.
    pub(super) damages: Vec<(Option<Range>, Damage)>,
}

/// Reads everything readable in a database. Does not verify the checksums of redb's pages: checking their content finds
/// out which entries are affected.
pub(super) fn scan(file: Arc<dyn DiskFile>) -> Scan {
    let mut scan = Scan::default();
    let mut opened: Option<Database> = None;
    let result = contain(|| {
        let file = CopyOnWrite::new(file).map_err(redb::Error::from)?;
        opened = Some(recovery::database(file, CACHE_BYTES, false)?);
        Ok(())
    });
    scan.note(None, result);
    if let Some(database) = &opened {
        let ends = scan.meta(database);
        scan.tables(database);
        if let Some(ends) = ends {
            scan.last = Some(ends.last);
            scan.runs(database, ends.base.index.next(), ends.last.index);
        }
    }
    close_unwritten(opened);
    scan
}

/// What the table of runs holds at an index.
enum Run {
    /// There is no run.
    None,
    /// A run, followed as far as possible.
    Followed(Followed),
    /// The run cannot be read.
    Bad(Damage),
}

/// How far a run could be followed.
struct Followed {
    /// Index after the last entry reached.
    next: LogIndex,
    /// Damage to entries before that index.
    damages: Vec<(Option<Range>, Damage)>,
    /// Why the run could not be followed further; `None` at its end.
    stopped: Option<Damage>,
}

impl Scan {
    fn note<T>(&mut self, range: Option<Range>, result: Result<T, Trouble>) -> Option<T> {
        result.map_err(|trouble| self.damages.push((range, damage(trouble)))).ok()
    }

    fn read<T>(
        &mut self,
        database: &Database,
        act: impl FnOnce(&ReadTransaction) -> Result<T, Trouble>,
    ) -> Option<T> {
        self.note(None, contain(|| act(&database.begin_read()?)))
    }

    /// Reads the records of `meta`.
    fn meta(&mut self, database: &Database) -> Option<Ends> {
        let identity =
            self.read(database, |txn| meta(&txn.open_table(META)?, record::IDENTITY, decode_identity));
        self.read(database, |txn| meta(&txn.open_table(META)?, record::HARD_STATE, decode_hard_state));
        self.read(database, |txn| {
            let decode = |body: &[u8]| decode_membership(LogIndex::ZERO, body);
            meta(&txn.open_table(META)?, record::BASE_MEMBERSHIP, decode)
        });
        // Format 1 had no journal.
        if !identity.is_some_and(|identity| identity.is_ok_and(|identity| identity.format == 1)) {
            self.settled =
                self.read(database, |txn| meta(&txn.open_table(META)?, record::SETTLED, decode_mark));
        }
        self.read(database, |txn| meta(&txn.open_table(META)?, record::ENDS, decode_ends))
    }

    /// Reads the terms and memberships.
    fn tables(&mut self, database: &Database) {
        let mut found = Vec::new();
        self.read(database, |txn| {
            for row in txn.open_table(TERMS)?.iter()? {
                let (first, bytes) = row?;
                found.extend(
                    decode_term(first.value(), bytes.value()).err().map(|error| (first.value(), error)),
                );
            }
            Ok(())
        });
        self.read(database, |txn| {
            for row in txn.open_table(MEMBERSHIPS)?.iter()? {
                let (index, bytes) = row?;
                let body = unseal(record::MEMBERSHIP, index.value(), bytes.value());
                let read = body.and_then(|body| decode_membership(LogIndex(index.value()), body));
                found.extend(read.err().map(|error| (index.value(), error)));
            }
            Ok(())
        });
        let one = |index| Some(LogIndex(index)..=LogIndex(index));
        self.damages.extend(found.into_iter().map(|(index, damage)| (one(index), damage)));
    }

    /// Reads all entries from `first` to `last`. Looks up each run by its exact key: a range search would fail on a
    /// rotten page next to it.
    fn runs(&mut self, database: &Database, first: LogIndex, last: LogIndex) {
        let mut next = first_run(database, first);
        while next <= last {
            let key = next;
            let damage = match run_at(database, key, first, last) {
                Run::Followed(run) => {
                    self.damages.extend(run.damages);
                    next = run.next;
                    let Some(damage) = run.stopped else { continue };
                    damage
                }
                Run::None => Damage::Hole { wanted: key },
                Run::Bad(damage) => damage,
            };
            let behind = next_run(database, next.max(key.next()), last);
            let range = next.max(first)..=LogIndex(behind.0.saturating_sub(1)).min(last);
            self.damages.push(((!range.is_empty()).then_some(range), damage));
            next = behind;
        }
    }
}

fn damage(trouble: Trouble) -> Damage {
    match trouble {
        Trouble::Damaged(damage) => damage,
        Trouble::Database(source) => Damage::Database { source },
        Trouble::Closed | Trouble::Refused(_) => {
            unreachable!("a scan neither closes a store nor writes entries")
        }
    }
}

/// Returns the key of the run that contains `first`. The run may start before it, because compaction frees only whole
/// runs.
fn first_run(database: &Database, first: LogIndex) -> LogIndex {
    let candidates = (first.0.saturating_sub(RUN_ENTRIES_MAX)..=first.0).rev().map(LogIndex);
    for key in candidates {
        match run_at(database, key, first, first) {
            Run::None => {}
            Run::Followed(run) if run.next > first => return key,
            Run::Followed(_) | Run::Bad(_) => return first,
        }
    }
    first
}

/// Returns the key of the first readable run at or after `from`, or the index after `last` if there is none.
fn next_run(database: &Database, from: LogIndex, last: LogIndex) -> LogIndex {
    let candidates = (from.0..=last.0).take(usize::try_from(VAIN_MAX).unwrap_or(usize::MAX));
    let is_there = |key: &LogIndex| matches!(run_at(database, *key, *key, last), Run::Followed(_));
    candidates.map(LogIndex).find(is_there).unwrap_or_else(|| last.next())
}

/// Reads the run with this key. Damage to entries outside the range is not reported.
fn run_at(database: &Database, key: LogIndex, first: LogIndex, last: LogIndex) -> Run {
    let result = contain(|| {
        let runs = database.begin_read()?.open_table(RUNS)?;
        let Some(run) = runs.get(key.0)? else { return Ok(Run::None) };
        Ok(Run::Followed(follow(RunCursor::new(key.0, run.value())?, key, first, last)))
    });
    result.unwrap_or_else(|trouble| Run::Bad(damage(trouble)))
}

/// Follows a run to its end, past rotten entries.
fn follow(mut cursor: RunCursor<'_>, key: LogIndex, first: LogIndex, last: LogIndex) -> Followed {
    let mut followed = Followed { next: key, damages: Vec::new(), stopped: None };
    loop {
        match cursor.next() {
            Ok(Some(entry)) => followed.next = entry.id.index.next(),
            Ok(None) => return followed,
            Err(damage) => {
                if !cursor.skip() {
                    followed.stopped = Some(damage);
                    return followed;
                }
                let index = followed.next;
                followed.next = index.next();
                match followed.damages.last_mut() {
                    Some((Some(range), _)) if range.end().next() == index => *range = *range.start()..=index,
                    Some(_) | None if (first..=last).contains(&index) => {
                        followed.damages.push((Some(index..=index), damage));
                    }
                    Some(_) | None => {}
                }
            }
        }
    }
}
