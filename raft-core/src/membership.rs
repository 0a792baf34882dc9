//! Who takes part: voters, outgoing voters while a change is joint, learners (thesis, chapter 4).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use crate::{NodeId, StoreId};

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// The data folder that votes and acknowledges under this node's id; another one does not count.
    pub store: StoreId,
    /// Where its transport is reached, `host:port`. The protocol never looks at it.
    pub address: String,
}

/// A group's membership. Every voter is a member; a member that is no voter is a learner.
///
/// While `outgoing` is not empty the membership is joint: elections and commits need a majority of `voters` and a
/// majority of `outgoing` (thesis, section 4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Membership {
    members: BTreeMap<NodeId, Member>,
    voters: BTreeSet<NodeId>,
    outgoing: BTreeSet<NodeId>,
}

/// Why bytes are no membership or payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end early.
    #[error("the bytes end early: {wanted} more were expected, {got} are there")]
    Truncated {
        /// How many bytes the next field needs.
        wanted: usize,
        /// How many are left.
        got: usize,
    },
    /// Bytes follow where none may.
    #[error("{got} bytes follow where none may")]
    TrailingBytes {
        /// How many.
        got: usize,
    },
    /// A kind byte that this version does not know.
    #[error("kind {kind} is not known to this version")]
    UnknownKind {
        /// The byte found.
        kind: u8,
    },
    /// An address is not UTF-8.
    #[error("the address of node {node} is not UTF-8")]
    BadAddress {
        /// Whose.
        node: NodeId,
    },
    /// A voter is not among the members.
    #[error("node {node} is a voter but not a member")]
    VoterIsNoMember {
        /// Which.
        node: NodeId,
    },
}

impl Membership {
    /// A membership that is not joint: `members`, of whom `voters` vote.
    ///
    /// # Errors
    /// A voter is not among the members.
    pub fn new(members: BTreeMap<NodeId, Member>, voters: BTreeSet<NodeId>) -> Result<Self, DecodeError> {
        Self::joint(members, voters, BTreeSet::new())
    }

    /// A membership in which every member votes: what a cluster is founded with.
    #[must_use]
    pub fn founding(members: BTreeMap<NodeId, Member>) -> Self {
        let voters = members.keys().copied().collect();
        Self { members, voters, outgoing: BTreeSet::new() }
    }

    /// A membership that may be joint.
    ///
    /// # Errors
    /// A voter, incoming or outgoing, is not among the members.
    pub fn joint(
        members: BTreeMap<NodeId, Member>,
        voters: BTreeSet<NodeId>,
        outgoing: BTreeSet<NodeId>,
    ) -> Result<Self, DecodeError> {
        match voters.union(&outgoing).find(|node| !members.contains_key(node)) {
            Some(node) => Err(DecodeError::VoterIsNoMember { node: *node }),
            None => Ok(Self { members, voters, outgoing }),
        }
    }

    /// All members, by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The voters (the incoming half while joint).
    #[must_use]
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// The outgoing half while joint; empty otherwise.
    #[must_use]
    pub fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.outgoing
    }

    /// True while a change is joint.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// True when `node` votes, in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// True when `node` is a member, voter or learner.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// The store id under which `node` takes part.
    #[must_use]
    pub fn store(&self, node: NodeId) -> Option<StoreId> {
        self.members.get(&node).map(|member| member.store)
    }

    /// The number of bytes that [`encode`](Self::encode) makes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let members: usize = self.members.values().map(|m| 8 + 1 + 16 + 4 + m.address.len()).sum();
        4 + members
    }

    /// The membership as bytes, little-endian: `count u32`, then for each member in order of id
    /// `id u64, flags u8 (1 voter, 2 outgoing), store u128, address length u32, address`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        let count = u32::try_from(self.members.len()).expect("a group has far fewer members than 2^32");
        out.extend_from_slice(&count.to_le_bytes());
        for (id, member) in &self.members {
            let flags = u8::from(self.voters.contains(id)) | u8::from(self.outgoing.contains(id)) << 1;
            let length = u32::try_from(member.address.len()).expect("an address is far shorter than 4 GiB");
            out.extend_from_slice(&id.0.to_le_bytes());
            out.push(flags);
            out.extend_from_slice(&member.store.0.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(member.address.as_bytes());
        }
        out.into()
    }

    /// Reads what [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// The bytes are truncated, too long, or hold what no membership can.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut membership = Self::default();
        for _ in 0..count {
            let node = NodeId(u64::from_le_bytes(take(&mut rest)?));
            let [flags] = take(&mut rest)?;
            let store = StoreId(u128::from_le_bytes(take(&mut rest)?));
            let length = u32::from_le_bytes(take(&mut rest)?) as usize;
            let (address, after) = rest
                .split_at_checked(length)
                .ok_or(DecodeError::Truncated { wanted: length, got: rest.len() })?;
            rest = after;
            let address =
                core::str::from_utf8(address).map_err(|_| DecodeError::BadAddress { node })?.to_string();
            if flags > 3 {
                return Err(DecodeError::UnknownKind { kind: flags });
            }
            if flags & 1 != 0 {
                membership.voters.insert(node);
            }
            if flags & 2 != 0 {
                membership.outgoing.insert(node);
            }
            membership.members.insert(node, Member { store, address });
        }
        if rest.is_empty() { Ok(membership) } else { Err(DecodeError::TrailingBytes { got: rest.len() }) }
    }
}

/// Takes the next `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, after) =
        rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated { wanted: N, got: rest.len() })?;
    *rest = after;
    Ok(*head)
}
