//! A copy of the state's file, made step by step in the background while entries are applied. At the end it replaces the old file.
//!
//! ```text
//!   each step:  changes since the last step to rows already copied ---> some more rows, in order ---> a durable commit
//!   the last:   the meta record ---> two commits ---> closed, synced ---> renamed, folder synced ---> open ---> a third commit
//! ```
//!
//! Each step reads the file's newest commit in a transaction of its own, so the copy keeps no old pages in use. A crash at any moment
//! leaves the old file or the complete new one.

use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, FinalName, RedbFile, create_aside, replace_durably};
use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, Table};

use crate::fault::Fault;
use crate::layer::{Key, Layer, Place};
use crate::store::{CACHE_BYTES, FILE, FILE_NEW};
use crate::tables::{ENTRIES, GRAVES, META, META_KEY, Meta, TOMBSTONES};

/// Approximate number of bytes that one step copies and syncs. Persisting waits until the step is done.
pub(crate) const STEP_BYTES: usize = 1 << 20;
/// Size of redb's page cache for the copy, in bytes: small, because its pages are written once and not read.
const COPY_CACHE_BYTES: usize = 8 << 20;

/// Bytes that a tombstone or grave counts for in [`STEP_BYTES`].
const TOMBSTONE_BYTES: usize = 64;

/// Copies further rows of a table while there is room. `$lend` and `$own` turn an owned key into a key of the table and back.
/// This is a macro because a function generic over redb's keys would have to name their borrowed form for every lifetime.
macro_rules! copy_range {
    ($kind:ty; $reached:expr, $both:expr, $room:ident;
     |$owned:ident| $lend:expr; |$key:ident| $own:expr; |$value:ident| $len:expr) => {
        let (old, new) = &mut $both;
        let from = match &$reached {
            Reached::Nothing => Some(Bound::Unbounded),
            Reached::Key($owned) => Some(Bound::Excluded($lend)),
            Reached::End => None,
        };
        if let Some(from) = from {
            let mut reached = Reached::End;
            for row in old.range::<$kind>((from, Bound::Unbounded))? {
                let (key, value) = row?;
                let ($key, $value) = (key.value(), value.value());
                new.insert($key, $value)?;
                $room = $room.saturating_sub($len);
                if $room == 0 {
                    reached = Reached::Key($own);
                    break;
                }
            }
            $reached = reached;
        }
        if $room == 0 {
            return Ok(Left::Some);
        }
    };
}

/// A copy that is being made.
#[derive(Debug)]
pub(crate) struct Copy {
    database: Database,
    file: Arc<dyn DiskFile>,
    /// The progress in each table.
    entries: Reached<Key>,
    tombstones: Reached<Place>,
    graves: Reached<Key>,
}

/// The progress of the copy in one table.
#[derive(Debug, PartialEq, Eq)]
enum Reached<K> {
    Nothing,
    /// The rows up to and including this key are copied.
    Key(K),
    End,
}

impl<K: Ord> Reached<K> {
    /// Whether the row of this key was copied already, so that a change of it must be taken over. A row that was not
    /// reached yet is copied later in its newest form.
    fn has_passed(&self, key: &K) -> bool {
        match self {
            Self::Nothing => false,
            Self::Key(last) => key <= last,
            Self::End => true,
        }
    }
}

/// Whether rows are left to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Some,
    Nothing,
}

/// Removes an unfinished copy, if there is one.
pub(crate) fn remove_left_over(disk: &dyn Disk, dir: &Path) -> Result<(), Fault> {
    Ok(disk.remove_if_there(&dir.join(FILE_NEW))?)
}

impl Copy {
    pub(crate) fn begin(disk: &dyn Disk, dir: &Path) -> Result<Self, Fault> {
        let file = create_aside(disk, &dir.join(FILE_NEW))?;
        let database = Builder::new()
            .set_cache_size(COPY_CACHE_BYTES)
            .create_with_backend(RedbFile::new(Arc::clone(&file)))?;
        let (entries, tombstones, graves) = (Reached::Nothing, Reached::Nothing, Reached::Nothing);
        Ok(Self { database, file, entries, tombstones, graves })
    }

    /// Takes over the changes of rows that are copied, oldest first, and copies further rows of `old`.
    pub(crate) fn step(&mut self, old: &Database, touched: &[Layer]) -> Result<Left, Fault> {
        let read = old.begin_read()?;
        let txn = self.database.begin_write()?;
        let mut tables = Tables {
            entries: (read.open_table(ENTRIES)?, txn.open_table(ENTRIES)?),
            tombstones: (read.open_table(TOMBSTONES)?, txn.open_table(TOMBSTONES)?),
            graves: (read.open_table(GRAVES)?, txn.open_table(GRAVES)?),
        };
        for changes in touched {
            self.take_over(changes, &mut tables)?;
        }
        let left = self.copy_some(&mut tables)?;
        drop(tables);
        txn.commit()?;
        Ok(left)
    }

    /// Makes the changes of a layer to the rows that are copied. Rows behind those are copied later, in their newest form.
    fn take_over(&self, changes: &Layer, tables: &mut Tables<'_>) -> Result<(), Fault> {
        let Tables { entries: (_, entries), tombstones: (_, tombstones), graves: (_, graves) } = tables;
        for (key, slot) in changes.entries().filter(|(key, _)| self.entries.has_passed(key)) {
            match slot {
                Some(stored) => drop(entries.insert(key.as_ref(), stored.as_ref())?),
                None => drop(entries.remove(key.as_ref())?),
            }
        }
        if let Some((index, key)) = changes.trimmed() {
            tombstones.retain_in::<(u64, &str), _>(..=(*index, key.as_ref()), |_, _| false)?;
        }
        for (place, created) in changes.tombstones_after(None) {
            if self.tombstones.has_passed(place) {
                tombstones.insert((place.0, place.1.as_ref()), created)?;
            }
        }
        for (key, index) in changes.graves().filter(|(key, _)| self.graves.has_passed(key)) {
            match index {
                Some(index) => drop(graves.insert(key.as_ref(), index)?),
                None => drop(graves.remove(key.as_ref())?),
            }
        }
        Ok(())
    }

    fn copy_some(&mut self, tables: &mut Tables<'_>) -> Result<Left, Fault> {
        let mut room = STEP_BYTES;
        copy_range! { &str; self.entries, tables.entries, room;
        |key| key.as_ref(); |key| key.into(); |value| value.len() }
        copy_range! { (u64, &str); self.tombstones, tables.tombstones, room;
        |place| (place.0, place.1.as_ref()); |place| (place.0, place.1.into()); |_value| TOMBSTONE_BYTES }
        copy_range! { &str; self.graves, tables.graves, room;
        |key| key.as_ref(); |key| key.into(); |_value| TOMBSTONE_BYTES }
        Ok(if self.graves == Reached::End { Left::Nothing } else { Left::Some })
    }

    /// Renames the copy to the name of the state's file, durably, and opens it. The copy must hold all tables of the state,
    /// and `meta` must be the state's meta record. `renamed` is called right after the renaming: from then on the next
    /// opening may find the copy, whatever fails afterwards.
    pub(crate) fn finish(
        self,
        disk: &dyn Disk,
        dir: &Path,
        meta: &Meta,
        renamed: impl FnOnce(),
    ) -> Result<(Database, Arc<dyn DiskFile>), Fault> {
        let Self { database, file, .. } = self;
        // Commit twice: if the newest commit rots, redb falls back to the one before, and that must be complete too.
        for _ in 0..2 {
            let mut txn = database.begin_write()?;
            txn.set_two_phase_commit(true);
            txn.open_table(META)?.insert(META_KEY, meta.encode().as_slice())?;
            txn.commit()?;
        }
        database.close()?;
        let replaced = replace_durably(disk, &*file, &dir.join(FILE_NEW), &dir.join(FILE));
        if replaced.as_ref().map_or_else(|error| error.name, |()| FinalName::New) == FinalName::New {
            renamed();
        }
        replaced.map_err(io::Error::from)?;
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(RedbFile::new(Arc::clone(&file)))?;
        // Closing shortened the file and thereby removed pages of the previous commit. After this additional commit the one
        // that redb falls back to is the commit made by the closing, which is complete.
        let mut txn = database.begin_write()?;
        txn.set_two_phase_commit(true);
        txn.commit()?;
        Ok((database, file))
    }
}

/// A table of the state and the same table of the copy.
type Both<'txn, K, V> = (ReadOnlyTable<K, V>, Table<'txn, K, V>);

struct Tables<'txn> {
    entries: Both<'txn, &'static str, &'static [u8]>,
    tombstones: Both<'txn, (u64, &'static str), u64>,
    graves: Both<'txn, &'static str, u64>,
}
