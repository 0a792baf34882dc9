//! What all tasks of a transport share.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use quinn::{Connection, Endpoint};
use raftkit_core::{ClusterId, NodeId, StoreId, Time};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use super::config::{RemoteIdentity, TransportConfig};
use super::endpoint::QuicConfigs;
use super::error::REPLACED;
use super::inbound::Inbound;
use super::lock;
use super::peer::Peer;
use super::tasks::Tasks;
use super::tls::TlsIdentity;
use super::warnings::Warnings;
use crate::admission::{Life, Lives, Own};
use crate::dialling::Paths;
use crate::door::Door;
use crate::refusal::{Hello, Lane, Refusal};

pub(crate) struct Inner {
    pub(crate) config: TransportConfig,
    pub(crate) endpoint: Endpoint,
    pub(crate) quic: QuicConfigs,
    pub(crate) tasks: Tasks,
    /// Drawn at the start; see [`Hello::process`].
    pub(crate) process: u64,
    pub(crate) cluster: watch::Sender<Option<ClusterId>>,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    /// Bytes of bulk bodies that came in and are alive.
    pub(crate) bulk_budget: Arc<Semaphore>,
    pub(crate) warnings: Warnings,
    /// What is known of addresses that may be no peer's.
    pub(crate) paths: Mutex<Paths>,
    /// Told of each node that has dialled this one.
    pub(crate) called: Notify,
    started: Instant,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    met: Mutex<Met>,
    door: Mutex<Door>,
    /// The last second in which the certificate of each node that was met is valid, since 1970.
    certificates: Mutex<BTreeMap<NodeId, i64>>,
}

/// The nodes that were met, and the connections that the newest life of each data folder dialled.
#[derive(Default)]
struct Met {
    lives: Lives,
    connections: BTreeMap<NodeId, Vec<(StoreId, Connection)>>,
}

impl Met {
    /// Ends the connections that `node` dialled with a data folder that `over` picks.
    fn close(&mut self, node: NodeId, why: &str, over: impl Fn(StoreId) -> bool) {
        let Some(connections) = self.connections.get_mut(&node) else { return };
        connections.retain(|(store, connection)| {
            if over(*store) {
                connection.close(REPLACED, why.as_bytes());
            }
            connection.close_reason().is_none()
        });
    }
}

impl Inner {
    pub(crate) fn new(
        config: TransportConfig,
        endpoint: Endpoint,
        quic: QuicConfigs,
        tasks: Tasks,
        inbound: mpsc::Sender<Inbound>,
    ) -> Self {
        let bulk_budget = Arc::new(Semaphore::new(config.bulk_bytes_max.min(Semaphore::MAX_PERMITS)));
        Self {
            process: random(),
            cluster: watch::Sender::new(config.identity.cluster),
            stopping: watch::Sender::new(false),
            config,
            endpoint,
            quic,
            tasks,
            inbound,
            bulk_budget,
            warnings: Warnings::default(),
            paths: Mutex::default(),
            called: Notify::new(),
            started: Instant::now(),
            peers: Mutex::default(),
            met: Mutex::default(),
            door: Mutex::default(),
            certificates: Mutex::default(),
        }
    }

    /// Takes note of when the certificate of a node ends. Only nodes with a certificate of our CA come here.
    pub(crate) fn note_certificate(&self, node: NodeId, valid_until: i64) {
        lock(&self.certificates).insert(node, valid_until);
    }

    pub(crate) fn note_own_certificate(&self, tls: &TlsIdentity) {
        if let Some(until) = tls.valid_until() {
            self.note_certificate(self.node(), until);
        }
    }

    /// When the certificates of nodes end, of this one as well.
    pub(crate) fn certificates(&self) -> BTreeMap<NodeId, i64> {
        lock(&self.certificates).clone()
    }

    /// Has something done at the door, at the present time since the start.
    pub(crate) fn door<T>(&self, act: impl FnOnce(&mut Door, Time) -> T) -> T {
        act(&mut lock(&self.door), Time::default().after(self.started.elapsed()))
    }

    pub(crate) fn node(&self) -> NodeId {
        self.config.identity.node
    }

    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.borrow()
    }

    /// This node, as others are judged by it.
    pub(crate) fn own(&self) -> Own {
        let identity = &self.config.identity;
        Own { node: identity.node, store: identity.store, cluster: self.cluster(), process: self.process }
    }

    /// This node's greeting.
    pub(crate) fn hello(&self, lane: Lane) -> Hello {
        let identity = &self.config.identity;
        Hello {
            lane,
            cluster: self.cluster(),
            node: identity.node,
            store: identity.store,
            incarnation: identity.incarnation,
            process: self.process,
            address: identity.address.clone(),
            attributes: identity.attributes.clone(),
        }
    }

    pub(crate) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        lock(&self.peers).get(&node).cloned()
    }

    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        lock(&self.peers).values().cloned().collect()
    }

    /// Puts a peer in place, or takes it out; returns the one that was there.
    pub(crate) fn replace_peer(&self, node: NodeId, peer: Option<Arc<Peer>>) -> Option<Arc<Peer>> {
        let mut peers = lock(&self.peers);
        match peer {
            Some(peer) => peers.insert(node, peer),
            None => peers.remove(&node),
        }
    }

    /// Takes note of a node that was met, whichever side dialled: what its earlier lives dialled is closed.
    pub(crate) fn meet(&self, remote: &RemoteIdentity) -> Result<(), Refusal> {
        let mut met = lock(&self.met);
        let life = met.lives.admit(self.node(), &remote.admitted())?;
        if life == Life::New {
            met.close(remote.node, "a later life of this node has come", |store| store == remote.store);
        }
        Ok(())
    }

    /// Remembers a connection that `remote` dialled, and tells the keeper of the connection to it: it is there.
    pub(crate) fn admit(&self, remote: &RemoteIdentity, connection: &Connection) -> Result<(), Refusal> {
        self.meet(remote)?;
        let mut met = lock(&self.met);
        met.close(remote.node, "", |_| false);
        met.connections.entry(remote.node).or_default().push((remote.store, connection.clone()));
        drop(met);
        if let Some(peer) = self.peer(remote.node) {
            peer.called(self.now(), remote, connection.rtt());
        }
        Ok(())
    }

    /// `remote` has dialled this node, for whatever purpose: attempts to reach it know that it is there.
    pub(crate) fn heard(&self, remote: &RemoteIdentity, round_trip: Duration) {
        let (now, mut paths) = (self.now(), lock(&self.paths));
        // It dials from the socket on which it listens; behind a proxy it is reached where it says.
        for address in core::iter::once(remote.observed).chain(remote.address.parse().ok()) {
            paths.called(now, address, round_trip);
        }
        drop(paths);
        self.called.notify_waiters();
    }

    /// Closes what a node dialled with another store than the one that it must have now.
    pub(crate) fn expect_store(&self, node: NodeId, store: StoreId) {
        lock(&self.met).close(node, "this node id has another store now", |other| other != store);
    }

    /// An address for messages to people: with the node id where the address is a peer's.
    pub(crate) fn name_address(&self, address: SocketAddr) -> String {
        match self.peers().iter().find(|peer| peer.resolves_to(address)) {
            Some(peer) => format!("node {} at {address}", peer.node),
            None => address.to_string(),
        }
    }

    /// Warns, unless it was said a moment ago.
    pub(crate) fn warn(&self, subject: &str, text: &dyn core::fmt::Display) {
        if self.warnings.due(subject) {
            tracing::warn!(node = self.node().0, "{text}");
        }
    }

    /// The time that connections go by, see [`dialling`](crate::dialling).
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// That time as the runtime's timers count.
    pub(crate) fn instant(&self, at: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + at)
    }
}

/// A random number, good enough to tell processes apart and to spread retries.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A random byte, to spread retries.
pub(crate) fn spread() -> u8 {
    random().to_le_bytes()[0]
}
