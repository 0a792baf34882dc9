//! Opens a log: makes it if it is not there, brings database and journal together, and checks all that it finds.

pub(crate) mod load;
mod make;
pub(crate) mod replay;
mod report;
mod salvage;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftkit_core::{NodeId, StoreId};
use raftkit_disk::{DirLock, Disk, DiskFile, OpenMode, RedbFile, Slack, create_dir_all_durably};
use redb::{Database, ReadableDatabase, StorageBackend};

use crate::error::{Damage, OpenError, StoreError, Trouble};
use crate::journal::image::Image;
use crate::journal::witness::Witness;
use crate::journal::{self, Mark};
use crate::shared::contain;
use crate::state::LogState;
use crate::tables::{FORMAT, Identity};
use load::{Loaded, Refused};
pub use report::{LogDamage, Lost, OpenReport, Replayed};

/// The log's database in its folder.
pub(crate) const FILE: &str = "log.redb";
/// The name under which it is made, and copied: a crash in the middle leaves nothing that could be taken for a log.
pub(crate) const FILE_IN_THE_MAKING: &str = "log.redb.new";

/// How to open a store.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// This node. A folder of another node is refused.
    pub node: NodeId,
    /// The name that the store gets if it is made now: random, never used before.
    pub new_store: StoreId,
    /// How much of the database is cached in memory, in bytes. 32 MiB.
    pub cache_bytes: usize,
    /// Recent entries are kept in memory up to this weight, in bytes, for replication; more until they are settled.
    /// 8 MiB.
    pub tail_bytes: usize,
    /// The journal's length in bytes, if it is made now; a write of more than a quarter of it goes around it. A longer one takes
    /// in more at once, and then keeps a slow disk busy for longer with bringing it into the database. 8 MiB.
    pub journal_bytes: u64,
    /// Who keeps other processes out.
    pub lock: FolderLock,
    /// How much larger than what is in it the database's file may stay; above that it is copied into a new one.
    pub slack: Slack,
}

/// Who keeps other processes out of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderLock {
    /// The store locks it and holds the lock until it is dropped.
    Take,
    /// The caller holds a lock on it, or on a folder above, for as long as the store lives.
    HeldByCaller,
}

impl OpenOptions {
    /// The defaults, for this node.
    #[must_use]
    pub fn new(node: NodeId, new_store: StoreId) -> Self {
        Self {
            node,
            new_store,
            cache_bytes: 32 << 20,
            tail_bytes: 8 << 20,
            journal_bytes: 8 << 20,
            lock: FolderLock::Take,
            slack: Slack::default(),
        }
    }
}

/// An open log, all of which is in the database.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) journal_path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) journal_file: Arc<dyn DiskFile>,
    pub(crate) database: Database,
    pub(crate) identity: Identity,
    pub(crate) state: LogState,
    /// Up to where the journal was in the commit before.
    pub(crate) before: Mark,
    /// Up to where it is now.
    pub(crate) settled: Mark,
    pub(crate) witness: Witness,
    pub(crate) report: OpenReport,
}

/// Opens the log in a folder that is locked.
pub(crate) fn open(disk: &dyn Disk, dir: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    let (path, journal_path) = (dir.join(FILE), dir.join(journal::FILE));
    let mut report = OpenReport::default();
    // A copy that was not finished.
    let left_over = dir.join(FILE_IN_THE_MAKING);
    disk.remove_if_there(&left_over).map_err(failed(&left_over))?;
    let mut journal = read_journal(disk, dir)?;
    if !disk.exists(&path).map_err(failed(&path))? {
        if journal.as_ref().is_none_or(|(_, image)| image.as_ref().is_ok_and(Image::is_unused)) {
            make::make(disk, dir, options)?;
            report.made = true;
            journal = read_journal(disk, dir)?;
        } else {
            report.damage = Some(mend(disk, dir, options, journal.take(), Damage::Missing { record: FILE })?);
            journal = read_journal(disk, dir)?;
        }
    }
    // Also when it was there: an earlier process may have been killed between its rename and its sync.
    disk.sync_dir(dir).map_err(failed(dir))?;
    let (file, database, loaded) = match read_database(disk, &path, options)? {
        Ok(found) => found,
        Err(damage) => {
            report.damage = Some(mend(disk, dir, options, journal.take(), damage)?);
            journal = read_journal(disk, dir)?;
            read_database(disk, &path, options)?
                .map_err(|damage| OpenError::Damaged { path: path.clone(), damage })?
        }
    };
    if loaded.identity.format < FORMAT {
        report.upgraded_from = Some(loaded.identity.format);
    }
    if loaded.identity.format == 1 {
        journal = give_journal(disk, dir, options, journal.take(), &loaded)?;
    }
    let Some((journal_file, image)) = journal else {
        return Err(OpenError::Damaged {
            path: journal_path,
            damage: Damage::Missing { record: journal::FILE },
        });
    };
    let image = image.map_err(|damage| OpenError::Damaged { path: journal_path.clone(), damage })?;
    let found = image.witness().identity.store;
    if found != loaded.identity.store {
        return Err(OpenError::OtherStore { journal: journal_path, found, store: loaded.identity.store });
    }
    // What a killed process has written may be in the cache alone.
    journal_file.sync().map_err(failed(&journal_path))?;
    let before = loaded.settled;
    let (identity, state, settled) =
        replay::replay(&database, &image, loaded, &mut report, (&path, &journal_path))?;
    let witness = *image.witness();
    Ok(Opened {
        path,
        journal_path,
        file,
        journal_file,
        database,
        identity,
        state,
        before,
        settled,
        witness,
        report,
    })
}

/// The newest of what the parts of a log say whose it is: each opening raises the incarnation, and a cluster stays.
fn newest(identity: Identity, others: impl IntoIterator<Item = Identity>) -> Identity {
    let age = |it: &Identity| (it.incarnation, it.cluster.is_some());
    others.into_iter().fold(identity, |newest, other| if age(&other) > age(&newest) { other } else { newest })
}

/// A journal's file, and what is in it.
pub(crate) type Journal = (Arc<dyn DiskFile>, Result<Image, Damage>);

pub(crate) fn read_journal(disk: &dyn Disk, dir: &Path) -> Result<Option<Journal>, OpenError> {
    let path = dir.join(journal::FILE);
    if !disk.exists(&path).map_err(failed(&path))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenMode::Existing).map_err(failed(&path))?;
    // After a failed sync the cache may show, as if it were clean, what the disk never got.
    file.drop_cache().map_err(failed(&path))?;
    let image = Image::read(file.as_ref()).map_err(failed(&path))?;
    Ok(Some((file, image)))
}

/// An open database and what is in it.
pub(crate) type Found = (Arc<dyn DiskFile>, Database, Loaded);

pub(crate) fn read_database(
    disk: &dyn Disk,
    path: &Path,
    options: &OpenOptions,
) -> Result<Result<Found, Damage>, OpenError> {
    let file = disk.open(path, OpenMode::Existing).map_err(failed(path))?;
    file.drop_cache().map_err(failed(path))?;
    if file.is_empty().map_err(failed(path))? {
        return Ok(Err(Damage::Empty));
    }
    let found = contain(|| {
        let database = database(RedbFile::new(file.clone()), options.cache_bytes, true)?;
        let loaded = load::load(&database.begin_read()?, Some(options.node))?;
        Ok(loaded.map(|loaded| (database, loaded)))
    });
    match found {
        Ok(Ok((database, loaded))) => Ok(Ok((file, database, loaded))),
        Ok(Err(refused)) => Err(refused.into_error(path, options)),
        Err(Trouble::Damaged(damage)) => Ok(Err(damage)),
        Err(trouble) => Err(in_opening(trouble, path.to_path_buf())),
    }
}

/// Makes a damaged database anew, with the help of the journal. Without a journal the hard state is lost.
fn mend(
    disk: &dyn Disk,
    dir: &Path,
    options: &OpenOptions,
    journal: Option<Journal>,
    damage: Damage,
) -> Result<LogDamage, OpenError> {
    let (path, journal_path) = (dir.join(FILE), dir.join(journal::FILE));
    let Some((file, image)) = journal else { return Err(OpenError::Damaged { path, damage }) };
    let image = image.map_err(|damage| OpenError::Damaged { path: journal_path.clone(), damage })?;
    let node = image.witness().identity.node;
    if node != options.node {
        return Err(OpenError::OtherNode { path: journal_path, found: node, node: options.node });
    }
    file.sync().map_err(failed(&journal_path))?;
    salvage::salvage(disk, dir, options, &image, damage)
}

/// Puts a journal in front of a log of format 1, which had none.
fn give_journal(
    disk: &dyn Disk,
    dir: &Path,
    options: &OpenOptions,
    journal: Option<Journal>,
    loaded: &Loaded,
) -> Result<Option<Journal>, OpenError> {
    if let Some((file, image)) = journal {
        match &image {
            // The upgrade was interrupted.
            Ok(image) if image.is_new_before(&loaded.identity) => {}
            // Its first records are there, or it cannot be read: a database of the present format was there too, and
            // redb fell back to the one before.
            Ok(_) | Err(_) => return Ok(Some((file, image))),
        }
    }
    let state = &loaded.state;
    make::make_journal(disk, dir, &loaded.identity, state.hard_state, state.last, options)?;
    read_journal(disk, dir)
}

/// Makes the folder, so that it lasts.
pub(crate) fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    create_dir_all_durably(disk, dir).map_err(failed(dir))
}

/// Keeps others out of the folder.
pub(crate) fn lock_dir(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    disk.lock_dir(dir).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked { dir: dir.to_path_buf() }
        } else {
            OpenError::Disk { path: dir.to_path_buf(), source }
        }
    })
}

/// Opens a database; with `check` the checksum of every page is verified once: later reads trust them.
pub(crate) fn database(
    file: impl StorageBackend,
    cache_bytes: usize,
    check: bool,
) -> Result<Database, Trouble> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder.set_check_integrity_on_open(check);
    Ok(builder.create_with_backend(file)?)
}

impl Refused {
    fn into_error(self, path: &Path, options: &OpenOptions) -> OpenError {
        let path = path.to_path_buf();
        match self {
            Self::OtherNode(found) => OpenError::OtherNode { path, found, node: options.node },
            Self::NewerFormat(found) => OpenError::NewerFormat { path, found, known: FORMAT },
        }
    }
}

impl OpenError {
    /// What the first write into a log that was just opened came to.
    pub(crate) fn in_journal(error: StoreError, path: PathBuf) -> Self {
        match error {
            StoreError::Disk { path, source } => Self::Disk { path, source },
            StoreError::Database { path, source } => Self::Database { path, source },
            StoreError::Damaged { path, damage } => Self::Damaged { path, damage },
            StoreError::Ended
            | StoreError::Gap { .. }
            | StoreError::TermWentBack { .. }
            | StoreError::EntryTooLarge { .. }
            | StoreError::TruncatesBase { .. }
            | StoreError::CompactsBeyondEnd { .. }
            | StoreError::Panicked { .. } => {
                Self::Damaged { path, damage: Damage::Contradiction { what: "journal" } }
            }
        }
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> OpenError + '_ {
    |source| OpenError::Disk { path: path.to_path_buf(), source }
}

fn in_opening(trouble: Trouble, path: PathBuf) -> OpenError {
    match trouble {
        Trouble::Damaged(damage) => OpenError::Damaged { path, damage },
        Trouble::Database(source) => OpenError::Database { path, source },
        Trouble::Closed | Trouble::Refused(_) => {
            unreachable!("opening neither closes a store nor writes entries")
        }
    }
}
