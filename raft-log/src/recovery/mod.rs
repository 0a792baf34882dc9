//! Opens a log: creates it if it does not exist, replays the journal into the database, and checks everything found.

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
use crate::journal;
use crate::journal::image::Image;
use crate::journal::witness::Witness;
use crate::layout::Mark;
use crate::layout::{FORMAT, Identity};
use crate::shared::contain;
use crate::state::LogState;
use load::{Loaded, Refused};
pub use report::{LogDamage, Lost, OpenReport, Replayed};

/// Name of the database in the log's folder.
pub(crate) const FILE: &str = "log.redb";
/// Name of a database being created or copied, so that a crash in the middle leaves nothing that looks like a log.
pub(crate) const FILE_IN_THE_MAKING: &str = "log.redb.new";

/// Options for opening a store.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The id of this node. A folder of another node is refused.
    pub node: NodeId,
    /// Id for the store if it is created now. Must be random and never used before.
    pub new_store: StoreId,
    /// Size of the database's cache, in bytes. Default: 32 MiB.
    pub cache_bytes: usize,
    /// Weight of recent entries kept in memory for replication, in bytes. Unsettled entries are kept in addition.
    /// Default: 8 MiB.
    pub tail_bytes: usize,
    /// Length of a newly created journal, in bytes. A write larger than a quarter of it bypasses the journal. A longer
    /// journal absorbs larger bursts, but then keeps a slow disk busy for longer while they are settled. Default: 8
    /// MiB.
    pub journal_bytes: u64,
    /// Who locks the folder against other processes.
    pub lock: FolderLock,
    /// How much larger than its content the database file may be before it is copied into a new, smaller one.
    pub slack: Slack,
}

/// Who locks the folder against other processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderLock {
    /// The store locks the folder until it is dropped.
    Take,
    /// The caller holds a lock on the folder, or on a parent of it, for as long as the store lives.
    HeldByCaller,
}

impl OpenOptions {
    /// Returns the default options for this node.
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

/// An open log that is completely in the database.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) journal_path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) journal_file: Arc<dyn DiskFile>,
    pub(crate) database: Database,
    pub(crate) identity: Identity,
    pub(crate) state: LogState,
    /// Journal position in the database's previous commit.
    pub(crate) before: Mark,
    /// Journal position in the database's last commit.
    pub(crate) settled: Mark,
    pub(crate) witness: Witness,
    pub(crate) report: OpenReport,
}

/// Opens the log in a folder that is already locked.
pub(crate) fn open(disk: &dyn Disk, dir: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    let (path, journal_path) = (dir.join(FILE), dir.join(journal::FILE));
    let mut report = OpenReport::default();
    // Remove a copy that an earlier process did not finish.
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
    // Sync the folder even if the files existed: an earlier process may have been killed between its rename and its
    // sync.
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
    // Sync the journal: records written by a killed process may be only in the page cache.
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

/// Returns the newest `Identity` among the parts of a log: the highest incarnation, then one with a cluster id. Each
/// opening raises the incarnation, and a cluster id never changes once it is set.
fn newest(identity: Identity, others: impl IntoIterator<Item = Identity>) -> Identity {
    let age = |it: &Identity| (it.incarnation, it.cluster.is_some());
    others.into_iter().fold(identity, |newest, other| if age(&other) > age(&newest) { other } else { newest })
}

/// A journal's file and its content.
pub(crate) type Journal = (Arc<dyn DiskFile>, Result<Image, Damage>);

pub(crate) fn read_journal(disk: &dyn Disk, dir: &Path) -> Result<Option<Journal>, OpenError> {
    let path = dir.join(journal::FILE);
    if !disk.exists(&path).map_err(failed(&path))? {
        return Ok(None);
    }
    let file = disk.open(&path, OpenMode::Existing).map_err(failed(&path))?;
    // Drop the cache first: after a failed sync it may show data as clean that the disk never received (ATC'20, "Can
    // applications recover from fsync failures?").
    file.drop_cache().map_err(failed(&path))?;
    let image = Image::read(file.as_ref()).map_err(failed(&path))?;
    Ok(Some((file, image)))
}

/// A database's file, the open database and its content.
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

/// Rebuilds a damaged database with the help of the journal. Without a journal, the hard state is lost.
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

/// Adds a journal to a log of format 1, which had none.
fn give_journal(
    disk: &dyn Disk,
    dir: &Path,
    options: &OpenOptions,
    journal: Option<Journal>,
    loaded: &Loaded,
) -> Result<Option<Journal>, OpenError> {
    if let Some((file, image)) = journal {
        match &image {
            // An interrupted upgrade left this empty journal.
            Ok(image) if image.is_new_before(&loaded.identity) => {}
            // The journal has records already, or is unreadable. Either way a database of the current format existed,
            // and redb fell back to the commit before it.
            Ok(_) | Err(_) => return Ok(Some((file, image))),
        }
    }
    let state = &loaded.state;
    make::make_journal(disk, dir, &loaded.identity, state.hard_state, state.last, options)?;
    read_journal(disk, dir)
}

/// Creates the folder durably.
pub(crate) fn make_dir(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    create_dir_all_durably(disk, dir).map_err(failed(dir))
}

/// Locks the folder against other processes.
pub(crate) fn lock_dir(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn DirLock>, OpenError> {
    disk.lock_dir(dir).map_err(|source| {
        if source.kind() == io::ErrorKind::WouldBlock {
            OpenError::Locked { dir: dir.to_path_buf() }
        } else {
            OpenError::Disk { path: dir.to_path_buf(), source }
        }
    })
}

/// Opens a database. With `check`, verifies the checksum of every page once; later reads rely on that.
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
    /// Converts the result of the first write into a log just opened.
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
