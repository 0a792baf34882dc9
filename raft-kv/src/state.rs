//! What commands do to the state: the semantics of Consul's KV store.

use std::iter::repeat_n;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use raftkit_core::LogId;

use crate::command::{Command, Condition, Response};
use crate::entry::Header;
use crate::fault::Fault;
use crate::layer::Key;
use crate::view::View;

/// Number of tombstones that are kept, the newest ones. The limit is part of the state: every node keeps the same
/// tombstones.
pub(crate) const TOMBSTONES_MAX: u64 = 65_536;

/// Number of keys of a tree that are collected at a time while the tree is deleted.
const TREE_STEP: usize = 1024;

/// A state to which commands are applied. Nobody else sees it until it is published.
pub(crate) struct State {
    pub(crate) view: View,
    tombstones_max: u64,
    /// Whether the command that is being applied has changed a key so far.
    touched: Changed,
}

/// Whether a command changed any key. A command changes nothing if its condition does not hold, if it stores the value
/// that is there already, or if the key that it deletes does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Changed {
    Nothing,
    Something,
}

/// What a put must know of the entry that it replaces.
struct Before {
    created: u64,
    lock_index: u64,
    session: String,
}

/// What becomes of a put.
enum Put {
    /// The condition does not hold.
    Refused,
    /// The key has this value and these flags already.
    Same,
    /// The value is stored; the entry replaces another one, or none.
    Stores(Option<Before>),
}

impl State {
    /// A state that begins as `view`.
    pub(crate) fn new(view: View, tombstones_max: u64) -> Self {
        Self { view, tombstones_max, touched: Changed::Nothing }
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

    fn put(
        &mut self,
        index: u64,
        key: &str,
        value: &[u8],
        flags: u64,
        when: Condition,
    ) -> Result<bool, Fault> {
        let put = self.view.with_entry(key, |stored| {
            let before = stored.map(|stored| Header::of(key, stored)).transpose()?;
            let modified = before.map(|(header, _)| header.modify_index);
            let holds = match when {
                Condition::Always => true,
                Condition::Cas(0) => modified.is_none(),
                Condition::Cas(wanted) => modified == Some(wanted),
            };
            // An unchanged key keeps its ModifyIndex, so that writing the same value again wakes no blocking query.
            Ok(match before {
                _ if !holds => Put::Refused,
                Some((header, old)) if header.flags == flags && old == value => Put::Same,
                // A plain put keeps the lock: its count and its holder.
                before => Put::Stores(before.map(|(header, _)| Before {
                    created: header.create_index,
                    lock_index: header.lock_index,
                    session: header.session.to_owned(),
                })),
            })
        })?;
        let before = match put {
            Put::Refused => return Ok(false),
            Put::Same => return Ok(true),
            Put::Stores(before) => before,
        };
        let before = before.unwrap_or(Before { created: index, lock_index: 0, session: String::new() });
        let Before { created: create_index, lock_index, session } = &before;
        let header = Header {
            flags,
            create_index: *create_index,
            modify_index: index,
            lock_index: *lock_index,
            session,
        };
        let mut stored: Arc<[u8]> = repeat_n(0, header.len() + value.len()).collect();
        header.write(value, Arc::get_mut(&mut stored).expect("nobody else has it yet"));
        self.view.recent.set_entry(key.into(), Some(stored));
        self.changed(index);
        Ok(true)
    }

    fn delete(&mut self, index: u64, key: &str, when: Condition) -> Result<bool, Fault> {
        let before = self.view.with_entry(key, |stored| {
            let Some(stored) = stored else { return Ok(None) };
            let (header, _) = Header::of(key, stored)?;
            Ok(Some((header.create_index, header.modify_index)))
        })?;
        let Some((created, modified)) = before else {
            // Deleting a key that does not exist succeeds, whatever the condition, as in Consul.
            return Ok(true);
        };
        let holds = match when {
            Condition::Always => true,
            Condition::Cas(wanted) => wanted != 0 && modified == wanted,
        };
        if !holds {
            return Ok(false);
        }
        self.bury(index, key.into(), created);
        Ok(true)
    }

    /// Whether there are more than `max` keys under a prefix. Reads at most `max` + 1 keys.
    fn has_more_under(&self, prefix: &str, max: Option<u32>) -> Result<bool, Fault> {
        let Some(max) = max else { return Ok(false) };
        let (mut found, max) = (0_u64, u64::from(max));
        self.view.scan(prefix, Bound::Included(prefix), |_, _| {
            found += 1;
            Ok(if found > max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(found > max)
    }

    fn delete_tree(&mut self, index: u64, prefix: &str) -> Result<bool, Fault> {
        let mut last: Option<Key> = None;
        loop {
            // From the last key on: the rows before it are deletions by now, which would all be passed over again.
            let from = last.as_deref().map_or(Bound::Included(prefix), Bound::Excluded);
            let keys = self.first_under(prefix, from)?;
            for (key, created) in &keys {
                self.bury(index, Arc::clone(key), *created);
            }
            self.trim()?;
            match keys.into_iter().next_back() {
                Some((key, _)) => last = Some(key),
                None => return Ok(true),
            }
        }
    }

    /// The first [`TREE_STEP`] keys under a prefix from a key on, with their create indexes.
    fn first_under(&self, prefix: &str, from: Bound<&str>) -> Result<Vec<(Key, u64)>, Fault> {
        let mut keys = Vec::new();
        self.view.scan(prefix, from, |key, stored| {
            let (header, _) = Header::of(key, stored)?;
            keys.push((key.into(), header.create_index));
            Ok(if keys.len() == TREE_STEP { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(keys)
    }

    /// Removes a key and leaves a tombstone for it.
    fn bury(&mut self, index: u64, key: Key, created: u64) {
        self.view.recent.set_entry(Arc::clone(&key), None);
        self.view.recent.add_tombstone((index, Arc::clone(&key)), created);
        self.view.recent.set_grave(key, Some(index));
        self.view.tombstones += 1;
        self.changed(index);
    }

    /// Drops the oldest tombstones above the limit and raises the floor to the newest dropped one. Without the floor the
    /// index of a prefix would go back when a tombstone under the prefix is dropped.
    fn trim(&mut self) -> Result<(), Fault> {
        while self.view.tombstones > self.tombstones_max {
            let Some(oldest) = self.view.oldest_tombstone()? else {
                return Ok(());
            };
            let (index, key) = (oldest.0, Arc::clone(&oldest.1));
            self.view.recent.trim(oldest);
            self.view.tombstones -= 1;
            if self.view.grave(&key)? == Some(index) {
                self.view.recent.set_grave(key, None);
            }
            self.view.meta.floor = index;
        }
        Ok(())
    }

    fn changed(&mut self, index: u64) {
        self.view.meta.changed = index;
        self.touched = Changed::Something;
    }
}
