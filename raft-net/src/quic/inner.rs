//! The state that all tasks of a transport share.

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
use crate::admission::{Arrival, Incarnations, Own};
use crate::dialling::Paths;
use crate::door::Door;
use crate::refusal::{Hello, Lane, Refusal};

pub(crate) struct Inner {
    pub(crate) config: TransportConfig,
    pub(crate) endpoint: Endpoint,
    pub(crate) quic: QuicConfigs,
    pub(crate) tasks: Tasks,
    /// The number that this process drew at its start; see [`Hello::process`].
    pub(crate) process: u64,
    pub(crate) cluster: watch::Sender<Option<ClusterId>>,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) inbound: mpsc::Sender<Inbound>,
    /// Budget for received bulk bodies in memory, in bytes.
    pub(crate) bulk_budget: Arc<Semaphore>,
    pub(crate) warnings: Warnings,
    /// Measurements of paths to addresses that may belong to no peer.
    pub(crate) paths: Mutex<Paths>,
    /// Notified when a node has dialled this one.
    pub(crate) called: Notify,
    started: Instant,
    peers: Mutex<BTreeMap<NodeId, Arc<Peer>>>,
    met: Mutex<Met>,
    door: Mutex<Door>,
    /// The last second in which each met node's certificate is valid, in seconds since 1970.
    certificates: Mutex<BTreeMap<NodeId, i64>>,
}

/// The nodes that were met, and the connections that the newest incarnation of each data folder has dialled.
#[derive(Default)]
struct Met {
    incarnations: Incarnations,
    connections: BTreeMap<NodeId, Vec<(StoreId, Connection)>>,
}

impl Met {
    /// Closes the connections that `node` dialled with a data folder for which `over` is true.
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

    /// Records when a node's certificate ends. Only nodes with a certificate of our CA are recorded.
    pub(crate) fn note_certificate(&self, node: NodeId, valid_until: i64) {
        lock(&self.certificates).insert(node, valid_until);
    }

    pub(crate) fn note_own_certificate(&self, tls: &TlsIdentity) {
        if let Some(until) = tls.valid_until() {
            self.note_certificate(self.node(), until);
        }
    }

    /// Returns when the certificates of met nodes and of this node end, in seconds since 1970.
    pub(crate) fn certificates(&self) -> BTreeMap<NodeId, i64> {
        lock(&self.certificates).clone()
    }

    /// Calls the door with the present time.
    pub(crate) fn door<T>(&self, act: impl FnOnce(&mut Door, Time) -> T) -> T {
        act(&mut lock(&self.door), Time::default().after(self.started.elapsed()))
    }

    pub(crate) fn node(&self) -> NodeId {
        self.config.identity.node
    }

    pub(crate) fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.borrow()
    }

    /// Returns the identity of this node, which others are checked against.
    pub(crate) fn own(&self) -> Own {
        let identity = &self.config.identity;
        Own { node: identity.node, store: identity.store, cluster: self.cluster(), process: self.process }
    }

    /// Returns the greeting that this node sends.
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

    /// Sets or removes a peer; returns the previous one.
    pub(crate) fn replace_peer(&self, node: NodeId, peer: Option<Arc<Peer>>) -> Option<Arc<Peer>> {
        let mut peers = lock(&self.peers);
        match peer {
            Some(peer) => peers.insert(node, peer),
            None => peers.remove(&node),
        }
    }

    /// Records a node that was met, whichever side dialled, and closes the connections that its earlier incarnations
    /// dialled.
    pub(crate) fn meet(&self, remote: &RemoteIdentity) -> Result<(), Refusal> {
        let mut met = lock(&self.met);
        let arrival = met.incarnations.admit(self.node(), &remote.admitted())?;
        if arrival == Arrival::Later {
            met.close(remote.node, "a later incarnation of this node has come", |store| {
                store == remote.store
            });
        }
        Ok(())
    }

    /// Records a connection that `remote` dialled, and passes it on to the data of that peer.
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

    /// Records that `remote` has dialled this node, for any purpose, so that attempts to reach it know that it is
    /// there.
    pub(crate) fn heard(&self, remote: &RemoteIdentity, round_trip: Duration) {
        let (now, mut paths) = (self.now(), lock(&self.paths));
        // It dials from the socket on which it listens; behind a proxy it is reached where it says.
        for address in core::iter::once(remote.observed).chain(remote.address.parse().ok()) {
            paths.called(now, address, round_trip);
        }
        drop(paths);
        self.called.notify_waiters();
    }

    /// Closes connections that a node dialled with another store than the one that it must have now.
    pub(crate) fn expect_store(&self, node: NodeId, store: StoreId) {
        lock(&self.met).close(node, "this node id has another store now", |other| other != store);
    }

    /// Describes an address for the log, with the node id where the address is a peer's.
    pub(crate) fn name_address(&self, address: SocketAddr) -> String {
        match self.peers().iter().find(|peer| peer.resolves_to(address)) {
            Some(peer) => format!("node {} at {address}", peer.node),
            None => address.to_string(),
        }
    }

    /// Logs a warning, unless one on the same subject was logged a moment ago.
    pub(crate) fn warn(&self, subject: &str, text: &dyn core::fmt::Display) {
        if self.warnings.due(subject) {
            tracing::warn!(node = self.node().0, "{text}");
        }
    }

    /// Returns the time since the start, in which [`dialling`](crate::dialling) counts.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Converts that time for the runtime's timers.
    pub(crate) fn instant(&self, at: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + at)
    }
}

/// Returns a random number, good enough to distinguish processes and to spread retries.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Returns a random byte, to spread retries.
pub(crate) fn spread() -> u8 {
    random().to_le_bytes()[0]
}
