//! What commands do to the tables: the semantics of Consul's KV store.

use raftkit_core::LogId;
use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use crate::command::{Command, Condition, Response};
use crate::entry::Header;
use crate::fault::Fault;
use crate::notes::{Notes, Touched};
use crate::tables::{ENTRIES, GRAVES, META, META_KEY, Meta, TOMBSTONES};

/// Number of tombstones that are kept, the newest ones. The limit is part of the state: every node keeps the same
/// tombstones.
pub(crate) const TOMBSTONES_MAX: u64 = 65_536;

/// Number of keys of a tree that are read into memory at a time while the tree is deleted.
const TREE_STEP: usize = 1024;

/// The tables of the state, open in one write transaction.
pub(crate) struct State<'txn> {
    entries: Table<'txn, &'static str, &'static [u8]>,
    tombstones: Table<'txn, (u64, &'static str), u64>,
    graves: Table<'txn, &'static str, u64>,
    pub(crate) meta: Meta,
    tombstones_max: u64,
    /// Whether the command that is being applied has changed a key so far.
    touched: Changed,
    /// Notes on the changes, for giving space back.
    pub(crate) notes: Notes,
}

/// Whether a command changed any key. A command changes nothing if its condition does not hold, if it stores the value
/// that is there already, or if the key that it deletes does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Nothing,
    Something,
}

impl<'txn> State<'txn> {
    /// Opens the tables and creates missing ones. `meta` is the meta record that the transaction starts from.
    pub(crate) fn open(txn: &'txn WriteTransaction, meta: Meta, tombstones_max: u64) -> Result<Self, Fault> {
        Ok(Self {
            entries: txn.open_table(ENTRIES)?,
            tombstones: txn.open_table(TOMBSTONES)?,
            graves: txn.open_table(GRAVES)?,
            meta,
            tombstones_max,
            touched: Changed::Nothing,
            notes: Notes::default(),
        })
    }

    /// Applies one command as the log entry `id`.
    pub(crate) fn apply(&mut self, id: LogId, command: &Command) -> Result<(Response, Changed), Fault> {
        let index = id.index.0;
        self.touched = Changed::Nothing;
        let response = match command {
            Command::Put { key, value, flags, condition } => {
                Response::Done(self.put(index, key, value, *flags, *condition)?)
            }
            Command::Delete { key, condition } => Response::Done(self.delete(index, key, *condition)?),
            Command::DeleteTree { prefix, keys_max } => {
                if self.has_more_under(prefix, *keys_max)? {
                    Response::TooManyKeys
                } else {
                    Response::Done(self.delete_tree(index, prefix)?)
                }
            }
        };
        self.trim()?;
        Ok((response, self.touched))
    }

    /// Writes the meta record, as the last step before the commit.
    pub(crate) fn finish(self, txn: &WriteTransaction) -> Result<Meta, Fault> {
        let Self { meta, .. } = self;
        txn.open_table(META)?.insert(META_KEY, meta.encode().as_slice())?;
        Ok(meta)
    }

    fn put(
        &mut self,
        index: u64,
        key: &str,
        value: &[u8],
        flags: u64,
        when: Condition,
    ) -> Result<bool, Fault> {
        let stored = self.entries.get(key)?;
        let before = stored.as_ref().map(|stored| Header::of(key, stored.value())).transpose()?;
        let modified = before.map(|(header, _)| header.modify_index);
        let holds = match when {
            Condition::Always => true,
            Condition::Cas(0) => modified.is_none(),
            Condition::Cas(wanted) => modified == Some(wanted),
        };
        if !holds {
            return Ok(false);
        }
        // An unchanged key keeps its ModifyIndex, so that writing the same value again wakes no blocking query.
        if before.is_some_and(|(header, old)| header.flags == flags && old == value) {
            return Ok(true);
        }
        // A plain put keeps the lock: its count and its holder.
        let (created, lock_index, session) = before
            .map_or((index, 0, String::new()), |(h, _)| (h.create_index, h.lock_index, h.session.to_owned()));
        let old_len = stored.as_ref().map(|stored| stored.value().len());
        drop(stored);
        let header =
            Header { flags, create_index: created, modify_index: index, lock_index, session: &session };
        let mut slot = self.entries.insert_reserve(key, header.len() + value.len())?;
        header.write(value, slot.as_mut());
        drop(slot);
        self.notes.live.changed(key, old_len, Some(header.len() + value.len()));
        self.notes.touch(|| Touched::Entry(key.to_owned()));
        self.meta.changed = index;
        self.touched = Changed::Something;
        Ok(true)
    }

    fn delete(&mut self, index: u64, key: &str, when: Condition) -> Result<bool, Fault> {
        let stored = self.entries.get(key)?;
        let Some((header, _)) = stored.as_ref().map(|stored| Header::of(key, stored.value())).transpose()?
        else {
            // Deleting a key that does not exist succeeds, whatever the condition, as in Consul.
            return Ok(true);
        };
        let holds = match when {
            Condition::Always => true,
            Condition::Cas(wanted) => wanted != 0 && header.modify_index == wanted,
        };
        if !holds {
            return Ok(false);
        }
        let created = header.create_index;
        drop(stored);
        self.bury(index, key, created)?;
        Ok(true)
    }

    /// Whether there are more than `max` keys under a prefix. Reads at most `max` + 1 keys.
    fn has_more_under(&self, prefix: &str, max: Option<u32>) -> Result<bool, Fault> {
        let Some(max) = max else { return Ok(false) };
        let beyond = usize::try_from(max).unwrap_or(usize::MAX);
        match self.entries.range(prefix..)?.nth(beyond) {
            None => Ok(false),
            Some(found) => Ok(found?.0.value().starts_with(prefix)),
        }
    }

    fn delete_tree(&mut self, index: u64, prefix: &str) -> Result<bool, Fault> {
        loop {
            let keys = self.first_under(prefix)?;
            if keys.is_empty() {
                return Ok(true);
            }
            for (key, created) in &keys {
                self.bury(index, key, *created)?;
            }
            self.trim()?;
        }
    }

    /// The first [`TREE_STEP`] keys under a prefix, with their create indexes.
    fn first_under(&self, prefix: &str) -> Result<Vec<(String, u64)>, Fault> {
        let mut keys = Vec::new();
        for found in self.entries.range(prefix..)? {
            let (key, stored) = found?;
            let key = key.value();
            if !key.starts_with(prefix) || keys.len() == TREE_STEP {
                break;
            }
            let (header, _) = Header::of(key, stored.value())?;
            keys.push((key.to_owned(), header.create_index));
        }
        Ok(keys)
    }

    /// Removes a key and leaves a tombstone for it.
    fn bury(&mut self, index: u64, key: &str, created: u64) -> Result<(), Fault> {
        let old_len = self.entries.remove(key)?.map(|stored| stored.value().len());
        self.tombstones.insert((index, key), created)?;
        self.graves.insert(key, index)?;
        self.notes.live.changed(key, old_len, None);
        self.notes.touch(|| Touched::Entry(key.to_owned()));
        self.notes.touch(|| Touched::Tombstone((index, key.to_owned())));
        self.notes.touch(|| Touched::Grave(key.to_owned()));
        self.touched = Changed::Something;
        self.meta.changed = index;
        Ok(())
    }

    /// Drops the oldest tombstones above the limit and raises the floor to the newest dropped one. Without the floor the
    /// index of a prefix would go back when a tombstone under the prefix is dropped.
    fn trim(&mut self) -> Result<(), Fault> {
        while self.tombstones.len()? > self.tombstones_max {
            let Some((oldest, _)) = self.tombstones.pop_first()? else {
                return Ok(());
            };
            let (index, key) = oldest.value();
            self.notes.touch(|| Touched::Tombstone((index, key.to_owned())));
            if self.graves.get(key)?.is_some_and(|newest| newest.value() == index) {
                self.graves.remove(key)?;
                self.notes.touch(|| Touched::Grave(key.to_owned()));
            }
            self.meta.floor = index;
        }
        Ok(())
    }

    /// Stores an entry of a snapshot unchanged, with its indexes.
    pub(crate) fn restore_entry(&mut self, key: &str, stored: &[u8]) -> Result<(), Fault> {
        self.notes.live.changed(key, None, Some(stored.len()));
        self.entries.insert(key, stored)?;
        Ok(())
    }

    /// Stores a tombstone of a snapshot. Tombstones come oldest first, so the last one of a key becomes its grave.
    pub(crate) fn restore_tombstone(&mut self, index: u64, key: &str, created: u64) -> Result<(), Fault> {
        self.tombstones.insert((index, key), created)?;
        self.graves.insert(key, index)?;
        Ok(())
    }
}
