//! A node's status, as `GET /v1/raft/status` shows it to people and programs.

use std::collections::BTreeMap;

use raftkit_core::{ClusterId, Health, LogIndex, NodeId, RoleName, StoreId, Term};
use serde::{Deserialize, Serialize};

/// The status of one node, as the node itself sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeStatus {
    /// The node's id.
    pub node: NodeId,
    /// Id of the node's data folder, as hexadecimal digits.
    #[serde(with = "hex")]
    pub store: StoreId,
    /// Id of the node's cluster, as hexadecimal digits; none before the cluster is formed.
    pub cluster: Option<ClusterName>,
    /// Number of times that the data folder was opened.
    pub incarnation: u64,
    /// The node's role.
    pub role: RoleName,
    /// The node's term.
    pub term: Term,
    /// The leader that the node knows, which may be itself.
    pub leader: Option<NodeId>,
    /// Milliseconds since the node heard from the leader; 0 on the leader; none if it never heard from a leader.
    pub last_contact_ms: Option<u64>,
    /// Index of the last compacted entry, after which the log starts.
    pub base: LogIndex,
    /// Index of the last entry in the log.
    pub last: LogIndex,
    /// Highest index that the node knows to be committed.
    pub commit: LogIndex,
    /// Highest index that is applied to the state machine.
    pub applied: LogIndex,
    /// Highest index up to which the state machine is durable.
    pub durable: LogIndex,
    /// Whether the log holds everything that the node ever acknowledged; a damaged node has no vote until it has recovered.
    pub health: Health,
    /// Address of the node's transport.
    pub raft_addr: String,
    /// Facts that the node publishes about itself, such as its HTTP address.
    pub attributes: BTreeMap<String, String>,
    /// The members of the cluster, according to the node's own log.
    pub members: Vec<MemberStatus>,
    /// Index of the entry that holds the membership.
    pub membership_index: LogIndex,
    /// Messages for an operator: addresses in `join` at which no server was found, certificates that expire soon, and
    /// background work that fails and is tried again, such as a snapshot.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One member, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MemberStatus {
    /// The member's id.
    pub node: NodeId,
    /// Address of the member's transport.
    pub address: String,
    /// Whether the member is a voter.
    pub voter: bool,
    /// On the leader: the index up to which the member is known to hold the log durably.
    pub matched: Option<LogIndex>,
    /// Round-trip time to the member, in microseconds; none without a connection, and for the node itself.
    #[serde(default)]
    pub round_trip_us: Option<u64>,
}

/// A cluster's id, shown as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterName(#[serde(with = "cluster_hex")] pub ClusterId);

mod hex {
    //! A store id as 32 hexadecimal digits: JSON has no 128-bit numbers.

    use raftkit_core::StoreId;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(id: &StoreId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:032x}", id.0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StoreId, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(StoreId).map_err(D::Error::custom)
    }
}

mod cluster_hex {
    //! A cluster id as 32 hexadecimal digits.

    use raftkit_core::{ClusterId, StoreId};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(id: &ClusterId, serializer: S) -> Result<S::Ok, S::Error> {
        super::hex::serialize(&StoreId(id.0), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClusterId, D::Error> {
        super::hex::deserialize(deserializer).map(|id| ClusterId(id.0))
    }
}
