//! Reads beside the thread that applies commands. Each read uses one view, so it sees exactly one state.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use raftkit_core::LogId;
use raftkit_replica::MachineError;

use crate::entry::{KvEntry, KvEntryRef};
use crate::fault::guard;
use crate::listing::Listing;
use crate::view::Published;
use crate::watch::{Watch, Watched, Watches};

/// A handle for reads. The handle stays valid when a snapshot is restored: each read sees the state before or after that.
///
/// Reads and the thread that applies commands never wait for each other. But a read keeps its state in use, so a slow read
/// makes the file grow.
#[derive(Clone)]
pub struct KvReader {
    published: Published,
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
    pub(crate) fn new(published: Published, watches: Arc<Watches>) -> Self {
        Self { published, watches }
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
        Ok(Listing::new(self.published.get(), prefix))
    }

    /// The last log entry whose effects a read sees now.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn applied(&self) -> Result<LogId, MachineError> {
        Ok(self.published.get().meta.applied)
    }

    /// Reads one key.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn get(&self, key: &str) -> Result<Read<Option<KvEntry>>, MachineError> {
        guard(|| {
            let view = self.published.get();
            let entry = view.with_entry(key, |stored| {
                Ok(stored.map(|stored| KvEntry::load(key, stored)).transpose()?)
            })?;
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
            let view = self.published.get();
            let (mut entries, mut newest) = (Vec::new(), 0);
            view.scan(prefix, Bound::Included(prefix), |key, stored| {
                let entry = KvEntry::load(key, stored)?;
                newest = newest.max(entry.modify_index);
                entries.push(entry);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(Read { value: entries, index: view.index(prefix, newest)?, applied: view.meta.applied })
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
            let view = self.published.get();
            let (mut names, mut newest) = (Vec::<String>::new(), 0);
            view.scan(prefix, Bound::Included(prefix), |key, stored| {
                let entry = KvEntryRef::load(key, stored)?;
                let name = separator.map_or(key, |separator| entry.name_up_to(prefix.len(), separator));
                // Keys with the same beginning follow each other, so comparing with the last name finds duplicates.
                if names.last().is_none_or(|last| last != name) {
                    names.push(name.to_owned());
                }
                newest = newest.max(entry.modify_index);
                Ok(ControlFlow::Continue(()))
            })?;
            Ok(Read { value: names, index: view.index(prefix, newest)?, applied: view.meta.applied })
        })
    }
}

impl fmt::Debug for KvReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvReader")
            .field("applied", &self.published.get().meta.applied)
            .finish_non_exhaustive()
    }
}
