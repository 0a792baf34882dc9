//! The two threads of a log. `raftkit_log::Writer` runs them as loops, the simulator as events: each thread asks its half of the
//! log for the next step, begins the step, and ends it later in virtual time; the other thread goes on meanwhile, on the same disk.

use std::time::Duration;

use raftkit_core::{Entry, NodeId, Payload, Write};
use raftkit_disk::Injected;
use raftkit_log::{Chore, FlushChore, Next, Nudge, Progress, Written};
use raftkit_replica::Event;

use crate::Mark;
use crate::process::host::{FlushLane, Process, Thread};
use crate::process::work::errors;
use crate::subject::Subject;
use crate::world::{Happening, MS, SECOND, World};

/// Upper bound on the time from waking a thread to its next step, in microseconds.
const WOKEN_WITHIN: u64 = 200;
/// Upper bound on the lateness of a thread that wakes by its own timer, in microseconds.
const LATE: u64 = 500 * MS;
/// Interval at which a thread checks whether its process still stands still, in microseconds.
const LOOKS_AGAIN: u64 = 100 * MS;
/// About the size of one settling, in bytes (raft-log's settler).
const SETTLING_BYTES: u64 = 256 << 10;

fn payload_len(entry: &Entry) -> u64 {
    match &entry.payload {
        Payload::Noop => 0,
        Payload::Command(command) => command.len() as u64,
        Payload::Membership(membership) => membership.encode().len() as u64,
    }
}

fn bytes_of(write: &Write) -> u64 {
    write.append.iter().map(payload_len).sum()
}

impl<S: Subject> Process<S> {
    /// Time in microseconds that the disk takes for a write that would take `writing_us` if the disk did nothing else. The
    /// disk serves both threads of the log in turn, so that the other thread's write takes longer by as much.
    pub(crate) fn share_disk(&mut self, now: u64, thread: Thread, writing_us: u64) -> u64 {
        let other = match thread {
            Thread::Flush => &mut self.settle.work,
            Thread::Settle => &mut self.flush.work,
            Thread::Machine | Thread::Io | Thread::Background => return writing_us,
        };
        let Some(other) = other else { return writing_us };
        let shared = writing_us.min(other.writes_until.saturating_sub(now));
        other.until += shared;
        other.writes_until += shared;
        writing_us + shared
    }
}

impl<S: Subject> World<S> {
    /// Virtual time in the form that the threads of the log use.
    pub(crate) fn thread_time(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Continues a thread of the log that has ended a step, and the other thread if it has waited for that end.
    pub(crate) fn go_on_with_log(&mut self, id: NodeId, thread: Thread) {
        self.check_log_size(id);
        let Some(process) = self.host(id).process.as_ref() else { return };
        let (other, other_waits) = match thread {
            Thread::Flush => (Thread::Settle, process.settle.waits.is_some()),
            Thread::Settle => (Thread::Flush, process.flush.waits.is_some()),
            Thread::Machine | Thread::Io | Thread::Background => return,
        };
        // Either thread may be faster: waking the waiting one takes a moment, in which the other one may take the shared
        // part of the log again that it has just put back.
        let other_first = other_waits && self.rng.permille(500);
        let order = if other_first {
            [Some(other), Some(thread)]
        } else {
            [Some(thread), other_waits.then_some(other)]
        };
        for thread in order.into_iter().flatten() {
            match thread {
                Thread::Flush => self.go_on_flushing(id),
                Thread::Settle => self.go_on_settling(id),
                Thread::Machine | Thread::Io | Thread::Background => {}
            }
        }
    }

    /// Begins the next step of the thread that flushes, if it is idle.
    pub(crate) fn go_on_flushing(&mut self, id: NodeId) {
        let (now, around_from) = (self.thread_time(), (self.settings.journal_kib << 10) / 4);
        let host = self.host(id);
        let Some(process) = host.process.as_mut() else { return };
        let FlushLane { half, queue, bytes, work: None, waits, .. } = &mut process.flush else { return };
        let mut around = false;
        let next = match waits.take() {
            Some(chore) => Next::Do(chore),
            None => {
                let waiting = std::iter::from_fn(|| queue.pop_front());
                half.take(waiting.inspect(|write| {
                    *bytes += bytes_of(write);
                    // A write above a quarter of the ring goes around the journal, straight into the database (raft-log's
                    // README).
                    around |= write.reset_to.is_some()
                        || 16 * write.append.len() as u64 + bytes_of(write) + 512 > around_from;
                }));
                half.next(now)
            }
        };
        let waits = half.would_wait();
        host.needs_newest_commit |= around;
        match next {
            Next::Do(chore @ FlushChore::Flush) if waits => {
                self.hit(Mark::FlushWaited);
                self.with(id, |process| process.flush.waits = Some(chore));
            }
            Next::Do(chore) => self.begin_flush(id, chore),
            // Never late: rot is injected only while the witness is known to cover the last flush, after this wake-up.
            Next::At(at) => self.plan_wake(id, Thread::Flush, at, 0),
            Next::WhenWoken => {}
        }
    }

    fn begin_flush(&mut self, id: NodeId, chore: FlushChore) {
        let beside = self.hosts[&id].process.as_ref().is_some_and(|process| process.settle.work.is_some());
        self.marks.hit_if(beside, Mark::FlushBesideSettling);
        self.begin_on_log(id, Thread::Flush, |process| {
            process.flush.half.begin(chore);
            std::mem::take(&mut process.flush.bytes)
        });
    }

    /// Begins a step of one of the log's threads. `begin` makes all calls to the disk that the step needs, and returns about how
    /// many bytes they write.
    fn begin_on_log(&mut self, id: NodeId, thread: Thread, begin: impl FnOnce(&mut Process<S>) -> u64) {
        let rate = self.settings.disk_kbps;
        let lag_us = self.lag_of(id, thread);
        let host = self.host(id);
        let before = host.disk.injected();
        host.disk.act_as(thread as u8);
        let Some(process) = host.process.as_mut() else { return };
        let bytes = begin(process);
        let injected = (before, host.disk.injected());
        self.begun(id, thread, Vec::new(), (bytes * 1000).checked_div(rate).unwrap_or(0) + lag_us);
        self.note_injected(id, thread, injected);
    }

    /// Time in microseconds that a step of a thread takes longer, by the script.
    fn lag_of(&mut self, id: NodeId, thread: Thread) -> u64 {
        let now = self.now;
        let lag = self.lags.get(&id).filter(|lag| thread == Thread::Settle && now < lag.until);
        let us = lag.map_or(0, |lag| lag.us);
        self.marks.hit_if(us > 0, Mark::Stalled);
        us
    }

    pub(crate) fn end_flush(&mut self, id: NodeId, injected: Option<(Injected, Injected)>) -> Option<Event> {
        let now = self.thread_time();
        let process = self.host(id).process.as_mut()?;
        let end = process.flush.half.end(now);
        let failed = matches!(end.written, Some(Written::Failed(_)));
        self.check_told(id, injected, failed);
        let at = self.now + self.rng.below(WOKEN_WITHIN);
        match end.nudge {
            Nudge::Wake if self.hosts[&id].process.as_ref().is_some_and(|it| it.settle.work.is_none()) => {
                self.plan_wake(id, Thread::Settle, Duration::from_micros(at), 0);
            }
            Nudge::Wake | Nudge::Leave => {}
        }
        self.check_settling_wakes(id);
        end.written.map(Event::from)
    }

    /// Begins the next step of the thread that settles, if it is idle.
    pub(crate) fn go_on_settling(&mut self, id: NodeId) {
        let now = self.thread_time();
        let Some(process) = self.host(id).process.as_mut() else { return };
        let lane = &mut process.settle;
        if lane.work.is_some() {
            return;
        }
        let next = lane.waits.take().map_or_else(|| lane.half.next(now), Next::Do);
        match next {
            Next::Do(chore) if lane.half.would_wait() => lane.waits = Some(chore),
            Next::Do(chore) => self.begin_settling(id, chore),
            Next::At(at) => {
                let late = self.rng.below(LATE);
                self.plan_wake(id, Thread::Settle, at, late);
            }
            Next::WhenWoken => {}
        }
    }

    fn begin_settling(&mut self, id: NodeId, chore: Chore) {
        self.begin_on_log(id, Thread::Settle, |process| {
            let lane = &mut process.settle;
            let bytes = match chore {
                Chore::Settle => lane.half.unsettled_bytes().min(SETTLING_BYTES),
                Chore::Compact | Chore::GiveBack => 0,
            };
            lane.chore = chore;
            lane.half.begin(chore);
            bytes
        });
    }

    pub(crate) fn end_settling(
        &mut self,
        id: NodeId,
        injected: Option<(Injected, Injected)>,
    ) -> Option<Event> {
        let now = self.thread_time();
        let process = self.host(id).process.as_mut()?;
        let chore = process.settle.chore;
        let end = process.settle.half.end(now);
        let came_to = end.as_ref().ok().copied().flatten();
        if chore == Chore::GiveBack {
            self.marks.hit_if(came_to == Some(Progress::Done), Mark::LogCopied);
            self.marks.hit_if(came_to == Some(Progress::Postponed), Mark::CopyPostponed);
        }
        // A copy that finds the disk full is postponed, which is no failure.
        let postponed = came_to == Some(Progress::Postponed);
        let injected = injected.map(|(before, mut after)| {
            if postponed {
                after.full = before.full;
            }
            (before, after)
        });
        self.check_told(id, injected, end.is_err());
        end.err().map(|error| Written::Failed(error).into())
    }

    fn note_injected(&mut self, id: NodeId, thread: Thread, injected: (Injected, Injected)) {
        // The process is gone if the power was cut within the step.
        let Some(process) = self.host(id).process.as_mut() else { return };
        process.work(thread).iter_mut().for_each(|work| work.injected = Some(injected));
    }

    /// Checks that a log reports an error after one of its calls to the disk has failed: what is durable is unknown from then
    /// on, so going on could acknowledge what is not.
    fn check_told(&mut self, id: NodeId, injected: Option<(Injected, Injected)>, told: bool) {
        if !told && injected.is_some_and(|(before, after)| errors(&before) != errors(&after)) {
            let what = format!("{id} goes on after its disk failed what its log asked of it");
            self.ensure(Err((crate::Promise::DurableAck, what)));
        }
    }

    /// Checks that the thread that settles will wake within a second while flushed writes are unsettled.
    fn check_settling_wakes(&mut self, id: NodeId) {
        let now = self.now;
        let Some(process) = self.host(id).process.as_ref() else { return };
        let (lane, bytes) = (&process.settle, process.settle.half.unsettled_bytes());
        let sleeps = lane.work.is_none() && lane.waits.is_none() && bytes > 0;
        if sleeps && lane.wakes_at.is_none_or(|at| at > now + SECOND + LATE) {
            let what = format!("the thread of {id} that settles sleeps, and {bytes} bytes are to be settled");
            self.ensure(Err((crate::Promise::Bounded, what)));
        }
    }

    fn plan_wake(&mut self, id: NodeId, thread: Thread, at: Duration, late: u64) {
        let life = self.hosts[&id].life;
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX).saturating_add(late);
        let Some(process) = self.process(id, life) else { return };
        let wakes_at = match thread {
            Thread::Flush => &mut process.flush.wakes_at,
            Thread::Settle => &mut process.settle.wakes_at,
            Thread::Machine | Thread::Io | Thread::Background => return,
        };
        if wakes_at.is_none_or(|planned| at < planned) {
            *wakes_at = Some(at);
            self.at(at, Happening::Wakes(id, life, thread));
        }
    }

    pub(crate) fn log_wakes(&mut self, id: NodeId, life: u64, thread: Thread) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.life == life) else { return };
        let paused_until = host.paused_until;
        let Some(process) = host.process.as_mut() else { return };
        let wakes_at = match thread {
            Thread::Flush => &mut process.flush.wakes_at,
            Thread::Settle => &mut process.settle.wakes_at,
            Thread::Machine | Thread::Io | Thread::Background => return,
        };
        // The thread was woken earlier, and has since asked for another time.
        if wakes_at.is_none_or(|at| at > now) {
            return;
        }
        if now < paused_until {
            // The standstill may be cut short by the end of all faults, so the thread looks again from time to time.
            let again = paused_until.min(now + LOOKS_AGAIN);
            *wakes_at = Some(again);
            return self.at(again, Happening::Wakes(id, life, thread));
        }
        *wakes_at = None;
        match thread {
            Thread::Flush => self.go_on_flushing(id),
            Thread::Settle => self.go_on_settling(id),
            Thread::Machine | Thread::Io | Thread::Background => {}
        }
    }
}
