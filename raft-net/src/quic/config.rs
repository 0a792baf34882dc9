//! Settings of a transport, and the identities of both ends of a connection.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use raftkit_core::{ClusterId, Incarnation, NodeId, StoreId};

use super::tls::TlsIdentity;
use crate::FRAME_BYTES_MAX;
use crate::admission::Remote;
use crate::dialling::PeerIncarnation;

/// The identity that this node states in its greetings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIdentity {
    /// The node id; the node's certificate must name it.
    pub node: NodeId,
    /// The id of the node's data folder.
    pub store: StoreId,
    /// The number of the process's run on its data folder.
    pub incarnation: Incarnation,
    /// The node's cluster; none before it has formed or joined one. See
    /// [`Transport::set_cluster`](super::Transport::set_cluster).
    pub cluster: Option<ClusterId>,
    /// The address at which peers reach the node, `host:port`.
    pub address: String,
    /// Application data that peers are given with the greeting, uninterpreted. At most 32 KiB.
    pub attributes: Bytes,
}

/// The identity of the node at the other end, as its greeting stated it. The certificate proves the node id only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteIdentity {
    /// The node id.
    pub node: NodeId,
    /// The id of the node's data folder.
    pub store: StoreId,
    /// The number of the process's run on its data folder.
    pub incarnation: Incarnation,
    /// The number that the process drew at its start.
    pub process: u64,
    /// The cluster that the node named last; none before it has formed or joined one.
    pub cluster: Option<ClusterId>,
    /// The address at which peers can reach the node, according to its greeting, `host:port`.
    pub address: String,
    /// Application data of the node, from its greeting.
    pub attributes: Bytes,
    /// The address that the node's packets come from.
    pub observed: SocketAddr,
}

impl RemoteIdentity {
    /// Returns the part of the identity that admission checks.
    pub(crate) fn admitted(&self) -> Remote {
        let Self { node, store, incarnation, process, cluster, .. } = *self;
        Remote { node, store, incarnation, process, cluster }
    }

    /// Returns the part of the identity that dialling compares.
    pub(crate) fn peer_incarnation(&self) -> PeerIncarnation {
        PeerIncarnation { store: self.store, incarnation: self.incarnation }
    }
}

/// The settings of a transport.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// The address to listen on; port 0 takes any free port.
    pub listen: SocketAddr,
    /// Certificate, key and authorities.
    pub tls: TlsIdentity,
    /// The identity that this node states in its greetings.
    pub identity: LocalIdentity,
    /// Upper bound on frames that are accepted, in bytes; longer ones are refused unread. Default: [`FRAME_BYTES_MAX`].
    pub frame_bytes_max: usize,
    /// Upper bound on the bytes that are written to a peer at once. Default: 1 MiB.
    pub batch_bytes_max: usize,
    /// Upper bound on the bytes of messages that are queued for one peer. Above it, heartbeats replace older ones and
    /// appends are dropped. A single larger message is queued alone. Default: 32 MiB.
    pub queue_bytes_max: usize,
    /// Upper bound on the bytes of requests on their way to one peer, and of requests from one peer that wait for their
    /// answers here. Above it, senders wait. A larger single request is refused. Default: 64 MiB.
    pub request_bytes_max: usize,
    /// Upper bound on the bytes of received bulk bodies in memory. Above it, the peers that send them wait. A larger
    /// single body passes alone. Default: 64 MiB.
    pub bulk_bytes_max: usize,
    /// Upper bound on the events that wait in the [`Inbox`](super::Inbox). Above it, peers are made to wait. Default: 1024.
    pub inbound_max: usize,
    /// Silence after which a peer is taken for dead; keep-alives are sent four times as often. Default: 1500 ms.
    pub peer_timeout: Duration,
    /// Time for which a first attempt to connect waits for an answer, where nothing is known of the path. Later
    /// attempts follow the measured round trip, and wait longer each time that one times out. Default: 1000 ms.
    pub dial_timeout: Duration,
    /// Time for which a clean stop waits for what is queued. Default: 250 ms.
    pub close_timeout: Duration,
}

impl TransportConfig {
    /// Default settings for a node with this identity.
    #[must_use]
    pub fn new(listen: SocketAddr, tls: TlsIdentity, identity: LocalIdentity) -> Self {
        const MIB: usize = 1 << 20;
        Self {
            listen,
            tls,
            identity,
            frame_bytes_max: FRAME_BYTES_MAX,
            batch_bytes_max: MIB,
            queue_bytes_max: 32 * MIB,
            request_bytes_max: 64 * MIB,
            bulk_bytes_max: 64 * MIB,
            inbound_max: 1024,
            peer_timeout: Duration::from_millis(1500),
            dial_timeout: Duration::from_millis(1000),
            close_timeout: Duration::from_millis(250),
        }
    }
}
