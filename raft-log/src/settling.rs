//! The work of the settling thread, without the thread; the counterpart of [`Flushing`](crate::Flushing).

use std::time::Duration;

use crate::error::StoreError;
use crate::schedule::{Chore, Next, Progress, SettleSchedule};
use crate::settler::{Begun, Settler};

/// A [`Settler`] with its schedule. The driver loops: ask for the [`next`](Self::next) chore, [`begin`](Self::begin) it
/// and [`end`](Self::end) it. Times are durations since an arbitrary fixed moment.
#[derive(Debug)]
pub struct Settling {
    settler: Settler,
    schedule: SettleSchedule,
    step: Option<(Chore, Begun)>,
}

impl Settling {
    /// Creates the half for a store just opened.
    #[must_use]
    pub fn new(settler: Settler) -> Self {
        Self { settler, schedule: SettleSchedule::default(), step: None }
    }

    /// Returns the next action. Must not be called between the beginning and the end of a step. A nudge sent after this
    /// call must end the wait at once; otherwise it would be lost.
    #[must_use]
    pub fn next(&mut self, now: Duration) -> Next<Chore> {
        self.schedule.next(now, self.settler.unsettled_bytes())
    }

    /// Returns true if the flushing half holds the database, so that beginning a step would block.
    #[must_use]
    pub fn would_wait(&self) -> bool {
        self.settler.would_wait()
    }

    /// Begins a step by making all its disk calls. The flushing half sees its effects only after [`end`](Self::end).
    pub fn begin(&mut self, chore: Chore) {
        self.step = Some((chore, self.settler.begin(chore)));
    }

    /// Ends the step once everything it synced is durable; returns `None` if no step was begun.
    ///
    /// # Errors
    /// The store has ended with this error, and this half must be dropped.
    pub fn end(&mut self, now: Duration) -> Result<Option<Progress>, StoreError> {
        let Some((chore, begun)) = self.step.take() else { return Ok(None) };
        let progress = Settler::end(begun)?;
        self.schedule.did(now, chore, progress);
        Ok(Some(progress))
    }

    /// Returns the size of the flushed writes that are not settled yet, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.settler.unsettled_bytes()
    }
}
