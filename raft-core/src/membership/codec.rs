//! The encoding of a membership, shared by log, transport and snapshots.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Member, Membership};
use crate::{LogId, NodeId, StoreId};

/// Bits of a member's flags byte.
mod flag {
    pub(super) const VOTER: u8 = 1;
    pub(super) const OUTGOING: u8 = 2;
    pub(super) const STAGING: u8 = 4;
    pub(super) const LEAVING: u8 = 8;
    /// A priority byte follows, as it is not the default.
    pub(super) const PRIORITY: u8 = 16;
    pub(super) const ALL: u8 = 31;
}

/// Why bytes cannot be decoded as a membership or payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end early.
    #[error("the bytes end early: {wanted} more were expected, {got} are there")]
    Truncated {
        /// The number of bytes that the next field needs.
        wanted: usize,
        /// The number of bytes left.
        got: usize,
    },
    /// Bytes follow after the end.
    #[error("{got} bytes follow where none may")]
    TrailingBytes {
        /// The number of surplus bytes.
        got: usize,
    },
    /// A kind or flags byte that this version does not know.
    #[error("kind {kind} is not known to this version")]
    UnknownKind {
        /// The byte that stands where the kind should.
        kind: u8,
    },
    /// An address is not UTF-8.
    #[error("the address of node {node} is not UTF-8")]
    BadAddress {
        /// The member whose address it is.
        node: NodeId,
    },
    /// A voter is not among the members.
    #[error("node {node} is a voter but not a member")]
    VoterIsNoMember {
        /// The voter that is not a member.
        node: NodeId,
    },
}

impl Membership {
    /// Length of the encoding, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let one = |m: &Member| 8 + 1 + usize::from(has_priority(m)) + 16 + 4 + m.address.len();
        let members: usize = self.members.values().map(one).sum();
        4 + members + if self.id == LogId::GENESIS { 0 } else { 16 }
    }

    /// Encodes the membership, little-endian:
    ///
    /// ```text
    ///   count u32
    ///   for each member, in order of id:
    ///     id u64, flags u8 (1 voter, 2 outgoing, 4 staging, 8 leaving, 16 a priority follows), [priority u8],
    ///     store u128, address length u32, address
    ///   term u64, index u64     the membership entry; absent for a founding membership
    /// ```
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        let count = u32::try_from(self.members.len()).expect("a group has far fewer members than 2^32");
        out.extend_from_slice(&count.to_le_bytes());
        for (id, member) in &self.members {
            let length = u32::try_from(member.address.len()).expect("an address is far shorter than 4 GiB");
            out.extend_from_slice(&id.0.to_le_bytes());
            out.push(self.flags(*id, member));
            if has_priority(member) {
                out.push(member.priority);
            }
            out.extend_from_slice(&member.store.0.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(member.address.as_bytes());
        }
        if self.id != LogId::GENESIS {
            out.extend_from_slice(&self.id.term.0.to_le_bytes());
            out.extend_from_slice(&self.id.index.0.to_le_bytes());
        }
        out.into()
    }

    fn flags(&self, id: NodeId, member: &Member) -> u8 {
        let set = |holds: bool, flag: u8| if holds { flag } else { 0 };
        set(self.voters.contains(&id), flag::VOTER)
            | set(self.outgoing.contains(&id), flag::OUTGOING)
            | set(self.staging.contains(&id), flag::STAGING)
            | set(self.leaving.contains(&id), flag::LEAVING)
            | set(has_priority(member), flag::PRIORITY)
    }

    /// Decodes what [`encode`](Self::encode) made.
    ///
    /// # Errors
    /// The bytes are truncated, too long, or not a valid membership.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let count = u32::from_le_bytes(take(&mut rest)?);
        let mut membership = Self::default();
        for _ in 0..count {
            membership.decode_member(&mut rest)?;
        }
        if !rest.is_empty() {
            let term = u64::from_le_bytes(take(&mut rest)?);
            membership.id = LogId::new(term, u64::from_le_bytes(take(&mut rest)?));
        }
        if rest.is_empty() { Ok(membership) } else { Err(DecodeError::TrailingBytes { got: rest.len() }) }
    }

    fn decode_member(&mut self, rest: &mut &[u8]) -> Result<(), DecodeError> {
        let node = NodeId(u64::from_le_bytes(take(rest)?));
        let [flags] = take(rest)?;
        if flags & !flag::ALL != 0 {
            return Err(DecodeError::UnknownKind { kind: flags });
        }
        let [priority] = if flags & flag::PRIORITY == 0 { [Member::PRIORITY] } else { take(rest)? };
        let store = StoreId(u128::from_le_bytes(take(rest)?));
        let length = u32::from_le_bytes(take(rest)?) as usize;
        let address = address(node, length, rest)?;
        for (flag, set) in [
            (flag::VOTER, &mut self.voters),
            (flag::OUTGOING, &mut self.outgoing),
            (flag::STAGING, &mut self.staging),
            (flag::LEAVING, &mut self.leaving),
        ] {
            if flags & flag != 0 {
                set.insert(node);
            }
        }
        self.members.insert(node, Member { store, address, priority });
        Ok(())
    }
}

fn has_priority(member: &Member) -> bool {
    member.priority != Member::PRIORITY
}

fn address(node: NodeId, length: usize, rest: &mut &[u8]) -> Result<String, DecodeError> {
    let (address, after) =
        rest.split_at_checked(length).ok_or(DecodeError::Truncated { wanted: length, got: rest.len() })?;
    *rest = after;
    Ok(core::str::from_utf8(address).map_err(|_| DecodeError::BadAddress { node })?.to_string())
}

/// Takes the next `N` bytes.
fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], DecodeError> {
    let (head, after) =
        rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated { wanted: N, got: rest.len() })?;
    *rest = after;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Suffrage;

    #[test]
    fn every_part_survives_the_encoding() {
        let member = |store: u128, priority| Member { priority, ..Member::new(StoreId(store), "host:1") };
        let from = Membership::default().with(NodeId(1), member(1, Member::PRIORITY), Suffrage::Voter).with(
            NodeId(2),
            member(2, 0),
            Suffrage::Voter,
        );
        let target = from.clone().without(NodeId(1)).with(NodeId(3), member(3, 255), Suffrage::Voter).with(
            NodeId(4),
            member(4, Member::PRIORITY),
            Suffrage::Staging,
        );
        for membership in [from.clone(), target.clone(), from.join(&target).at(LogId::new(7, 9))] {
            let bytes = membership.encode();
            assert_eq!(bytes.len(), membership.encoded_len());
            assert_eq!(Membership::decode(&bytes), Ok(membership.clone()));
            for cut in 0..bytes.len() {
                // Without its last 16 bytes it is the founding membership with the same members.
                let whole = membership.id != LogId::GENESIS && cut == bytes.len() - 16;
                assert_eq!(Membership::decode(&bytes[..cut]).is_ok(), whole, "cut at {cut}");
            }
        }
    }
}
