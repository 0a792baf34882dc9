//! Reads ranges of the log from any thread, concurrently with the store's writes.

use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::{Entry, LogId, LogIndex, Term};
use redb::{ReadableDatabase, ReadableTable};

use crate::codec::{RawEntry, RunCursor};
use crate::error::{Damage, ReadError, Trouble};
use crate::shared::Shared;
use crate::tables::RUNS;
use crate::view::Place;

/// Reads the log. Cheap to clone; sees every flush that has returned.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// Result of reading a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// Consecutive entries, starting with the first one asked for; never empty.
    Entries(Vec<Entry>),
    /// The first entry asked for is at or below the log's base.
    Compacted,
}

/// A read under way.
struct Taker {
    /// Index of the next entry to take.
    next: LogIndex,
    /// Index of the last entry to take.
    last: LogIndex,
    bytes_max: usize,
    /// Weight of the entries taken, in bytes.
    bytes: usize,
    /// Term of the last entry taken.
    term: Term,
    entries: Vec<Entry>,
}

/// How reading a run ended.
enum Taken {
    /// The run was read to its end.
    All,
    /// The read stopped inside the run, because the range or the byte limit was reached.
    Enough,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads the entries from `first` to `last`, both included, or to the end of the log if that comes first. Stops
    /// before the entry with which the total [weight](Entry::weight) would exceed `bytes_max`, but always returns at
    /// least one entry.
    ///
    /// Checks every entry's checksum, and that no entry is missing in between.
    ///
    /// # Errors
    /// The log ends before `first`; the data on disk is damaged; the disk failed; or the store was dropped.
    pub fn read(&self, first: LogIndex, last: LogIndex, bytes_max: usize) -> Result<ReadResult, ReadError> {
        loop {
            if self.shared.is_closed() {
                return Err(ReadError::Closed);
            }
            let generation = self.shared.view().generation();
            let result = self.read_once(first, last, bytes_max, generation);
            // If entries were truncated or compacted meanwhile, the result may mix old and new entries or have a hole:
            // read again.
            if self.shared.view().generation() == generation {
                return result;
            }
        }
    }

    fn read_once(
        &self,
        first: LogIndex,
        last: LogIndex,
        bytes_max: usize,
        generation: u64,
    ) -> Result<ReadResult, ReadError> {
        let mut taker = Taker {
            next: first,
            last: last.max(first),
            bytes_max,
            bytes: 0,
            term: Term(0),
            entries: Vec::new(),
        };
        while taker.next <= taker.last {
            // Look up each step anew: entries that were in memory may have moved to the database meanwhile.
            let view = self.shared.view();
            let place = view.find(taker.next);
            let (end, changed) = (view.last(), view.generation() != generation);
            drop(view);
            if changed {
                break;
            }
            let taken = match place {
                Place::Compacted => return Ok(ReadResult::Compacted),
                Place::Beyond(_) if !taker.entries.is_empty() => break,
                Place::Beyond(last) => return Err(ReadError::BeyondEnd { first, last }),
                Place::Memory(entries) => taker.take_entries(&entries),
                Place::Database(to) => self.take_from_database(&mut taker, first, last.min(end), to)?,
            };
            if matches!(taken, Taken::Enough) {
                break;
            }
        }
        Ok(ReadResult::Entries(taker.entries))
    }

    /// Takes the entries of the range that the database holds, up to index `to`.
    fn take_from_database(
        &self,
        taker: &mut Taker,
        first: LogIndex,
        last: LogIndex,
        to: LogIndex,
    ) -> Result<Taken, ReadError> {
        let file = self.shared.path.clone();
        let last_wanted = taker.last;
        taker.last = last_wanted.min(to);
        let result = self.shared.with(|database| taker.take_all(&database.begin_read()?.open_table(RUNS)?));
        taker.last = last_wanted;
        result.map_err(|trouble| match trouble {
            Trouble::Closed | Trouble::Refused(_) => ReadError::Closed,
            Trouble::Damaged(damage) => ReadError::Damaged { first, last: last.max(first), file, damage },
            Trouble::Database(source) => ReadError::Database { first, last, file, source },
        })
    }
}

impl Taker {
    fn take_all(&mut self, runs: &impl ReadableTable<u64, &'static [u8]>) -> Result<Taken, Trouble> {
        let hole = Damage::Hole { wanted: self.next };
        let start = runs.range(..=self.next.0)?.next_back().ok_or(hole)??.0.value();
        for run in runs.range(start..=self.last.0)? {
            let (key, value) = run?;
            // Only the first run may begin before the wanted index; every other run begins right after the one before.
            if key.value() > self.next.0 {
                return Err(Damage::Hole { wanted: self.next }.into());
            }
            match self.take_run(key.value(), value.value())? {
                Taken::All => {}
                Taken::Enough => return Ok(Taken::Enough),
            }
        }
        if self.next <= self.last { Err(Damage::Hole { wanted: self.next }.into()) } else { Ok(Taken::All) }
    }

    /// Takes the wanted entries from memory; the first one given is the next one wanted.
    fn take_entries(&mut self, entries: &[Entry]) -> Taken {
        for entry in entries {
            let weight = entry.weight();
            if !self.wants(entry.id.index, weight, !self.entries.is_empty()) {
                return Taken::Enough;
            }
            self.took(entry.id, weight);
            self.entries.push(entry.clone());
        }
        Taken::All
    }

    fn wants(&self, index: LogIndex, weight: usize, any: bool) -> bool {
        index <= self.last && !(any && self.bytes.saturating_add(weight) > self.bytes_max)
    }

    fn took(&mut self, id: LogId, weight: usize) {
        assert_eq!(id.index, self.next, "entries are taken one after the other");
        self.bytes = self.bytes.saturating_add(weight);
        self.term = id.term;
        self.next = id.index.next();
    }

    /// Takes the wanted entries of one run.
    fn take_run(&mut self, key: u64, run: &[u8]) -> Result<Taken, Damage> {
        let mut cursor = RunCursor::new(key, run)?;
        let mut wanted: Vec<RawEntry> = Vec::new();
        let mut taken = Taken::All;
        while let Some(entry) = cursor.next()? {
            if entry.id.index < self.next {
                continue;
            }
            let weight = entry.weight();
            let any = !self.entries.is_empty() || !wanted.is_empty();
            if !self.wants(entry.id.index, weight, any) {
                // The end of the database's part does not end the read, since the range may continue in memory; the
                // byte limit does.
                taken = if entry.id.index > self.last { Taken::All } else { Taken::Enough };
                break;
            }
            if entry.id.term < self.term {
                return Err(Damage::TermWentBack { id: entry.id, before: self.term });
            }
            self.took(entry.id, weight);
            wanted.push(entry);
        }
        // Copy all payloads out of redb's page at once. They share that copy.
        if let (Some(first), Some(last)) = (wanted.first(), wanted.last()) {
            let from = first.payload.start;
            let buffer = Bytes::copy_from_slice(&run[from..last.payload.end]);
            for entry in &wanted {
                self.entries.push(entry.decode(&buffer, from)?);
            }
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use raftkit_core::{NodeId, Payload, StoreId, Write};
    use raftkit_disk::SimulatedDisk;

    use super::*;
    use crate::codec::RunBuilder;
    use crate::{OpenOptions, Store};

    /// A store with the runs 1-2, 3-4 and 5-6, after `spoil` changed the table of runs.
    fn spoiled(spoil: impl FnOnce(&mut redb::Table<'_, u64, &'static [u8]>)) -> Store {
        let disk = Arc::new(SimulatedDisk::new(0));
        let options = OpenOptions { tail_bytes: 0, ..OpenOptions::new(NodeId(1), StoreId(1)) };
        let (mut store, _) = Store::open(disk, Path::new("/log"), options).expect("it is made");
        for first in [1, 3, 5] {
            let entry = |index| Entry { id: LogId::new(4, index), payload: Payload::Noop };
            store.queue(Write { append: vec![entry(first), entry(first + 1)].into(), ..Write::default() });
            store.flush().expect("the disk is sound");
            store.settle().expect("the disk is sound");
        }
        let act = |database: &redb::Database| {
            let txn = database.begin_write()?;
            spoil(&mut txn.open_table(RUNS)?);
            Ok(txn.commit()?)
        };
        store.reader().shared.with(act).expect("the disk is sound");
        store
    }

    fn damage(store: &Store, first: u64, last: u64) -> Damage {
        match store.reader().read(LogIndex(first), LogIndex(last), usize::MAX) {
            Err(ReadError::Damaged { damage, .. }) => damage,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_that_is_missing_is_damage_wherever_a_read_meets_it() {
        for missing in [1, 3, 5] {
            let store = spoiled(|runs| drop(runs.remove(missing).expect("the disk is sound")));
            for first in 1..=missing + 1 {
                let wanted = LogIndex(first.max(missing));
                let found = damage(&store, first, 6);
                assert!(
                    matches!(found, Damage::Hole { wanted: hole } if hole == wanted),
                    "{first}: {found:?}"
                );
            }
            let before = store.reader().read(LogIndex(1), LogIndex(missing - 1), usize::MAX);
            assert!(missing == 1 || matches!(before, Ok(ReadResult::Entries(_))), "{before:?}");
        }
    }

    #[test]
    fn a_run_in_another_ones_place_or_of_an_earlier_term_is_damage() {
        let run = |first, term| {
            let mut run = RunBuilder::new(LogIndex(first));
            run.push(LogId::new(term, first), 0, b"");
            run.push(LogId::new(term, first + 1), 0, b"");
            run.finish().1
        };
        let put =
            |value: Vec<u8>| spoiled(move |runs| drop(runs.insert(3, value.as_slice()).expect("sound")));
        assert!(matches!(damage(&put(run(5, 4)), 1, 6), Damage::RunShape { first: LogIndex(3), .. }));
        assert!(matches!(damage(&put(run(3, 3)), 1, 6), Damage::TermWentBack { .. }));
    }
}
