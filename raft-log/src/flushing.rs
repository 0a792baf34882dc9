//! The work of the flushing thread, without the thread. [`Writer`](crate::Writer) runs it on a thread; a simulator
//! makes the beginning and the end of each step an event.

use std::time::Duration;

use raftkit_core::Write;

use crate::error::StoreError;
use crate::flusher::{Begun, Flushed, Flusher};
use crate::schedule::{FlushChore, FlushSchedule, Next, Nudge};
use crate::writer::Written;

/// A [`Flusher`] with its schedule. The driver loops: [`take`](Self::take) waiting writes, ask for the
/// [`next`](Self::next) step, [`begin`](Self::begin) it and [`end`](Self::end) it. Times are durations since an
/// arbitrary fixed moment.
#[derive(Debug)]
pub struct Flushing {
    flusher: Flusher,
    schedule: FlushSchedule,
    /// Number of writes taken since the last flush started.
    waiting: usize,
    /// The flush under way, or the reason why it was refused.
    under_way: Option<Result<(), StoreError>>,
    step: Option<(FlushChore, Result<Begun, StoreError>)>,
}

/// Result of a step of the flushing half.
#[derive(Debug)]
pub struct FlushEnd {
    /// The report for the caller. After a [failure](Written::Failed) this half must be dropped.
    pub written: Option<Written>,
    /// Whether to wake the settling half, once `written` is reported.
    pub nudge: Nudge,
}

impl Flushing {
    /// Creates a half with nothing queued that has been quiet for a long time.
    #[must_use]
    pub fn new(flusher: Flusher) -> Self {
        Self { flusher, schedule: FlushSchedule::default(), waiting: 0, under_way: None, step: None }
    }

    /// Takes writes in order, as many as fit into the next flush, and leaves the rest in the iterator.
    pub fn take(&mut self, writes: impl Iterator<Item = Write>) {
        for write in writes.take(self.schedule.room(self.waiting)) {
            self.flusher.queue(write);
            self.waiting += 1;
        }
    }

    /// Returns the next action. Must not be called between the beginning and the end of a step. A flush of several
    /// records continues until all of them are durable.
    #[must_use]
    pub fn next(&mut self, now: Duration) -> Next<FlushChore> {
        let waiting = self.waiting + usize::from(self.under_way.is_some());
        let next = self.schedule.next(now, waiting, self.flusher.wants_witness());
        if next == Next::Do(FlushChore::Flush) && self.under_way.is_none() {
            self.waiting = 0;
            self.under_way = Some(self.flusher.start());
        }
        next
    }

    /// Returns true if the next step needs the settling half's database and would block until that half ends its chore.
    #[must_use]
    pub fn would_wait(&self) -> bool {
        self.flusher.would_wait()
    }

    /// Begins a step by making all its disk calls. Others see its effects only after [`end`](Self::end).
    pub fn begin(&mut self, chore: FlushChore) {
        let begun = match chore {
            FlushChore::Flush => self.under_way.take().unwrap_or(Ok(())).map(|()| self.flusher.begin()),
            FlushChore::Witness => Ok(self.flusher.begin_witness()),
        };
        self.step = Some((chore, begun));
    }

    /// Ends the step once everything it synced is durable.
    pub fn end(&mut self, now: Duration) -> FlushEnd {
        let mut end = FlushEnd { written: None, nudge: Nudge::Leave };
        let Some((chore, begun)) = self.step.take() else { return end };
        let (flushed, added) = match begun.and_then(|begun| self.flusher.end(begun)) {
            Ok(ended) => ended,
            Err(error) => return FlushEnd { written: Some(Written::Failed(error)), ..end },
        };
        if let Some(added) = added {
            end.nudge = FlushSchedule::nudge(added.before, added.bytes);
        }
        match (chore, flushed) {
            (FlushChore::Witness, Flushed::More(_) | Flushed::All(_)) => {}
            (FlushChore::Flush, Flushed::More(seq)) => {
                // Report each record of a long flush: a caller that hears nothing until the end takes a busy disk for a
                // stuck one.
                end.written = seq.map(Written::Persisted);
                self.under_way = Some(Ok(()));
            }
            (FlushChore::Flush, Flushed::All(seq)) => {
                end.written = seq.map(Written::Persisted);
                self.schedule.flushed(now);
            }
        }
        end
    }

    /// Returns the flusher, for inspection.
    #[must_use]
    pub fn flusher(&self) -> &Flusher {
        &self.flusher
    }
}
