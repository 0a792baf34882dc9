//! The witness: the log's identity and the journal position reached, in a sector outside the ring.
//!
//! ```text
//! magic: u32   format: u32   sum: u64 (of all below)
//! generation: u64   ring: u64   mark: (seq: u64, at: u64, sum: u64)   last: (term: u64, index: u64)
//! hard state (layout.rs)   identity (layout.rs)
//! ```
//!
//! There are two witnesses, written alternately, so that a power cut tears at most one. The magic is "RKW2", or "RKW1"
//! for a witness of format 2, whose hard state has no promise.

use raftkit_core::{HardState, LogId};
use xxhash_rust::xxh3::xxh3_64;

use super::SECTOR;
use crate::fields::Fields;
use crate::layout::{
    HARD_STATE_BYTES, HARD_STATE_BYTES_BEFORE_3, ID_BYTES, IDENTITY_BYTES, Identity, MARK_BYTES, Mark,
    as_stored, decode_hard_state, decode_identity, encode_hard_state, encode_id, encode_identity,
    encode_mark,
};

const MAGIC: u32 = u32::from_le_bytes(*b"RKW2");
/// Magic of a witness of format 2.
const MAGIC_BEFORE_3: u32 = u32::from_le_bytes(*b"RKW1");
const HEAD: usize = 16;
/// Distance between the two witnesses, in bytes. They share no page.
const SLOT_BYTES: u64 = 4096;

/// State of the log, recorded beside the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    /// Number of this witness; the higher of the two is the newer.
    pub(crate) generation: u64,
    /// Identity of the log.
    pub(crate) identity: Identity,
    /// Length of the ring, in bytes.
    pub(crate) ring: u64,
    /// Journal position when the witness was written.
    pub(crate) mark: Mark,
    /// Last entry of the log at that time.
    pub(crate) last: LogId,
    /// Hard state at that time.
    pub(crate) hard_state: HardState,
}

impl Witness {
    /// Returns the witness's offset in the file.
    pub(crate) fn offset(&self) -> u64 {
        (self.generation % 2) * SLOT_BYTES
    }

    /// Encodes the witness into one sector.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(SECTOR);
        body.extend_from_slice(&self.generation.to_le_bytes());
        body.extend_from_slice(&self.ring.to_le_bytes());
        body.extend_from_slice(&encode_mark(&self.mark));
        body.extend_from_slice(&encode_id(self.last));
        body.extend_from_slice(&encode_hard_state(&self.hard_state));
        body.extend_from_slice(&encode_identity(&self.identity));
        body.resize(SECTOR - HEAD, 0);
        let mut sector = MAGIC.to_le_bytes().to_vec();
        sector.extend_from_slice(&self.identity.format.to_le_bytes());
        sector.extend_from_slice(&xxh3_64(&body).to_le_bytes());
        sector.extend_from_slice(&body);
        sector
    }

    /// Decodes a sector; returns `None` if it is torn, rotten or malformed.
    pub(crate) fn decode(sector: &[u8]) -> Option<Self> {
        let mut head = Fields::new("witness", sector.get(..SECTOR)?);
        let magic = head.u32().ok()?;
        let _format = head.u32().ok()?;
        let sum = head.u64().ok()?;
        let body = head.rest();
        let hard_state_bytes = match magic {
            MAGIC => HARD_STATE_BYTES,
            MAGIC_BEFORE_3 => HARD_STATE_BYTES_BEFORE_3,
            _ => return None,
        };
        if xxh3_64(body) != sum {
            return None;
        }
        let mut fields = Fields::new("witness", body);
        let (generation, ring) = (fields.u64().ok()?, fields.u64().ok()?);
        let (mark, last) = (fields.mark().ok()?, fields.log_id().ok()?);
        let hard_state = decode_hard_state(fields.bytes(hard_state_bytes).ok()?).ok()?;
        let identity = decode_identity(fields.bytes(IDENTITY_BYTES).ok()?).ok()?.ok()?;
        Some(Self { generation, identity, ring, mark, last, hard_state })
    }

    /// Returns true if both witnesses state the same. A promise that is too long to be stored counts as the longest that
    /// can be stored.
    pub(super) fn says_the_same_as(&self, other: &Self) -> bool {
        let stored = |witness: &Self| Self { hard_state: as_stored(witness.hard_state), ..*witness };
        stored(self) == stored(other)
    }

    /// Returns the newer of the two witnesses in the file's head.
    pub(crate) fn newest(head: &[u8]) -> Option<Self> {
        let slot = usize::try_from(SLOT_BYTES).ok()?;
        let both = [head.get(..SECTOR), head.get(slot..slot + SECTOR)];
        both.into_iter().flatten().filter_map(Self::decode).max_by_key(|witness| witness.generation)
    }
}

const _: () = assert!(
    HEAD + 8 + 8 + MARK_BYTES + ID_BYTES + HARD_STATE_BYTES + IDENTITY_BYTES <= SECTOR,
    "a witness fits into one sector"
);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use raftkit_core::{ClusterId, Health, Incarnation, LogIndex, NodeId, StoreId, Term};

    use super::*;
    use crate::layout::FORMAT;

    fn witness() -> Witness {
        Witness {
            generation: 3,
            identity: Identity {
                node: NodeId(1),
                store: StoreId(2),
                cluster: Some(ClusterId(3)),
                incarnation: Incarnation(4),
                format: FORMAT,
            },
            ring: 65536,
            mark: Mark { seq: 5, at: 6, sum: 7 },
            last: LogId::new(8, 9),
            hard_state: HardState {
                term: Term(8),
                vote: Some(NodeId(1)),
                commit: LogIndex(9),
                health: Health::Sound,
                promise: Duration::from_millis(500),
            },
        }
    }

    #[test]
    fn a_witness_is_read_back_and_any_flipped_bit_is_noticed() {
        let sector = witness().encode();
        assert_eq!(sector.len(), SECTOR);
        assert_eq!(Witness::decode(&sector), Some(witness()));
        // The checksum covers everything but the format, which stands before it so that other versions can read it.
        for bit in (0..SECTOR * 8).filter(|bit| !(32..64).contains(bit)) {
            let mut rotten = sector.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Witness::decode(&rotten), None, "bit {bit}");
        }
        assert_eq!(Witness::decode(&sector[..SECTOR - 1]), None);
    }

    #[test]
    fn the_newer_of_two_counts_and_one_is_enough() {
        let older = Witness { generation: 2, ..witness() };
        let mut head = vec![0; 8192];
        head[..SECTOR].copy_from_slice(&older.encode());
        assert_eq!(Witness::newest(&head), Some(older));
        head[4096..4096 + SECTOR].copy_from_slice(&witness().encode());
        assert_eq!(Witness::newest(&head), Some(witness()));
        head[4096] ^= 1;
        assert_eq!(Witness::newest(&head), Some(older));
        head[0] ^= 1;
        assert_eq!(Witness::newest(&head), None);
    }
}
