//! The node's tasks and threads. A panic in one of them ends the node: a node without its applier or its loop would
//! hold its port and its data folder for ever, and serve nobody.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, JoinHandle};

use raftkit_net::{caught, panic_message};
use tokio::sync::{mpsc, watch};

use super::Stopped;
use super::node_loop::LoopEvent;

/// Starts tasks and threads, and knows whether the node has ended. Clones share this state.
#[derive(Clone)]
pub(crate) struct Tasks {
    end: watch::Sender<Option<Stopped>>,
    events: mpsc::UnboundedSender<LoopEvent>,
}

impl Tasks {
    pub(crate) fn new(events: mpsc::UnboundedSender<LoopEvent>) -> Self {
        Self { end: watch::Sender::new(None), events }
    }

    /// Starts a task; `what` names it if it panics.
    #[expect(clippy::disallowed_methods, reason = "this is where tasks are watched")]
    pub(crate) fn start(
        &self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        tokio::spawn(self.watched(what, task))
    }

    /// A task to be started in a set of tasks that end together; `what` names it if it panics.
    pub(crate) fn watched<F: Future<Output = ()> + Send + 'static>(
        &self,
        what: &'static str,
        task: F,
    ) -> impl Future<Output = ()> + Send + use<F> {
        let tasks = self.clone();
        async move {
            if let Err(message) = caught(task).await {
                tasks.panicked(what, &message);
            }
        }
    }

    /// Starts a thread.
    #[expect(clippy::disallowed_methods, reason = "this is where threads are watched")]
    pub(crate) fn thread(
        &self,
        name: &'static str,
        mut work: impl FnMut() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let tasks = self.clone();
        Builder::new().name(name.to_owned()).spawn(move || {
            // The work is lent, so that the thread's inbox lives until the panic is recorded: a loop that finds the
            // inbox gone would give a vaguer reason.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(&mut work)) {
                tasks.panicked(&format!("the thread {name}"), &panic_message(&*panic));
            }
        })
    }

    /// Ends the node because something panicked.
    pub(crate) fn panicked(&self, what: &str, message: &str) {
        self.end(Stopped::Panicked(format!("{what} panicked: {message}")));
    }

    /// Ends the node. The first reason is kept.
    pub(crate) fn end(&self, why: Stopped) {
        let first = self.end.send_if_modified(|end| {
            let first = end.is_none();
            if first {
                *end = Some(why);
            }
            first
        });
        if first {
            // The loop checks after each event whether the node has ended. The loop may be gone, if it is what
            // panicked.
            let _ = self.events.send(LoopEvent::HasEnded);
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Stopped>> {
        self.end.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_a_thread_or_task_ends_the_node_once_and_wakes_the_loop() {
        let (events, mut heard) = mpsc::unbounded_channel();
        let tasks = Tasks::new(events);
        let thread = tasks.thread("raft-test", || panic!("number {}", 7)).expect("a thread");
        let mut end = tasks.subscribe();
        let why = end.wait_for(Option::is_some).await.expect("it is told").clone();
        assert_eq!(why, Some(Stopped::Panicked("the thread raft-test panicked: number 7".into())));
        assert!(matches!(heard.recv().await, Some(LoopEvent::HasEnded)));
        thread.join().expect("the panic was caught");
        tasks.start("a later task", async { panic!("later") }).await.expect("the panic was caught");
        assert_eq!(*tasks.subscribe().borrow(), why, "the first reason is kept");
        assert!(heard.try_recv().is_err());
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the task is watched")]
    async fn a_panic_of_a_task_in_a_set_ends_the_node_as_well() {
        let tasks = Tasks::new(mpsc::unbounded_channel().0);
        let mut set = tokio::task::JoinSet::new();
        set.spawn(tasks.watched("one of many", async { panic!("in a set") }));
        set.join_next().await.expect("it was started").expect("the panic was caught");
        let why = tasks.subscribe().borrow().clone();
        assert_eq!(why, Some(Stopped::Panicked("one of many panicked: in a set".into())));
    }
}
