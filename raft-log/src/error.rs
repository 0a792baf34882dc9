//! What can go wrong, with the facts: one enum an operation.

use std::io;
use std::path::PathBuf;

use raftkit_core::{ClusterId, DecodeError, LogId, LogIndex, NodeId, StoreId, Term};

/// What is wrong with what the file holds. Damage is reported, never skipped.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The file is empty: it is made under another name, so that it never is.
    #[error("the file is empty")]
    Empty,
    /// A record is not there.
    #[error("the record {record} is missing")]
    Missing {
        /// Which.
        record: &'static str,
    },
    /// A record's checksum does not match.
    #[error("the record {record} (key {key}) does not match its checksum")]
    Checksum {
        /// Which kind.
        record: &'static str,
        /// Its key: an index, or 0 where there is only one.
        key: u64,
    },
    /// A record's checksum matches, but it has not the shape that it should have.
    #[error("the record {record} (key {key}) has {got} bytes, which is not its shape")]
    Shape {
        /// Which kind.
        record: &'static str,
        /// Its key: an index, or 0 where there is only one.
        key: u64,
        /// Its length.
        got: usize,
    },
    /// An entry's checksum does not match that of the run up to it.
    #[error("entry {index} does not match its checksum")]
    EntryChecksum {
        /// Which.
        index: LogIndex,
    },
    /// A run of entries is too short or too long for what it says to hold.
    #[error("the run of entries from {first} on has {got} bytes, which do not fit what it says to hold")]
    RunShape {
        /// Its first index.
        first: LogIndex,
        /// Its length.
        got: usize,
    },
    /// Entries are missing.
    #[error("entry {wanted} is missing")]
    Hole {
        /// The first one missing.
        wanted: LogIndex,
    },
    /// Terms in the log go back.
    #[error("entry {id} follows one of term {before}")]
    TermWentBack {
        /// The entry.
        id: LogId,
        /// The term before it.
        before: Term,
    },
    /// What the log says of its ends, terms or memberships contradicts what it holds.
    #[error("the log's records of its {what} contradict each other")]
    Contradiction {
        /// What they are about.
        what: &'static str,
    },
    /// A payload or membership cannot be read.
    #[error("the payload of entry {index} cannot be read")]
    Payload {
        /// Of which entry; 0 for the base's membership.
        index: LogIndex,
        /// Why.
        source: DecodeError,
    },
    /// Records of the journal are missing or do not match their checksums, though they were durable once.
    #[error(
        "records {first} to {last} of the journal are lost: they are missing, or do not match their checksums"
    )]
    Journal {
        /// The first.
        first: u64,
        /// The last one of which there is a trace.
        last: u64,
    },
    /// redb says that the file is damaged.
    #[error("the database is damaged")]
    Database {
        /// What it says.
        source: Box<redb::Error>,
    },
    /// redb panicked, as it does on some damage.
    #[error("the database panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk failed.
    #[error("{path} cannot be opened: the disk failed")]
    Disk {
        /// What was touched.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// Another process, or another store of this one, uses the folder.
    #[error("the folder {dir} is in use by another process")]
    Locked {
        /// Which.
        dir: PathBuf,
    },
    /// The folder is that of another node.
    #[error("the log {path} belongs to node {found}, this is node {node}")]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who wanted to open it.
        node: NodeId,
    },
    /// The files of two folders were mixed.
    #[error(
        "the journal {journal} is of store {found}, the log beside it is of store {store}: the files of two data folders were mixed"
    )]
    OtherStore {
        /// The journal.
        journal: PathBuf,
        /// Whose it is.
        found: StoreId,
        /// Whose the log is.
        store: StoreId,
    },
    /// A newer version has written it.
    #[error("the log {path} has format {found}, this version reads up to {known}")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// It has lost what it had promised: the hard state, without which a node must not vote again.
    #[error(
        "{path} is damaged, and with it the hard state is lost: remove the data folder and let the node join anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        damage: Damage,
    },
    /// redb failed, mostly because the disk did.
    #[error("the log {path} cannot be opened")]
    Database {
        /// The file.
        path: PathBuf,
        /// How.
        source: Box<redb::Error>,
    },
}

/// Why a store has ended. What became of the writes in the failed flush is unknown; those flushed before it are safe.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It ended earlier, with another error. Nothing is ever tried again after a failed sync.
    #[error("the log has ended with an earlier error; open it again")]
    Ended,
    /// An entry does not follow the last one: a bug of the caller.
    #[error("entry {got} cannot be appended: the next index is {expected}")]
    Gap {
        /// The index after the last.
        expected: LogIndex,
        /// The entry given.
        got: LogId,
    },
    /// An entry is of an earlier term than the one before it: a bug of the caller.
    #[error("entry {got} cannot be appended after {last}: terms never go back")]
    TermWentBack {
        /// The last entry.
        last: LogId,
        /// The entry given.
        got: LogId,
    },
    /// An entry is too large.
    #[error("the payload of entry {id} has {got} bytes, the limit is {max}")]
    EntryTooLarge {
        /// Which.
        id: LogId,
        /// Its length.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// A truncation reaches into what is compacted, and so was committed: a bug of the caller.
    #[error("the log cannot be truncated from {from} on: it starts after {base}")]
    TruncatesBase {
        /// The truncation.
        from: LogIndex,
        /// The log's base.
        base: LogId,
    },
    /// A compaction reaches beyond the last entry: a bug of the caller.
    #[error("the log cannot be compacted up to {to}: it ends with {last}")]
    CompactsBeyondEnd {
        /// The compaction.
        to: LogIndex,
        /// The last entry.
        last: LogId,
    },
    /// What is on disk is damaged.
    #[error("the log {path} is damaged")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        damage: Damage,
    },
    /// The disk failed.
    #[error("a write to the journal {path} failed")]
    Disk {
        /// The file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// redb failed, mostly because the disk did.
    #[error("a write to the log {path} failed")]
    Database {
        /// The file.
        path: PathBuf,
        /// How.
        source: Box<redb::Error>,
    },
    /// One of the store's threads panicked: a bug.
    #[error("the thread {thread} panicked: {message}")]
    Panicked {
        /// The thread's name.
        thread: &'static str,
        /// What the panic said.
        message: String,
    },
}

/// Why a cluster could not be formed in a store.
#[derive(Debug, thiserror::Error)]
pub enum FormError {
    /// The store belongs to another cluster.
    #[error("the store belongs to cluster {present:032x}, it cannot join cluster {asked:032x}", present = .present.0, asked = .asked.0)]
    OtherCluster {
        /// Its cluster.
        present: ClusterId,
        /// The one asked for.
        asked: ClusterId,
    },
    /// The log is not empty, so it cannot be given a base.
    #[error("the log is not empty: it starts after {base} and ends with {last}")]
    NotEmpty {
        /// Its base.
        base: LogId,
        /// Its last entry.
        last: LogId,
    },
    /// The store failed and has ended.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a range could not be read. It is never taken for one that was compacted.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store was dropped.
    #[error("the log is closed")]
    Closed,
    /// The log ends before.
    #[error("entry {first} cannot be read: the log ends with {last}")]
    BeyondEnd {
        /// The first index asked for.
        first: LogIndex,
        /// The last that the log holds.
        last: LogIndex,
    },
    /// What is on disk is damaged.
    #[error("entries {first} to {last} cannot be read: the log {file} is damaged")]
    Damaged {
        /// The first index asked for.
        first: LogIndex,
        /// The last index asked for that the log should hold.
        last: LogIndex,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        #[source]
        damage: Damage,
    },
    /// redb failed, mostly because the disk did.
    #[error("entries {first} to {last} cannot be read from {file}")]
    Database {
        /// The first index asked for.
        first: LogIndex,
        /// The last index asked for.
        last: LogIndex,
        /// The file.
        file: PathBuf,
        /// How.
        source: Box<redb::Error>,
    },
}

/// What a piece of work on the database came to, before it is known which operation it was for.
#[derive(Debug)]
pub(crate) enum Trouble {
    Closed,
    Damaged(Damage),
    Database(Box<redb::Error>),
    /// The caller's fault, already in its final form.
    Refused(StoreError),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        let error: redb::Error = error.into();
        // What has no magic number is no database: redb calls that invalid data. And no log was ever in another of redb's
        // formats: where it reads one, the first byte of a commit slot is rotten.
        let damaged = matches!(&error, redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_))
            || matches!(&error, redb::Error::Io(io) if io.kind() == io::ErrorKind::InvalidData);
        let source = Box::new(error);
        if damaged { Self::Damaged(Damage::Database { source }) } else { Self::Database(source) }
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
