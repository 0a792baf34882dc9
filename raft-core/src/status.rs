//! What an operator wants to see of a node.

use alloc::collections::BTreeMap;

use crate::{Health, LogId, LogIndex, Membership, NodeId, RoleName, Term, Time};

/// A node's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader it knows, itself included.
    pub leader: Option<NodeId>,
    /// Where its log starts.
    pub base: LogId,
    /// Its last entry, durable or not.
    pub last: LogId,
    /// The highest index known to be committed.
    pub commit: LogIndex,
    /// The highest commit index that is durable here.
    pub durable_commit: LogIndex,
    /// The highest index that the state machine has applied.
    pub applied: LogIndex,
    /// On the leader: until when its lease holds; none without one.
    pub lease_until: Option<Time>,
    /// On others: when the leader was last heard.
    pub leader_heard: Option<Time>,
    /// Whether it still holds everything that it ever acknowledged.
    pub health: Health,
    /// The membership in force; joint while a change is under way.
    pub membership: Membership,
    /// The index of the entry that it stands in.
    pub membership_index: LogIndex,
    /// On the leader: its view of each peer.
    pub peers: BTreeMap<NodeId, PeerStatus>,
}

/// The leader's view of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// What the peer is known to hold durably.
    pub match_index: LogIndex,
    /// The next entry to send.
    pub next_index: LogIndex,
    /// How it is being served.
    pub state: PeerState,
    /// Bytes of entries on their way.
    pub inflight_bytes: usize,
    /// Appends on their way.
    pub inflight_messages: usize,
    /// Whether it counts: a damaged one is served and does not.
    pub health: Health,
    /// When it last answered in this term.
    pub heard: Option<Time>,
}

/// How a leader serves a peer.
///
/// ```text
///            an answer matches                a conflict, a lost connection, a new life of the peer
///   Probe --------------------> Replicate --------------------------------------------------------> Probe
///     |  what it lacks is compacted |
///     +-------------> Snapshot <----+      Snapshot --- sent, failed, or it matches ---> Probe
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// One append at a time, until logs are known to agree.
    Probe,
    /// Appends are pipelined.
    Replicate,
    /// It is being sent a snapshot.
    Snapshot,
}
