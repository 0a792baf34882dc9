//! Reads beside the thread that applies: each in one read transaction, so it sees one state, whole.

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

/// A handle for reads. It stays valid over a restore: a read sees the state before it or after it.
///
/// A read never waits for the thread that applies, nor that thread for a read; but a read holds on to the pages of the
/// state that it sees, so it should not be kept up.
#[derive(Clone, Debug)]
pub struct KvReader {
    database: Current,
    watches: Arc<Watches>,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// The index to block on (`X-Consul-Index`), at least 1: one key's `ModifyIndex`; for a prefix the highest one
    /// under it, deleted keys included; where there is nothing, the index of the last change of any key. For one
    /// question it never goes back.
    pub index: u64,
    /// The state that was read: the last log entry that it shows.
    pub applied: LogId,
}

impl KvReader {
    pub(crate) fn new(database: Current, watches: Arc<Watches>) -> Self {
        Self { database, watches }
    }

    /// A watch on a key or prefix.
    #[must_use]
    pub fn watch(&self, watched: Watched) -> Watch {
        Watch::new(&self.watches, watched)
    }

    /// How many watches there are.
    #[must_use]
    pub fn watching(&self) -> usize {
        self.watches.count()
    }

    /// A list of every key that begins with `prefix`, to be read a bounded step at a time.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn listing(&self, prefix: &str) -> Result<Listing, MachineError> {
        let view = guard(|| View::open(self.database.get()))?;
        Ok(Listing::new(Arc::new(view), prefix))
    }

    /// The last entry whose effects a read sees.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn applied(&self) -> Result<LogId, MachineError> {
        guard(|| Ok(View::open(self.database.get())?.meta.applied))
    }

    /// One key.
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

    /// Every key that begins with `prefix`, with its value, in order. The answer holds all the values.
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

    /// The names of the keys that begin with `prefix`, in order. With a separator, a name ends with the first one after
    /// the prefix, and names that become the same are given once: a folder's content. Values are not kept in memory.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn keys(&self, prefix: &str, separator: Option<&str>) -> Result<Read<Vec<String>>, MachineError> {
        // An empty separator would be found everywhere; Consul takes it for none.
        let separator = separator.filter(|separator| !separator.is_empty());
        guard(|| {
            let view = View::open(self.database.get())?;
            let mut names: Vec<String> = Vec::new();
            let newest = view.scan(prefix, |key, stored| {
                let entry = KvEntryRef::load(key, stored)?;
                let name = separator.map_or(key, |separator| entry.name_up_to(prefix.len(), separator));
                // Keys of one folder are neighbours in the order.
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.to_owned());
                }
                Ok(entry.modify_index)
            })?;
            view.answer(prefix, newest, names)
        })
    }
}

/// A frozen state.
pub(crate) struct View {
    pub(crate) entries: ReadOnlyTable<&'static str, &'static [u8]>,
    transaction: ReadTransaction,
    pub(crate) meta: Meta,
    /// Keeps the database open for as long as the transaction lives. Dropped last.
    _database: Arc<Database>,
}

impl View {
    fn open(database: Arc<Database>) -> Result<Self, Fault> {
        let transaction = database.begin_read()?;
        let meta = Meta::load(&transaction.open_table(META)?)?;
        Ok(Self { entries: transaction.open_table(ENTRIES)?, transaction, meta, _database: database })
    }

    /// Shows `visit` every entry under a prefix; it returns the entry's `ModifyIndex`. Returns the highest one, or 0.
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

    /// An answer about a prefix, whose newest entry there is `newest` (0: none).
    fn answer<T>(&self, prefix: &str, newest: u64, value: T) -> Result<Read<T>, Fault> {
        Ok(Read { value, index: self.index(prefix, newest)?, applied: self.meta.applied })
    }

    /// The index of a prefix, whose newest entry there is `newest` (0: none).
    pub(crate) fn index(&self, prefix: &str, newest: u64) -> Result<u64, Fault> {
        let newest = newest.max(self.newest_grave(prefix)?);
        Ok(if newest == 0 {
            self.meta.visible()
        } else {
            // A tombstone that was dropped may have been under this prefix. The floor is at least its index, so the
            // answer's index does not go back when it goes.
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
