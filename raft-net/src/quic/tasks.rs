//! The tasks of the transport, quinn's included. A panic in one of them is reported, where tokio would hide it: a node
//! whose transport runs on without one of its tasks would hold its port and its data folder and serve nobody.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Starts tasks and records the first one that panicked. Clones share the record.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    runtime: Handle,
    failed: watch::Sender<Option<String>>,
}

impl Tasks {
    pub(crate) fn new(runtime: Handle) -> Self {
        Self { runtime, failed: watch::Sender::new(None) }
    }

    /// Starts a task; `what` names it in [`failed`](Self::failed).
    #[expect(clippy::disallowed_methods, reason = "this is where tasks are watched")]
    pub(crate) fn start(
        &self,
        what: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let tasks = self.clone();
        self.runtime.spawn(async move {
            if let Err(message) = caught(task).await {
                tasks.fail(format!("{what} panicked: {message}"));
            }
        })
    }

    /// Records that the transport cannot go on. The first reason is kept.
    pub(crate) fn fail(&self, why: String) {
        self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            if first {
                *failed = Some(why);
            }
            first
        });
    }

    /// Waits until the transport cannot go on, and returns the reason.
    pub(crate) async fn failed(&self) -> String {
        let mut failed = self.failed.subscribe();
        let why = failed.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.expect("this end of the channel lives as long as the future")
    }
}

/// Runs a future to its end. A panic in it becomes an error: the panic's message.
///
/// # Errors
/// The future panicked, and is not polled again. State that it shared with others may be half changed; that is the
/// caller's concern.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
    })
    .await
}

/// The message of a panic.
#[must_use]
pub fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_told_with_its_message_and_others_go_on() {
        let tasks = Tasks::new(Handle::current());
        let (ended, end) = tokio::sync::oneshot::channel();
        let number = 7;
        tasks.start("the sender", async move { panic!("number {number}") });
        assert_eq!(tasks.failed().await, "the sender panicked: number 7");
        tasks.start("another one", async move { assert!(ended.send(()).is_ok()) });
        end.await.expect("it runs to its end");
        tasks.start("a later one", async { panic!("later") });
        tokio::task::yield_now().await;
        assert_eq!(tasks.failed().await, "the sender panicked: number 7", "the first reason is kept");
    }
}
