//! Reads ranges of the log, from any thread, beside the store's writes.

use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::{Entry, LogIndex, Term};
use redb::{ReadableDatabase, ReadableTable};

use crate::codec::{RawEntry, RunCursor};
use crate::error::{Damage, ReadError, Trouble};
use crate::shared::Shared;
use crate::tables::{Ends, META, RUNS, decode_ends, meta, record};

/// Reads the log. Cheap to clone; sees every flush that has returned.
#[derive(Clone, Debug)]
pub struct Reader {
    shared: Arc<Shared>,
}

/// What the log holds of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// Consecutive entries from the first one asked for; at least that one.
    Entries(Vec<Entry>),
    /// The first one asked for is at or below the log's base.
    Compacted,
}

/// A read under way.
struct Taker {
    /// The next entry to take.
    next: LogIndex,
    /// The last entry to take.
    last: LogIndex,
    bytes_max: usize,
    /// The weight of what was taken.
    bytes: usize,
    /// The term of the last entry that was taken.
    term: Term,
    entries: Vec<Entry>,
}

/// How a run was left.
enum Taken {
    /// At its end.
    All,
    /// Before, because the range or the bytes have come to theirs.
    Enough,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Reads entries from `first` to `last`, both included, or to the end of the log if that comes earlier. Stops before
    /// the entry with which the [weight](Entry::weight) of all would exceed `bytes_max`, but returns at least one.
    ///
    /// Every entry is checked against its checksum, and that none is missing between them.
    ///
    /// # Errors
    /// The log ends before `first`; what is on disk is damaged; the disk failed; the store was dropped.
    pub fn read(&self, first: LogIndex, last: LogIndex, bytes_max: usize) -> Result<ReadResult, ReadError> {
        let mut clipped = last;
        let result = self.shared.with(|database| {
            let txn = database.begin_read()?;
            let ends: Ends = meta(&txn.open_table(META)?, record::ENDS, decode_ends)?;
            if first <= ends.base.index {
                return Ok(Ok(ReadResult::Compacted));
            }
            if first > ends.last.index {
                return Ok(Err(ReadError::BeyondEnd { first, last: ends.last.index }));
            }
            clipped = last.min(ends.last.index);
            let mut taker =
                Taker { next: first, last: clipped, bytes_max, bytes: 0, term: Term(0), entries: Vec::new() };
            taker.take_all(&txn.open_table(RUNS)?)?;
            Ok(Ok(ReadResult::Entries(taker.entries)))
        });
        let file = self.shared.path.clone();
        match result {
            Ok(answer) => answer,
            Err(Trouble::Closed | Trouble::Refused(_)) => Err(ReadError::Closed),
            Err(Trouble::Damaged(damage)) => Err(ReadError::Damaged { first, last: clipped, file, damage }),
            Err(Trouble::Database(source)) => Err(ReadError::Database { first, last, file, source }),
        }
    }
}

impl Taker {
    fn take_all(&mut self, runs: &impl ReadableTable<u64, &'static [u8]>) -> Result<(), Trouble> {
        let hole = Damage::Hole { wanted: self.next };
        let start = runs.range(..=self.next.0)?.next_back().ok_or(hole)??.0.value();
        for run in runs.range(start..=self.last.0)? {
            let (key, value) = run?;
            // The run that the range starts in may begin before it; each further one begins where the last has ended.
            if key.value() > self.next.0 {
                return Err(Damage::Hole { wanted: self.next }.into());
            }
            match self.take_run(key.value(), value.value())? {
                Taken::All => {}
                Taken::Enough => return Ok(()),
            }
        }
        if self.next <= self.last { Err(Damage::Hole { wanted: self.next }.into()) } else { Ok(()) }
    }

    /// Takes what the range wants of one run.
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
            if entry.id.index > self.last || (any && self.bytes.saturating_add(weight) > self.bytes_max) {
                taken = Taken::Enough;
                break;
            }
            if entry.id.term < self.term {
                return Err(Damage::TermWentBack { id: entry.id, before: self.term });
            }
            self.bytes = self.bytes.saturating_add(weight);
            self.term = entry.id.term;
            self.next = entry.id.index.next();
            wanted.push(entry);
        }
        // One copy for all of them, out of redb's page; the payloads share it.
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
