//! The threads that read lists: a few at a time, with clients taking turns.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use axum::http::StatusCode;
use tokio::sync::oneshot;

use super::super::Client;
use super::super::answer::Problem;
use super::turns::Turns;

/// Maximum number of threads that read at the same time, however many cores there are. More would mainly take memory bandwidth
/// from the threads that write.
const THREADS_MAX: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

/// Runs work on threads beside the node's own; it is cheap to clone.
///
/// Work should come in steps of a few milliseconds, because running work is not interrupted for other clients.
#[derive(Clone)]
pub(crate) struct Readers {
    turns: Arc<Mutex<Turns<Client, Work>>>,
}

impl Readers {
    /// Uses at most half of the cores, so that the other half is free for work that must not wait.
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self::with_threads((cores / 2).clamp(1, THREADS_MAX))
    }

    pub(crate) fn with_threads(threads: usize) -> Self {
        Self { turns: Arc::new(Mutex::new(Turns::new(threads))) }
    }

    /// Runs `work` when it is the client's turn. If the result is not awaited any more, `work` is not begun.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        client: Client,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.run_for(&BTreeSet::from([client]), work).await
    }

    /// Runs `work` like [`run`](Self::run) when it is the turn of any of these clients, of which there must be at least one.
    pub(crate) async fn run_for<T: Send + 'static>(
        &self,
        clients: &BTreeSet<Client>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (sender, result) = oneshot::channel();
        let work = move || {
            if !sender.is_closed() {
                // The client may have gone away meanwhile.
                drop(sender.send(work()));
            }
        };
        self.lock().push_for(clients.iter().copied(), Box::new(work));
        let first = self.lock().start();
        if let Some(first) = first {
            let turns = Arc::clone(&self.turns);
            tokio::task::spawn_blocking(move || work_on(&turns, first));
        }
        result.await.map_err(|_| {
            tracing::error!("a read ended early");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the read ended early")
        })
    }

    fn lock(&self) -> MutexGuard<'_, Turns<Client, Work>> {
        lock(&self.turns)
    }
}

fn lock(turns: &Mutex<Turns<Client, Work>>) -> MutexGuard<'_, Turns<Client, Work>> {
    // No work runs while the lock is held.
    turns.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs this work and then the next, until none waits.
fn work_on(turns: &Mutex<Turns<Client, Work>>, first: Work) {
    /// Counts the work as done even if it panics.
    struct Done<'t>(&'t Mutex<Turns<Client, Work>>);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            lock(self.0).done();
        }
    }
    let mut next = Some(first);
    while let Some(work) = next {
        let done = Done(turns);
        work();
        drop(done);
        next = lock(turns).start();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::mpsc;

    use super::*;

    /// Polls all of them until all are done.
    async fn futures<F: Future<Output = Result<(), Problem>> + Unpin>(all: &mut Vec<F>) {
        std::future::poll_fn(|context| {
            all.retain_mut(|one| match std::pin::Pin::new(one).poll(context) {
                std::task::Poll::Ready(done) => {
                    done.unwrap();
                    false
                }
                std::task::Poll::Pending => true,
            });
            if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }

    fn client(number: u8) -> Client {
        Client(IpAddr::V4(Ipv4Addr::new(127, 0, 0, number)))
    }

    #[tokio::test]
    async fn a_client_with_one_question_waits_for_one_of_each_other_client() {
        let readers = Readers::with_threads(1);
        let (go_on, gate) = mpsc::channel::<()>();
        let blocking = readers.run(client(9), move || gate.recv().unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let asked = |number: u8, what: u8| {
            let order = Arc::clone(&order);
            readers.run(client(number), move || order.lock().unwrap().push((number, what)))
        };
        // A future of `run` queues its work when it is polled first: all of these before the gate opens.
        let many =
            async { futures(&mut (0..50).map(|what| Box::pin(asked(1, what))).collect::<Vec<_>>()).await };
        let one = asked(2, 0);
        let open = async { go_on.send(()).unwrap() };
        let (blocked, (), one, ()) = tokio::join!(blocking, many, one, open);
        blocked.unwrap();
        one.unwrap();
        let order = order.lock().unwrap();
        let before = order.iter().position(|(client, _)| *client == 2).unwrap();
        assert_eq!((before, order.len()), (1, 51), "the other client has one turn before it");
    }
}
