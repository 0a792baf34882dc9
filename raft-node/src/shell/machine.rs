//! The threads of the state machine: one applies entries, the other runs the background work that the state machine begins,
//! so that the disk never holds up applying. What is done when, the applier decides.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raftkit_replica::{Applier, BackgroundDone, BackgroundEnd, BackgroundWork, MachineWork, StateMachine};
use tokio::sync::mpsc::UnboundedSender;

use super::node_loop::LoopEvent;
use super::tasks::Tasks;
use super::workers::{WorkerGone, report};

/// The inbox of the applier's thread. Dropping it lets the threads finish their work and end.
pub(crate) struct MachineInbox {
    send: Box<dyn Fn(Call) -> bool + Send>,
}

/// What the node's loop asks of the applier's thread.
enum Call {
    Work(MachineWork),
    /// No more work comes.
    Finish,
}

/// What the applier's thread is told.
enum Told<M> {
    Call(Call),
    /// Background work has ended.
    Ended(BackgroundDone<M>),
    /// The thread for background work has ended.
    BackgroundGone,
}

impl MachineInbox {
    /// Starts the threads. Reports go to `events`.
    pub(crate) fn start<M: StateMachine>(
        mut applier: Applier<M>,
        events: &UnboundedSender<LoopEvent>,
        tasks: &Tasks,
    ) -> std::io::Result<(Self, [JoinHandle<()>; 2])> {
        let (inbox, told) = channel();
        let (background, works) = channel();
        let (events, done) = (events.clone(), inbox.clone());
        let threads = [
            tasks.thread("raft-apply", move || apply(&mut applier, &told, &background, &events))?,
            tasks.thread("raft-persist", move || run_background(&works, &done))?,
        ];
        let send = move |call| inbox.send(Told::Call(call)).is_ok();
        Ok((Self { send: Box::new(send) }, threads))
    }

    pub(crate) fn work(&self, work: MachineWork) -> Result<(), WorkerGone> {
        if (self.send)(Call::Work(work)) { Ok(()) } else { Err(WorkerGone) }
    }
}

impl Drop for MachineInbox {
    fn drop(&mut self) {
        // If the thread has ended, nothing is left to finish.
        (self.send)(Call::Finish);
    }
}

/// Applies entries until no more work comes and everything is done.
fn apply<M: StateMachine>(
    applier: &mut Applier<M>,
    inbox: &Receiver<Told<M>>,
    background: &Sender<BackgroundWork<M>>,
    events: &UnboundedSender<LoopEvent>,
) {
    let start = Instant::now();
    let (mut works, mut finishing) = (Vec::new(), false);
    loop {
        applier.take(std::mem::take(&mut works));
        loop {
            let event = applier.advance();
            let begun = applier.background().map(|work| background.send(work));
            if begun.is_some_and(|sent| sent.is_err()) {
                return;
            }
            let Some(event) = event else { break };
            report(events, event);
        }
        if finishing && applier.is_idle() {
            return;
        }
        let now = start.elapsed();
        let wait = match applier.next(now) {
            _ if finishing => Duration::MAX,
            None => Duration::MAX,
            Some(at) if at > now => at - now,
            Some(_) => {
                let ended = applier.give_back(now).and_then(BackgroundEnd::report);
                ended.into_iter().for_each(|event| report(events, event));
                if applier.background().is_some_and(|work| background.send(work).is_err()) {
                    return;
                }
                Duration::ZERO
            }
        };
        let first = match inbox.recv_timeout(wait) {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for told in std::iter::once(first).chain(inbox.try_iter()) {
            match told {
                Told::Call(Call::Work(work)) => works.push(work),
                Told::Call(Call::Finish) => finishing = true,
                Told::Ended(done) => {
                    let ended = applier.end_background(start.elapsed(), done);
                    ended.report().into_iter().for_each(|event| report(events, event));
                }
                // It has panicked, and recorded that: the node ends.
                Told::BackgroundGone => return,
            }
        }
    }
}

/// Runs background work until the applier's thread ends.
fn run_background<M>(works: &Receiver<BackgroundWork<M>>, done: &Sender<Told<M>>) {
    /// Tells the applier's thread, which may wait for an end, that none will come.
    struct Gone<'a, M>(&'a Sender<Told<M>>);
    impl<M> Drop for Gone<'_, M> {
        fn drop(&mut self) {
            let _ = self.0.send(Told::BackgroundGone);
        }
    }
    let gone = Gone(done);
    while let Ok(work) = works.recv() {
        if gone.0.send(Told::Ended(work.run())).is_err() {
            return;
        }
    }
}
