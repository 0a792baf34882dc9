//! Greetings, and the reasons for which a node is refused.

use bytes::Bytes;
use raftkit_core::{ClusterId, Incarnation, NodeId, StoreId};

use crate::PROTOCOL_VERSION;

/// The first message that either side of a connection sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The purpose of the connection; the answer repeats it.
    pub lane: Lane,
    /// The cluster that the node belongs to; none before it has joined or formed one.
    pub cluster: Option<ClusterId>,
    /// The node. Its certificate must name it.
    pub node: NodeId,
    /// The id of the node's data folder.
    pub store: StoreId,
    /// The number of the process's run on its data folder.
    pub incarnation: Incarnation,
    /// A random number, drawn at the start of the process. It distinguishes a node that dialled itself from a twin on a
    /// copied folder, and two processes on copies of one folder from one that dials again.
    pub process: u64,
    /// The address at which the node's transport is reached, `host:port`.
    pub address: String,
    /// Application data for the peers; the transport does not interpret it.
    pub attributes: Bytes,
}

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Raft messages and requests.
    Control,
    /// Large bodies, so that they do not delay the control lane.
    Bulk,
    /// One request to an address whose node may not be known yet.
    Discovery,
}

/// Reason for which the node `refuser` refuses the node `refused`. Both sides show the same text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The nodes speak different protocols.
    #[error(
        "the nodes speak different protocols: version {refuser} refused version {refused}; \
         run releases that share a protocol version"
    )]
    Version {
        /// The refusing side's version.
        refuser: u32,
        /// The refused side's version.
        refused: u32,
    },
    /// The nodes belong to different clusters.
    #[error(
        "node {refuser} of cluster {refuser_cluster} refused node {refused} of cluster {refused_cluster}: \
         they belong to different clusters; check the peer addresses, or start the node that is in the wrong \
         cluster with an empty data folder"
    )]
    OtherCluster {
        /// The refusing node.
        refuser: NodeId,
        /// The cluster of the node named before.
        refuser_cluster: ClusterId,
        /// The node that is refused.
        refused: NodeId,
        /// The cluster of the node named before.
        refused_cluster: ClusterId,
    },
    /// The membership knows this node id under another data folder.
    #[error(
        "node {refuser} refused node {refused}: the cluster knows it with store {expected}, and it came with store \
         {claimed}; start it with its own data folder, or remove node {refused} and add it as a new member"
    )]
    OtherStore {
        /// The refusing node.
        refuser: NodeId,
        /// The node that is refused.
        refused: NodeId,
        /// The store that the membership names.
        expected: StoreId,
        /// The store that it came with.
        claimed: StoreId,
    },
    /// Two processes claim one node id.
    #[error(
        "two nodes with one id: node {node} with store {refuser_store} refused another node {node}, with store \
         {refused_store}; give each node an id and a data folder of its own"
    )]
    Twin {
        /// The id that both claim.
        node: NodeId,
        /// The refusing node's store.
        refuser_store: StoreId,
        /// The refused node's store.
        refused_store: StoreId,
    },
    /// The node dialled its own address.
    #[error("node {node} reached itself")]
    Myself {
        /// This node, at both ends.
        node: NodeId,
    },
    /// The certificate does not name the node that is claimed.
    #[error(
        "node {refuser} refused a node that calls itself {refused}: its certificate does not name node-{refused}.raftkit; \
         give it a certificate made for node {refused}"
    )]
    Certificate {
        /// The refusing node.
        refuser: NodeId,
        /// The node id that was claimed.
        refused: NodeId,
    },
    /// A later incarnation of the node was met.
    #[error(
        "node {refuser} refused node {refused} in incarnation {claimed}: it has already met incarnation {newest} of it; \
         either an older process is still running, or an older copy of its data folder was put back"
    )]
    Stale {
        /// The refusing node.
        refuser: NodeId,
        /// The node that is refused.
        refused: NodeId,
        /// The newest incarnation that was met.
        newest: Incarnation,
        /// The incarnation in the greeting.
        claimed: Incarnation,
    },
    /// Two processes run on copies of one data folder, as the same incarnation: one of them would vote and acknowledge
    /// what the other does not know.
    #[error(
        "node {refuser} refused node {refused} in incarnation {incarnation}: another process runs with the same store and \
         incarnation; its data folder was copied, or an older copy of it was put back: stop one of the two, and add the \
         other as a new member with an empty data folder"
    )]
    Copy {
        /// The refusing node.
        refuser: NodeId,
        /// The node that is refused.
        refused: NodeId,
        /// The incarnation that both claim.
        incarnation: Incarnation,
    },
    /// Another node answers at the address.
    #[error(
        "node {refuser} expected node {expected} at this address and met node {refused}; correct the address of node \
         {expected}"
    )]
    OtherNode {
        /// The refusing (dialling) node.
        refuser: NodeId,
        /// The node that was dialled.
        expected: NodeId,
        /// The node that answered.
        refused: NodeId,
    },
}

impl Refusal {
    /// The refusal of a node that speaks another protocol version than this one.
    #[must_use]
    pub fn version(refused: u32) -> Self {
        Self::Version { refuser: PROTOCOL_VERSION, refused }
    }
}
