//! The threads of a process: work that is begun, takes a while, and is done when its syncs are.

use std::time::Duration;

use raftkit_core::{Entry, Fetched, Health, NodeId, Payload, Write};
use raftkit_disk::Injected;
use raftkit_log::{Chore, Next, Progress, Written};
use raftkit_replica::{Ended, Event, LogWorker, MachineWork, ServiceEvent, SnapshotWork, fetch, in_words};

use crate::Mark;
use crate::folders::JOURNAL;
use crate::host::{Harm, IoWork, Thread, Turn, Work};
use crate::subject::Subject;
use crate::trace::kind;
use crate::world::{Happening, MS, SECOND, World};

/// What of a disk's faults a program is told of.
fn errors(injected: &Injected) -> (u64, u64, u64) {
    (injected.io_errors, injected.failed_syncs, injected.full)
}

fn payload_len(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Noop => 0,
        Payload::Command(command) => command.len(),
        Payload::Membership(membership) => membership.encode().len(),
    }
}

impl<S: Subject> World<S> {
    /// Lets the log's thread flush what waits, if it has nothing to do.
    pub(crate) fn start_log(&mut self, id: NodeId) {
        let Some(process) = self.host(id).process.as_mut() else { return };
        if process.log.work.is_some() || process.log.queue.is_empty() {
            return;
        }
        let writes = std::mem::take(&mut process.log.queue);
        process.log.turn = Turn::Chore;
        self.note_around(id, &writes);
        let bytes: usize = writes.iter().flat_map(|write| write.append.iter().map(payload_len)).sum();
        self.host(id).writing_us = (bytes as u64 * 1000).checked_div(self.settings.disk_kbps).unwrap_or(0);
        self.work_log(id, |worker| (worker.flush(writes), Progress::Done));
    }

    /// The time as the log's thread is told it.
    fn log_time(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Lets the log's thread go on: with a chore that is due, then with what waits to be flushed. `Writer` does both at the
    /// same time; here they take turns.
    fn go_on_with_log(&mut self, id: NodeId) {
        self.check_log_size(id);
        let now = self.log_time();
        let Some(process) = self.host(id).process.as_mut() else { return };
        if process.log.work.is_none()
            && std::mem::replace(&mut process.log.turn, Turn::Flush) == Turn::Chore
            && let Next::Do(chore) = process.log.worker.for_database(now)
        {
            return self.do_chore(id, chore);
        }
        self.start_log(id);
        self.plan_idle(id);
    }

    pub(crate) fn idle_log(&mut self, id: NodeId, life: u64) {
        let Some(process) = self.process(id, life) else { return };
        process.log.idle_planned = false;
        if process.log.work.is_some() || !process.log.queue.is_empty() {
            return;
        }
        let now = self.log_time();
        match self.host(id).process.as_mut().map(|process| process.log.worker.next(now)) {
            Some(Next::Do(chore)) => self.do_chore(id, chore),
            Some(Next::At(_) | Next::AfterFlush) | None => self.plan_idle(id),
        }
    }

    fn do_chore(&mut self, id: NodeId, chore: Chore) {
        let now = self.log_time();
        let mut came_to = Progress::Nothing;
        self.work_log(id, |worker| match worker.perform(now, chore) {
            Ok(progress) => {
                came_to = progress;
                (None, progress)
            }
            Err(error) => (Some(Written::Failed(error).into()), Progress::Done),
        });
        if chore == Chore::GiveBack {
            self.marks.hit_if(came_to == Progress::Done, Mark::LogCopied);
            self.marks.hit_if(came_to == Progress::Postponed, Mark::CopyPostponed);
        }
    }

    /// Lets the log's thread do something. Where its disk fails it says so: what is durable is not known any more. A full disk
    /// may only postpone a copy.
    fn work_log(&mut self, id: NodeId, work: impl FnOnce(&mut LogWorker) -> (Option<Event>, Progress)) {
        let host = self.host(id);
        let before = host.disk.injected();
        host.disk.act_as(Thread::Log as u8);
        let Some(process) = host.process.as_mut() else { return };
        let (report, progress) = work(&mut process.log.worker);
        let is_told = matches!(report, Some(Event::LogFailed(_))) || host.disk.is_frozen();
        let mut after = host.disk.injected();
        if progress == Progress::Postponed {
            after.full = before.full;
        }
        if !is_told && errors(&before) != errors(&after) {
            let what = format!("{id} goes on after its disk failed what its log asked of it");
            self.ensure(Err((crate::Promise::DurableAck, what)));
        }
        self.begun(id, Thread::Log, report.into_iter().collect());
    }

    /// Takes note of a write that may be too large for the journal (raft-log's README: more than a quarter of it).
    fn note_around(&mut self, id: NodeId, writes: &[Write]) {
        let most = usize::try_from((self.settings.journal_kib << 10) / 4).unwrap_or(usize::MAX);
        let bytes = |write: &Write| write.append.iter().map(|entry| 16 + payload_len(entry)).sum::<usize>();
        self.host(id).needs_newest_commit |=
            writes.iter().any(|write| write.reset_to.is_some() || bytes(write) + 512 > most);
    }

    /// Lets the state machine's thread do what waits.
    pub(crate) fn start_machine(&mut self, id: NodeId) {
        let host = self.host(id);
        host.disk.act_as(Thread::Machine as u8);
        let Some(process) = host.process.as_mut() else { return };
        if process.machine.work.is_some() || process.machine.queue.is_empty() {
            return;
        }
        let works = std::mem::take(&mut process.machine.queue);
        let runs = works.iter().filter(|work| matches!(work, MachineWork::Apply { .. })).count();
        let mut reports = Vec::new();
        process.machine.applier.run(works, &mut |event| reports.push(event));
        self.marks.hit_if(runs > 1, Mark::ManyInOneBatch);
        self.check_state(id, &reports);
        self.begun(id, Thread::Machine, reports);
    }

    /// Lets the state machine's thread go on: with a step that gives space back, where it is due, then with what waits.
    fn go_on_with_machine(&mut self, id: NodeId) {
        self.check_state_size(id);
        let (now, life) = (self.log_time(), self.hosts[&id].life);
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
        let now = self.log_time();
        let host = self.host(id);
        host.disk.act_as(Thread::Machine as u8);
        let Some(process) = host.process.as_mut() else { return };
        let result = process.machine.applier.give_back(now);
        self.marks.hit_if(matches!(result, Ok(Progress::Done)), Mark::StateCopied);
        let report = result.err().map(|error| Event::MachineFailed(in_words(&error)));
        self.begun(id, Thread::Machine, report.into_iter().collect());
    }

    /// Lets the thread for reads and snapshots do the next thing.
    pub(crate) fn start_io(&mut self, id: NodeId) {
        let host = self.host(id);
        host.disk.act_as(Thread::Io as u8);
        let Some(process) = host.process.as_mut() else { return };
        if process.io.work.is_some() {
            return;
        }
        let Some(next) = process.io.queue.pop_front() else { return };
        let reports: Vec<Event> = match next {
            IoWork::Fetch(wanted) => vec![fetch(&process.log_reader, wanted)],
            IoWork::Snapshot(work) => {
                let resumes = matches!(work, SnapshotWork::OpenPartial(_));
                let report = process.io.worker.run(work);
                let resumed =
                    resumes && matches!(&report, Some(Event::PartialOpened(Ok(have))) if !have.is_empty());
                self.marks.hit_if(resumed, Mark::SnapshotResumed);
                report.into_iter().collect()
            }
        };
        for report in &reports {
            if let Event::Fetched { result, .. } = report {
                let mark = if *result == Fetched::Compacted { Mark::FetchedNothing } else { Mark::Fetched };
                self.marks.hit(mark);
            }
            self.marks.hit_if(matches!(report, Event::SnapshotBuilt(Ok(_))), Mark::SnapshotBuilt);
        }
        self.begun(id, Thread::Io, reports);
    }

    /// A thread has begun something: it takes a while, and is done when what it synced is durable.
    fn begun(&mut self, id: NodeId, thread: Thread, reports: Vec<Event>) {
        let (now, settings_us) = (self.now, self.settings.flush_us);
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
        if thread == Thread::Log {
            takes += std::mem::take(&mut host.writing_us);
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
        if let Some(process) = self.process(id, life) {
            *process.work(thread) = Some(Work { syncs, reports, hangs });
        }
        self.at(now + takes, Happening::Done(id, life, thread));
    }

    /// What a thread had begun is done.
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
        let Some(work) = process.work(thread).take() else { return };
        for sync in &work.syncs {
            host.disk.complete_sync(*sync);
        }
        self.note(kind::DONE, id, &[thread as u64]);
        for report in work.reports {
            self.tell_report(id, &report);
            self.spring(id, life, &report);
            if let Event::Restored { id: snapshot, .. } = &report {
                self.note_transfer(id, *snapshot, true);
            }
            if let Event::MachineDurable(to) = &report {
                let host = self.host(id);
                host.state_durable = host.state_durable.max(*to);
            }
            if let Event::Persisted(seq) = &report {
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
                // Until that is durable a restart takes it back, and the node counts in no quorum again.
                if host.harm == Harm::Damaged && host.durable.hard.health == Health::Sound {
                    host.harm = Harm::None;
                }
            }
            self.give(id, ServiceEvent::Replica(report));
        }
        match thread {
            Thread::Log => self.go_on_with_log(id),
            Thread::Machine => self.go_on_with_machine(id),
            Thread::Io => self.start_io(id),
        }
        self.maybe_finish(id);
    }

    fn plan_idle(&mut self, id: NodeId) {
        let (life, now) = (self.hosts[&id].life, self.log_time());
        let late = self.rng.below(500 * MS);
        let Some(process) = self.process(id, life) else { return };
        if process.log.work.is_some() || process.log.idle_planned {
            return;
        }
        let at = match process.log.worker.next(now) {
            Next::Do(_) => now,
            Next::At(at) => at,
            Next::AfterFlush => return,
        };
        process.log.idle_planned = true;
        // A thread may be late; not for the witness, on whose moment the rot that is put in goes by.
        let late = if process.log.is_witnessed() { late } else { 0 };
        let at = u64::try_from(at.as_micros()).unwrap_or(u64::MAX).saturating_add(late);
        self.at(at, Happening::Idle(id, life));
    }

    fn tell_report(&mut self, id: NodeId, report: &Event) {
        if self.trace.wants_lines()
            && let Some(words) = crate::words::report(report)
        {
            self.tell(|| format!("{id}: {words}"));
        }
    }

    /// A node that is told to stop has answered all it had, and its threads have nothing more to do.
    pub(crate) fn maybe_finish(&mut self, id: NodeId) {
        let Some(process) = self.host(id).process.as_ref() else { return };
        let idle = process.log.work.is_none()
            && process.machine.work.is_none()
            && process.io.work.is_none()
            && process.log.queue.is_empty();
        if process.stopped && idle {
            self.finish_stop(id);
        }
    }

    /// A replica has ended by itself. That is right where its disk failed it, and wrong anywhere else.
    pub(crate) fn ended_by_itself(&mut self, id: NodeId, why: &Ended) {
        self.tell(|| format!("{id} has ended: {why}"));
        let host = self.host(id);
        let (was, is) = (host.injected, host.disk.injected());
        let errors = errors(&was) != errors(&is);
        let rotten = host.harm == Harm::Rotten || was.rotten_bytes != is.rotten_bytes;
        let full = was.full != is.full;
        let only_full = full && (was.io_errors, was.failed_syncs) == (is.io_errors, is.failed_syncs);
        let right = match why {
            // The journal's space was taken when it was made.
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
