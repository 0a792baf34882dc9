//! What the thread that settles does, without the thread, as [`Flushing`](crate::Flushing) is for the one that flushes.

use std::time::Duration;

use crate::error::StoreError;
use crate::schedule::{Chore, Next, Progress, SettleSchedule};
use crate::settler::{Begun, Settler};

/// A [`Settler`] with its schedule: ask what comes [next](Self::next), do it from its [beginning](Self::begin) to its
/// [end](Self::end), and so on. Times are durations since any fixed moment.
#[derive(Debug)]
pub struct Settling {
    settler: Settler,
    schedule: SettleSchedule,
    step: Option<(Chore, Begun)>,
}

impl Settling {
    /// A half of a store that was just opened.
    #[must_use]
    pub fn new(settler: Settler) -> Self {
        Self { settler, schedule: SettleSchedule::default(), step: None }
    }

    /// What is to be done next; not in the middle of a step. A nudge that came since this was asked wakes from waiting at once.
    #[must_use]
    pub fn next(&mut self, now: Duration) -> Next<Chore> {
        self.schedule.next(now, self.settler.unsettled_bytes())
    }

    /// True while the flushing half has the database: who begins a step now waits for that.
    #[must_use]
    pub fn would_wait(&self) -> bool {
        self.settler.would_wait()
    }

    /// Begins a step: asks the disk for all that it takes. What it does is not seen by the other half before its
    /// [end](Self::end).
    pub fn begin(&mut self, chore: Chore) {
        self.step = Some((chore, self.settler.begin(chore)));
    }

    /// Ends the step that was begun, once all that it has synced is durable; `None` where none was.
    ///
    /// # Errors
    /// The store has ended with this, and the half is to be dropped.
    pub fn end(&mut self, now: Duration) -> Result<Option<Progress>, StoreError> {
        let Some((chore, begun)) = self.step.take() else { return Ok(None) };
        let progress = Settler::end(begun)?;
        self.schedule.did(now, chore, progress);
        Ok(Some(progress))
    }

    /// What is flushed and not settled, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.settler.unsettled_bytes()
    }
}
