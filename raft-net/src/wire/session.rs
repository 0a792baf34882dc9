//! The headers of everything that is not a Raft message: greetings, refusals, requests, bulk.
#![allow(
    unsafe_code,
    reason = "rkyv's derives implement its unsafe marker traits; no unsafe is written by hand"
)]

use raftkit_core::{ClusterId, Incarnation, NodeId, StoreId};
use rkyv::rend::unaligned::{u64_ule, u128_ule};
use rkyv::{Archive, Serialize};

use super::{U32, U64, U128};
use crate::PROTOCOL_VERSION;
use crate::refusal::{Hello, Lane, Refusal};

/// A greeting; address and attributes follow it.
#[derive(Archive, Serialize)]
pub(crate) struct HelloHeader {
    pub(crate) version: U32,
    pub(crate) lane: LaneHeader,
    pub(crate) cluster: ClusterHeader,
    pub(crate) node: U64,
    pub(crate) store: U128,
    pub(crate) incarnation: U64,
    pub(crate) process: U64,
    pub(crate) address_length: U32,
    pub(crate) attributes_length: U32,
}

/// The purpose of a connection.
#[derive(Archive, Serialize)]
pub(crate) enum LaneHeader {
    Control,
    Bulk,
    Discovery,
}

/// The cluster of a node; absent before it has formed or joined one.
#[derive(Archive, Serialize)]
pub(crate) enum ClusterHeader {
    Absent,
    Present(U128),
}

/// The reason for which a node is refused.
#[derive(Archive, Serialize)]
pub(crate) enum RefusalHeader {
    /// Fields: the refusing side's version, the refused side's version.
    Version(U32, U32),
    /// Fields: refusing node, its cluster, refused node, its cluster.
    OtherCluster(U64, U128, U64, U128),
    /// Fields: refusing node, refused node, expected store, claimed store.
    OtherStore(U64, U64, U128, U128),
    /// Fields: node id that both claim, the refusing side's store, the refused side's store.
    Twin(U64, U128, U128),
    /// Field: the node that dialled itself.
    Myself(U64),
    /// Fields: refusing node, refused node.
    Certificate(U64, U64),
    /// Fields: refusing node, refused node, newest incarnation, claimed incarnation.
    Stale(U64, U64, U64, U64),
    /// Fields: refusing node, expected node, refused node.
    OtherNode(U64, U64, U64),
    /// Fields: refusing node, refused node, incarnation that both claim.
    Copy(U64, U64, U64),
}

/// A request; its body follows behind.
#[derive(Archive, Serialize)]
pub(crate) struct RequestHeader {
    pub(crate) id: U64,
    pub(crate) length: U32,
}

/// The answer to a request; its body follows behind.
#[derive(Archive, Serialize)]
pub(crate) struct ResponseHeader {
    pub(crate) id: U64,
    pub(crate) status: StatusHeader,
    pub(crate) length: U32,
}

/// The status of a response.
#[derive(Archive, Serialize)]
pub(crate) enum StatusHeader {
    Answered,
    Unanswered,
}

/// A bulk body, which follows behind.
#[derive(Archive, Serialize)]
pub(crate) struct BulkHeader {
    pub(crate) length: U32,
}

impl HelloHeader {
    /// Returns the header of a greeting with strings of these lengths, in bytes.
    pub(crate) fn of(hello: &Hello, address_length: u32, attributes_length: u32) -> Self {
        Self {
            version: PROTOCOL_VERSION.into(),
            lane: match hello.lane {
                Lane::Control => LaneHeader::Control,
                Lane::Bulk => LaneHeader::Bulk,
                Lane::Discovery => LaneHeader::Discovery,
            },
            cluster: hello
                .cluster
                .map_or(ClusterHeader::Absent, |cluster| ClusterHeader::Present(cluster.0.into())),
            node: hello.node.0.into(),
            store: hello.store.0.into(),
            incarnation: hello.incarnation.0.into(),
            process: hello.process.into(),
            address_length: address_length.into(),
            attributes_length: attributes_length.into(),
        }
    }
}

impl ArchivedHelloHeader {
    /// Converts the header to a greeting whose strings are still empty.
    pub(crate) fn to_hello(&self) -> Hello {
        Hello {
            lane: match self.lane {
                ArchivedLaneHeader::Control => Lane::Control,
                ArchivedLaneHeader::Bulk => Lane::Bulk,
                ArchivedLaneHeader::Discovery => Lane::Discovery,
            },
            cluster: match self.cluster {
                ArchivedClusterHeader::Absent => None,
                ArchivedClusterHeader::Present(cluster) => Some(ClusterId(cluster.to_native())),
            },
            node: NodeId(self.node.to_native()),
            store: StoreId(self.store.to_native()),
            incarnation: Incarnation(self.incarnation.to_native()),
            process: self.process.to_native(),
            address: String::new(),
            attributes: bytes::Bytes::new(),
        }
    }
}

impl RefusalHeader {
    /// Returns the header of a refusal; nothing follows it.
    pub(crate) fn of(refusal: &Refusal) -> Self {
        match *refusal {
            Refusal::Version { refuser, refused } => Self::Version(refuser.into(), refused.into()),
            Refusal::OtherCluster { refuser, refuser_cluster, refused, refused_cluster } => {
                Self::OtherCluster(
                    refuser.0.into(),
                    refuser_cluster.0.into(),
                    refused.0.into(),
                    refused_cluster.0.into(),
                )
            }
            Refusal::OtherStore { refuser, refused, expected, claimed } => {
                Self::OtherStore(refuser.0.into(), refused.0.into(), expected.0.into(), claimed.0.into())
            }
            Refusal::Twin { node, refuser_store, refused_store } => {
                Self::Twin(node.0.into(), refuser_store.0.into(), refused_store.0.into())
            }
            Refusal::Myself { node } => Self::Myself(node.0.into()),
            Refusal::Certificate { refuser, refused } => {
                Self::Certificate(refuser.0.into(), refused.0.into())
            }
            Refusal::Stale { refuser, refused, newest, claimed } => {
                Self::Stale(refuser.0.into(), refused.0.into(), newest.0.into(), claimed.0.into())
            }
            Refusal::OtherNode { refuser, expected, refused } => {
                Self::OtherNode(refuser.0.into(), expected.0.into(), refused.0.into())
            }
            Refusal::Copy { refuser, refused, incarnation } => {
                Self::Copy(refuser.0.into(), refused.0.into(), incarnation.0.into())
            }
        }
    }
}

impl ArchivedRefusalHeader {
    /// Converts the header to a refusal.
    pub(crate) fn to_refusal(&self) -> Refusal {
        let node = |id: &u64_ule| NodeId(id.to_native());
        let store = |id: &u128_ule| StoreId(id.to_native());
        match self {
            Self::Version(refuser, refused) => {
                Refusal::Version { refuser: refuser.to_native(), refused: refused.to_native() }
            }
            Self::OtherCluster(refuser, refuser_cluster, refused, refused_cluster) => Refusal::OtherCluster {
                refuser: node(refuser),
                refuser_cluster: ClusterId(refuser_cluster.to_native()),
                refused: node(refused),
                refused_cluster: ClusterId(refused_cluster.to_native()),
            },
            Self::OtherStore(refuser, refused, expected, claimed) => Refusal::OtherStore {
                refuser: node(refuser),
                refused: node(refused),
                expected: store(expected),
                claimed: store(claimed),
            },
            Self::Twin(id, refuser_store, refused_store) => Refusal::Twin {
                node: node(id),
                refuser_store: store(refuser_store),
                refused_store: store(refused_store),
            },
            Self::Myself(id) => Refusal::Myself { node: node(id) },
            Self::Certificate(refuser, refused) => {
                Refusal::Certificate { refuser: node(refuser), refused: node(refused) }
            }
            Self::Stale(refuser, refused, newest, claimed) => Refusal::Stale {
                refuser: node(refuser),
                refused: node(refused),
                newest: Incarnation(newest.to_native()),
                claimed: Incarnation(claimed.to_native()),
            },
            Self::OtherNode(refuser, expected, refused) => Refusal::OtherNode {
                refuser: node(refuser),
                expected: node(expected),
                refused: node(refused),
            },
            Self::Copy(refuser, refused, incarnation) => Refusal::Copy {
                refuser: node(refuser),
                refused: node(refused),
                incarnation: Incarnation(incarnation.to_native()),
            },
        }
    }
}
