//! The file that holds the durable state, and the transactions that change it.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use raftkit_core::LogId;
use raftkit_disk::{Disk, OpenMode, RedbFile, Slack, create_aside, create_dir_all_durably, replace_durably};
use raftkit_replica::MachineError;
use redb::{Builder, Database, Durability, ReadableDatabase, Table, WriteTransaction};

use crate::copy::remove_left_over;
use crate::fault::{Fault, damaged, guard};
use crate::give_back::GiveBack;
use crate::layer::Layer;
use crate::notes::{Live, Notes};
use crate::snapshot;
use crate::tables::{ENTRIES, GRAVES, META, META_KEY, Meta, TOMBSTONES};
use crate::view::Base;

/// Name of the state's file in the machine's folder.
pub(crate) const FILE: &str = "state.redb";
/// Name of a new state file until it is complete: an empty state, or a copy of the old one.
pub(crate) const FILE_NEW: &str = "state.redb.new";
/// Size of redb's page cache for reads and writes, in bytes.
pub(crate) const CACHE_BYTES: usize = 64 << 20;

/// The state's file. Whoever owns the store is the only one to change the file: the machine, or the background work that
/// the machine has begun.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) database: Arc<Database>,
    /// The meta record of the newest commit.
    pub(crate) meta: Meta,
    pub(crate) health: Health,
    pub(crate) notes: Notes,
    pub(crate) give_back: GiveBack,
}

/// Whether the file is known to hold what the machine believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Every change so far has succeeded or was rolled back.
    Sound,
    /// A change failed half-way: the file may hold the state before it or after it.
    Unknown,
}

impl Store {
    /// Opens the file in a folder, or creates one with an empty state.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path, slack: Slack) -> Result<Self, Fault> {
        let path = dir.join(FILE);
        create_dir_all_durably(&*disk, dir)?;
        if !disk.exists(&path)? {
            create(&*disk, dir)?;
        }
        remove_left_over(&*disk, dir)?;
        // Sync the folder even if the file was there already: the process that created the file may have ended
        // before the file's name was durable.
        disk.sync_dir(dir)?;
        let file = disk.open(&path, OpenMode::Existing)?;
        // The previous process may have ended after a failed sync: then the page cache holds what the medium does not.
        file.drop_cache()?;
        // redb takes an empty file for a new database, but a machine's file is never empty: it has lost its content.
        if file.is_empty()? {
            return Err(damaged(format!("{} is empty", path.display())));
        }
        let database = builder().create_with_backend(RedbFile::new(Arc::clone(&file)))?;
        let meta = Meta::load(&database.begin_read()?.open_table(META)?)?;
        let (dir, notes) = (dir.to_owned(), Notes::default());
        let give_back = GiveBack { disk, dir, file, slack, copy: None, last: None };
        Ok(Self { database: Arc::new(database), meta, health: Health::Sound, notes, give_back })
    }

    /// The tables as of the newest commit.
    pub(crate) fn base(&self) -> Result<Base, Fault> {
        Base::open(&self.database)
    }

    /// Writes the changes of a layer and the meta record of the state that results, durably and in one step. Returns the
    /// tables with these changes.
    pub(crate) fn flush(&mut self, layer: &Layer, meta: Meta) -> Result<Base, MachineError> {
        let written = self.transact(|transaction, notes| {
            write_layer(transaction, layer, &mut notes.live)?;
            notes.touch(layer);
            Ok(meta)
        });
        let flushed = written.and_then(|()| guard(|| self.base()));
        if flushed.is_err() {
            // Even if the file is as before: a later flush would write what came after this layer, without the layer.
            self.health = Health::Unknown;
        }
        flushed
    }

    /// Replaces the state by that of a snapshot, durably and in one step. Returns the new tables.
    pub(crate) fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<Base, MachineError> {
        // A copy in the making holds parts of the old state, so it must be given up.
        self.notes = Notes::default();
        self.transact(|transaction, notes| {
            clear(transaction)?;
            *notes = Notes::of_nothing();
            snapshot::read_into(&mut Restoring::open(transaction, &mut notes.live)?, id, source)
        })?;
        let base = guard(|| self.base());
        if base.is_err() {
            self.health = Health::Unknown;
        }
        base
    }

    /// Runs `work` in a write transaction and commits it durably. `work` returns the meta record of the new state.
    fn transact(
        &mut self,
        work: impl FnOnce(&WriteTransaction, &mut Notes) -> Result<Meta, Fault>,
    ) -> Result<(), MachineError> {
        // Sound again only once the commit has returned or the transaction was aborted: after a panic in between the
        // health stays unknown.
        self.health = Health::Unknown;
        // Without their notes a failed transaction leaves none: the count begins anew, and a copy is given up.
        let mut notes = std::mem::take(&mut self.notes);
        let (done, health) = guard(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            // Two-phase commit needs two syncs. With one phase, redb silently falls back to the previous commit when a
            // page of the newest commit is rotten at the next opening: acknowledged commands would be gone unnoticed.
            // With two phases the opening fails.
            transaction.set_two_phase_commit(true);
            match work(&transaction, &mut notes) {
                Ok(meta) => {
                    transaction.open_table(META)?.insert(META_KEY, meta.encode().as_slice())?;
                    transaction.commit()?;
                    Ok((Ok(meta), Health::Sound))
                }
                Err(Fault(error)) => {
                    transaction.abort()?;
                    Ok((Err(error), Health::Sound))
                }
            }
        })?;
        self.health = health;
        self.meta = done?;
        self.notes = notes;
        Ok(())
    }
}

/// Writes the changes of a layer into the tables.
fn write_layer(transaction: &WriteTransaction, layer: &Layer, live: &mut Live) -> Result<(), Fault> {
    let mut entries = transaction.open_table(ENTRIES)?;
    for (key, slot) in layer.entries() {
        let old = match slot {
            Some(stored) => entries.insert(key.as_ref(), stored.as_ref())?.map(|old| old.value().len()),
            None => entries.remove(key.as_ref())?.map(|old| old.value().len()),
        };
        live.changed(key, old, slot.as_ref().map(|stored| stored.len()));
    }
    let mut tombstones = transaction.open_table(TOMBSTONES)?;
    if let Some((index, key)) = layer.trimmed() {
        tombstones.retain_in::<(u64, &str), _>(..=(*index, key.as_ref()), |_, _| false)?;
    }
    for ((index, key), created) in layer.tombstones_after(None) {
        tombstones.insert((*index, key.as_ref()), created)?;
    }
    let mut graves = transaction.open_table(GRAVES)?;
    for (key, index) in layer.graves() {
        match index {
            Some(index) => drop(graves.insert(key.as_ref(), index)?),
            None => drop(graves.remove(key.as_ref())?),
        }
    }
    Ok(())
}

/// Removes every table of the state except the meta record.
fn clear(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.delete_table(ENTRIES)?;
    transaction.delete_table(TOMBSTONES)?;
    transaction.delete_table(GRAVES)?;
    Ok(())
}

/// Empty tables that the rows of a snapshot are stored into.
pub(crate) struct Restoring<'txn> {
    entries: Table<'txn, &'static str, &'static [u8]>,
    tombstones: Table<'txn, (u64, &'static str), u64>,
    graves: Table<'txn, &'static str, u64>,
    live: &'txn mut Live,
}

impl<'txn> Restoring<'txn> {
    fn open(transaction: &'txn WriteTransaction, live: &'txn mut Live) -> Result<Self, Fault> {
        let (entries, tombstones) = (transaction.open_table(ENTRIES)?, transaction.open_table(TOMBSTONES)?);
        Ok(Self { entries, tombstones, graves: transaction.open_table(GRAVES)?, live })
    }

    /// Stores an entry unchanged, with its indexes.
    pub(crate) fn entry(&mut self, key: &str, stored: &[u8]) -> Result<(), Fault> {
        self.live.changed(key, None, Some(stored.len()));
        self.entries.insert(key, stored)?;
        Ok(())
    }

    /// Stores a tombstone. Tombstones come oldest first, so the last one of a key becomes its grave.
    pub(crate) fn tombstone(&mut self, index: u64, key: &str, created: u64) -> Result<(), Fault> {
        self.tombstones.insert((index, key), created)?;
        self.graves.insert(key, index)?;
        Ok(())
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// Creates a file with an empty state. The file gets its name only once it is complete and synced, so a crash on the way
/// leaves no half-made state file.
fn create(disk: &dyn Disk, dir: &Path) -> Result<(), Fault> {
    let (new, path) = (dir.join(FILE_NEW), dir.join(FILE));
    let file = create_aside(disk, &new)?;
    let database = builder().create_with_backend(RedbFile::new(Arc::clone(&file)))?;
    let transaction = database.begin_write()?;
    write_layer(&transaction, &Layer::default(), &mut Live::empty())?;
    transaction.open_table(META)?.insert(META_KEY, Meta::default().encode().as_slice())?;
    transaction.commit()?;
    database.close()?;
    Ok(replace_durably(disk, &*file, &new, &path).map_err(std::io::Error::from)?)
}
