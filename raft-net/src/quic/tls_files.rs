//! The PEM files of a node, and the names that its certificate carries.

use raftkit_core::NodeId;

/// The name that every node's certificate carries, so that an address can be dialled before its node id is known.
pub(crate) const GENERIC_NAME: &str = "raft-node.raftkit";

/// The name that proves a node id.
pub(crate) fn node_name(node: NodeId) -> String {
    format!("node-{node}.raftkit")
}

/// The PEM files with which a node proves its identity.
#[derive(Clone)]
pub struct TlsFiles {
    /// The certificates of the authorities that peers' certificates are signed by.
    pub ca_pem: Vec<u8>,
    /// This node's certificate, followed by intermediate ones if there are any.
    pub cert_pem: Vec<u8>,
    /// The private key of the node's certificate.
    pub key_pem: Vec<u8>,
}
