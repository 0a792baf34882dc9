//! What a transport is told at its start, and who is at the other end.

use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use raftkit_core::{ClusterId, Incarnation, NodeId, StoreId};

use super::tls::TlsIdentity;
use crate::FRAME_BYTES_MAX;
use crate::admission::Remote;
use crate::dialling::PeerLife;

/// Who this node says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalIdentity {
    /// The node; its certificate must name it.
    pub node: NodeId,
    /// Its data folder.
    pub store: StoreId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its cluster, if it has one yet; see [`Transport::set_cluster`](super::Transport::set_cluster).
    pub cluster: Option<ClusterId>,
    /// Where peers reach it, `host:port`.
    pub address: String,
    /// Its own words to peers, given to them with its greeting; not interpreted. At most 32 KiB.
    pub attributes: Bytes,
}

/// Who is at the other end, as its greeting said and its certificate proved (the node id only).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteIdentity {
    /// The node.
    pub node: NodeId,
    /// Its data folder.
    pub store: StoreId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its process, as in its greeting.
    pub process: u64,
    /// Its cluster, if it had one when it last said so.
    pub cluster: Option<ClusterId>,
    /// Where it says that it is reached, `host:port`.
    pub address: String,
    /// Its own words.
    pub attributes: Bytes,
    /// Where its packets come from.
    pub observed: SocketAddr,
}

impl RemoteIdentity {
    /// What admission goes by.
    pub(crate) fn admitted(&self) -> Remote {
        let Self { node, store, incarnation, process, cluster, .. } = *self;
        Remote { node, store, incarnation, process, cluster }
    }

    /// What dialling goes by.
    pub(crate) fn life(&self) -> PeerLife {
        PeerLife { store: self.store, incarnation: self.incarnation }
    }
}

/// A transport's settings.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Certificate, key, authorities.
    pub tls: TlsIdentity,
    /// Who this node says it is.
    pub identity: LocalIdentity,
    /// Longer frames are refused unread. [`FRAME_BYTES_MAX`], which no frame exceeds.
    pub frame_bytes_max: usize,
    /// What is queued for a peer goes out in one write up to so many bytes. 1 MiB.
    pub batch_bytes_max: usize,
    /// At most so many bytes of messages are queued for one peer; above, heartbeats replace older ones and appends
    /// are dropped. A single larger message is queued alone. 32 MiB.
    pub queue_bytes_max: usize,
    /// At most so many bytes of requests are on their way to one peer, and as many from one peer are waiting for their
    /// answers here; above, they wait. A larger single request is refused. 64 MiB.
    pub request_bytes_max: usize,
    /// At most so many bytes of bulk bodies that came in are alive; above, the peers that send them wait. A larger
    /// single body passes alone. 64 MiB.
    pub bulk_bytes_max: usize,
    /// A peer that was silent for so long is taken for dead; keep-alives are sent four times as often. 1500 ms.
    pub peer_timeout: Duration,
    /// How long a first attempt to connect waits for an answer, where nothing is known of the path. Later ones follow the
    /// measured round trip, and wait longer each time that one times out. 1000 ms.
    pub dial_timeout: Duration,
    /// How long a clean stop waits for what is queued. 250 ms.
    pub close_timeout: Duration,
}

impl TransportConfig {
    /// The defaults, for a node with this identity.
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
            peer_timeout: Duration::from_millis(1500),
            dial_timeout: Duration::from_millis(1000),
            close_timeout: Duration::from_millis(250),
        }
    }
}
