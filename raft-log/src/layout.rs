//! The encodings that journal, witness and tables share: identity, hard state, and journal position.
//!
//! ```text
//! identity     format: u32, node: u64, store: u128, formed: u8, cluster: u128, incarnation: u64
//! hard state   term: u64, flags: u8 (1 voted, 2 damaged), vote: u64, commit: u64, promise: u64 (ns)
//! mark         seq: u64, at: u64, sum: u64
//! ```
//!
//! All numbers are little-endian. Formats 1 and 2 had no promise: see [`PROMISE_BEFORE_3`].

use std::time::Duration;

use raftkit_core::{ClusterId, HardState, Health, Incarnation, LogId, LogIndex, NodeId, StoreId, Term};

use crate::error::Damage;
use crate::fields::Fields;

/// The format that this version writes, and the newest that it reads.
pub(crate) const FORMAT: u32 = 3;

/// Length of an encoded hard state of format 1 or 2, which had no promise, in bytes.
pub(crate) const HARD_STATE_BYTES_BEFORE_3: usize = 8 + 1 + 8 + 8;
/// Length of an encoded hard state, in bytes.
pub(crate) const HARD_STATE_BYTES: usize = HARD_STATE_BYTES_BEFORE_3 + 8;
/// Length of an encoded identity, in bytes.
pub(crate) const IDENTITY_BYTES: usize = 4 + 8 + 16 + 1 + 16 + 8;
/// Length of an encoded term and index, in bytes.
pub(crate) const ID_BYTES: usize = 8 + 8;
/// Length of an encoded mark, in bytes.
pub(crate) const MARK_BYTES: usize = 8 + 8 + 8;

/// The promise not to vote that a hard state of format 1 or 2 is assumed to hold. The actual promise followed from a
/// setting that is not stored, 500 ms by default. 10 s is longer than in any cluster except one with a longer
/// `raft-leader-timeout`; such a cluster must keep that setting during the upgrade, because a node always waits at
/// least for its current setting. The cost is one wait: until it is over, the node follows and acknowledges but does
/// not vote.
pub(crate) const PROMISE_BEFORE_3: Duration = Duration::from_secs(10);

/// Identity of a log, stored with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node that owns the log.
    pub node: NodeId,
    /// The store: a random id, drawn when the log is created.
    pub store: StoreId,
    /// The cluster, once the store belongs to one.
    pub cluster: Option<ClusterId>,
    /// Number of openings; raised durably at each one.
    pub incarnation: Incarnation,
    /// Format of the log.
    pub format: u32,
}

/// A journal position between two records: everything before it is contained in whatever carries this mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Sequence number of the record before it; 0 if there is none.
    pub(crate) seq: u64,
    /// Position at which the next record may start, counted without wrapping.
    pub(crate) at: u64,
    /// Checksum of the record before it.
    pub(crate) sum: u64,
}

pub(crate) fn encode_identity(identity: &Identity) -> Vec<u8> {
    let mut body = identity.format.to_le_bytes().to_vec();
    body.extend_from_slice(&identity.node.0.to_le_bytes());
    body.extend_from_slice(&identity.store.0.to_le_bytes());
    body.push(u8::from(identity.cluster.is_some()));
    body.extend_from_slice(&identity.cluster.unwrap_or_default().0.to_le_bytes());
    body.extend_from_slice(&identity.incarnation.0.to_le_bytes());
    body
}

/// Decodes the identity; returns only the format if it is newer than this version.
pub(crate) fn decode_identity(body: &[u8]) -> Result<Result<Identity, u32>, Damage> {
    let mut fields = Fields::new("identity", body);
    let format = fields.u32()?;
    if format > FORMAT {
        return Ok(Err(format));
    }
    let node = NodeId(fields.u64()?);
    let store = StoreId(fields.u128()?);
    let formed = fields.flag()?;
    let cluster = ClusterId(fields.u128()?);
    let incarnation = Incarnation(fields.u64()?);
    fields.end()?;
    Ok(Ok(Identity { node, store, cluster: formed.then_some(cluster), incarnation, format }))
}

pub(crate) fn encode_hard_state(state: &HardState) -> Vec<u8> {
    let mut body = state.term.0.to_le_bytes().to_vec();
    body.push(u8::from(state.vote.is_some()) | u8::from(state.health == Health::Damaged) << 1);
    body.extend_from_slice(&state.vote.unwrap_or_default().0.to_le_bytes());
    body.extend_from_slice(&state.commit.0.to_le_bytes());
    // Saturating is harmless: `u64::MAX` nanoseconds are more than 500 years.
    let promise = u64::try_from(state.promise.as_nanos()).unwrap_or(u64::MAX);
    body.extend_from_slice(&promise.to_le_bytes());
    assert_eq!(body.len(), HARD_STATE_BYTES, "readers tell the formats of a hard state apart by its length");
    body
}

/// Returns the hard state as it is decoded after [`encode_hard_state`]: a promise longer than the field holds is stored as the longest
/// that fits.
pub(crate) fn as_stored(state: HardState) -> HardState {
    HardState { promise: state.promise.min(Duration::from_nanos(u64::MAX)), ..state }
}

/// Decodes a hard state of any format, told apart by its length.
pub(crate) fn decode_hard_state(body: &[u8]) -> Result<HardState, Damage> {
    let mut fields = Fields::new("hard state", body);
    let term = Term(fields.u64()?);
    let flags = fields.flags(3)?;
    let vote = NodeId(fields.u64()?);
    let commit = LogIndex(fields.u64()?);
    let is_old = body.len() == HARD_STATE_BYTES_BEFORE_3;
    let promise = if is_old { PROMISE_BEFORE_3 } else { Duration::from_nanos(fields.u64()?) };
    fields.end()?;
    let health = if flags & 2 == 0 { Health::Sound } else { Health::Damaged };
    Ok(HardState { term, vote: (flags & 1 != 0).then_some(vote), commit, health, promise })
}

/// Encodes a term and index.
pub(crate) fn encode_id(id: LogId) -> [u8; ID_BYTES] {
    let mut bytes = [0; ID_BYTES];
    bytes[..8].copy_from_slice(&id.term.0.to_le_bytes());
    bytes[8..].copy_from_slice(&id.index.0.to_le_bytes());
    bytes
}

pub(crate) fn encode_mark(mark: &Mark) -> Vec<u8> {
    [mark.seq, mark.at, mark.sum].into_iter().flat_map(u64::to_le_bytes).collect()
}

pub(crate) fn decode_mark(body: &[u8]) -> Result<Mark, Damage> {
    let mut fields = Fields::new("settled", body);
    let mark = fields.mark()?;
    fields.end()?;
    Ok(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn identity() -> Identity {
        Identity {
            node: NodeId(2),
            store: StoreId(0x0304),
            cluster: Some(ClusterId(5)),
            incarnation: Incarnation(6),
            format: 1,
        }
    }

    /// Data folders hold these bytes: any change is a new format.
    #[test]
    fn the_bytes_of_identity_hard_state_and_mark_are_these() {
        let body = encode_identity(&identity());
        let parts = [
            "01000000",
            "0200000000000000",
            "04030000000000000000000000000000",
            "01",
            "05000000000000000000000000000000",
            "0600000000000000",
        ];
        assert_eq!(hex(&body), parts.concat());
        assert_eq!(body.len(), IDENTITY_BYTES);
        assert_eq!(decode_identity(&body).expect("sound").expect("known"), identity());

        let (term, vote, commit) = (Term(1), Some(NodeId(2)), LogIndex(3));
        let promise = Duration::from_nanos(4);
        let golden = [
            (Health::Sound, "010000000000000001020000000000000003000000000000000400000000000000"),
            (Health::Damaged, "010000000000000003020000000000000003000000000000000400000000000000"),
        ];
        for (health, bytes) in golden {
            let state = HardState { term, vote, commit, health, promise };
            let body = encode_hard_state(&state);
            assert_eq!(hex(&body), bytes);
            assert_eq!(body.len(), HARD_STATE_BYTES);
            assert_eq!(decode_hard_state(&body).expect("sound"), state);
            let old = HardState { promise: PROMISE_BEFORE_3, ..state };
            let before = &body[..HARD_STATE_BYTES_BEFORE_3];
            assert_eq!(decode_hard_state(before).expect("as formats 1 and 2 have it"), old);
            for len in (0..body.len()).filter(|len| *len != HARD_STATE_BYTES_BEFORE_3) {
                assert!(decode_hard_state(&body[..len]).is_err(), "{len} bytes");
            }
        }

        let mark = Mark { seq: 1, at: 2, sum: 3 };
        assert_eq!(hex(&encode_mark(&mark)), "010000000000000002000000000000000300000000000000");
        assert_eq!(decode_mark(&encode_mark(&mark)).expect("sound"), mark);
        assert_eq!(encode_mark(&mark).len(), MARK_BYTES);
    }

    #[test]
    fn a_newer_format_is_told_whatever_follows_it() {
        let newer = decode_identity(&[4, 0, 0, 0, 99]).expect("its first field is what it always is");
        assert_eq!(newer, Err(4));
        assert!(decode_identity(&[1, 0, 0, 0, 99]).is_err());
    }
}
