//! What the thread that flushes does, without the thread: [`Writer`](crate::Writer) gives it one, a simulator an event for each
//! beginning and each end.

use std::time::Duration;

use raftkit_core::Write;

use crate::error::StoreError;
use crate::flusher::{Begun, Flushed, Flusher};
use crate::schedule::{FlushChore, FlushSchedule, Next, Nudge};
use crate::writer::Written;

/// A [`Flusher`] with its schedule: [take](Self::take) what is to be written, ask what comes [next](Self::next), do it from its
/// [beginning](Self::begin) to its [end](Self::end), and so on. Times are durations since any fixed moment.
#[derive(Debug)]
pub struct Flushing {
    flusher: Flusher,
    schedule: FlushSchedule,
    /// How many writes were taken since the last flush was started.
    waiting: usize,
    /// The flush under way, or why it is refused.
    under_way: Option<Result<(), StoreError>>,
    step: Option<(FlushChore, Result<Begun, StoreError>)>,
}

/// What the end of a step of the flushing half brings.
#[derive(Debug)]
pub struct FlushEnd {
    /// What is to be reported. After a [failure](Written::Failed) the half is to be dropped.
    pub written: Option<Written>,
    /// Whether the settling half is to be woken: after the report.
    pub nudge: Nudge,
}

impl Flushing {
    /// A half in which nothing is queued and nothing was flushed for long.
    #[must_use]
    pub fn new(flusher: Flusher) -> Self {
        Self { flusher, schedule: FlushSchedule::default(), waiting: 0, under_way: None, step: None }
    }

    /// Takes as many of these writes as go into the next flush, in order, and no more from the iterator.
    pub fn take(&mut self, writes: impl Iterator<Item = Write>) {
        for write in writes.take(self.schedule.room(self.waiting)) {
            self.flusher.queue(write);
            self.waiting += 1;
        }
    }

    /// What is to be done next; not in the middle of a step. A flush of several records goes on until all of it is durable.
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

    /// True while the next step of a flush needs what the settling half has: who begins it now waits for that to end its chore.
    #[must_use]
    pub fn would_wait(&self) -> bool {
        self.flusher.would_wait()
    }

    /// Begins a step: asks the disk for all that it takes. What it does is not seen by others before its [end](Self::end).
    pub fn begin(&mut self, chore: FlushChore) {
        let begun = match chore {
            FlushChore::Flush => self.under_way.take().unwrap_or(Ok(())).map(|()| self.flusher.begin()),
            FlushChore::Witness => Ok(self.flusher.begin_witness()),
        };
        self.step = Some((chore, begun));
    }

    /// Ends the step that was begun, once all that it has synced is durable.
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
                // Not only in the end: to whoever waits, a disk that has much to do is not stuck.
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

    /// The half itself, to look at.
    #[must_use]
    pub fn flusher(&self) -> &Flusher {
        &self.flusher
    }
}
