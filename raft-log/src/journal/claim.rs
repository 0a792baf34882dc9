//! What a possible record states while its checksum is not checked, or does not match: enough to find candidates and to
//! tell a rotten record from a torn one.

use raftkit_core::{HardState, LogId};

use super::SECTOR;
use super::record::{HEAD, NAME, checksum, hard_state_bytes};
use crate::fields::Fields;
use crate::layout::decode_hard_state;

/// Returns the sequence number that a possible record at the start of `bytes` states, unchecked. Used to find
/// candidates.
pub(crate) fn claimed_seq(bytes: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(NAME, bytes.get(..HEAD)?);
    hard_state_bytes(fields.u32().ok()?)?;
    let mut seq = Fields::new(NAME, bytes.get(24..32)?);
    seq.u64().ok()
}

/// Claims made by the first sector of a possible record, whose remaining sectors may be torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Checksum of the record before it.
    pub(crate) prev: u64,
    pub(crate) seq: u64,
    /// Position at which the record starts, counted without wrapping.
    pub(crate) at: u64,
    /// The hard state after the record.
    pub(crate) hard_state: HardState,
    /// The last entry of the log after the record.
    pub(crate) last: LogId,
}

impl Claim {
    /// Reads the claims of a possible record at the start of `bytes`, without checking them.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(NAME, bytes.get(..SECTOR)?);
        let hard_state_bytes = hard_state_bytes(fields.u32().ok()?)?;
        let _len = fields.u32().ok()?;
        let _sum = fields.u64().ok()?;
        let (prev, seq, at) = (fields.u64().ok()?, fields.u64().ok()?, fields.u64().ok()?);
        let hard_state = decode_hard_state(fields.bytes(hard_state_bytes).ok()?).ok()?;
        let last = fields.log_id().ok()?;
        Some(Self { prev, seq, at, hard_state, last })
    }
}

/// Returns the checksums that a damaged record at the start of `bytes` may have had: the stated one, and the one
/// computed from its content. Either the stated checksum or the content may be the rotten part.
pub(crate) fn possible_sums(bytes: &[u8], salt: u64) -> [Option<u64>; 2] {
    let head = || {
        let mut fields = Fields::new(NAME, bytes.get(..HEAD)?);
        let _magic = fields.u32().ok()?;
        Some((fields.u32().ok()?, fields.u64().ok()?))
    };
    let Some((len, said)) = head() else { return [None; 2] };
    let end = usize::try_from(len).ok().and_then(|len| HEAD.checked_add(len));
    let rest = end.and_then(|end| bytes.get(16..end));
    // A stated checksum of zero means that nothing was ever written here.
    [Some(said).filter(|said| *said != 0), rest.map(|rest| checksum(salt, len.to_le_bytes(), rest))]
}
