//! The state machine that is replicated, as a trait.

use std::fmt;
use std::io::{Read, Write};

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_log::Progress;

/// A deterministic state machine: the same commands in the same order give the same state and the same answers on
/// every node. It looks at no clock, draws no random number and lets no order of a hash map be seen.
///
/// One thread calls [`apply`](Self::apply), [`persist`](Self::persist), [`snapshot`](Self::snapshot) and
/// [`restore`](Self::restore), one at a time; reads go through [`Reader`](Self::Reader) beside it. A state machine that
/// keeps changes in memory in front of its files can do the work on the files in the background: see
/// [`begin_persist`](Self::begin_persist).
///
/// The state machine stores its state itself. What [`durable`](Self::durable) covers must survive a crash. What was
/// applied after that need not, because the log is cut only below it and is applied again.
pub trait StateMachine: Send + 'static {
    /// A handle for reads, which are served while commands are applied. It is cheap to clone.
    type Reader: Clone + Send + Sync + 'static;

    /// A handle for reads; it stays valid over [`restore`](Self::restore).
    fn reader(&self) -> Self::Reader;

    /// The last entry whose effects the state shows; [`LogId::ZERO`] for a new one.
    fn applied(&self) -> LogId;

    /// The last entry whose effects survive a crash; never above [`applied`](Self::applied).
    fn durable(&self) -> LogId;

    /// Applies consecutive committed entries in one step: a reader sees either none or all of them. Entries that hold
    /// no command (a new leader's no-op, a change of membership) come with `command: None`; they only advance
    /// [`applied`](Self::applied). Returns one response for each entry, in order; it is empty for an entry without a
    /// command.
    ///
    /// A command that makes no sense gets a response that says so, never an error: all nodes must go on alike.
    ///
    /// # Errors
    /// The state cannot be stored. The node stops: its state is unknown from here on.
    fn apply(&mut self, entries: &[Applied]) -> Result<Vec<Bytes>, MachineError>;

    /// Makes everything applied durable and returns [`durable`](Self::durable).
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn persist(&mut self) -> Result<LogId, MachineError>;

    /// Begins to make everything applied so far durable. A state machine for which that takes long returns the long part
    /// as [`Begun::Background`] work: another thread runs it while this one goes on with [`apply`](Self::apply) and
    /// [`snapshot`](Self::snapshot), and what the work returns is handed back to the state machine at the end. Until then
    /// [`durable`](Self::durable) stays as it was.
    ///
    /// At most one background work, of this method or of [`begin_give_back`](Self::begin_give_back), is under way at a
    /// time; [`persist`](Self::persist), [`give_back`](Self::give_back) and [`restore`](Self::restore) are called only
    /// while none is.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn begin_persist(&mut self) -> Result<Begun<Self, LogId>, MachineError>
    where
        Self: Sized,
    {
        self.persist().map(Begun::Done)
    }

    /// Memory in bytes that changes take up which are applied and not durable, as far as the state machine keeps them in
    /// memory until they are. When it is large the applier begins to persist, and waits for the end of that before it
    /// applies more.
    fn unpersisted_bytes(&self) -> u64 {
        0
    }

    /// A frozen view of the state as of [`applied`](Self::applied), to be written out while more is applied.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineError>;

    /// Does one bounded step of giving disk space back, where the files are much larger than their contents: it looks
    /// whether they are, or copies a part. Reads go on meanwhile. [`Progress::More`] means that there is more to do.
    /// The step is called when there is nothing to apply for a moment, and now and then under load. After
    /// [`Progress::Postponed`] it is called again later.
    ///
    /// A state machine whose files do not grow has nothing to do.
    ///
    /// # Errors
    /// As [`apply`](Self::apply). A full disk is no error: the work is postponed.
    fn give_back(&mut self) -> Result<Progress, MachineError> {
        Ok(Progress::Nothing)
    }

    /// Begins one step of [`give_back`](Self::give_back), which may be done in the background as
    /// [`begin_persist`](Self::begin_persist) describes.
    ///
    /// # Errors
    /// As [`give_back`](Self::give_back).
    fn begin_give_back(&mut self) -> Result<Begun<Self, Progress>, MachineError>
    where
        Self: Sized,
    {
        self.give_back().map(Begun::Done)
    }

    /// Replaces the whole state by that of a snapshot, durably and atomically: a crash at any moment leaves either
    /// the old state or the new one. Afterwards [`applied`](Self::applied) and [`durable`](Self::durable) are `id`.
    ///
    /// # Errors
    /// The snapshot is not one of this state machine, or the state cannot be stored. The old state stays.
    fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<(), MachineError>;
}

/// Work of a state machine of type `M` that was begun and comes to a `T`.
#[derive(Debug)]
pub enum Begun<M, T> {
    /// The work is done.
    Done(T),
    /// The rest of the work is to be run on another thread.
    Background(Background<M, T>),
}

/// The part of a work that runs beside the state machine, on another thread.
pub struct Background<M, T>(Box<dyn FnOnce() -> TakeOver<M, T> + Send>);

impl<M, T> Background<M, T> {
    /// Work to be run once. It must own what it works on, and returns how the state machine takes the result over.
    pub fn new(work: impl FnOnce() -> TakeOver<M, T> + Send + 'static) -> Self {
        Self(Box::new(work))
    }

    /// Runs the work, which may block.
    pub fn run(self) -> TakeOver<M, T> {
        self.0()
    }
}

impl<M, T> fmt::Debug for Background<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

/// The end of background work: the state machine takes over what came of it.
pub struct TakeOver<M, T>(End<M, T>);

type End<M, T> = Box<dyn FnOnce(&mut M) -> Result<T, MachineError> + Send>;

impl<M, T> TakeOver<M, T> {
    /// An end that is handed the state machine.
    pub fn new(end: impl FnOnce(&mut M) -> Result<T, MachineError> + Send + 'static) -> Self {
        Self(Box::new(end))
    }

    /// Lets the state machine that began the work take over its result.
    ///
    /// # Errors
    /// The work has failed, with the meaning of an error of the method that began it.
    pub fn by(self, machine: &mut M) -> Result<T, MachineError> {
        self.0(machine)
    }
}

impl<M, T> fmt::Debug for TakeOver<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TakeOver").finish_non_exhaustive()
    }
}

/// A committed entry, as the state machine gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry's id. Its index is the version of what the command changes.
    pub id: LogId,
    /// The command; none if the entry holds no command.
    pub command: Option<Bytes>,
}

/// A frozen view of a state machine.
pub trait SnapshotView: Send {
    /// The last entry that the view includes.
    fn id(&self) -> LogId;

    /// Writes the state to `target`, in bounded memory. The same state gives the same bytes on every node.
    ///
    /// # Errors
    /// The state cannot be read, or the target cannot be written.
    fn write_to(self: Box<Self>, target: &mut dyn Write) -> Result<(), MachineError>;
}

/// Why a state machine failed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The state machine's storage failed.
    #[error("the state machine's storage failed: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A snapshot or a stored state is damaged.
    #[error("the state machine's data is damaged: {what}")]
    Damaged {
        /// The damage, and its place.
        what: String,
    },
    /// The files were written by a newer version.
    #[error(
        "the state machine's files have format {found}; this version reads up to {supported}: use a newer raftkit"
    )]
    NewerFormat {
        /// The format of the files.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
}

impl From<std::io::Error> for MachineError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(Box::new(error))
    }
}
