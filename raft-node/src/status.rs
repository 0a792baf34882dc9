//! A node's state as it is shown to people and programs: `GET /v1/raft/status`.

use std::collections::BTreeMap;

use raftkit_core::{ClusterId, Health, LogIndex, NodeId, RoleName, StoreId, Term};
use serde::{Deserialize, Serialize};

/// One node's state, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NodeStatus {
    /// Its id.
    pub node: NodeId,
    /// Its data folder's id, as hexadecimal digits.
    #[serde(with = "hex")]
    pub store: StoreId,
    /// Its cluster's id, as hexadecimal digits; none before the cluster is formed.
    pub cluster: Option<ClusterName>,
    /// How often its data folder was opened.
    pub incarnation: u64,
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader it knows, itself included.
    pub leader: Option<NodeId>,
    /// Milliseconds since the leader was heard; 0 on the leader; none when it was never heard.
    pub last_contact_ms: Option<u64>,
    /// The last index in its log that the log has before it, i.e. where the log starts.
    pub base: LogIndex,
    /// The last index in its log.
    pub last: LogIndex,
    /// The highest index that it knows to be committed.
    pub commit: LogIndex,
    /// The highest index that its state machine shows.
    pub applied: LogIndex,
    /// The highest index that its state machine holds durably.
    pub durable: LogIndex,
    /// Whether its log holds everything that it ever acknowledged; a damaged node has no vote until it has healed.
    pub health: Health,
    /// Where its transport is reached.
    pub raft_addr: String,
    /// What the node tells others of itself, e.g. its HTTP address.
    pub attributes: BTreeMap<String, String>,
    /// The members of its cluster, by its own log.
    pub members: Vec<MemberStatus>,
    /// The log entry that the membership stands in.
    pub membership_index: LogIndex,
    /// What an operator should look at, in words: addresses in `join` at which no server was found, certificates that end
    /// soon, and background work that fails and is tried again, such as a snapshot.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One member, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MemberStatus {
    /// Its id.
    pub node: NodeId,
    /// Where its transport is reached.
    pub address: String,
    /// Whether it votes.
    pub voter: bool,
    /// On the leader: what the member is known to hold durably.
    pub matched: Option<LogIndex>,
    /// How long a packet takes to it and back, in microseconds; none without a connection, or for the node itself.
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
