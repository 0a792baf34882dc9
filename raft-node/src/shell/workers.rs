//! The threads of a replica's workers. The work itself is done in raftkit-replica.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use raftkit_core::{Fetch, Write};
use raftkit_log::{Reader, Store, Writer};
use raftkit_replica::{
    Applier, Event, MachineReport, MachineWork, SnapshotWork, SnapshotWorker, StateMachine, fetch, in_words,
};
use tokio::sync::mpsc::UnboundedSender;

use super::node_loop::LoopEvent;
use super::tasks::Tasks;

/// The workers' inboxes. Dropping them lets the workers finish their work and end.
#[derive(Debug)]
pub(crate) struct Workers {
    log: Writer,
    machine: Sender<MachineWork>,
    io: Sender<IoWork>,
    threads: Vec<JoinHandle<()>>,
}

/// Work for the thread that reads the log and handles snapshots.
enum IoWork {
    Fetch(Fetch),
    Snapshot(SnapshotWork),
}

/// A worker's thread has ended: it has panicked, and has recorded that.
#[derive(Debug)]
pub(crate) struct WorkerGone;

impl Workers {
    /// Starts the threads. Reports go to `events`.
    pub(crate) fn start<M: StateMachine>(
        log: Store,
        mut applier: Applier<M>,
        mut snapshots: SnapshotWorker,
        events: &UnboundedSender<LoopEvent>,
        tasks: &Tasks,
    ) -> std::io::Result<Self> {
        let reader = log.reader();
        let (machine_inbox, machine_work) = channel();
        let (io_inbox, io_work) = channel();
        let (to_log, to_machine, to_io) = (events.clone(), events.clone(), events.clone());
        let log = Writer::start(log, move |outcome| report(&to_log, outcome.into()))?;
        let threads = vec![
            tasks.thread("raft-apply", move || run_machine(&mut applier, &machine_work, &to_machine))?,
            tasks.thread("raft-io", move || run_io(&mut snapshots, &reader, &io_work, &to_io))?,
        ];
        Ok(Self { log, machine: machine_inbox, io: io_inbox, threads })
    }

    pub(crate) fn log(&self, write: Write) -> Result<(), WorkerGone> {
        self.log.write(write).map_err(|_| WorkerGone)
    }

    pub(crate) fn machine(&self, work: MachineWork) -> Result<(), WorkerGone> {
        self.machine.send(work).map_err(|_| WorkerGone)
    }

    pub(crate) fn fetch(&self, work: Fetch) -> Result<(), WorkerGone> {
        self.io.send(IoWork::Fetch(work)).map_err(|_| WorkerGone)
    }

    pub(crate) fn snapshot(&self, work: SnapshotWork) -> Result<(), WorkerGone> {
        self.io.send(IoWork::Snapshot(work)).map_err(|_| WorkerGone)
    }

    /// Lets the workers finish their work, and waits for them. This blocks.
    pub(crate) fn finish(self) {
        let Self { log, machine, io, threads } = self;
        drop((log, machine, io));
        for thread in threads {
            // A panic was recorded when it happened.
            let _ = thread.join();
        }
    }
}

fn report(events: &UnboundedSender<LoopEvent>, event: Event) {
    // If the loop has ended, nobody needs the report.
    let _ = events.send(LoopEvent::Worker(event));
}

fn run_machine<M: StateMachine>(
    applier: &mut Applier<M>,
    inbox: &Receiver<MachineWork>,
    events: &UnboundedSender<LoopEvent>,
) {
    let start = std::time::Instant::now();
    loop {
        let now = start.elapsed();
        let wait = match applier.next(now) {
            None => Duration::MAX,
            Some(at) if at > now => at - now,
            Some(_) => {
                if let Err(error) = applier.give_back(now) {
                    report(events, MachineReport::Failed(in_words(&error)).into());
                }
                Duration::ZERO
            }
        };
        match inbox.recv_timeout(wait) {
            Ok(first) => {
                let works = std::iter::once(first).chain(inbox.try_iter()).collect();
                applier.run(works, &mut |event| report(events, event));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn run_io(
    snapshots: &mut SnapshotWorker,
    log: &Reader,
    inbox: &Receiver<IoWork>,
    events: &UnboundedSender<LoopEvent>,
) {
    while let Ok(work) = inbox.recv() {
        let event = match work {
            IoWork::Fetch(work) => Some(fetch(log, work).into()),
            IoWork::Snapshot(work) => snapshots.run(work).map(Event::from),
        };
        event.into_iter().for_each(|event| report(events, event));
    }
}
