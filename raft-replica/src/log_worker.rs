//! The log worker: owns the store, makes writes durable in order, and does everything else for it when it has nothing better to
//! do. It is one thread's work; `raftkit_log::Writer` does the same with two. Both ask [`Schedule`] what to do.

use std::time::Duration;

use raftkit_core::{Fetch, Fetched, Write};
use raftkit_log::{
    Chore, Next, Progress, ReadError, ReadResult, Reader, Schedule, Store, StoreError, Written,
};

use crate::Event;

/// Owns a [`Store`] and does its work. Times are durations since any fixed moment.
#[derive(Debug)]
pub struct LogWorker {
    store: Store,
    schedule: Schedule,
    /// Something was flushed since the schedule was asked.
    flushed: bool,
}

impl LogWorker {
    /// A worker on this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, schedule: Schedule::default(), flushed: false }
    }

    /// The store, for a driver that gives it threads of its own ([`raftkit_log::Writer`]).
    #[must_use]
    pub fn into_store(self) -> Store {
        self.store
    }

    /// The store, to look at.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
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
            self.store.queue(write);
        }
        self.flushed = true;
        match self.store.flush() {
            Ok(seq) => seq.map(Event::Persisted),
            Err(error) => Some(Event::LogFailed(in_words(&error))),
        }
    }

    /// What is to be done beside flushing, or when. Ask after each flush: what was flushed counts from then on.
    #[must_use]
    pub fn next(&mut self, now: Duration) -> Next {
        if std::mem::take(&mut self.flushed) {
            self.schedule.flushed(now);
        }
        let witness = self.schedule.for_witness(now, self.store.wants_witness());
        let database = self.for_database(now);
        match (witness, database) {
            (Next::Do(chore), _) | (Next::At(_) | Next::AfterFlush, Next::Do(chore)) => Next::Do(chore),
            (Next::At(a), Next::At(b)) => Next::At(a.min(b)),
            (Next::At(at), Next::AfterFlush) | (Next::AfterFlush, Next::At(at)) => Next::At(at),
            (Next::AfterFlush, Next::AfterFlush) => Next::AfterFlush,
        }
    }

    /// What is to be done for the database, which goes on beside the flushes, or when.
    #[must_use]
    pub fn for_database(&mut self, now: Duration) -> Next {
        self.schedule.for_database(now, self.store.unsettled_bytes())
    }

    /// Does one bounded step of a chore.
    ///
    /// # Errors
    /// The log has ended with this; [`Written::Failed`] makes an event of it.
    pub fn perform(&mut self, now: Duration, chore: Chore) -> Result<Progress, StoreError> {
        let progress = self.store.perform(chore)?;
        self.schedule.did(now, chore, progress);
        Ok(progress)
    }
}

/// What the threads of a [`raftkit_log::Writer`] report, as a replica takes it.
impl From<Written> for Event {
    fn from(written: Written) -> Self {
        match written {
            Written::Persisted(seq) => Self::Persisted(seq),
            Written::Failed(error) => Self::LogFailed(in_words(&error)),
        }
    }
}

/// Reads the log for replication.
#[must_use]
pub fn fetch(log: &Reader, fetch: Fetch) -> Event {
    let request = fetch.request;
    match log.read(fetch.first, fetch.last, fetch.bytes_max) {
        Ok(ReadResult::Entries(entries)) => Event::Fetched { request, result: Fetched::Entries(entries) },
        Ok(ReadResult::Compacted) => Event::Fetched { request, result: Fetched::Compacted },
        Err(error) => unread(request, &error),
    }
}

fn unread(request: u64, error: &ReadError) -> Event {
    match error {
        ReadError::Damaged { .. } => Event::LogDamaged(in_words(error)),
        // A tail that was dropped meanwhile, for one: whether it matters is for the core to say.
        ReadError::Closed | ReadError::BeyondEnd { .. } | ReadError::Database { .. } => {
            Event::FetchFailed { request, reason: in_words(error) }
        }
    }
}

/// An error with its causes, each once: `what failed: because of this: and that`.
#[must_use]
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_words = cause.to_string();
        if !words.contains(&cause_words) {
            words.push_str(": ");
            words.push_str(&cause_words);
        }
        source = cause.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use raftkit_core::LogIndex;
    use raftkit_log::Damage;

    use super::*;
    use crate::Ended;

    #[test]
    fn rot_is_told_with_its_range_its_file_its_entry_and_what_to_do() {
        let damage = Damage::EntryChecksum { index: LogIndex(6) };
        let file = "/data/log.redb".into();
        let error = ReadError::Damaged { first: LogIndex(4), last: LogIndex(9), file, damage };
        let Event::LogDamaged(what) = unread(1, &error) else { panic!("rot is no other failure") };
        assert_eq!(
            Ended::LogDamaged(what).to_string(),
            "entries 4 to 9 cannot be read: the log /data/log.redb is damaged: entry 6 does not match its checksum; \
             restart the node: it drops what is damaged and heals from its peers, without a vote until then"
        );
    }

    #[test]
    fn a_tail_that_is_gone_is_no_rot() {
        let error = ReadError::BeyondEnd { first: LogIndex(4), last: LogIndex(3) };
        let Event::FetchFailed { request: 7, reason } = unread(7, &error) else { panic!("it is no rot") };
        assert_eq!(reason, "entry 4 cannot be read: the log ends with 3");
    }

    #[test]
    fn an_error_is_told_with_its_causes_each_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] Inner);
        #[derive(Debug, thiserror::Error)]
        #[error("inner")]
        struct Inner(#[source] std::io::Error);
        assert_eq!(in_words(&Outer(Inner(std::io::Error::other("disk")))), "outer: inner: disk");
    }
}
