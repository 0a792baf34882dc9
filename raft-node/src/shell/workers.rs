//! The threads of a replica's workers. The work itself is done in raftkit-replica.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use raftkit_core::{Fetch, Write};
use raftkit_log::{Reader, Store, Writer};
use raftkit_replica::{Applier, Event, MachineWork, SnapshotWork, SnapshotWorker, StateMachine, fetch};
use tokio::sync::mpsc::UnboundedSender;

use super::machine::MachineInbox;
use super::node_loop::LoopEvent;
use super::tasks::Tasks;

/// The workers' inboxes. Dropping them lets the workers finish their work and end.
pub(crate) struct Workers {
    log: Writer,
    machine: MachineInbox,
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
        applier: Applier<M>,
        mut snapshots: SnapshotWorker,
        events: &UnboundedSender<LoopEvent>,
        tasks: &Tasks,
    ) -> std::io::Result<Self> {
        let reader = log.reader();
        let (io_inbox, io_work) = channel();
        let (to_log, to_io) = (events.clone(), events.clone());
        let log = Writer::start(log, move |outcome| report(&to_log, outcome.into()))?;
        let (machine, threads) = MachineInbox::start(applier, events, tasks)?;
        let io = tasks.thread("raft-io", move || run_io(&mut snapshots, &reader, &io_work, &to_io))?;
        let threads = threads.into_iter().chain([io]).collect();
        Ok(Self { log, machine, io: io_inbox, threads })
    }

    pub(crate) fn log(&self, write: Write) -> Result<(), WorkerGone> {
        self.log.write(write).map_err(|_| WorkerGone)
    }

    pub(crate) fn machine(&self, work: MachineWork) -> Result<(), WorkerGone> {
        self.machine.work(work)
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

pub(crate) fn report(events: &UnboundedSender<LoopEvent>, event: Event) {
    // If the loop has ended, nobody needs the report.
    let _ = events.send(LoopEvent::Worker(event));
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
