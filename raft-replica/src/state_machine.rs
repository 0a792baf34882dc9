//! What is replicated: a state machine, as a trait.

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
/// It keeps its own state on disk, or has it kept: what [`durable`](Self::durable) covers survives a crash, what was
/// applied after it need not, because the log is cut only below it and is applied again.
pub trait StateMachine: Send + 'static {
    /// What reads use while commands are applied; cheap to clone.
    type Reader: Clone + Send + Sync + 'static;

    /// A handle for reads; it stays valid over [`restore`](Self::restore).
    fn reader(&self) -> Self::Reader;

    /// The last entry whose effects the state shows; [`LogId::ZERO`] for a new one.
    fn applied(&self) -> LogId;

    /// The last entry whose effects survive a crash; never above [`applied`](Self::applied).
    fn durable(&self) -> LogId;

    /// Applies consecutive committed entries, all in one step where a reader sees either none or all of them. Entries
    /// that are no command (a new leader's no-op, a change of membership) come with `command: None`: they only move
    /// [`applied`](Self::applied). Returns one answer for each entry, in order (empty for no command).
    ///
    /// A command that makes no sense is answered, never an error: every node must go on alike.
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

    /// Does one bounded step of giving space back, where its files are much larger than what is in them: looks whether they are,
    /// or copies some. Reads go on meanwhile. [`Progress::More`]: there is more to do; called when nothing is to be applied
    /// for a moment, and now and then under load. After [`Progress::Postponed`] it is tried again later.
    ///
    /// A machine whose files do not grow has nothing to do.
    ///
    /// # Errors
    /// As [`apply`](Self::apply). A full disk is no error: it postpones.
    fn give_back(&mut self) -> Result<Progress, MachineError> {
        Ok(Progress::Nothing)
    }

    /// Replaces the whole state by a snapshot's, durably and atomically: a crash at any moment leaves the old state or
    /// the new one. Afterwards [`applied`](Self::applied) and [`durable`](Self::durable) are `id`.
    ///
    /// # Errors
    /// The snapshot is not one of this state machine, or the state cannot be stored. The old state stays.
    fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<(), MachineError>;
}

/// One committed entry for a state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its name; the index is the version that its changes get.
    pub id: LogId,
    /// The command, or none where the entry is not one.
    pub command: Option<Bytes>,
}

/// A frozen view of a state machine.
pub trait SnapshotView: Send {
    /// The last entry that it includes.
    fn id(&self) -> LogId;

    /// Writes the state out in bounded memory. The same state gives the same bytes on every node.
    ///
    /// # Errors
    /// The state cannot be read or the target not written.
    fn write_to(self: Box<Self>, target: &mut dyn Write) -> Result<(), MachineError>;
}

/// Why a state machine failed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// Its storage failed.
    #[error("the state machine's storage failed: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A snapshot or a stored state is not what it should be.
    #[error("the state machine's data is damaged: {what}")]
    Damaged {
        /// What was found, and where.
        what: String,
    },
    /// Its files were written by a newer version.
    #[error(
        "the state machine's files have format {found}; this version reads up to {supported}: use a newer raftkit"
    )]
    NewerFormat {
        /// What the files say.
        found: u32,
        /// What this version reads.
        supported: u32,
    },
}

impl From<std::io::Error> for MachineError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(Box::new(error))
    }
}
