//! One state of the store: the tables in the file, and the changes in memory that stand in front of them.
//!
//! ```text
//!   a read looks here first         then here                 then here
//!        recent                     flushing                  base
//!   applied, in memory      on its way into the file      the file's last durable commit
//! ```

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use crate::fault::Fault;
use crate::layer::{Layer, Place, merged};
use crate::tables::{ENTRIES, GRAVES, META, Meta, TOMBSTONES};

/// The tables of the file as of one commit, kept readable by a read transaction.
pub(crate) struct Base {
    entries: ReadOnlyTable<&'static str, &'static [u8]>,
    tombstones: ReadOnlyTable<(u64, &'static str), u64>,
    graves: ReadOnlyTable<&'static str, u64>,
    meta: Meta,
    /// Number of tombstones in the table.
    count: u64,
    /// Keeps the database open while its tables are read. Fields are dropped in order, so it must be the last one.
    _database: Arc<Database>,
}

impl Base {
    /// Opens the tables as of the newest commit.
    pub(crate) fn open(database: &Arc<Database>) -> Result<Self, Fault> {
        let transaction = database.begin_read()?;
        let tombstones = transaction.open_table(TOMBSTONES)?;
        Ok(Self {
            entries: transaction.open_table(ENTRIES)?,
            count: tombstones.len()?,
            tombstones,
            graves: transaction.open_table(GRAVES)?,
            meta: Meta::load(&transaction.open_table(META)?)?,
            _database: Arc::clone(database),
        })
    }
}

/// One state. A clone shares everything and takes constant time.
#[derive(Clone)]
pub(crate) struct View {
    base: Arc<Base>,
    flushing: Layer,
    pub(crate) recent: Layer,
    pub(crate) meta: Meta,
    /// Number of tombstones in this state.
    pub(crate) tombstones: u64,
}

impl View {
    /// The state that the file holds.
    pub(crate) fn of(base: Base) -> Self {
        let (meta, tombstones) = (base.meta, base.count);
        let (flushing, recent) = (Layer::default(), Layer::default());
        Self { base: Arc::new(base), flushing, recent, meta, tombstones }
    }

    /// Begins to flush what is recent, and returns that. The state does not change.
    pub(crate) fn begin_flush(&mut self) -> Layer {
        self.flushing = std::mem::take(&mut self.recent);
        self.flushing.clone()
    }

    /// Ends a flush: the flushing layer is in `base`. The state does not change.
    pub(crate) fn end_flush(&mut self, base: Base) {
        self.flushing = Layer::default();
        self.base = Arc::new(base);
    }

    /// Continues on other tables that hold the same as the present ones.
    pub(crate) fn rebase(&mut self, base: Base) {
        assert_eq!(base.meta, self.base.meta, "a copy holds the state that was copied");
        self.base = Arc::new(base);
    }

    /// Calls `look` with what is stored under a key, its header and value.
    pub(crate) fn with_entry<T>(
        &self,
        key: &str,
        look: impl FnOnce(Option<&[u8]>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        match self.recent.entry(key).or_else(|| self.flushing.entry(key)) {
            Some(slot) => look(slot.as_deref()),
            None => look(self.base.entries.get(key)?.as_ref().map(redb::AccessGuard::value)),
        }
    }

    /// Calls `visit` with the entries from a key on that begin with `prefix`, in the order of keys, until it breaks.
    /// `from` is at or behind the prefix.
    pub(crate) fn scan(
        &self,
        prefix: &str,
        from: Bound<&str>,
        mut visit: impl FnMut(&str, &[u8]) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), Fault> {
        let mut rows = self.base.entries.range::<&str>((from, Bound::Unbounded))?;
        let mut changes = merged(self.recent.entries_from(from), self.flushing.entries_from(from)).peekable();
        let mut row = rows.next().transpose()?;
        loop {
            let order = match (changes.peek(), &row) {
                (Some((key, _)), Some((stored, _))) => key.as_ref().cmp(stored.value()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return Ok(()),
            };
            let change = if order.is_le() { changes.next() } else { None };
            let stored =
                if order.is_ge() { std::mem::replace(&mut row, rows.next().transpose()?) } else { None };
            let flow = match (change, &stored) {
                (Some((key, _)), _) if !key.starts_with(prefix) => ControlFlow::Break(()),
                (Some((key, Some(value))), _) => visit(key, value)?,
                (None, Some((key, _))) if !key.value().starts_with(prefix) => ControlFlow::Break(()),
                (None, Some((key, value))) => visit(key.value(), value.value())?,
                (Some((_, None)), _) | (None, None) => ControlFlow::Continue(()),
            };
            if flow.is_break() {
                return Ok(());
            }
        }
    }

    /// The index of the newest deletion of a key; none without a tombstone of the key.
    pub(crate) fn grave(&self, key: &str) -> Result<Option<u64>, Fault> {
        match self.recent.grave(key).or_else(|| self.flushing.grave(key)) {
            Some(row) => Ok(row),
            None => Ok(self.base.graves.get(key)?.map(|index| index.value())),
        }
    }

    /// The index of the newest deletion under a prefix, 0 without one.
    pub(crate) fn newest_grave(&self, prefix: &str) -> Result<u64, Fault> {
        let mut newest = 0;
        let unchanged = self.recent.has_no_graves() && self.flushing.has_no_graves();
        for found in self.base.graves.range(prefix..)? {
            let (key, index) = found?;
            let key = key.value();
            if !key.starts_with(prefix) {
                break;
            }
            // A grave that was removed since must not count: its index may be higher than that of all that are left.
            let current = if unchanged { Some(index.value()) } else { self.grave(key)? };
            newest = newest.max(current.unwrap_or(0));
        }
        for (_, index) in self.recent.graves_from(prefix).take_while(|(key, _)| key.starts_with(prefix)) {
            newest = newest.max(index.unwrap_or(0));
        }
        for (key, index) in self.flushing.graves_from(prefix).take_while(|(key, _)| key.starts_with(prefix)) {
            if self.recent.grave(key).is_none() {
                newest = newest.max(index.unwrap_or(0));
            }
        }
        Ok(newest)
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

    /// Calls `visit` with every tombstone, oldest first, and the create index that its key had, until it breaks.
    pub(crate) fn tombstones(
        &self,
        mut visit: impl FnMut(u64, &str, u64) -> Result<ControlFlow<()>, Fault>,
    ) -> Result<(), Fault> {
        let after: Option<&Place> = self.recent.trimmed().or(self.flushing.trimmed());
        let from = after.map_or(Bound::Unbounded, |(index, key)| Bound::Excluded((*index, key.as_ref())));
        for found in self.base.tombstones.range::<(u64, &str)>((from, Bound::Unbounded))? {
            let (place, created) = found?;
            let (index, key) = place.value();
            if visit(index, key, created.value())?.is_break() {
                return Ok(());
            }
        }
        // Tombstones are added in the order of their places, so those in memory come after those in the file.
        let layers = [&self.flushing, &self.recent];
        for ((index, key), created) in layers.into_iter().flat_map(|layer| layer.tombstones_after(after)) {
            if visit(*index, key, created)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The place of the oldest tombstone.
    pub(crate) fn oldest_tombstone(&self) -> Result<Option<Place>, Fault> {
        let mut oldest = None;
        self.tombstones(|index, key, _| {
            oldest = Some((index, key.into()));
            Ok(ControlFlow::Break(()))
        })?;
        Ok(oldest)
    }
}

/// The state that readers see. The machine and its readers share it.
#[derive(Clone)]
pub(crate) struct Published {
    view: Arc<RwLock<Arc<View>>>,
}

impl Published {
    pub(crate) fn new(view: View) -> Self {
        Self { view: Arc::new(RwLock::new(Arc::new(view))) }
    }

    /// Shows readers another state. Reads that have begun go on with the one before.
    pub(crate) fn replace(&self, view: View) {
        let view = Arc::new(view);
        let old = {
            let mut current = self.view.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, view)
        };
        // Dropped outside the lock: the last holder frees what only the old state had.
        drop(old);
    }

    pub(crate) fn get(&self) -> Arc<View> {
        // Nothing panics while it holds the lock.
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }
}
