//! Rebuilds a damaged log from what is left: the entries up to the first lost one, and the hard state, of which the
//! journal and its witness hold a second copy.

use std::path::Path;
use std::sync::Arc;

use raftkit_core::{Base, Entry, HardState, Health, LogId, LogIndex, Payload, Write};
use raftkit_disk::{CopyOnWrite, Disk, DiskFile, OpenMode};
use redb::{Database, ReadableDatabase};

use super::load::Remains;
use super::make::{make_database, write_all};
use super::report::{LogDamage, Lost};
use super::{FILE, OpenOptions, database, failed, newest};
use crate::batch::Batch;
use crate::error::{Damage, OpenError};
use crate::journal::image::{Chain, Image};
use crate::layout::Identity;
use crate::layout::Mark;
use crate::shared::{close_unwritten, contain};
use crate::state::LogState;

/// Cache size while reading a damaged file, in bytes.
const CACHE_BYTES: usize = 1 << 20;

/// The readable part of a log, in memory.
#[derive(Debug, Default)]
struct Salvaged {
    base: Base,
    entries: Vec<Entry>,
    /// The commit index that the log states, which may lie beyond its end.
    commit: LogIndex,
    /// True if something is missing that the tables or the journal mention.
    incomplete: bool,
}

/// Rebuilds the database, with everything that the journal holds settled in it.
pub(super) fn salvage(
    disk: &dyn Disk,
    dir: &Path,
    options: &OpenOptions,
    image: &Image,
    damage: Damage,
) -> Result<LogDamage, OpenError> {
    let path = dir.join(FILE);
    let damaged = |damage| OpenError::Damaged { path: path.clone(), damage };
    let remains = if disk.exists(&path).map_err(failed(&path))? {
        read_remains(disk.open(&path, OpenMode::ReadOnly).map_err(failed(&path))?)
    } else {
        Remains::default()
    };
    let newest = image.newest().map_err(damaged)?;
    let chain = remains.settled.map(|mark| image.follow(mark)).transpose().map_err(damaged)?;
    let settled = image.fresh_mark().map_err(damaged)?;
    let mut identity = image.witness().identity;
    let mut log = Salvaged::new(remains);
    match &chain {
        Some(chain) => log.replay(chain, &mut identity),
        None => log.incomplete = true,
    }
    let last = log.last();
    let complete = !log.incomplete && last == newest.last;
    let lost = if complete {
        Lost::Nothing
    } else {
        Lost::Entries { first: last.index.next(), last: newest.last.index }
    };
    let health = if complete { newest.hard_state.health } else { Health::Damaged };
    let known = newest.hard_state;
    // Cap the commit index: lost records may have replaced some of the remaining entries, which are not committed then.
    let commit = if complete { known.commit } else { log.commit.min(last.index).max(log.base.id.index) };
    let hard_state = HardState { health, commit, ..known };
    rebuild(disk, dir, options, &identity, log, hard_state, settled)?;
    Ok(LogDamage { file: path, damage, lost })
}

fn rebuild(
    disk: &dyn Disk,
    dir: &Path,
    options: &OpenOptions,
    identity: &Identity,
    log: Salvaged,
    hard_state: HardState,
    settled: Mark,
) -> Result<(), OpenError> {
    let mut state = LogState { base: log.base.clone(), last: log.base.id, hard_state, ..LogState::default() };
    make_database(disk, dir, options, |txn| {
        write_all(txn, identity, &state, settled)?;
        let mut batch = Batch::new(txn, &mut state)?;
        batch.apply(&Write { append: log.entries.into(), ..Write::default() })?;
        batch.finish()
    })
}

/// Reads everything that is readable, without changing the file.
fn read_remains(file: Arc<dyn DiskFile>) -> Remains {
    let mut remains = Remains::default();
    // Run each step on its own: one that fails or panics must not discard what the others have read.
    let mut opened: Option<Database> = None;
    let _ = contain(|| {
        opened = Some(database(CopyOnWrite::new(file).map_err(redb::Error::from)?, CACHE_BYTES, false)?);
        Ok(())
    });
    if let Some(database) = &opened {
        let _ = contain(|| remains.read_ends(&database.begin_read()?));
        let _ = contain(|| remains.read_entries(&database.begin_read()?));
    }
    close_unwritten(opened);
    remains
}

impl Salvaged {
    fn new(remains: Remains) -> Self {
        let last = remains.entries.last().map(|entry| entry.id);
        match remains.base {
            Some(base) => {
                let incomplete = last.unwrap_or(base.id) != remains.last;
                Self { incomplete, base, entries: remains.entries, commit: remains.commit }
            }
            None => Self { incomplete: true, ..Self::default() },
        }
    }

    fn last(&self) -> LogId {
        self.entries.last().map_or(self.base.id, |entry| entry.id)
    }

    /// Replays the journal, as far as that is possible on top of what is left.
    fn replay(&mut self, chain: &Chain, identity: &mut Identity) {
        self.incomplete |= chain.lost.is_some();
        for record in &chain.records {
            if record.elsewhere {
                self.incomplete = true;
                return;
            }
            if let Some(newer) = record.identity {
                *identity = newest(*identity, [newer]);
            }
            for write in &record.writes {
                self.apply(write);
            }
        }
    }

    fn apply(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            self.commit = hard_state.commit;
        }
        if let Some(base) = &write.reset_to {
            // Everything before a reset is obsolete, so any damage to it no longer matters.
            *self = Self { base: Base::clone(base), ..Self::default() };
        }
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
        }
        for entry in &write.append {
            let last = self.last();
            if entry.id.index == last.index.next() && entry.id.term >= last.term {
                self.entries.push(entry.clone());
            }
        }
        if let Some(to) = write.compact_to {
            self.compact(to);
        }
    }

    fn compact(&mut self, to: LogIndex) {
        if to > self.last().index {
            // The new base's term and membership are among the lost data.
            *self = Self { incomplete: true, ..Self::default() };
            return;
        }
        let kept = self.entries.partition_point(|entry| entry.id.index <= to);
        for entry in self.entries.drain(..kept) {
            self.base.id = entry.id;
            if let Payload::Membership(membership) = entry.payload {
                self.base.membership = (*membership).clone();
            }
        }
    }
}
