//! Opens a log: makes it if it is not there, and checks what it finds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raftkit_core::{Base, HardState, Incarnation, LogIndex, NodeId, StoreId};
use raftkit_disk::{DirLock, Disk, DiskFile, OpenMode, RedbFile, create_dir_all_durably};
use redb::{Database, ReadableTable, WriteTransaction};

use crate::codec::{run_last, unseal};
use crate::error::{Damage, OpenError, Trouble};
use crate::shared::contain;
use crate::state::LogState;
use crate::tables::{
    Ends, FORMAT, Identity, MEMBERSHIPS, META, RUNS, TERMS, decode_ends, decode_hard_state, decode_identity,
    decode_membership, decode_term, encode_ends, encode_hard_state, encode_identity, meta, put_meta, record,
};

/// The log's file in its folder.
pub(crate) const FILE: &str = "log.redb";
/// The name under which it is made: a crash in the middle leaves nothing that could be taken for a log.
const FILE_IN_THE_MAKING: &str = "log.redb.new";

/// How to open a store.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// This node. A folder of another node is refused.
    pub node: NodeId,
    /// The name that the store gets if it is made now: random, never used before.
    pub new_store: StoreId,
    /// How much of the file is cached in memory, in bytes. 32 MiB.
    pub cache_bytes: usize,
    /// Who keeps other processes out.
    pub lock: FolderLock,
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
        Self { node, new_store, cache_bytes: 32 << 20, lock: FolderLock::Take }
    }
}

/// An open log.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) database: Database,
    pub(crate) identity: Identity,
    pub(crate) state: LogState,
}

/// Opens the log in a folder that is locked.
pub(crate) fn open(disk: &dyn Disk, dir: &Path, options: &OpenOptions) -> Result<Opened, OpenError> {
    let path = dir.join(FILE);
    if !disk.exists(&path).map_err(failed(&path))? {
        make(disk, dir, options)?;
    }
    // Also when it was there: an earlier process may have been killed between its rename and its sync.
    disk.sync_dir(dir).map_err(failed(dir))?;
    let file = disk.open(&path, OpenMode::Existing).map_err(failed(&path))?;
    // After a failed sync the cache may show, as if it were clean, what the disk never got.
    file.drop_cache().map_err(failed(&path))?;
    if file.is_empty().map_err(failed(&path))? {
        return Err(OpenError::Damaged { path, damage: Damage::Empty });
    }
    let found = contain(|| {
        let database = database(file.clone(), options, true)?;
        let txn = database.begin_write()?;
        let loaded = load(&txn, options);
        match loaded {
            Ok(Ok((identity, state))) => {
                txn.commit()?;
                Ok(Ok((database, identity, state)))
            }
            Ok(Err(refused)) => Ok(Err(refused)),
            Err(trouble) => Err(trouble),
        }
    });
    match found {
        Ok(Ok((database, identity, state))) => Ok(Opened { path, file, database, identity, state }),
        Ok(Err(Refused::OtherNode(found))) => Err(OpenError::OtherNode { path, found, node: options.node }),
        Ok(Err(Refused::NewerFormat(found))) => Err(OpenError::NewerFormat { path, found, known: FORMAT }),
        Err(trouble) => Err(in_opening(trouble, path)),
    }
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

/// Makes an empty log under another name, and gives it its own once it is whole.
fn make(disk: &dyn Disk, dir: &Path, options: &OpenOptions) -> Result<(), OpenError> {
    let new = dir.join(FILE_IN_THE_MAKING);
    if disk.exists(&new).map_err(failed(&new))? {
        disk.remove(&new).map_err(failed(&new))?;
    }
    let file = disk.open(&new, OpenMode::New).map_err(failed(&new))?;
    contain(|| {
        let database = database(file.clone(), options, false)?;
        let txn = database.begin_write()?;
        found(&txn, options)?;
        txn.commit()?;
        drop(database);
        Ok(())
    })
    .map_err(|trouble| in_opening(trouble, new.clone()))?;
    file.sync().map_err(failed(&new))?;
    disk.rename(&new, &dir.join(FILE)).map_err(failed(&new))
}

/// Writes what an empty log holds.
fn found(txn: &WriteTransaction, options: &OpenOptions) -> Result<(), Trouble> {
    let identity = Identity {
        node: options.node,
        store: options.new_store,
        cluster: None,
        incarnation: Incarnation(0),
        format: FORMAT,
    };
    txn.open_table(RUNS)?;
    txn.open_table(TERMS)?;
    txn.open_table(MEMBERSHIPS)?;
    let mut meta = txn.open_table(META)?;
    put_meta(&mut meta, record::IDENTITY, &encode_identity(&identity))?;
    put_meta(&mut meta, record::HARD_STATE, &encode_hard_state(&HardState::default()))?;
    put_meta(&mut meta, record::ENDS, &encode_ends(&Ends::default()))?;
    put_meta(&mut meta, record::BASE_MEMBERSHIP, &Base::default().membership.encode())
}

fn database(file: Arc<dyn DiskFile>, options: &OpenOptions, check: bool) -> Result<Database, Trouble> {
    let mut builder = Database::builder();
    builder.set_cache_size(options.cache_bytes);
    // Every page's checksum is verified once, here: later reads trust them.
    builder.set_check_integrity_on_open(check);
    Ok(builder.create_with_backend(RedbFile::new(file))?)
}

/// Why a sound log is not ours to open.
enum Refused {
    OtherNode(NodeId),
    NewerFormat(u32),
}

/// Reads what the store must know, and raises the incarnation.
fn load(
    txn: &WriteTransaction,
    options: &OpenOptions,
) -> Result<Result<(Identity, LogState), Refused>, Trouble> {
    let mut meta_table = txn.open_table(META)?;
    let mut identity = match meta(&meta_table, record::IDENTITY, decode_identity)? {
        Ok(identity) if identity.node == options.node => identity,
        Ok(other) => return Ok(Err(Refused::OtherNode(other.node))),
        Err(newer) => return Ok(Err(Refused::NewerFormat(newer))),
    };
    let ends = meta(&meta_table, record::ENDS, decode_ends)?;
    let membership =
        meta(&meta_table, record::BASE_MEMBERSHIP, |body| decode_membership(LogIndex::ZERO, body))?;
    let mut state = LogState {
        base: Base { id: ends.base, membership },
        last: ends.last,
        hard_state: meta(&meta_table, record::HARD_STATE, decode_hard_state)?,
        ..LogState::default()
    };
    for row in txn.open_table(TERMS)?.iter()? {
        let (first, bytes) = row?;
        state.terms.insert(LogIndex(first.value()), decode_term(first.value(), bytes.value())?);
    }
    for row in txn.open_table(MEMBERSHIPS)?.iter()? {
        let (index, bytes) = row?;
        let body = unseal(record::MEMBERSHIP, index.value(), bytes.value())?;
        let index = LogIndex(index.value());
        state.memberships.insert(index, decode_membership(index, body)?);
    }
    check(&state)?;
    check_runs(&state, &txn.open_table(RUNS)?)?;
    identity.incarnation = Incarnation(identity.incarnation.0 + 1);
    put_meta(&mut meta_table, record::IDENTITY, &encode_identity(&identity))?;
    Ok(Ok((identity, state)))
}

/// Checks that ends, terms and memberships agree.
fn check(state: &LogState) -> Result<(), Damage> {
    let (base, last) = (state.base.id, state.last);
    let first = state.terms.first_key_value().map(|(first, _)| *first);
    let wanted = (last.index > base.index).then(|| base.index.next());
    let mut before = base.term;
    let rising = state.terms.iter().enumerate().all(|(at, (_, term))| {
        // The first run may be of the base's term.
        let rises = *term > before || (at == 0 && *term == before);
        before = *term;
        rises
    });
    let end =
        state.terms.last_key_value().is_none_or(|(first, term)| *first <= last.index && *term == last.term);
    if first != wanted || !rising || !end || (wanted.is_none() && base != last) {
        return Err(Damage::Contradiction { what: "terms" });
    }
    if state.memberships.keys().any(|index| *index <= base.index || *index > last.index) {
        return Err(Damage::Contradiction { what: "memberships" });
    }
    Ok(())
}

/// Checks that the first and the last run are where they should be; what is between is checked when it is read.
fn check_runs(state: &LogState, runs: &impl ReadableTable<u64, &'static [u8]>) -> Result<(), Trouble> {
    let (base, last) = (state.base.id.index, state.last.index);
    let end = match runs.last()? {
        Some((key, run)) => run_last(key.value(), run.value())?,
        None => LogIndex::ZERO,
    };
    if last > base {
        if end != last {
            return Err(Damage::Contradiction { what: "ends" }.into());
        }
        match runs.first()? {
            Some((key, _)) if key.value() <= base.next().0 => {}
            Some(_) | None => return Err(Damage::Hole { wanted: base.next() }.into()),
        }
    } else if end > last {
        return Err(Damage::Contradiction { what: "ends" }.into());
    }
    Ok(())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> OpenError + '_ {
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

#[cfg(test)]
mod tests {
    use raftkit_core::{LogId, Membership, Term};
    use raftkit_disk::SimulatedDisk;

    use super::*;

    #[test]
    fn a_log_of_a_newer_format_is_refused_and_both_formats_are_named() {
        let disk = SimulatedDisk::new(0);
        let (dir, options) = (Path::new("/log"), OpenOptions::new(NodeId(1), StoreId(1)));
        make_dir(&disk, dir).expect("the disk is sound");
        let opened = open(&disk, dir, &options).map_err(|error| error.to_string()).expect("it is made");
        let newer = Identity { format: FORMAT + 1, ..opened.identity };
        let write = || -> Result<(), Trouble> {
            let txn = opened.database.begin_write()?;
            put_meta(&mut txn.open_table(META)?, record::IDENTITY, &encode_identity(&newer))?;
            Ok(txn.commit()?)
        };
        write().expect("the disk is sound");
        drop(opened);
        let Err(error) = open(&disk, dir, &options) else { panic!("it must be refused") };
        assert_eq!(error.to_string(), "the log /log/log.redb has format 2, this version reads up to 1");
    }

    #[test]
    fn records_that_contradict_each_other_are_damage() {
        let sound = LogState {
            base: Base { id: LogId::new(2, 10), membership: Membership::default() },
            last: LogId::new(4, 20),
            terms: [(LogIndex(11), Term(2)), (LogIndex(15), Term(4))].into(),
            memberships: [(LogIndex(11), Membership::default()), (LogIndex(20), Membership::default())]
                .into(),
            hard_state: HardState::default(),
        };
        check(&sound).expect("it is sound");
        let unsound: [fn(&mut LogState); 8] = [
            |log| log.terms = log.terms.split_off(&LogIndex(15)),
            |log| drop(log.terms.split_off(&LogIndex(15))),
            |log| log.terms.extend([(LogIndex(10), Term(2))]),
            |log| log.terms.extend([(LogIndex(13), Term(2))]),
            |log| log.terms.extend([(LogIndex(13), Term(5))]),
            |log| log.terms.extend([(LogIndex(21), Term(4))]),
            |log| log.memberships.extend([(LogIndex(10), Membership::default())]),
            |log| log.memberships.extend([(LogIndex(21), Membership::default())]),
        ];
        for (at, spoil) in unsound.iter().enumerate() {
            let mut log = sound.clone();
            spoil(&mut log);
            assert!(check(&log).is_err(), "{at}");
        }
    }
}
