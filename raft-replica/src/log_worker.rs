//! The log worker: owns the store, makes writes durable in order, and compacts when it has nothing better to do.

use raftkit_core::{Fetch, Fetched, Write};
use raftkit_log::{Compaction, ReadResult, Reader, Store};

use crate::Event;

/// Owns a [`Store`] and does its work.
#[derive(Debug)]
pub struct LogWorker {
    store: Store,
    compacting: bool,
}

impl LogWorker {
    /// A worker on this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, compacting: false }
    }

    /// A handle for reads of the log.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.store.reader()
    }

    /// Makes all of `writes` durable with one sync and reports the last; or reports why not. Never called again after
    /// a failure: what the disk holds is unknown then.
    pub fn flush(&mut self, writes: Vec<Write>) -> Option<Event> {
        for write in writes {
            self.compacting |= write.compact_to.is_some() || write.reset_to.is_some();
            self.store.queue(write);
        }
        match self.store.flush() {
            Ok(seq) => seq.map(Event::Persisted),
            Err(error) => Some(Event::WriteFailed(error.to_string())),
        }
    }

    /// True while there is something to settle or to compact.
    #[must_use]
    pub fn has_idle_work(&self) -> bool {
        self.compacting || self.store.unsettled_bytes() > 0
    }

    /// Does one bounded step: settles what is flushed, or frees what is compacted. Call it when no write waits.
    pub fn idle(&mut self) -> Option<Event> {
        let result = if self.store.unsettled_bytes() > 0 {
            self.store.settle().map(|_| ())
        } else {
            self.store.compact_step().map(|step| self.compacting = step == Compaction::More)
        };
        result.err().map(|error| Event::WriteFailed(error.to_string()))
    }
}

/// Reads the log for replication.
#[must_use]
pub fn fetch(log: &Reader, fetch: Fetch) -> Event {
    let result = match log.read(fetch.first, fetch.last, fetch.bytes_max) {
        Ok(ReadResult::Entries(entries)) => Fetched::Entries(entries),
        Ok(ReadResult::Compacted) => Fetched::Compacted,
        Err(_damage) => Fetched::Damaged,
    };
    Event::Fetched { request: fetch.request, result }
}
