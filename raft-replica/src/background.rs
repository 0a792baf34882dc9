//! Work that a state machine has begun and that runs beside it, on a thread of its own.

use raftkit_core::LogId;
use raftkit_log::Progress;

use crate::{Background, Event, TakeOver};

/// Work of a state machine of type `M`, taken from its [`Applier`](crate::Applier) to be run on another thread. What it
/// returns goes back to the applier.
#[derive(Debug)]
pub enum BackgroundWork<M> {
    /// Makes what was applied durable.
    Persist(Background<M, LogId>),
    /// Does a step of giving disk space back.
    GiveBack(Background<M, Progress>),
}

/// The end of a [`BackgroundWork`], which the applier's state machine takes over.
#[derive(Debug)]
pub enum BackgroundDone<M> {
    /// What was applied is in the files.
    Persist(TakeOver<M, LogId>),
    /// A step of giving disk space back is done.
    GiveBack(TakeOver<M, Progress>),
}

impl<M> BackgroundWork<M> {
    /// Runs the work, which may block.
    pub fn run(self) -> BackgroundDone<M> {
        match self {
            Self::Persist(work) => BackgroundDone::Persist(work.run()),
            Self::GiveBack(work) => BackgroundDone::GiveBack(work.run()),
        }
    }
}

/// What came of background work.
pub enum BackgroundEnd {
    /// A report for the replica.
    Report(Event),
    /// A step of giving disk space back was done. The replica need not know.
    GaveBack(Progress),
}

impl BackgroundEnd {
    /// The report for the replica, if there is one.
    #[must_use]
    pub fn report(self) -> Option<Event> {
        match self {
            Self::Report(event) => Some(event),
            Self::GaveBack(_) => None,
        }
    }
}

/// The background work of an applier. There is at most one at a time.
#[derive(Debug)]
pub(crate) enum Lane<M> {
    Idle,
    /// Work has begun and waits to be taken and run.
    Begun(BackgroundWork<M>),
    /// Work was taken, and is run elsewhere.
    Running,
}

impl<M> Lane<M> {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// Takes the work that waits to be run.
    pub(crate) fn take(&mut self) -> Option<BackgroundWork<M>> {
        match std::mem::replace(self, Self::Idle) {
            Self::Begun(work) => {
                *self = Self::Running;
                Some(work)
            }
            idle_or_running @ (Self::Idle | Self::Running) => {
                *self = idle_or_running;
                None
            }
        }
    }
}
