//! A node's status, for operators.

use alloc::collections::BTreeMap;

use crate::{Health, LogId, LogIndex, Membership, NodeId, RoleName, Term, Time};

/// A node's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node's id.
    pub node: NodeId,
    /// The node's role.
    pub role: RoleName,
    /// The current term.
    pub term: Term,
    /// The leader of the term, if known; possibly the node itself.
    pub leader: Option<NodeId>,
    /// The last compacted entry, after which the log starts.
    pub base: LogId,
    /// The last entry of the log, durable or not.
    pub last: LogId,
    /// The highest index known to be committed.
    pub commit: LogIndex,
    /// The highest commit index that is durable here.
    pub durable_commit: LogIndex,
    /// The highest index that the state machine has applied.
    pub applied: LogIndex,
    /// On the leader: the end of its lease; none without one.
    pub lease_until: Option<Time>,
    /// On other nodes: when the leader was last heard.
    pub leader_heard: Option<Time>,
    /// Whether the node still holds everything that it acknowledged.
    pub health: Health,
    /// The membership in force; joint during joint consensus.
    pub membership: Membership,
    /// The index of the entry that the membership comes from.
    pub membership_index: LogIndex,
    /// On the leader: the status of each peer.
    pub peers: BTreeMap<NodeId, PeerStatus>,
}

/// The leader's view of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The highest index up to which the peer is known to hold the leader's log durably.
    pub match_index: LogIndex,
    /// The next index to send.
    pub next_index: LogIndex,
    /// The state of replication to the peer.
    pub state: PeerState,
    /// Bytes of entries in flight.
    pub inflight_bytes: usize,
    /// Number of appends in flight.
    pub inflight_messages: usize,
    /// The health that the peer reports. A damaged peer is replicated to, but counts in no quorum.
    pub health: Health,
    /// When the peer last answered in this term; none if it has not.
    pub heard: Option<Time>,
}

/// The state of replication to one peer.
///
/// ```text
///            an answer matches                a conflict, a lost connection, a new incarnation of the peer
///   Probe --------------------> Replicate --------------------------------------------------------> Probe
///     |  what it lacks is compacted |
///     +-------------> Snapshot <----+      Snapshot --- sent, failed, or it matches ---> Probe
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// One append at a time, until the logs are known to match.
    Probe,
    /// Appends are pipelined: the next is sent before the last is acknowledged.
    Replicate,
    /// The peer needs a snapshot, or is being sent one.
    Snapshot,
}
