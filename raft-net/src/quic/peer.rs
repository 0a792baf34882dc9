//! One peer: keeps a connection to it, dials anew when it is lost.
//!
//! ```text
//!              +------------ dial -----------+
//!              v                             | backoff, or a sign of life
//!         Connecting --- fails ----------> Down
//!              |  ^
//!   greeted    |  | lost
//!              v  |
//!              Up
//! ```

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use quinn::Connection;
use raftkit_core::{Message, NodeId, StoreId};
use tokio::sync::{Notify, watch};

use super::accept::Inbound;
use super::bulk::BulkLink;
use super::config::RemoteIdentity;
use super::dial::{dial, resolve};
use super::error::{HelloError, NotSent, REPLACED};
use super::inner::Inner;
use super::link::{Link, drive};
use super::lock;
use crate::queue::{Pushed, Queue};
use crate::refusal::Lane;

/// An attempt that has lasted so long when the peer is proven alive was made towards its absence: it starts again.
const HOPELESS: Duration = Duration::from_millis(100);

/// A connection that ends sooner counts as a failure, so that two nodes that drop each other do not spin.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Attempts that time out become more patient up to this, for machines that are slow rather than dead.
const PATIENCE_MAX: Duration = Duration::from_secs(4);

/// Whether there is a connection.
#[derive(Clone)]
pub(crate) enum LinkState {
    /// Being dialled, and nothing speaks against it yet.
    Connecting,
    /// Connected.
    Up(Arc<Link>),
    /// The last attempt failed; others follow.
    Down(HelloError),
}

/// A peer, as set by [`Transport::set_peer`](super::Transport::set_peer).
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) store: StoreId,
    pub(crate) address: String,
    pub(crate) queued: Notify,
    /// An append was dropped.
    pub(crate) overflowed: Notify,
    /// Taken while a body is being sent.
    pub(crate) bulk: tokio::sync::Mutex<Option<BulkLink>>,
    /// The bulk connection, for closing it from elsewhere.
    pub(crate) bulk_connection: Mutex<Option<Connection>>,
    pub(crate) task: Mutex<Option<tokio::task::JoinHandle<()>>>,
    queue: Mutex<Queue>,
    state: watch::Sender<LinkState>,
    stop: watch::Sender<bool>,
    /// The peer was heard of while there was no connection to it.
    alive: Notify,
    resolved: Mutex<Option<SocketAddr>>,
}

impl Peer {
    pub(crate) fn new(node: NodeId, store: StoreId, address: &str, queue_bytes_max: usize) -> Self {
        Self {
            node,
            store,
            address: address.to_owned(),
            queued: Notify::new(),
            overflowed: Notify::new(),
            bulk: tokio::sync::Mutex::default(),
            bulk_connection: Mutex::default(),
            task: Mutex::default(),
            queue: Mutex::new(Queue::new(queue_bytes_max)),
            state: watch::Sender::new(LinkState::Connecting),
            stop: watch::Sender::new(false),
            alive: Notify::new(),
            resolved: Mutex::default(),
        }
    }

    /// Queues a message.
    pub(crate) fn push(&self, message: Message) {
        match lock(&self.queue).push(message) {
            Pushed::Queued => self.queued.notify_one(),
            Pushed::Dropped => self.overflowed.notify_one(),
        }
    }

    pub(crate) fn take_batch(&self, batch_bytes_max: usize) -> Vec<Message> {
        lock(&self.queue).take(batch_bytes_max)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        lock(&self.queue).bytes()
    }

    pub(crate) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// The connection; waits for one that is being made, unless the last attempt failed.
    pub(crate) async fn link(&self) -> Result<Arc<Link>, NotSent> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, LinkState::Connecting)).await;
        match settled.as_deref() {
            Ok(LinkState::Up(link)) => Ok(Arc::clone(link)),
            Ok(LinkState::Down(error)) => Err(NotSent::Down(error.clone())),
            Ok(LinkState::Connecting) | Err(_) => Err(NotSent::Disconnected { node: self.node }),
        }
    }

    /// True when the peer's address is this one, as far as it has been dialled.
    pub(crate) fn resolves_to(&self, address: SocketAddr) -> bool {
        *lock(&self.resolved) == Some(address)
    }

    /// The peer has just dialled us: a connection to an earlier life of it is dead, and one that cannot be made should
    /// be tried at once.
    pub(crate) fn proven_alive(&self, remote: &RemoteIdentity) {
        let earlier =
            |link: &Link| (link.remote.store, link.remote.incarnation) != (remote.store, remote.incarnation);
        let stale = match &*self.state.borrow() {
            LinkState::Up(link) if earlier(link) => Some(link.connection.clone()),
            LinkState::Up(_) => None,
            LinkState::Connecting | LinkState::Down(_) => {
                self.alive.notify_one();
                None
            }
        };
        if let Some(connection) = stale {
            connection.close(REPLACED, b"a later life of this node has come");
            self.close_bulk();
        }
    }

    /// Lets go of the peer: what is queued is sent if it can be, then connections end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(crate) fn close_bulk(&self) {
        if let Some(connection) = lock(&self.bulk_connection).take() {
            connection.close(REPLACED, b"replaced");
        }
    }

    /// Keeps the connection until told to stop.
    pub(crate) async fn run(self: Arc<Self>, inner: Arc<Inner>) {
        let mut stop = self.stopped();
        let mut failures = 0;
        while !*stop.borrow() {
            let said = inner.cluster();
            match self.attempt(&inner, failures, &mut stop).await {
                Attempt::Made(connection, remote) => {
                    let since = Instant::now();
                    self.serve(&inner, connection, remote, said).await;
                    failures = if since.elapsed() < SHORT_LIFE { failures + 1 } else { 0 };
                }
                Attempt::Failed(error) => {
                    failures += 1;
                    self.failed(&inner, error).await;
                }
                Attempt::Again => continue,
            }
            if failures > 0 {
                tokio::select! {
                    () = tokio::time::sleep(Inner::backoff(failures)) => {}
                    () = self.alive.notified() => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }
        }
        self.close_bulk();
    }

    async fn attempt(&self, inner: &Inner, failures: u32, stop: &mut watch::Receiver<bool>) -> Attempt {
        let begun = Instant::now();
        let patience = inner.config.dial_timeout.saturating_mul(1 << failures.min(4)).min(PATIENCE_MAX);
        let dialled = async {
            let resolved = resolve(inner, &self.address).await?;
            *lock(&self.resolved) = Some(resolved);
            dial(inner, &self.address, resolved, Lane::Control, Some(self.node), patience).await
        };
        tokio::pin!(dialled);
        loop {
            tokio::select! {
                result = &mut dialled => return match result {
                    Ok((connection, remote)) => Attempt::Made(connection, remote),
                    Err(error) => Attempt::Failed(error),
                },
                () = self.alive.notified() => if begun.elapsed() >= HOPELESS {
                    return Attempt::Again;
                },
                _ = stop.wait_for(|stop| *stop) => return Attempt::Again,
            }
        }
    }

    async fn serve(
        &self,
        inner: &Inner,
        connection: Connection,
        remote: RemoteIdentity,
        said: Option<raftkit_core::ClusterId>,
    ) {
        tracing::info!(node = inner.node().0, peer = self.node.0, address = %self.address, "connected");
        let link = Arc::new(Link::new(inner, connection, remote));
        lock(&self.queue).set_newest_only(false);
        self.state.send_replace(LinkState::Up(Arc::clone(&link)));
        let connected = Inbound::Connected(link.remote.clone());
        // The connection is not kept waiting for whoever reads: it is driven at the same time.
        let (reason, _) =
            tokio::join!(drive(inner, self, &link, said, self.stopped()), inner.inbound.send(connected));
        link.connection.close(REPLACED, b"replaced");
        link.requests.end(&reason);
        self.state.send_replace(LinkState::Connecting);
        lock(&self.queue).set_newest_only(true);
        if !*self.stop.borrow() {
            tracing::info!(node = inner.node().0, peer = self.node.0, reason, "connection lost");
            let _ = inner.inbound.send(Inbound::Unreachable(self.node)).await;
        }
    }

    async fn failed(&self, inner: &Inner, error: HelloError) {
        inner.warn(
            &format!("peer {}", self.node),
            &format_args!("no connection to node {} at {}: {error}", self.node, self.address),
        );
        lock(&self.queue).set_newest_only(true);
        self.state.send_replace(LinkState::Down(error));
        // Nobody reads any more only when the node is stopping.
        let _ = inner.inbound.send(Inbound::Unreachable(self.node)).await;
    }
}

enum Attempt {
    Made(Connection, RemoteIdentity),
    Failed(HelloError),
    Again,
}
