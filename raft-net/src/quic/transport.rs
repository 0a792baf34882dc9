//! The handle to a running transport.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::{ClusterId, Message, NodeId, StoreId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::accept;
use super::bulk;
use super::config::{RemoteIdentity, TransportConfig};
use super::dial::dial_once;
use super::endpoint;
use super::error::{BulkError, DONE, HelloError, NotSent, RequestError, STOPPING, StartError};
use super::handshake::{HELLO_BYTES_MAX, Target};
use super::inbound::Inbox;
use super::inner::Inner;
use super::keeper::keep;
use super::link::FLUSH_ROUND_TRIPS;
use super::lock;
use super::peer::{LinkState, Peer};
use super::requests::request_once;
use super::tasks::Tasks;
use super::tls::TlsIdentity;
use crate::refusal::Lane;

/// Upper bound on the bytes of a greeting beside address and attributes.
const GREETING_OVERHEAD_BYTES: usize = 1 << 10;

/// A running transport. It is cheap to clone; when the last handle is dropped it ends without waiting for anything.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
    _guard: Arc<Guard>,
}

/// State of the connection to a peer.
#[derive(Clone, Debug)]
pub struct PeerStats {
    /// Node id of the peer.
    pub node: NodeId,
    /// The address at which the peer is dialled.
    pub address: String,
    /// Reason for which there is no connection; none while there is one, or while the first one is being made.
    pub down: Option<HelloError>,
    /// True while there is a connection.
    pub connected: bool,
    /// Bytes of messages that are queued for the peer.
    pub queued_bytes: usize,
    /// The round trip as QUIC estimates it; zero without a connection.
    pub rtt: Duration,
}

impl Transport {
    /// Starts to listen. Events come out of the [`Inbox`].
    ///
    /// # Errors
    /// The address is taken or cannot be listened on, the certificate is another node's, the attributes are too long,
    /// or there is no tokio runtime.
    pub fn start(config: TransportConfig) -> Result<(Self, Inbox), StartError> {
        let runtime = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let identity = &config.identity;
        if !config.tls.names(identity.node) {
            return Err(StartError::OtherNodesCertificate { node: identity.node });
        }
        let (got, max) =
            (identity.address.len() + identity.attributes.len(), HELLO_BYTES_MAX - GREETING_OVERHEAD_BYTES);
        if got > max {
            return Err(StartError::GreetingTooLong { got, max });
        }
        Self::launch(config, runtime)
    }

    /// Starts with a checked identity.
    fn launch(config: TransportConfig, runtime: Handle) -> Result<(Self, Inbox), StartError> {
        let tasks = Tasks::new(runtime);
        let (endpoint, quic) = endpoint::open(&config, &tasks)?;
        let (inbound, events) = mpsc::channel(config.inbound_max);
        let inner = Arc::new(Inner::new(config, endpoint, quic, tasks, inbound));
        inner.note_own_certificate(&inner.config.tls);
        inner.tasks.start("the task that accepts connections", accept::run(Arc::clone(&inner)));
        Ok((Self { _guard: Arc::new(Guard(Arc::clone(&inner))), inner }, Inbox::new(events)))
    }

    /// The address that the transport listens on, with the port that the system chose.
    ///
    /// # Panics
    /// Never: a bound socket has an address.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.endpoint.local_addr().expect("a bound socket has an address")
    }

    /// Replaces certificate, key and authorities. Existing connections are kept.
    ///
    /// # Errors
    /// The certificate names another node; nothing has changed.
    pub fn set_tls(&self, tls: &TlsIdentity) -> Result<(), StartError> {
        let node = self.inner.node();
        if !tls.names(node) {
            return Err(StartError::OtherNodesCertificate { node });
        }
        self.inner.quic.replace(&self.inner.endpoint, tls);
        self.inner.note_own_certificate(tls);
        Ok(())
    }

    /// The last second in which the certificates of this node and of those that it met are valid, in seconds since 1970.
    #[must_use]
    pub fn certificates(&self) -> BTreeMap<NodeId, i64> {
        self.inner.certificates()
    }

    /// Records that this node has formed or joined a cluster. Connections are kept, and this node greets again on them.
    pub fn set_cluster(&self, cluster: ClusterId) {
        self.inner.cluster.send_replace(Some(cluster));
    }

    /// Keeps a connection to `node`, which has `store` and is reached at `address` (`host:port`). A node with another
    /// store is refused. The same call again changes nothing; another store or address starts a new connection.
    pub fn set_peer(&self, node: NodeId, store: StoreId, address: &str) {
        if node == self.inner.node() || *self.inner.stopping.borrow() {
            return;
        }
        if self.inner.peer(node).is_some_and(|peer| peer.store == store && peer.address == address) {
            return;
        }
        let peer = Arc::new(Peer::new(node, store, address, &self.inner.config));
        if let Some(old) = self.inner.replace_peer(node, Some(Arc::clone(&peer))) {
            old.stop();
        }
        self.inner.expect_store(node, store);
        let kept = keep(Arc::clone(&self.inner), Arc::clone(&peer));
        let task = self.inner.tasks.start("the task of a peer", kept);
        *lock(&peer.task) = Some(task);
    }

    /// Stops keeping a connection to `node`. Messages that are queued for it are sent if possible, for which it is
    /// dialled for up to a minute. Connections that it dials itself are still served.
    pub fn remove_peer(&self, node: NodeId) {
        if let Some(old) = self.inner.replace_peer(node, None) {
            let parting = old.part(self.inner.stopping.subscribe());
            self.inner.tasks.start("the parting from a peer", parting);
        }
    }

    /// Queues a message for `message.to`; never blocks. The message is dropped when that node is no peer, or when this
    /// node has no cluster; see also [`TransportConfig::queue_bytes_max`].
    pub fn send(&self, message: Message) {
        match self.inner.peer(message.to) {
            Some(peer) if self.inner.cluster().is_some() => peer.push(message),
            Some(_) | None => {
                tracing::debug!(to = message.to.0, "no such peer, or no cluster yet: a message is dropped")
            }
        }
    }

    /// Sends a request to `to` and waits for the answer. The caller may give up by dropping the future; then nothing is
    /// known about the request.
    ///
    /// # Errors
    /// The request was certainly not delivered, or its outcome is unknown.
    pub async fn request(&self, to: NodeId, body: Bytes) -> Result<Bytes, RequestError> {
        let peer = self.inner.peer(to).ok_or(RequestError::NotSent(NotSent::UnknownPeer { node: to }))?;
        let link = peer.link().await.map_err(RequestError::NotSent)?;
        link.requests.request(body).await
    }

    /// Sends a large body on a connection of its own. Bodies to one peer arrive in order. Returns when QUIC has taken
    /// the body, which it does as fast as the peer reads: await that before making the next one.
    ///
    /// # Errors
    /// The body was not sent, or the connection ended while it was.
    pub async fn send_bulk(&self, to: NodeId, body: Bytes) -> Result<(), BulkError> {
        let peer = self.inner.peer(to).ok_or(BulkError::NotSent(NotSent::UnknownPeer { node: to }))?;
        bulk::send(&self.inner, &peer, body).await
    }

    /// Dials an address and returns the identity of the node there.
    ///
    /// # Errors
    /// No node answers, or one of the two nodes refuses the other.
    pub async fn hello(&self, address: &str) -> Result<RemoteIdentity, HelloError> {
        let (connection, remote) = self.discover(address).await?;
        connection.close(DONE, b"done");
        Ok(remote)
    }

    /// Sends a request to the node at an address, which need not be a peer.
    ///
    /// # Errors
    /// The errors of [`request`](Self::request).
    pub async fn request_at(
        &self,
        address: &str,
        body: Bytes,
    ) -> Result<(RemoteIdentity, Bytes), RequestError> {
        let down = |error| RequestError::NotSent(NotSent::Down(error));
        let (connection, remote) = self.discover(address).await.map_err(down)?;
        let answer = request_once(&connection, body, self.inner.config.frame_bytes_max).await;
        connection.close(DONE, b"done");
        Ok((remote, answer?))
    }

    /// The states of the connections to all peers.
    #[must_use]
    pub fn stats(&self) -> Vec<PeerStats> {
        let stats = |peer: Arc<Peer>| {
            let (down, connected, rtt) = match peer.state() {
                LinkState::Connecting => (None, false, Duration::ZERO),
                LinkState::Up(link) => (None, true, link.connection.rtt()),
                LinkState::Down(error) => (Some(error), false, Duration::ZERO),
            };
            let queued_bytes = peer.queued_bytes();
            PeerStats { node: peer.node, address: peer.address.clone(), down, connected, queued_bytes, rtt }
        };
        self.inner.peers().into_iter().map(stats).collect()
    }

    /// Waits until the transport cannot go on, because one of its tasks panicked or its socket was lost, and returns
    /// the reason. The node should then end, so that it is started again.
    pub fn failed(&self) -> impl Future<Output = String> + Send + use<> {
        // Not through `self`: whoever waits here must not keep the transport alive.
        let tasks = self.inner.tasks.clone();
        async move { tasks.failed().await }
    }

    /// Closes the transport: sends what is queued, tells peers, and waits for both for up to twice
    /// [`close_timeout`](TransportConfig::close_timeout), or longer where a peer is far away.
    pub async fn close(&self) {
        if self.inner.stopping.send_replace(true) {
            return;
        }
        let peers = self.inner.peers();
        peers.iter().for_each(|peer| peer.stop());
        let farthest = peers.iter().filter_map(|peer| peer.round_trip()).max().unwrap_or_default();
        let limit = self.inner.config.close_timeout.max(farthest.saturating_mul(FLUSH_ROUND_TRIPS));
        let flushed = async {
            for peer in peers {
                let task = lock(&peer.task).take();
                if let Some(task) = task {
                    // A task that panicked has nothing left to send.
                    let _ = task.await;
                }
            }
        };
        let _ = timeout(limit, flushed).await;
        self.inner.endpoint.close(STOPPING, b"the node is stopping");
        let _ = timeout(limit, self.inner.endpoint.wait_idle()).await;
    }

    async fn discover(&self, address: &str) -> Result<(quinn::Connection, RemoteIdentity), HelloError> {
        dial_once(&self.inner, Target { address, lane: Lane::Discovery, expected: None }).await
    }
}

/// Closes the endpoint when the last handle is dropped.
struct Guard(Arc<Inner>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.stopping.send_replace(true);
        self.0.peers().iter().for_each(|peer| peer.stop());
        self.0.endpoint.close(STOPPING, b"the node is stopping");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use raftkit_core::Incarnation;

    use super::*;
    use crate::quic::certificates::{CaPem, create_ca, create_node_certificate};
    use crate::quic::{LocalIdentity, TlsFiles, TlsIdentity};
    use crate::refusal::Refusal;

    /// A node that claims an id, with the certificate of another, past the check at the start.
    fn claiming(ca: &CaPem, node: u64, certificate_of: u64) -> Transport {
        let own = create_node_certificate(ca, NodeId(certificate_of), &[]).unwrap();
        let files =
            TlsFiles { ca_pem: ca.cert.clone().into(), cert_pem: own.cert.into(), key_pem: own.key.into() };
        let identity = LocalIdentity {
            node: NodeId(node),
            store: StoreId(1),
            incarnation: Incarnation(1),
            cluster: None,
            address: String::new(),
            attributes: Bytes::new(),
        };
        let listen = ([127, 0, 0, 1], 0).into();
        let config = TransportConfig::new(listen, TlsIdentity::parse(&files).unwrap(), identity);
        Transport::launch(config, Handle::current()).unwrap().0
    }

    #[tokio::test]
    async fn a_claimed_node_id_that_is_not_in_the_certificate_is_refused_by_either_side() {
        let ca = create_ca("test").unwrap();
        let (honest, liar) = (claiming(&ca, 1, 1), claiming(&ca, 2, 3));
        let expected = Refusal::Certificate { refuser: NodeId(1), refused: NodeId(2) };
        for (dialler, address) in [(&honest, liar.local_addr()), (&liar, honest.local_addr())] {
            let error = dialler.hello(&address.to_string()).await.unwrap_err();
            assert!(matches!(error, HelloError::Refused(refusal) if refusal == expected), "{error}");
        }
    }
}
