//! The errors of the log, one enum for each operation.

use std::io;
use std::path::PathBuf;

use raftkit_core::{ClusterId, DecodeError, LogId, LogIndex, NodeId, StoreId, Term};

use crate::database_error::DatabaseError;

/// Damage in the content of a file. Damage is reported, never skipped.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The file is empty. Files are created under a temporary name, so a sound one never is.
    #[error("the file is empty")]
    Empty,
    /// A record is missing.
    #[error("the record {record} is missing")]
    Missing {
        /// Name of the record.
        record: &'static str,
    },
    /// A record's checksum does not match.
    #[error("the record {record} (key {key}) does not match its checksum")]
    Checksum {
        /// Name of the record.
        record: &'static str,
        /// The record's key: an index, or 0 if there is only one such record.
        key: u64,
    },
    /// A record's checksum matches, but its content is malformed.
    #[error("the record {record} (key {key}) has {got} bytes, which is not its shape")]
    Shape {
        /// Name of the record.
        record: &'static str,
        /// The record's key: an index, or 0 if there is only one such record.
        key: u64,
        /// The record's length, in bytes.
        got: usize,
    },
    /// An entry's checksum does not match. It covers the run up to and including the entry.
    #[error("entry {index} does not match its checksum")]
    EntryChecksum {
        /// Index of the entry.
        index: LogIndex,
    },
    /// The length of a run does not fit the entries that it claims to hold.
    #[error("the run of entries from {first} on has {got} bytes, which do not fit what it says to hold")]
    RunShape {
        /// First index of the run.
        first: LogIndex,
        /// Length of the run, in bytes.
        got: usize,
    },
    /// Entries are missing between others.
    #[error("entry {wanted} is missing")]
    Hole {
        /// Index of the first missing entry.
        wanted: LogIndex,
    },
    /// An entry has a lower term than the entry before it.
    #[error("entry {id} follows one of term {before}")]
    TermWentBack {
        /// Id of the entry.
        id: LogId,
        /// Term of the entry before it.
        before: Term,
    },
    /// The stored ends, terms or memberships contradict the rest of the log.
    #[error("the log's records of its {what} contradict each other")]
    Contradiction {
        /// Which of them contradict the log.
        what: &'static str,
    },
    /// A payload or membership cannot be decoded.
    #[error("the payload of entry {index} cannot be read")]
    Payload {
        /// Index of the entry; 0 for the base's membership.
        index: LogIndex,
        /// The error that decoding returned.
        source: DecodeError,
    },
    /// Records of the journal that were once durable are missing or do not match their checksums.
    #[error(
        "records {first} to {last} of the journal are lost: they are missing, or do not match their checksums"
    )]
    Journal {
        /// Sequence number of the first lost record.
        first: u64,
        /// Highest sequence number of which there is any trace.
        last: u64,
    },
    /// redb reports that the file is damaged.
    #[error("the database is damaged")]
    Database {
        /// The error that redb returned.
        source: DatabaseError,
    },
    /// redb panicked, as it does on some damage.
    #[error("the database panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
}

/// Reasons why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A call to the disk failed.
    #[error("{path} cannot be opened: the disk failed")]
    Disk {
        /// Path of the file or folder.
        path: PathBuf,
        /// The error that the disk returned.
        source: io::Error,
    },
    /// Another process, or another store in this process, uses the folder.
    #[error("the folder {dir} is in use by another process")]
    Locked {
        /// Path of the folder.
        dir: PathBuf,
    },
    /// The folder belongs to another node.
    #[error("the log {path} belongs to node {found}, this is node {node}")]
    OtherNode {
        /// Path of the file that names the other node.
        path: PathBuf,
        /// The node that the folder belongs to.
        found: NodeId,
        /// The node that tried to open it.
        node: NodeId,
    },
    /// The journal and the database are from different data folders.
    #[error(
        "the journal {journal} is of store {found}, the log beside it is of store {store}: the files of two data folders were mixed"
    )]
    OtherStore {
        /// Path of the journal.
        journal: PathBuf,
        /// The store that the journal belongs to.
        found: StoreId,
        /// The store that the database belongs to.
        store: StoreId,
    },
    /// The log was written by a newer version.
    #[error("the log {path} has format {found}, this version reads up to {known}")]
    NewerFormat {
        /// Path of the file.
        path: PathBuf,
        /// The format that the log states.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// The hard state is lost. Without it, the node could vote twice in one term, so it must not start.
    #[error(
        "{path} is damaged, and with it the hard state is lost: remove the data folder and let the node join anew"
    )]
    Damaged {
        /// Path of the damaged file.
        path: PathBuf,
        /// What is wrong with the file.
        #[source]
        damage: Damage,
    },
    /// redb failed, usually because the disk did.
    #[error("the log {path} cannot be opened")]
    Database {
        /// Path of the database.
        path: PathBuf,
        /// The error that redb returned.
        source: DatabaseError,
    },
}

/// Reasons why a store has ended. The fate of the writes in the failed flush is unknown; those of earlier flushes are
/// safe.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store ended earlier, with another error. Nothing is retried after a failed sync.
    #[error("the log has ended with an earlier error; open it again")]
    Ended,
    /// An entry does not follow the last one, which is a bug of the caller.
    #[error("entry {got} cannot be appended: the next index is {expected}")]
    Gap {
        /// Index after the last entry.
        expected: LogIndex,
        /// Id of the rejected entry.
        got: LogId,
    },
    /// An entry has a lower term than the entry before it, which is a bug of the caller.
    #[error("entry {got} cannot be appended after {last}: terms never go back")]
    TermWentBack {
        /// Id of the last entry.
        last: LogId,
        /// Id of the rejected entry.
        got: LogId,
    },
    /// An entry's payload exceeds the limit.
    #[error("the payload of entry {id} has {got} bytes, the limit is {max}")]
    EntryTooLarge {
        /// Id of the entry.
        id: LogId,
        /// Length of the payload, in bytes.
        got: usize,
        /// Maximum length of a payload, in bytes.
        max: usize,
    },
    /// A truncation would remove compacted entries, which are committed: a bug of the caller.
    #[error("the log cannot be truncated from {from} on: it starts after {base}")]
    TruncatesBase {
        /// First index to be truncated.
        from: LogIndex,
        /// Base of the log.
        base: LogId,
    },
    /// A compaction goes beyond the last entry, which is a bug of the caller.
    #[error("the log cannot be compacted up to {to}: it ends with {last}")]
    CompactsBeyondEnd {
        /// Last index to be compacted.
        to: LogIndex,
        /// Id of the last entry.
        last: LogId,
    },
    /// The data on disk is damaged.
    #[error("the log {path} is damaged")]
    Damaged {
        /// Path of the damaged file.
        path: PathBuf,
        /// What is wrong with the file.
        #[source]
        damage: Damage,
    },
    /// A call to the disk failed.
    #[error("a write to the journal {path} failed")]
    Disk {
        /// Path of the file.
        path: PathBuf,
        /// The error that the disk returned.
        source: io::Error,
    },
    /// redb failed, usually because the disk did.
    #[error("a write to the log {path} failed")]
    Database {
        /// Path of the database.
        path: PathBuf,
        /// The error that redb returned.
        source: DatabaseError,
    },
    /// One of the store's threads panicked, which is a bug.
    #[error("the thread {thread} panicked: {message}")]
    Panicked {
        /// Name of the thread.
        thread: &'static str,
        /// The message of the panic.
        message: String,
    },
}

/// Reasons why a store could not be assigned to a cluster.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The store belongs to another cluster.
    #[error("the store belongs to cluster {present:032x}, it cannot join cluster {asked:032x}", present = .present.0, asked = .asked.0)]
    OtherCluster {
        /// The cluster that the store belongs to.
        present: ClusterId,
        /// The cluster asked for.
        asked: ClusterId,
    },
    /// The log is not empty, so it cannot be given a base.
    #[error("the log is not empty: it starts after {base} and ends with {last}")]
    NotEmpty {
        /// Base of the log.
        base: LogId,
        /// Id of the last entry.
        last: LogId,
    },
    /// The store has ended.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reasons why a range could not be read. A failed read is never mistaken for a compacted range.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store was dropped.
    #[error("the log is closed")]
    Closed,
    /// The log ends before the range.
    #[error("entry {first} cannot be read: the log ends with {last}")]
    BeyondEnd {
        /// First index asked for.
        first: LogIndex,
        /// Last index in the log.
        last: LogIndex,
    },
    /// The data on disk is damaged.
    #[error("entries {first} to {last} cannot be read: the log {file} is damaged")]
    Damaged {
        /// First index asked for.
        first: LogIndex,
        /// Last index asked for that the log should hold.
        last: LogIndex,
        /// Path of the damaged file.
        file: PathBuf,
        /// What is wrong with the file.
        #[source]
        damage: Damage,
    },
    /// redb failed, usually because the disk did.
    #[error("entries {first} to {last} cannot be read from {file}")]
    Database {
        /// First index asked for.
        first: LogIndex,
        /// Last index asked for.
        last: LogIndex,
        /// Path of the database.
        file: PathBuf,
        /// The error that redb returned.
        source: DatabaseError,
    },
}

/// Failure of work on the database, before it is mapped to the error of an operation.
#[derive(Debug)]
pub(crate) enum Trouble {
    Closed,
    Damaged(Damage),
    Database(DatabaseError),
    /// The caller's fault, already in its final form.
    Refused(StoreError),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let source = DatabaseError::from(error.into());
        if source.is_damage() { Self::Damaged(Damage::Database { source }) } else { Self::Database(source) }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Damage> for Trouble {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl Trouble {
    pub(crate) fn into_store_error(self, path: &std::path::Path) -> StoreError {
        match self {
            Self::Closed => StoreError::Ended,
            Self::Damaged(damage) => StoreError::Damaged { path: path.to_path_buf(), damage },
            Self::Database(source) => StoreError::Database { path: path.to_path_buf(), source },
            Self::Refused(error) => error,
        }
    }
}
