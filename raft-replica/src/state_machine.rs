//! The state machine that is replicated, as a trait.

use std::io::{Read, Write};

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_log::Progress;

/// A deterministic state machine: the same commands in the same order give the same state and the same answers on
/// every node. It looks at no clock, draws no random number and lets no order of a hash map be seen.
///
/// One thread calls [`apply`](Self::apply), [`persist`](Self::persist), [`snapshot`](Self::snapshot) and
/// [`restore`](Self::restore), one at a time; reads go through [`Reader`](Self::Reader) beside it.
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

    /// Replaces the whole state by that of a snapshot, durably and atomically: a crash at any moment leaves either
    /// the old state or the new one. Afterwards [`applied`](Self::applied) and [`durable`](Self::durable) are `id`.
    ///
    /// # Errors
    /// The snapshot is not one of this state machine, or the state cannot be stored. The old state stays.
    fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<(), MachineError>;
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
