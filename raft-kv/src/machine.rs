//! The state machine: opens one redb file, applies entries to it and makes them durable.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::{Disk, OpenMode, RedbFile, Slack, create_aside, create_dir_all_durably, replace_durably};
use raftkit_replica::{Applied, MachineError, Progress, SnapshotView, StateMachine};
use redb::{Builder, Durability, ReadableDatabase, WriteTransaction};

use crate::command::{Command, Response};
use crate::copy::remove_left_over;
use crate::current::Current;
use crate::fault::{Fault, damaged, guard, in_file};
use crate::give_back::GiveBack;
use crate::notes::Notes;
use crate::reader::KvReader;
use crate::snapshot::{self, FrozenState};
use crate::state::{Changed, State, TOMBSTONES_MAX};
use crate::tables::{ENTRIES, GRAVES, META, Meta, TOMBSTONES};
use crate::watch::{Change, Watches};

/// Name of the state's file in the machine's folder.
pub(crate) const FILE: &str = "state.redb";
/// Name of a new state file until it is complete: an empty state, or a copy of the old one.
pub(crate) const FILE_NEW: &str = "state.redb.new";
/// Size of redb's page cache for reads and writes, in bytes.
pub(crate) const CACHE_BYTES: usize = 64 << 20;

/// The key-value state machine.
///
/// ```text
///              apply                      persist
///   durable ----------> durable | applied ---------> durable
///      ^                      |                         |
///      +------ crash ---------+      restore(id): applied and durable are id
/// ```
///
/// After a failed commit, or a panic inside redb, nobody knows what the file holds: the machine refuses every further
/// change until it is opened again.
#[derive(Debug)]
pub struct KvMachine {
    pub(crate) database: Current,
    pub(crate) meta: Meta,
    pub(crate) durable: LogId,
    pub(crate) health: Health,
    pub(crate) notes: Notes,
    pub(crate) give_back: GiveBack,
    tombstones_max: u64,
    watches: Arc<Watches>,
}

/// Whether the file is known to hold what the machine believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// Every change so far has succeeded or was rolled back.
    Sound,
    /// A change failed half-way: the file may hold the state before it or after it.
    Unknown,
}

impl KvMachine {
    /// Opens the state in a folder, or creates an empty one. Opening checks every page against its checksum, so it reads
    /// the whole file.
    ///
    /// # Errors
    /// The disk fails, or the file is damaged or has a newer format.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, MachineError> {
        Self::open_with_slack(disk, dir, Slack::default())
    }

    /// Opens the state like [`open`](Self::open), with a bound of the caller's own on how much larger than its content the
    /// state's file may stay.
    ///
    /// # Errors
    /// The same as for [`open`](Self::open).
    pub fn open_with_slack(disk: Arc<dyn Disk>, dir: &Path, slack: Slack) -> Result<Self, MachineError> {
        Self::open_with(disk, dir, TOMBSTONES_MAX, slack)
    }

    /// Opens the state like [`open_with_slack`](Self::open_with_slack), with another limit of tombstones. Every node must
    /// use the same limit, because the tombstones are part of the state.
    pub(crate) fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        tombstones_max: u64,
        slack: Slack,
    ) -> Result<Self, MachineError> {
        let path = dir.join(FILE);
        let opened = guard(|| {
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
            let (database, health) = (Current::new(database), Health::Sound);
            let watches = Arc::new(Watches::new(meta.applied.index));
            let (dir, notes) = (dir.to_owned(), Notes::default());
            let give_back = GiveBack { disk, dir, file, slack, copy: None, last: None };
            let durable = meta.applied;
            Ok(Self { database, meta, durable, health, notes, give_back, tombstones_max, watches })
        });
        opened.map_err(|error| in_file(&path, error))
    }

    /// Refuses further changes while nobody knows what the file holds.
    pub(crate) fn sound(&self) -> Result<(), MachineError> {
        if self.health == Health::Unknown {
            let error = std::io::Error::other(
                "an earlier change failed: the state is unknown until it is opened again",
            );
            return Err(error.into());
        }
        Ok(())
    }

    /// Runs `work` in a write transaction and commits it. `work` returns its result and the meta record of the new state.
    fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction, &Self) -> Result<(T, Meta), Fault>,
    ) -> Result<T, MachineError> {
        self.sound()?;
        // Sound again only once the commit has returned or the transaction was aborted: after a panic in between the
        // health stays unknown.
        self.health = Health::Unknown;
        let (done, health) = guard(|| {
            let mut transaction = self.database.get().begin_write()?;
            transaction.set_durability(durability)?;
            // Two-phase commit needs two syncs. With one phase, redb silently falls back to the previous commit when a
            // page of the newest commit is rotten at the next opening: acknowledged commands would be gone unnoticed.
            // With two phases the opening fails.
            let both = matches!(durability, Durability::Immediate);
            transaction.set_two_phase_commit(both);
            match work(&transaction, self) {
                Ok(done) => {
                    transaction.commit()?;
                    Ok((Ok(done), Health::Sound))
                }
                Err(Fault(error)) => {
                    transaction.abort()?;
                    Ok((Err(error), Health::Sound))
                }
            }
        })?;
        self.health = health;
        let (value, meta) = done?;
        self.meta = meta;
        if matches!(durability, Durability::Immediate) {
            self.durable = meta.applied;
        }
        Ok(value)
    }
}

impl StateMachine for KvMachine {
    type Reader = KvReader;

    fn reader(&self) -> KvReader {
        KvReader::new(self.database.clone(), Arc::clone(&self.watches))
    }

    fn applied(&self) -> LogId {
        self.meta.applied
    }

    fn durable(&self) -> LogId {
        self.durable
    }

    fn apply(&mut self, entries: &[Applied]) -> Result<Vec<Bytes>, MachineError> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let notes = std::mem::take(&mut self.notes);
        let (answers, changes, notes) = self.transact(Durability::None, |transaction, machine| {
            let mut state = State::open(transaction, machine.meta, machine.tombstones_max)?;
            state.notes = notes;
            let (mut answers, mut changes) = (Vec::with_capacity(entries.len()), Vec::new());
            for entry in entries {
                check_follows(state.meta.applied, entry.id)?;
                let (answer, change) = answer(&mut state, entry, entry.id)?;
                answers.push(answer);
                changes.extend(change);
                state.meta.applied = entry.id;
            }
            let notes = std::mem::take(&mut state.notes);
            Ok(((answers, changes, notes), state.finish(transaction)?))
        })?;
        self.notes = notes;
        // Publish after the commit: a watcher that is woken before readers see the change would look at the old state,
        // wait again, and never be woken for this change.
        self.watches.publish(self.meta.applied.index, &changes);
        Ok(answers)
    }

    fn persist(&mut self) -> Result<LogId, MachineError> {
        if self.durable != self.meta.applied {
            // A durable commit also makes all earlier commits durable.
            self.transact(Durability::Immediate, |_, machine| Ok(((), machine.meta)))?;
        }
        Ok(self.durable)
    }

    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineError> {
        let database = self.database.get();
        let transaction = guard(|| Ok(database.begin_read()?))?;
        Ok(Box::new(FrozenState::new(transaction, database, self.meta)))
    }

    fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<(), MachineError> {
        // A copy in the making holds parts of the old state, so it must be given up.
        self.notes = Notes::default();
        self.notes = self.transact(Durability::Immediate, |transaction, machine| {
            clear(transaction)?;
            let mut state = State::open(transaction, Meta::default(), machine.tombstones_max)?;
            state.notes = Notes::of_nothing();
            snapshot::read_into(&mut state, id, source)?;
            let notes = std::mem::take(&mut state.notes);
            Ok((notes, state.finish(transaction)?))
        })?;
        self.watches.publish(self.meta.applied.index, &[Change::Everything]);
        Ok(())
    }

    fn give_back(&mut self) -> Result<Progress, MachineError> {
        self.step_back()
    }
}

/// Removes every table of the state except the meta record.
fn clear(transaction: &WriteTransaction) -> Result<(), Fault> {
    transaction.delete_table(ENTRIES)?;
    transaction.delete_table(TOMBSTONES)?;
    transaction.delete_table(GRAVES)?;
    Ok(())
}

/// Applies one entry; the keys that it changes get the index of `id`. Returns the answer, which is empty for an entry
/// without a command, and the change that watches must hear of.
fn answer(state: &mut State<'_>, entry: &Applied, id: LogId) -> Result<(Bytes, Option<Change>), Fault> {
    let Some(command) = &entry.command else {
        return Ok((Bytes::new(), None));
    };
    let Ok(command) = Command::decode(command.clone()) else {
        return Ok((Response::Malformed.encode(), None));
    };
    let (response, changed) = state.apply(id, &command)?;
    let change = match changed {
        Changed::Nothing => None,
        Changed::Something => Some(match command {
            Command::Put { key, .. } | Command::Delete { key, .. } => Change::Key(key),
            Command::DeleteTree { prefix, .. } => Change::Tree(prefix),
        }),
    };
    Ok((response.encode(), change))
}

/// Checks that an entry directly follows the last applied one. Behind a gap this node alone would lack a command, and its
/// state would differ from the others' for good: stopping is better.
///
/// A new machine may begin with the second entry, because the first one is the founding membership (`LogId::GENESIS`).
fn check_follows(applied: LogId, id: LogId) -> Result<(), Fault> {
    let follows = id.index == applied.index.next()
        || (applied == LogId::ZERO && id.index == LogId::GENESIS.index.next());
    if follows && id.term >= applied.term {
        Ok(())
    } else {
        Err(damaged(format!("entry {id} does not follow {applied}, the last one applied")))
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
    State::open(&transaction, Meta::default(), TOMBSTONES_MAX)?.finish(&transaction)?;
    transaction.commit()?;
    database.close()?;
    Ok(replace_durably(disk, &*file, &new, &path).map_err(io::Error::from)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests;
