//! One peer: keeps a connection to it as its [`Dialler`] decides.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use quinn::Connection;
use raftkit_core::{Message, NodeId, StoreId};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until};

use super::bulk::BulkLink;
use super::config::{RemoteIdentity, TransportConfig};
use super::dial::{Target, dial, resolve};
use super::error::{HelloError, NotSent, REPLACED, refuse};
use super::inbound::Inbound;
use super::inner::{Inner, spread};
use super::link::{Link, drive};
use super::lock;
use crate::dialling::{Called, Dialler, PeerLife, Step};
use crate::queue::{Queue, Urgency};
use crate::refusal::Lane;

/// How long a node that is no peer any more is dialled because of what is still queued for it: long enough for a restart of
/// its machine. A member that was removed while it was away for longer asks for pre-votes in vain when it is back.
const PARTING_MAX: Duration = Duration::from_secs(60);

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
    /// An urgent message is queued.
    pub(crate) urgent: Notify,
    /// A bulky one is.
    pub(crate) bulky: Notify,
    /// An append was dropped.
    pub(crate) overflowed: Notify,
    /// Taken while a body is being sent.
    pub(crate) bulk: tokio::sync::Mutex<Option<BulkLink>>,
    /// The bulk connection and the life that it leads to, for closing it from elsewhere.
    pub(crate) bulk_connection: Mutex<Option<(PeerLife, Connection)>>,
    pub(crate) task: Mutex<Option<tokio::task::JoinHandle<()>>>,
    queue: Mutex<Queue>,
    state: watch::Sender<LinkState>,
    stop: watch::Sender<bool>,
    dialler: Mutex<Dialler>,
    /// The dialler may decide differently now.
    called: Notify,
    resolved: Mutex<Option<SocketAddr>>,
}

impl Peer {
    pub(crate) fn new(node: NodeId, store: StoreId, address: &str, config: &TransportConfig) -> Self {
        Self {
            node,
            store,
            address: address.to_owned(),
            urgent: Notify::new(),
            bulky: Notify::new(),
            overflowed: Notify::new(),
            bulk: tokio::sync::Mutex::default(),
            bulk_connection: Mutex::default(),
            task: Mutex::default(),
            queue: Mutex::new(Queue::new(config.queue_bytes_max)),
            state: watch::Sender::new(LinkState::Connecting),
            stop: watch::Sender::new(false),
            dialler: Mutex::new(Dialler::new(store, config.dial_timeout)),
            called: Notify::new(),
            resolved: Mutex::default(),
        }
    }

    /// Queues a message.
    pub(crate) fn push(&self, message: Message) {
        let pushed = lock(&self.queue).push(message);
        match pushed {
            Some(urgency) => self.queued(urgency).notify_one(),
            None => self.overflowed.notify_one(),
        }
    }

    /// Tells of messages that wait in a lane.
    pub(crate) fn queued(&self, urgency: Urgency) -> &Notify {
        match urgency {
            Urgency::Urgent => &self.urgent,
            Urgency::Bulky => &self.bulky,
        }
    }

    pub(crate) fn take_batch(&self, urgency: Urgency, batch_bytes_max: usize) -> Vec<Message> {
        lock(&self.queue).take(urgency, batch_bytes_max)
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        lock(&self.queue).bytes()
    }

    /// The round trip to it, while it is connected.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        if let LinkState::Up(link) = &*self.state.borrow() { Some(link.connection.rtt()) } else { None }
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

    /// The peer has dialled us, over a path with this round trip.
    pub(crate) fn called(&self, now: Duration, remote: &RemoteIdentity, round_trip: Duration) {
        let life = remote.life();
        let mut dialler = lock(&self.dialler);
        match dialler.called(now, life, round_trip) {
            Called::Stays => {}
            Called::Changed => self.called.notify_one(),
            Called::Outlived => {
                if let LinkState::Up(link) = &*self.state.borrow() {
                    link.connection.close(REPLACED, b"a later life of this node has come");
                }
            }
        }
        drop(dialler);
        let mut bulk = lock(&self.bulk_connection);
        if let Some((_, connection)) = bulk.take_if(|(earlier, _)| earlier.is_before(life)) {
            connection.close(REPLACED, b"a later life of this node has come");
        }
    }

    /// Lets go of the peer once there is a connection that takes what is queued, or after a while.
    pub(crate) async fn part(self: Arc<Self>, mut stopping: watch::Receiver<bool>) {
        let mut state = self.state.subscribe();
        if self.queued_bytes() > 0 {
            tokio::select! {
                _ = state.wait_for(|state| matches!(state, LinkState::Up(_))) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = sleep(PARTING_MAX) => {}
            }
        }
        self.stop();
    }

    /// Lets go of the peer: what is queued is sent if it can be, then connections end.
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(crate) fn close_bulk(&self) {
        if let Some((_, connection)) = lock(&self.bulk_connection).take() {
            connection.close(REPLACED, b"replaced");
        }
    }

    /// Keeps the connection until told to stop.
    pub(crate) async fn run(self: Arc<Self>, inner: Arc<Inner>) {
        let mut stop = self.stopped();
        while !*stop.borrow() {
            let step = lock(&self.dialler).step(inner.now(), spread());
            match step {
                Step::Wait { until } => self.wait(&inner, until, &mut stop).await,
                Step::Dial { patience } => self.attempt(&inner, patience, &mut stop).await,
                // An attempt that is given up is given up while it is under way, in `attempt`.
                Step::GiveUp { .. } => {}
            }
        }
        self.close_bulk();
    }

    async fn wait(&self, inner: &Inner, until: Option<Duration>, stop: &mut watch::Receiver<bool>) {
        let until = until.map(|until| inner.instant(until));
        let due = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = self.called.notified() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// One attempt or, when the dialler says so, several; and the connection that they lead to.
    async fn attempt(&self, inner: &Inner, patience: Duration, stop: &mut watch::Receiver<bool>) {
        let said = inner.cluster();
        let dialled = self.dialled(inner, patience);
        tokio::pin!(dialled);
        let result = loop {
            let step = lock(&self.dialler).step(inner.now(), spread());
            let until = match step {
                Step::Wait { until } => until,
                Step::Dial { patience } => {
                    dialled.set(self.dialled(inner, patience));
                    continue;
                }
                Step::GiveUp { waited } => {
                    return self
                        .failed(inner, HelloError::NoAnswer { address: self.address.clone(), waited })
                        .await;
                }
            };
            tokio::select! {
                result = &mut dialled => break result,
                () = self.wait(inner, until, stop) => if *self.stop.borrow() { return },
            }
        };
        match result.and_then(|(connection, remote)| self.connected(inner, connection, remote)) {
            Ok(link) => self.serve(inner, link, said).await,
            Err(error) => {
                let (now, spread) = (inner.now(), spread());
                match error {
                    // QUIC has noticed it first.
                    HelloError::NoAnswer { .. } => lock(&self.dialler).timed_out(now, spread),
                    HelloError::BadAddress { .. }
                    | HelloError::Refused(_)
                    | HelloError::TheirCertificate { .. }
                    | HelloError::OurCertificate { .. }
                    | HelloError::Lost { .. }
                    | HelloError::Protocol { .. }
                    | HelloError::Stopping => lock(&self.dialler).failed(now, spread),
                }
                self.failed(inner, error).await;
            }
        }
    }

    async fn dialled(
        &self,
        inner: &Inner,
        patience: Duration,
    ) -> Result<(Connection, RemoteIdentity), HelloError> {
        let resolved = resolve(inner, &self.address).await?;
        *lock(&self.resolved) = Some(resolved);
        let target = Target { address: &self.address, lane: Lane::Control, expected: Some(self.node) };
        dial(inner, target, resolved, patience, |progress| {
            lock(&self.dialler).progress(inner.now(), progress);
        })
        .await
    }

    /// The connection stands, unless a later life of the peer has come in the meantime.
    fn connected(
        &self,
        inner: &Inner,
        connection: Connection,
        remote: RemoteIdentity,
    ) -> Result<Arc<Link>, HelloError> {
        // Held over all of it: a life that comes after this finds a connection that it can end.
        let mut dialler = lock(&self.dialler);
        if let Err(refusal) = inner.meet(&remote) {
            refuse(&connection, &refusal);
            return Err(HelloError::Refused(refusal));
        }
        dialler.greeted(inner.now(), remote.life());
        let link = Arc::new(Link::new(inner, connection, remote));
        lock(&self.queue).set_newest_only(false);
        self.state.send_replace(LinkState::Up(Arc::clone(&link)));
        Ok(link)
    }

    async fn serve(&self, inner: &Inner, link: Arc<Link>, said: Option<raftkit_core::ClusterId>) {
        tracing::info!(node = inner.node().0, peer = self.node.0, address = %self.address, "connected");
        let connected = Inbound::Connected(link.remote.clone());
        // The connection is not kept waiting for whoever reads: it is driven at the same time.
        let (reason, _) =
            tokio::join!(drive(inner, self, &link, said, self.stopped()), inner.inbound.send(connected));
        link.connection.close(REPLACED, b"replaced");
        link.requests.end(&reason);
        {
            let mut dialler = lock(&self.dialler);
            dialler.lost(inner.now(), link.connection.rtt(), spread());
            self.state.send_replace(LinkState::Connecting);
            lock(&self.queue).set_newest_only(true);
        }
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
