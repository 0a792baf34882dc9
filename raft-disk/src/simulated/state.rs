//! The state of a simulated disk, and the outcome of each call.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::deferred::Outstanding;
use super::faults::{Faults, Injected};
use super::{Operation, Target};
use crate::OpenMode;
pub(super) use crate::cuts::thread_of;
use crate::cuts::{Cuts, moment};
use crate::images::{Cover, FileImages};
use crate::names::Names;
use crate::rng::Rng;

/// The state of a simulated disk.
pub(super) struct State {
    pub(super) rng: Rng,
    /// Number of changes and syncs so far, which orders them across all files and names.
    moment: u64,
    /// The thread of the program that is making calls.
    pub(super) thread: u8,
    /// Number of the disk's life, raised by each crash and kill. Handles of earlier lives are dead.
    pub(super) generation: u64,
    pub(super) names: Names,
    pub(super) files: BTreeMap<u64, FileImages>,
    pub(super) next_file: u64,
    pub(super) locks: BTreeSet<PathBuf>,
    pub(super) frozen: bool,
    pub(super) holding: bool,
    pub(super) held: usize,
    /// Number of releases of held syncs. A sync that stalls waits for the next one.
    pub(super) releases: u64,
    pub(super) deferring: bool,
    /// Deferred syncs, in the order of their calls.
    pub(super) deferred: Vec<Outstanding>,
    /// The driver knows of all deferred syncs called up to this moment.
    pub(super) reported_until: u64,
    /// Cuts made by failed deferred syncs: what their threads did later has not happened, unless it is durable.
    pub(super) cuts: Cuts,
    pub(super) calls: u64,
    pub(super) mutations: u64,
    planned: Vec<Fault>,
    pub(super) chances: Faults,
    pub(super) injected: Injected,
    /// Capacity in blocks of 4 KiB; `None` for no limit.
    pub(super) capacity: Option<usize>,
    /// Number of mutations from now until the power is cut.
    pub(super) crash_in: Option<u64>,
}

/// An error planned for a later call.
struct Fault {
    operation: Option<Operation>,
    after: u64,
    kind: io::ErrorKind,
}

/// Outcome of a call.
pub(super) enum Verdict {
    /// The call succeeds.
    Go,
    /// The call fails with this error.
    Fail(io::Error),
    /// The power is cut during the call.
    Cut(io::Error),
}

impl Verdict {
    /// Returns the outcome of a call that changes nothing.
    pub(super) fn pass(self) -> io::Result<()> {
        match self {
            Self::Go => Ok(()),
            Self::Fail(error) | Self::Cut(error) => Err(error),
        }
    }
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            moment: 0,
            thread: 0,
            generation: 0,
            names: Names::default(),
            files: BTreeMap::new(),
            next_file: 0,
            locks: BTreeSet::new(),
            frozen: false,
            holding: false,
            held: 0,
            releases: 0,
            deferring: false,
            deferred: Vec::new(),
            reported_until: 0,
            cuts: Cuts::default(),
            calls: 0,
            mutations: 0,
            planned: Vec::new(),
            chances: Faults::default(),
            injected: Injected::default(),
            capacity: None,
            crash_in: None,
        }
    }

    /// Fails if the disk is frozen, or has crashed since `generation`.
    pub(super) fn alive(&self, generation: u64) -> io::Result<()> {
        if self.generation != generation {
            return Err(io::Error::other(
                "the simulated disk has crashed since this was opened, or its process was killed",
            ));
        }
        if self.frozen { Err(frozen()) } else { Ok(()) }
    }

    /// Counts a call and determines its outcome.
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
        match self.planned_error(operation).or_else(|| self.error_by_chance(operation)) {
            None => Verdict::Go,
            Some(kind) => {
                self.injected.error(operation, kind);
                let text = format!("simulated fault in {operation:?}, call {}", self.calls);
                Verdict::Fail(io::Error::new(kind, text))
            }
        }
    }

    fn planned_error(&mut self, operation: Operation) -> Option<io::ErrorKind> {
        let mut met = None;
        self.planned.retain_mut(|fault| {
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
        met
    }

    fn error_by_chance(&mut self, operation: Operation) -> Option<io::ErrorKind> {
        let mut errors = self.chances.errors.iter().filter(|error| error.operation == operation);
        errors.find(|error| error.chance.strikes(&mut self.rng)).map(|error| error.kind)
    }

    /// Decides whether this sync stalls.
    pub(super) fn stalls(&mut self) -> bool {
        let stalls = self.chances.stalls.strikes(&mut self.rng);
        self.injected.stalls += u64::from(stalls);
        stalls
    }

    pub(super) fn fail(&mut self, operation: Option<Operation>, after: u64, kind: io::ErrorKind) {
        self.planned.push(Fault { operation, after, kind });
    }

    pub(super) fn clear_planned(&mut self) {
        self.planned.clear();
        self.crash_in = None;
    }

    /// Returns the moment for a change or sync happening now.
    pub(super) fn tick(&mut self) -> u64 {
        self.moment += 1;
        moment(self.moment, self.thread)
    }

    /// Returns the number of the file, creating the file if the mode allows it.
    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        match (self.names.get(path), mode) {
            (Some(_), OpenMode::New) => Err(io::ErrorKind::AlreadyExists.into()),
            (_, OpenMode::Existing | OpenMode::ReadOnly) | (Some(_), OpenMode::Either) => {
                self.names.file(path)
            }
            (None, OpenMode::New | OpenMode::Either) => {
                if self.free() == 0 {
                    return Err(self.full());
                }
                let (id, moment) = (self.next_file, self.tick());
                self.names.link(moment, path, Target::File(id))?;
                self.next_file += 1;
                self.files.insert(id, FileImages::default());
                Ok(id)
            }
        }
    }

    /// Returns an open file. It exists until the end of the disk's life, whether or not it still has a name.
    pub(super) fn file(&mut self, id: u64) -> &mut FileImages {
        self.files.get_mut(&id).expect("files go away only in a crash or kill, which ends their handles")
    }

    /// Decides what the sync of a durable write covers: the write itself, and by the toss of a coin all other dirty
    /// data.
    pub(super) fn cover(&mut self, id: u64, offset: u64, len: usize, mark: u64) -> Cover {
        let at = usize::try_from(offset).expect("it was written");
        match self.file(id).cover(at..at + len, mark) {
            Cover::Only(_) if self.rng.coin() => Cover::Before(mark),
            cover @ (Cover::Before(_) | Cover::Only(_)) => cover,
        }
    }
}

fn frozen() -> io::Error {
    io::Error::other("the simulated disk is frozen: its power is cut")
}
