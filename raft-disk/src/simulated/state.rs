//! What a simulated disk holds, and the faults that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::Target;
use crate::OpenMode;
use crate::images::{FileImages, SECTOR};
use crate::names::Names;
use crate::rng::Rng;

/// What a call to the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Disk::open`](crate::Disk::open) of a file that must be there.
    Open,
    /// [`Disk::open`](crate::Disk::open) that may make a file.
    Create,
    /// [`Disk::rename`](crate::Disk::rename).
    Rename,
    /// [`Disk::remove`](crate::Disk::remove).
    Remove,
    /// [`Disk::create_dir_all`](crate::Disk::create_dir_all).
    CreateDir,
    /// [`Disk::list`](crate::Disk::list).
    List,
    /// [`Disk::exists`](crate::Disk::exists).
    Exists,
    /// [`Disk::sync_dir`](crate::Disk::sync_dir).
    SyncDir,
    /// [`Disk::lock_dir`](crate::Disk::lock_dir).
    Lock,
    /// [`DiskFile::len`](crate::DiskFile::len).
    Len,
    /// [`DiskFile::set_len`](crate::DiskFile::set_len).
    SetLen,
    /// [`DiskFile::read_at`](crate::DiskFile::read_at).
    Read,
    /// [`DiskFile::write_at`](crate::DiskFile::write_at).
    Write,
    /// [`DiskFile::sync`](crate::DiskFile::sync).
    Sync,
    /// [`DiskFile::drop_cache`](crate::DiskFile::drop_cache).
    DropCache,
}

impl Operation {
    /// True when it changes or syncs something, so that a power cut right in it can be seen afterwards.
    #[must_use]
    pub fn is_mutation(self) -> bool {
        match self {
            Self::Create
            | Self::Rename
            | Self::Remove
            | Self::CreateDir
            | Self::SyncDir
            | Self::SetLen
            | Self::Write
            | Self::Sync => true,
            Self::Open
            | Self::List
            | Self::Exists
            | Self::Lock
            | Self::Len
            | Self::Read
            | Self::DropCache => false,
        }
    }
}

/// Everything.
pub(super) struct State {
    rng: Rng,
    /// The disk's life: raised by each crash; handles of another one are dead.
    pub(super) generation: u64,
    pub(super) names: Names,
    pub(super) files: BTreeMap<u64, FileImages>,
    next_file: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) frozen: bool,
    pub(super) holding: bool,
    pub(super) held: usize,
    pub(super) calls: u64,
    pub(super) mutations: u64,
    faults: Vec<Fault>,
    /// Mutations from now until the power is cut.
    pub(super) crash_in: Option<u64>,
}

/// An error that waits for its call.
struct Fault {
    operation: Option<Operation>,
    after: u64,
    kind: io::ErrorKind,
}

/// What becomes of a call.
pub(super) enum Verdict {
    /// It works.
    Go,
    /// It fails with this error.
    Fail(io::Error),
    /// The power is cut while it is under way.
    Cut(io::Error),
}

impl Verdict {
    /// For calls that change nothing.
    pub(super) fn pass(self) -> io::Result<()> {
        match self {
            Self::Go => Ok(()),
            Self::Fail(error) | Self::Cut(error) => Err(error),
        }
    }
}

/// What becomes of unsynced changes.
pub(super) enum CrashKind {
    Drawn,
    LosingAll,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            generation: 0,
            names: Names::default(),
            files: BTreeMap::new(),
            next_file: 0,
            locks: BTreeSet::new(),
            frozen: false,
            holding: false,
            held: 0,
            calls: 0,
            mutations: 0,
            faults: Vec::new(),
            crash_in: None,
        }
    }

    /// Fails when the disk is frozen or has crashed since `generation`.
    pub(super) fn alive(&self, generation: u64) -> io::Result<()> {
        if self.generation != generation {
            return Err(io::Error::other("the simulated disk has crashed since this was opened"));
        }
        if self.frozen { Err(frozen()) } else { Ok(()) }
    }

    /// Counts a call and finds what becomes of it.
    pub(super) fn enter(&mut self, operation: Operation) -> Verdict {
        if self.frozen {
            return Verdict::Fail(frozen());
        }
        self.calls += 1;
        if operation.is_mutation() {
            self.mutations += 1;
            match &mut self.crash_in {
                None => {}
                Some(0) => {
                    self.crash_in = None;
                    self.frozen = true;
                    return Verdict::Cut(frozen());
                }
                Some(left) => *left -= 1,
            }
        }
        let mut met = None;
        self.faults.retain_mut(|fault| {
            if fault.operation.is_some_and(|wanted| wanted != operation) {
                return true;
            }
            if fault.after == 0 {
                met = Some(fault.kind);
                return false;
            }
            fault.after -= 1;
            true
        });
        met.map_or(Verdict::Go, |kind| {
            Verdict::Fail(io::Error::new(
                kind,
                format!("simulated fault in {operation:?}, call {}", self.calls),
            ))
        })
    }

    pub(super) fn fail(&mut self, operation: Option<Operation>, after: u64, kind: io::ErrorKind) {
        self.faults.push(Fault { operation, after, kind });
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
        self.crash_in = None;
    }

    /// The file's number, made if the mode allows.
    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        match (self.names.get(path), mode) {
            (Some(_), OpenMode::New) => Err(io::ErrorKind::AlreadyExists.into()),
            (_, OpenMode::Existing | OpenMode::ReadOnly) | (Some(_), OpenMode::Either) => {
                self.names.file(path)
            }
            (None, OpenMode::New | OpenMode::Either) => {
                let id = self.next_file;
                self.names.link(path, Target::File(id))?;
                self.next_file += 1;
                self.files.insert(id, FileImages::default());
                Ok(id)
            }
        }
    }

    /// An open file. It is here as long as the disk's life lasts, whether or not it still has a name.
    pub(super) fn file(&mut self, id: u64) -> &mut FileImages {
        self.files.get_mut(&id).expect("files go away only in a crash, which ends their handles")
    }

    /// How much of a failing write is written: some whole sectors.
    pub(super) fn short_write(&mut self, offset: u64, len: usize) -> usize {
        let into = usize::try_from(offset % SECTOR as u64).unwrap_or(0);
        let sectors = (into + len).div_ceil(SECTOR) as u64;
        let kept = usize::try_from(self.rng.below(sectors + 1)).unwrap_or(0);
        (kept * SECTOR).saturating_sub(into).min(len)
    }

    pub(super) fn crash(&mut self, kind: CrashKind) {
        self.generation += 1;
        self.frozen = false;
        self.holding = false;
        self.held = 0;
        self.locks.clear();
        self.clear_faults();
        let mut rng = match kind {
            CrashKind::Drawn => Some(&mut self.rng),
            CrashKind::LosingAll => None,
        };
        let named = self.names.crash(rng.as_deref_mut());
        for file in self.files.values_mut() {
            file.crash(rng.as_deref_mut());
        }
        self.files.retain(|id, _| named.contains(id));
    }
}

fn frozen() -> io::Error {
    io::Error::other("the simulated disk is frozen: its power is cut")
}
