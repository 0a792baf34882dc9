//! Reads beside the thread that applies commands. Each read uses one read transaction, so it sees exactly one state.

use std::sync::Arc;

use raftkit_core::LogId;
use raftkit_replica::MachineError;
use redb::{Database, ReadOnlyTable, ReadTransaction, ReadableDatabase};

use crate::current::Current;
use crate::entry::{KvEntry, KvEntryRef};
use crate::fault::{Fault, guard};
use crate::listing::Listing;
use crate::tables::{ENTRIES, GRAVES, META, Meta};
use crate::watch::{Watch, Watched, Watches};

/// A handle for reads. The handle stays valid when a snapshot is restored: each read sees the state before or after that.
///
/// Reads and the thread that applies commands never wait for each other. But a read keeps the pages of its state in use, so
/// a slow read makes the file grow.
#[derive(Clone, Debug)]
pub struct KvReader {
    database: Current,
    watches: Arc<Watches>,
}

/// The result of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The value that was read.
    pub value: T,
    /// The index to block on (`X-Consul-Index`), at least 1. For a key it is the key's `ModifyIndex`, for a prefix the
    /// highest `ModifyIndex` under the prefix, deletions included. If nothing is there, it is the index of the last change
    /// of any key. For the same key or prefix the index never goes back.
    pub index: u64,
    /// The last log entry that was applied to the state that was read.
    pub applied: LogId,
}

impl KvReader {
    pub(crate) fn new(database: Current, watches: Arc<Watches>) -> Self {
        Self { database, watches }
    }

    /// Creates a watch on a key or prefix.
    #[must_use]
    pub fn watch(&self, watched: Watched) -> Watch {
        Watch::new(&self.watches, watched)
    }

    /// The number of watches that exist.
    #[must_use]
    pub fn watching(&self) -> usize {
        self.watches.count()
    }

    /// Opens a list of all keys that begin with `prefix`, which the caller reads in bounded steps.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn listing(&self, prefix: &str) -> Result<Listing, MachineError> {
        let view = guard(|| View::open(self.database.get()))?;
        Ok(Listing::new(Arc::new(view), prefix))
    }

    /// The last log entry whose effects a read sees now.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn applied(&self) -> Result<LogId, MachineError> {
        guard(|| Ok(View::open(self.database.get())?.meta.applied))
    }

    /// Reads one key.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn get(&self, key: &str) -> Result<Read<Option<KvEntry>>, MachineError> {
        guard(|| {
            let view = View::open(self.database.get())?;
            let stored = view.entries.get(key)?;
            let entry = stored.map(|stored| KvEntry::load(key, stored.value())).transpose()?;
            let index = entry.as_ref().map_or(view.meta.visible(), |entry| entry.modify_index);
            Ok(Read { value: entry, index, applied: view.meta.applied })
        })
    }

    /// Reads all keys that begin with `prefix`, with their values, in the order of keys. The answer holds all values in
    /// memory.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn list(&self, prefix: &str) -> Result<Read<Vec<KvEntry>>, MachineError> {
        guard(|| {
            let view = View::open(self.database.get())?;
            let mut entries = Vec::new();
            let newest = view.scan(prefix, |key, stored| {
                let entry = KvEntry::load(key, stored)?;
                let modified = entry.modify_index;
                entries.push(entry);
                Ok(modified)
            })?;
            view.answer(prefix, newest, entries)
        })
    }

    /// Reads the names of all keys that begin with `prefix`, in order, without keeping values in memory. With a separator,
    /// each name is cut after the first separator behind the prefix, and each resulting name is given once: that lists a
    /// folder's content.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn keys(&self, prefix: &str, separator: Option<&str>) -> Result<Read<Vec<String>>, MachineError> {
        // An empty separator would match everywhere; Consul treats it as no separator.
        let separator = separator.filter(|separator| !separator.is_empty());
        guard(|| {
            let view = View::open(self.database.get())?;
            let mut names: Vec<String> = Vec::new();
            let newest = view.scan(prefix, |key, stored| {
                let entry = KvEntryRef::load(key, stored)?;
                let name = separator.map_or(key, |separator| entry.name_up_to(prefix.len(), separator));
                // Keys with the same beginning follow each other, so comparing with the last name finds duplicates.
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.to_owned());
                }
                Ok(entry.modify_index)
            })?;
            view.answer(prefix, newest, names)
        })
    }
}

/// One state, kept readable by a read transaction.
pub(crate) struct View {
    pub(crate) entries: ReadOnlyTable<&'static str, &'static [u8]>,
    transaction: ReadTransaction,
    pub(crate) meta: Meta,
    /// Keeps the database open while the transaction lives. Fields are dropped in order, so it must be the last one.
    _database: Arc<Database>,
}

impl View {
    fn open(database: Arc<Database>) -> Result<Self, Fault> {
        let transaction = database.begin_read()?;
        let meta = Meta::load(&transaction.open_table(META)?)?;
        Ok(Self { entries: transaction.open_table(ENTRIES)?, transaction, meta, _database: database })
    }

    /// Calls `visit` with every entry under a prefix; `visit` returns the entry's `ModifyIndex`. Returns the highest
    /// `ModifyIndex`, or 0 if there is no entry.
    fn scan(
        &self,
        prefix: &str,
        mut visit: impl FnMut(&str, &[u8]) -> Result<u64, MachineError>,
    ) -> Result<u64, Fault> {
        let mut newest = 0;
        for found in self.entries.range(prefix..)? {
            let (key, stored) = found?;
            if !key.value().starts_with(prefix) {
                break;
            }
            newest = newest.max(visit(key.value(), stored.value())?);
        }
        Ok(newest)
    }

    /// The result of a read of a prefix; `newest` is the highest `ModifyIndex` under the prefix, 0 if there is no entry.
    fn answer<T>(&self, prefix: &str, newest: u64, value: T) -> Result<Read<T>, Fault> {
        Ok(Read { value, index: self.index(prefix, newest)?, applied: self.meta.applied })
    }

    /// The index to block on for a prefix; `newest` is the highest `ModifyIndex` under it, 0 if there is no entry.
    pub(crate) fn index(&self, prefix: &str, newest: u64) -> Result<u64, Fault> {
        let newest = newest.max(self.newest_grave(prefix)?);
        Ok(if newest == 0 {
            self.meta.visible()
        } else {
            // A dropped tombstone may have been the newest change under this prefix. The floor is at least that
            // tombstone's index, so the index of the answer does not go back.
            newest.max(self.meta.floor)
        })
    }

    fn newest_grave(&self, prefix: &str) -> Result<u64, Fault> {
        let mut newest = 0;
        for found in self.transaction.open_table(GRAVES)?.range(prefix..)? {
            let (key, index) = found?;
            if !key.value().starts_with(prefix) {
                break;
            }
            newest = newest.max(index.value());
        }
        Ok(newest)
    }
}
