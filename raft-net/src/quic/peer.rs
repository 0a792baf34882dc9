//! The data of one peer: its queue, its connection if there is one, and its dialler.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Arc, Mutex};

use quinn::{Connection, SendStream};
use raftkit_core::{Message, NodeId, StoreId};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::config::{RemoteIdentity, TransportConfig};
use super::error::{HelloError, NotSent, REPLACED};
use super::lock;
use super::requests::Requests;
use crate::dialling::{Called, Dialler, PeerIncarnation};
use crate::queue::{Queue, Urgency};
use crate::refusal::Refusal;

/// Longest time that a removed peer is still dialled because messages are queued for it: long enough for a restart of its
/// machine. A member that was removed while it was down for longer never learns of its removal, and asks for pre-votes in
/// vain when it is back.
const PARTING_MAX: Duration = Duration::from_secs(60);

/// A live connection to a peer.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) remote: RemoteIdentity,
    pub(crate) requests: Requests,
}

impl Link {
    pub(crate) fn new(config: &TransportConfig, connection: Connection, remote: RemoteIdentity) -> Self {
        let requests = Requests::new(remote.node, config.request_bytes_max);
        Self { connection, remote, requests }
    }
}

/// A live bulk connection and its one stream.
pub(crate) struct BulkLink {
    pub(crate) connection: Connection,
    pub(crate) stream: SendStream,
}

/// The state of the connection to a peer.
#[derive(Clone)]
pub(crate) enum LinkState {
    /// The peer is being dialled, and no attempt has failed since the last connection.
    Connecting,
    /// The peer is connected.
    Up(Arc<Link>),
    /// The last attempt failed; others follow.
    Down(HelloError),
}

/// A peer, as set by [`Transport::set_peer`](super::Transport::set_peer).
pub(crate) struct Peer {
    pub(crate) node: NodeId,
    pub(crate) store: StoreId,
    pub(crate) address: String,
    /// Notified when an urgent message is queued.
    pub(crate) urgent: Notify,
    /// Notified when a bulky message is queued.
    pub(crate) bulky: Notify,
    /// Notified when an append was dropped.
    pub(crate) overflowed: Notify,
    /// The bulk connection; locked while a body is being sent.
    pub(crate) bulk: tokio::sync::Mutex<Option<BulkLink>>,
    /// The bulk connection and the incarnation that it leads to, for closing it from elsewhere.
    pub(crate) bulk_connection: Mutex<Option<(PeerIncarnation, Connection)>>,
    pub(crate) task: Mutex<Option<tokio::task::JoinHandle<()>>>,
    queue: Mutex<Queue>,
    state: watch::Sender<LinkState>,
    stop: watch::Sender<bool>,
    pub(crate) dialler: Mutex<Dialler>,
    /// Notified when the dialler may decide differently.
    pub(crate) called: Notify,
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

    /// Queues a message for the peer, and wakes the task that writes its lane.
    pub(crate) fn push(&self, message: Message) {
        let pushed = lock(&self.queue).push(message);
        match pushed {
            Some(urgency) => self.queued(urgency).notify_one(),
            None => self.overflowed.notify_one(),
        }
    }

    /// Returns the notification for messages that wait in a lane.
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

    /// Returns the round trip to the peer; none without a connection.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        if let LinkState::Up(link) = &*self.state.borrow() { Some(link.connection.rtt()) } else { None }
    }

    pub(crate) fn state(&self) -> LinkState {
        self.state.borrow().clone()
    }

    /// Returns the connection. Waits for one that is being made, unless the last attempt failed.
    pub(crate) async fn link(&self) -> Result<Arc<Link>, NotSent> {
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, LinkState::Connecting)).await;
        match settled.as_deref() {
            Ok(LinkState::Up(link)) => Ok(Arc::clone(link)),
            Ok(LinkState::Down(error)) => Err(NotSent::Down(error.clone())),
            Ok(LinkState::Connecting) | Err(_) => Err(NotSent::Disconnected { node: self.node }),
        }
    }

    /// Records the socket address that is being dialled.
    pub(crate) fn dials(&self, resolved: SocketAddr) {
        *lock(&self.resolved) = Some(resolved);
    }

    /// True when this is the socket address at which the peer was last dialled.
    pub(crate) fn resolves_to(&self, address: SocketAddr) -> bool {
        *lock(&self.resolved) == Some(address)
    }

    /// Records that the peer has dialled us, over a path with this round trip. Connections to an earlier incarnation of
    /// it are closed.
    pub(crate) fn called(&self, now: Duration, remote: &RemoteIdentity, round_trip: Duration) {
        let incarnation = remote.peer_incarnation();
        let mut dialler = lock(&self.dialler);
        match dialler.called(now, incarnation, round_trip) {
            Called::Stays => {}
            Called::Changed => self.called.notify_one(),
            Called::Outlived => {
                if let LinkState::Up(link) = &*self.state.borrow() {
                    link.connection.close(REPLACED, b"a later incarnation of this node has come");
                }
            }
        }
        drop(dialler);
        let mut bulk = lock(&self.bulk_connection);
        if let Some((_, connection)) = bulk.take_if(|(earlier, _)| earlier.is_before(incarnation)) {
            connection.close(REPLACED, b"a later incarnation of this node has come");
        }
    }

    /// Puts a connection that has been greeted in place. `meet` refuses it when a later incarnation of the peer has come
    /// in the meantime.
    pub(crate) fn connected(
        &self,
        now: Duration,
        link: &Arc<Link>,
        meet: impl FnOnce(&RemoteIdentity) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        // Held over all of it: an incarnation that comes after `meet` finds a connection that it can end.
        let mut dialler = lock(&self.dialler);
        meet(&link.remote)?;
        dialler.greeted(now, link.remote.peer_incarnation());
        lock(&self.queue).set_newest_only(false);
        self.state.send_replace(LinkState::Up(Arc::clone(link)));
        Ok(())
    }

    /// Records that the connection was lost; this was its round trip.
    pub(crate) fn lost(&self, now: Duration, round_trip: Duration, spread: u8) {
        let mut dialler = lock(&self.dialler);
        dialler.lost(now, round_trip, spread);
        self.state.send_replace(LinkState::Connecting);
        lock(&self.queue).set_newest_only(true);
    }

    /// Records that no connection came about.
    pub(crate) fn failed(&self, error: HelloError) {
        lock(&self.queue).set_newest_only(true);
        self.state.send_replace(LinkState::Down(error));
    }

    /// Stops the peer once there is a connection that takes what is queued, or after [`PARTING_MAX`].
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

    /// Stops the peer: what is queued is sent if there is a connection, then connections end.
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
}
