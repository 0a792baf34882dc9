//! Reports on the log. Whoever owns the log makes writes durable: [`raftkit_log::Writer`] with two threads, a
//! simulator with [`raftkit_log::Flushing`] and [`raftkit_log::Settling`].

use raftkit_core::{Fetch, FetchId, Fetched};
use raftkit_log::{ReadError, ReadResult, Reader, Written};

use crate::{Event, LogReport};

/// A log's report of its writes, as a replica takes it.
impl From<Written> for LogReport {
    fn from(written: Written) -> Self {
        match written {
            Written::Persisted(seq) => Self::Persisted(seq),
            Written::Failed(error) => Self::Failed(in_words(&error)),
        }
    }
}

impl From<Written> for Event {
    fn from(written: Written) -> Self {
        Self::Log(written.into())
    }
}

/// Reads the log for replication.
#[must_use]
pub fn fetch(log: &Reader, fetch: Fetch) -> LogReport {
    let id = fetch.id;
    match log.read(fetch.first, fetch.last, fetch.bytes_max) {
        Ok(ReadResult::Entries(entries)) => LogReport::Fetched { id, result: Fetched::Entries(entries) },
        Ok(ReadResult::Compacted) => LogReport::Fetched { id, result: Fetched::Compacted },
        Err(error) => unread(id, &error),
    }
}

fn unread(id: FetchId, error: &ReadError) -> LogReport {
    match error {
        ReadError::Damaged { .. } => LogReport::Damaged(in_words(error)),
        // For example a tail that was truncated meanwhile. The core knows whether the entries are still needed.
        ReadError::Closed | ReadError::BeyondEnd { .. } | ReadError::Database { .. } => {
            LogReport::FetchFailed { id, reason: in_words(error) }
        }
    }
}

/// An error with its causes in words, each once: `it failed: because of this: and that`.
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
        let LogReport::Damaged(what) = unread(FetchId(1), &error) else { panic!("rot is no other failure") };
        assert_eq!(
            Ended::LogDamaged(what).to_string(),
            "entries 4 to 9 cannot be read: the log /data/log.redb is damaged: entry 6 does not match its checksum; \
             restart the node: it drops what is damaged and heals from its peers, without a vote until then"
        );
    }

    #[test]
    fn a_tail_that_is_gone_is_no_rot() {
        let error = ReadError::BeyondEnd { first: LogIndex(4), last: LogIndex(3) };
        let LogReport::FetchFailed { id: FetchId(7), reason } = unread(FetchId(7), &error) else {
            panic!("it is no rot")
        };
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
