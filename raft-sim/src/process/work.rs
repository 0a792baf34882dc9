//! The threads of a process: work that is begun, takes virtual time, and ends when its syncs are complete.

use raftkit_core::{Fetched, Health, NodeId};
use raftkit_disk::Injected;
use raftkit_log::Progress;
use raftkit_replica::{
    BackgroundEnd, Ended, Event, LogReport, MachineReport, MachineWork, ServiceEvent, SnapshotReport,
    SnapshotWork, fetch,
};

use crate::Mark;
use crate::process::folders::JOURNAL;
use crate::process::host::{Harm, IoWork, Thread, Work};
use crate::run::trace::kind;
use crate::subject::Subject;
use crate::world::{Happening, MS, SECOND, World};

/// Counts of those faults of a disk that a call reports as an error.
pub(crate) fn errors(injected: &Injected) -> (u64, u64, u64) {
    (injected.io_errors, injected.failed_syncs, injected.full)
}

impl<S: Subject> World<S> {
    /// Lets the state machine's thread take all that waits, if it is idle.
    pub(crate) fn start_machine(&mut self, id: NodeId) {
        let Some(process) = self.host(id).process.as_mut() else { return };
        if process.machine.work.is_some() || process.machine.queue.is_empty() {
            return;
        }
        let works = std::mem::take(&mut process.machine.queue);
        let runs = works.iter().filter(|work| matches!(work, MachineWork::Apply { .. })).count();
        process.machine.applier.take(works);
        self.marks.hit_if(runs > 1, Mark::ManyInOneBatch);
        self.advance_machine(id);
    }

    /// Begins the next piece of work that the state machine's thread has taken. Each piece is reported when it is done and
    /// before the next one begins, as by the applier's thread in the server.
    fn advance_machine(&mut self, id: NodeId) {
        let host = self.host(id);
        host.disk.act_as(Thread::Machine as u8);
        let Some(process) = host.process.as_mut() else { return };
        if process.machine.work.is_some() {
            return;
        }
        let report = process.machine.applier.advance();
        self.start_background(id);
        let Some(report) = report else { return };
        let reports = vec![report];
        self.check_state(id, &reports);
        self.begun(id, Thread::Machine, reports, 0);
    }

    /// Runs the background work that the state machine has begun, if it has. The state machine goes on meanwhile, and takes the
    /// result over when the disk is done with it.
    fn start_background(&mut self, id: NodeId) {
        let host = self.host(id);
        let Some(process) = host.process.as_mut() else { return };
        let Some(work) = process.machine.applier.background() else { return };
        host.disk.act_as(Thread::Background as u8);
        process.background.done = Some(work.run());
        self.begun(id, Thread::Background, Vec::new(), 0);
        self.host(id).disk.act_as(Thread::Machine as u8);
    }

    /// The state machine takes over the result of background work, in which the power has not gone.
    fn end_background(&mut self, id: NodeId) -> Option<Event> {
        let now = self.thread_time();
        let process = self.host(id).process.as_mut()?;
        let done = process.background.done.take()?;
        let ended = process.machine.applier.end_background(now, done);
        self.note_given_back(ended)
    }

    fn note_given_back(&mut self, ended: BackgroundEnd) -> Option<Event> {
        self.marks.hit_if(matches!(ended, BackgroundEnd::GaveBack(Progress::Done)), Mark::StateCopied);
        ended.report()
    }

    /// Lets the state machine's thread go on: with work that it has taken, then with giving space back, if that is due,
    /// then with work that waits.
    fn go_on_with_machine(&mut self, id: NodeId) {
        self.check_state_size(id);
        self.advance_machine(id);
        let (now, life) = (self.thread_time(), self.hosts[&id].life);
        let Some(process) = self.host(id).process.as_mut() else { return };
        if process.machine.work.is_some() {
            return;
        }
        match process.machine.applier.next(now) {
            Some(at) if at <= now => self.give_back_state(id),
            Some(at) => {
                self.start_machine(id);
                let Some(process) = self.process(id, life) else { return };
                if process.machine.work.is_none()
                    && !std::mem::replace(&mut process.machine.idle_planned, true)
                {
                    let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
                    self.at(at, Happening::IdleMachine(id, life));
                }
            }
            None => self.start_machine(id),
        }
    }

    pub(crate) fn idle_machine(&mut self, id: NodeId, life: u64) {
        let Some(process) = self.process(id, life) else { return };
        process.machine.idle_planned = false;
        self.go_on_with_machine(id);
    }

    fn give_back_state(&mut self, id: NodeId) {
        let now = self.thread_time();
        let host = self.host(id);
        host.disk.act_as(Thread::Machine as u8);
        let Some(process) = host.process.as_mut() else { return };
        let ended = process.machine.applier.give_back(now);
        self.start_background(id);
        if let Some(ended) = ended {
            let report = self.note_given_back(ended);
            self.begun(id, Thread::Machine, report.into_iter().collect(), 0);
        }
    }

    /// Begins the next work of the thread for reads and snapshots, if it is idle.
    pub(crate) fn start_io(&mut self, id: NodeId) {
        let host = self.host(id);
        host.disk.act_as(Thread::Io as u8);
        let Some(process) = host.process.as_mut() else { return };
        if process.io.work.is_some() {
            return;
        }
        let Some(next) = process.io.queue.pop_front() else { return };
        let reports: Vec<Event> = match next {
            IoWork::Fetch(wanted) => vec![fetch(&process.log_reader, wanted).into()],
            IoWork::Snapshot(work) => {
                let resumes = matches!(work, SnapshotWork::OpenPartial(_));
                let report = process.io.worker.run(work);
                let resumed = resumes
                    && matches!(&report, Some(SnapshotReport::PartialOpened(Ok(have))) if !have.is_empty());
                self.marks.hit_if(resumed, Mark::SnapshotResumed);
                report.into_iter().map(Event::from).collect()
            }
        };
        for report in &reports {
            if let Event::Log(LogReport::Fetched { result, .. }) = report {
                let mark = if *result == Fetched::Compacted { Mark::FetchedNothing } else { Mark::Fetched };
                self.marks.hit(mark);
            }
            self.marks
                .hit_if(matches!(report, Event::Snapshot(SnapshotReport::Built(Ok(_)))), Mark::SnapshotBuilt);
        }
        self.begun(id, Thread::Io, reports, 0);
    }

    /// Plans the end of work that a thread has begun. The work takes virtual time, and its syncs complete at its end.
    /// `writing_us` is the time in microseconds that the disk takes for the work's bytes.
    pub(crate) fn begun(&mut self, id: NodeId, thread: Thread, reports: Vec<Event>, writing_us: u64) {
        let (now, settings_us, apply_us) = (self.now, self.settings.flush_us, self.settings.apply_us);
        let host = self.hosts.get_mut(&id).expect("known");
        if host.disk.is_frozen() {
            return self.power_gone(id);
        }
        let syncs = host.disk.take_new_deferred();
        let stalled = syncs.iter().any(|sync| sync.stalled);
        let (stalled_until, held_until) = (host.stalled_until, host.held_until);
        let life = host.life;
        let calls = host.disk.calls();
        let hung = now < stalled_until && !syncs.is_empty();
        let held = thread == Thread::Io && now < held_until && !syncs.is_empty();
        let hangs = stalled || hung || held;
        let syncs: Vec<_> = syncs.into_iter().map(|sync| sync.id).collect();
        let mut takes = 20 + self.rng.below(settings_us) * (syncs.len() as u64).clamp(1, 4);
        if thread == Thread::Machine && apply_us > 0 {
            takes += self.rng.below(apply_us);
        }
        if stalled {
            takes += 50 * MS + self.rng.below(3 * SECOND);
            self.marks.hit(Mark::Stalled);
        }
        if hung {
            takes += stalled_until - now;
        }
        if held {
            takes = takes.max(held_until - now);
        }
        self.trace.note(
            now,
            kind::WORK,
            id.0,
            &[thread as u64, syncs.len() as u64, reports.len() as u64, calls],
        );
        let Some(process) = self.process(id, life) else { return };
        let writing_us = process.share_disk(now, thread, writing_us);
        let (until, writes_until) = (now + takes + writing_us, now + writing_us);
        *process.work(thread) = Some(Work { syncs, reports, hangs, until, writes_until, injected: None });
        self.at(until, Happening::Done(id, life, thread));
    }

    /// Ends work that a thread had begun.
    pub(crate) fn work_done(&mut self, id: NodeId, life: u64, thread: Thread) {
        let now = self.now;
        let host = self.hosts.get_mut(&id).expect("known");
        if host.life != life {
            return;
        }
        let paused_until = host.paused_until;
        let Some(process) = host.process.as_mut() else { return };
        if now < paused_until {
            return self.at(paused_until, Happening::Done(id, life, thread));
        }
        let Some(work) = process.work(thread).take_if(|work| work.until <= now) else {
            // The disk has served the other thread meanwhile, which has moved the end.
            let until = process.work(thread).as_ref().map(|work| work.until);
            return until.into_iter().for_each(|until| self.at(until, Happening::Done(id, life, thread)));
        };
        for sync in &work.syncs {
            host.disk.complete_sync(*sync);
        }
        self.note(kind::DONE, id, &[thread as u64]);
        let mut reports = work.reports;
        match thread {
            Thread::Flush => reports.extend(self.end_flush(id, work.injected)),
            Thread::Settle => reports.extend(self.end_settling(id, work.injected)),
            Thread::Background => reports.extend(self.end_background(id)),
            Thread::Machine | Thread::Io => {}
        }
        for report in reports {
            self.tell_report(id, &report);
            self.spring(id, life, &report);
            if let Event::Machine(MachineReport::Restored { id: snapshot, .. }) = &report {
                self.note_transfer(id, *snapshot, true);
            }
            if let Event::Machine(MachineReport::Durable(to)) = &report {
                let host = self.host(id);
                host.state_durable = host.state_durable.max(*to);
            }
            if let Event::Log(LogReport::Persisted(seq)) = &report {
                let Self { hosts, truth, now, .. } = self;
                let host = hosts.get_mut(&id).expect("known");
                let local = host.local(*now);
                while let Some(write) = host.pending.pop_front_if(|write| write.seq <= *seq) {
                    host.durable.apply(&write, |base| truth.chain(base));
                    host.submitted.pop_front();
                }
                if let Some(next) = host.submitted.front_mut() {
                    *next = local.max(*next);
                }
                // The node counts again only once the log says durably that it is sound: a restart before would open the
                // log as damaged again.
                if host.harm == Harm::Damaged && host.durable.hard.health == Health::Sound {
                    host.harm = Harm::None;
                }
            }
            self.give(id, ServiceEvent::Replica(report));
        }
        match thread {
            Thread::Flush | Thread::Settle => self.go_on_with_log(id, thread),
            // Applying may have waited for the end of the background work.
            Thread::Machine | Thread::Background => self.go_on_with_machine(id),
            Thread::Io => self.start_io(id),
        }
        self.maybe_finish(id);
    }

    fn tell_report(&mut self, id: NodeId, report: &Event) {
        if self.trace.wants_lines()
            && let Some(words) = crate::run::words::report(report)
        {
            self.tell(|| format!("{id}: {words}"));
        }
    }

    /// Ends the process of a node that was told to stop, once it has answered everything and its threads are idle.
    pub(crate) fn maybe_finish(&mut self, id: NodeId) {
        let Some(process) = self.host(id).process.as_ref() else { return };
        let idle = process.flush.is_idle()
            && process.settle.work.is_none()
            && process.machine.work.is_none()
            && process.background.work.is_none()
            && process.io.work.is_none();
        if process.stopped && idle {
            self.finish_stop(id);
        }
    }

    /// Handles a replica that has ended by itself, which it may do only after a fault of its disk.
    pub(crate) fn ended_by_itself(&mut self, id: NodeId, why: &Ended) {
        self.tell(|| format!("{id} has ended: {why}"));
        let host = self.host(id);
        let (was, is) = (host.injected, host.disk.injected());
        let errors = errors(&was) != errors(&is);
        let rotten = host.harm == Harm::Rotten || was.rotten_bytes != is.rotten_bytes;
        let full = was.full != is.full;
        let only_full = full && (was.io_errors, was.failed_syncs) == (is.io_errors, is.failed_syncs);
        let right = match why {
            // A full disk is no excuse for the journal: its space was allocated when the file was created.
            Ended::Log(what) if only_full && !rotten && what.contains(JOURNAL) => false,
            Ended::Log(_) => errors || rotten,
            Ended::LogDamaged(_) | Ended::Protocol(raftkit_core::Fatal::LogDamaged { .. }) => {
                rotten || errors
            }
            Ended::Machine(_) => errors || rotten,
            Ended::Protocol(raftkit_core::Fatal::WriteFailed) => errors,
            Ended::Protocol(raftkit_core::Fatal::CommittedConflict { .. }) => false,
        };
        match why {
            Ended::Log(_) | Ended::Protocol(raftkit_core::Fatal::WriteFailed) => self.hit(Mark::FlushFailed),
            Ended::LogDamaged(_) | Ended::Protocol(raftkit_core::Fatal::LogDamaged { .. }) => {}
            Ended::Machine(_) => self.hit(Mark::MachineFailed),
            Ended::Protocol(raftkit_core::Fatal::CommittedConflict { .. }) => {}
        }
        self.marks.hit_if(full, Mark::DiskFull);
        if !right {
            let what = format!("{id} has ended, and its disk did nothing wrong: {why}");
            self.ensure(Err((crate::Promise::NoLoss, what)));
        }
        self.end_process(id);
        let delay = self.rng.range(20 * MS, 800 * MS);
        self.plan_start(id, delay);
    }
}
