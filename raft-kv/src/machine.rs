//! The state machine: one redb file, opened, changed, made durable.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::{Disk, OpenMode, RedbFile};
use raftkit_replica::{Applied, MachineError, SnapshotView, StateMachine};
use redb::{Builder, Database, Durability, ReadableDatabase};

use crate::command::{Command, Response};
use crate::fault::{Fault, damaged, guard};
use crate::reader::KvReader;
use crate::snapshot::{self, FrozenState};
use crate::state::{State, TOMBSTONES_MAX};
use crate::tables::{ENTRIES, GRAVES, META, Meta, TOMBSTONES};

/// The file in the machine's folder.
const FILE: &str = "state.redb";
/// Its name until it holds an empty state.
const FILE_NEW: &str = "state.redb.new";
/// So much memory caches pages, read and written.
const CACHE_BYTES: usize = 64 << 20;

/// The key-value state machine.
///
/// ```text
///              apply                      persist
///   durable ----------> durable | applied ---------> durable
///      ^                      |                         |
///      +------ crash ---------+      restore(id): applied and durable are id
/// ```
///
/// After a commit that failed, or a panic inside redb, it is unknown what the file holds: every further change is
/// refused until the machine is opened again.
#[derive(Debug)]
pub struct KvMachine {
    database: Arc<Database>,
    meta: Meta,
    durable: LogId,
    health: Health,
    tombstones_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Sound,
    Unknown,
}

impl KvMachine {
    /// Opens the state in a folder, or makes an empty one. Every page is checked against its checksum: that reads the
    /// whole file.
    ///
    /// # Errors
    /// The disk fails, or what is there is damaged or of a newer format.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, MachineError> {
        Self::open_with(disk, dir, TOMBSTONES_MAX)
    }

    /// As [`open`](Self::open), with another limit of tombstones; every node must have the same.
    pub(crate) fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        tombstones_max: u64,
    ) -> Result<Self, MachineError> {
        guard(|| {
            let path = dir.join(FILE);
            if !disk.exists(&path)? {
                create(&*disk, dir)?;
            }
            let file = disk.open(&path, OpenMode::Existing)?;
            // The last end may have been unclean: after a failed sync the page cache can hold what the medium does not.
            file.drop_cache()?;
            // redb would take an empty file for a new database; a machine's file is never empty.
            if file.is_empty()? {
                return Err(damaged(format!("{} is empty", path.display())));
            }
            let database = builder().create_with_backend(RedbFile::new(file))?;
            let meta = Meta::load(&database.begin_read()?.open_table(META)?)?;
            let (database, health) = (Arc::new(database), Health::Sound);
            Ok(Self { database, meta, durable: meta.applied, health, tombstones_max })
        })
    }

    /// Runs a write transaction; `work` says what the state is after it.
    fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&redb::WriteTransaction, &Self) -> Result<(T, Meta), Fault>,
    ) -> Result<T, MachineError> {
        if self.health == Health::Unknown {
            let error = std::io::Error::other(
                "an earlier change failed: the state is unknown until it is opened again",
            );
            return Err(error.into());
        }
        // Sound again only when the commit has returned, or nothing was written: a panic on the way stays unknown.
        self.health = Health::Unknown;
        let (done, health) = guard(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(durability)?;
            // Two syncs instead of one: a rotten page of the newest commit is then reported when the file is opened,
            // where one-phase commit quietly falls back to the commit before it.
            transaction.set_two_phase_commit(matches!(durability, Durability::Immediate));
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
        KvReader::new(Arc::clone(&self.database))
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
        self.transact(Durability::None, |transaction, machine| {
            let mut state = State::open(transaction, machine.meta, machine.tombstones_max)?;
            let mut answers = Vec::with_capacity(entries.len());
            for entry in entries {
                check_follows(state.meta.applied, entry.id)?;
                answers.push(answer(&mut state, entry)?);
                state.meta.applied = entry.id;
            }
            Ok((answers, state.finish(transaction)?))
        })
    }

    fn persist(&mut self) -> Result<LogId, MachineError> {
        if self.durable != self.meta.applied {
            // A durable commit takes the commits before it along.
            self.transact(Durability::Immediate, |_, machine| Ok(((), machine.meta)))?;
        }
        Ok(self.durable)
    }

    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineError> {
        let transaction = guard(|| Ok(self.database.begin_read()?))?;
        Ok(Box::new(FrozenState::new(transaction, self.meta)))
    }

    fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<(), MachineError> {
        self.transact(Durability::Immediate, |transaction, machine| {
            transaction.delete_table(ENTRIES)?;
            transaction.delete_table(TOMBSTONES)?;
            transaction.delete_table(GRAVES)?;
            let mut state = State::open(transaction, Meta::default(), machine.tombstones_max)?;
            snapshot::read_into(&mut state, id, source)?;
            Ok(((), state.finish(transaction)?))
        })
    }
}

/// Applies one entry; the answer to what is no command is empty.
fn answer(state: &mut State<'_>, entry: &Applied) -> Result<Bytes, Fault> {
    let Some(command) = &entry.command else {
        return Ok(Bytes::new());
    };
    let response = match Command::decode(command.clone()) {
        Ok(command) => state.apply(entry.id, &command)?,
        Err(_) => Response::Malformed,
    };
    Ok(response.encode())
}

/// A gap would be a command that this node alone never sees: better to stop.
///
/// A new machine may begin with the second entry: the first one is the founding membership (`LogId::GENESIS`), which is
/// no command.
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

/// Makes a file with an empty state under another name first: a crash on the way leaves no half-made file.
fn create(disk: &dyn Disk, dir: &Path) -> Result<(), Fault> {
    disk.create_dir_all(dir)?;
    let (new, path) = (dir.join(FILE_NEW), dir.join(FILE));
    if disk.exists(&new)? {
        disk.remove(&new)?;
    }
    let file = disk.open(&new, OpenMode::New)?;
    let database = builder().create_with_backend(RedbFile::new(Arc::clone(&file)))?;
    let transaction = database.begin_write()?;
    State::open(&transaction, Meta::default(), TOMBSTONES_MAX)?.finish(&transaction)?;
    transaction.commit()?;
    database.close()?;
    file.sync()?;
    drop(file);
    disk.rename(&new, &path)?;
    disk.sync_dir(dir)?;
    Ok(())
}
