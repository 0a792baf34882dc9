//! Decodes a record whose bytes are complete: finds it, checks its checksum, and reads its content.

use bytes::Bytes;
use raftkit_core::{Base, Entries, Entry, HardState, LogId, LogIndex, Membership, Payload, Write};

use super::padded;
use super::parts::{Appended, Part, Parts};
use super::record::{HEAD, NAME, checksum, hard_state_bytes};
use crate::error::Damage;
use crate::fields::Fields;
use crate::layout::{ID_BYTES, Identity, Mark, decode_hard_state};

/// A record whose checksum matches, but whose content is not decoded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed<'a> {
    /// Checksum of the record before it.
    pub(crate) prev: u64,
    /// The record's sequence number and checksum, and the journal position after it.
    pub(crate) mark: Mark,
    /// Length of the encoded hard state at its start, in bytes.
    hard_state_bytes: usize,
    body: &'a [u8],
}

/// The content of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The journal position after the record.
    pub(crate) mark: Mark,
    /// The hard state after the record.
    pub(crate) hard_state: HardState,
    /// The last entry of the log after the record.
    pub(crate) last: LogId,
    /// The new identity, if the record changes it.
    pub(crate) identity: Option<Identity>,
    /// The changes of the log, one part in each write; the last write carries the hard state.
    pub(crate) writes: Vec<Write>,
    /// True if the record's changes are in redb only.
    pub(crate) elsewhere: bool,
}

impl<'a> Sealed<'a> {
    /// Returns the record at the start of `bytes`, if there is one and its checksum matches.
    pub(crate) fn find(bytes: &'a [u8], salt: u64) -> Option<Self> {
        let found = Self::find_unchecked(bytes)?;
        let len = u32::try_from(found.body.len()).ok()?.to_le_bytes();
        let sound = checksum(salt, len, bytes.get(16..HEAD + found.body.len())?) == found.mark.sum;
        sound.then_some(found)
    }

    /// As [`find`](Self::find), but believes the checksum.
    pub(super) fn find_unchecked(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = Fields::new(NAME, bytes.get(..HEAD)?);
        let hard_state_bytes = hard_state_bytes(fields.u32().ok()?)?;
        let len = fields.u32().ok()?;
        let sum = fields.u64().ok()?;
        let (prev, seq, at) = (fields.u64().ok()?, fields.u64().ok()?, fields.u64().ok()?);
        let end = HEAD.checked_add(usize::try_from(len).ok()?)?;
        let body = bytes.get(HEAD..end)?;
        if body.len() < hard_state_bytes + ID_BYTES {
            return None;
        }
        let at = at.checked_add(padded(end) as u64)?;
        Some(Self { prev, mark: Mark { seq, at, sum }, hard_state_bytes, body })
    }

    /// Returns the number of bytes after the head.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Returns the position at which the record starts, counted without wrapping.
    pub(crate) fn start(&self) -> u64 {
        self.mark.at - padded(HEAD + self.body.len()) as u64
    }

    /// Returns the parts of the record, which follow the hard state and the last entry.
    pub(super) fn parts(&self) -> Parts<'a> {
        Parts::new(self.mark.seq, self.part_bytes())
    }

    fn part_bytes(&self) -> &'a [u8] {
        &self.body[self.hard_state_bytes + ID_BYTES..]
    }

    /// Decodes the hard state and the last entry after the record.
    pub(crate) fn ends(&self) -> Result<(HardState, LogId), Damage> {
        let mut fields = Fields::keyed(NAME, self.mark.seq, self.body);
        let hard_state = decode_hard_state(fields.bytes(self.hard_state_bytes)?)?;
        Ok((hard_state, fields.log_id()?))
    }

    /// Decodes the record.
    ///
    /// # Errors
    /// The checksum matches, but the content is malformed.
    pub(crate) fn open(&self) -> Result<Record, Damage> {
        let (hard_state, last) = self.ends()?;
        let mut record = Record {
            mark: self.mark,
            hard_state,
            last,
            identity: None,
            writes: Vec::new(),
            elsewhere: false,
        };
        // Copy once for all payloads: slices of the image would keep the whole ring in memory.
        let bytes = Bytes::copy_from_slice(self.part_bytes());
        let mut parts = Parts::new(self.mark.seq, &bytes);
        while let Some(part) = parts.next()? {
            let mut write = Write::default();
            match part {
                Part::Identity(identity) => record.identity = Some(identity),
                Part::Reset { id, membership } => write.reset_to = Some(Box::new(reset(id, membership)?)),
                Part::Truncate(from) => write.truncate_from = Some(from),
                Part::Append => write.append = append(&mut parts, &bytes)?,
                Part::Compact(to) => write.compact_to = Some(to),
                Part::Elsewhere => record.elsewhere = true,
            }
            if write != Write::default() {
                record.writes.push(write);
            }
        }
        record.writes.push(Write { hard_state: Some(hard_state), ..Write::default() });
        Ok(record)
    }
}

fn reset(id: LogId, membership: &[u8]) -> Result<Base, Damage> {
    let membership =
        Membership::decode(membership).map_err(|source| Damage::Payload { index: LogIndex::ZERO, source })?;
    Ok(Base { id, membership })
}

/// Decodes the entries of an append. Their payloads share `buffer`, which holds the bytes that `parts` decodes.
fn append(parts: &mut Parts<'_>, buffer: &Bytes) -> Result<Entries, Damage> {
    let mut entries = Vec::with_capacity(parts.entries_max());
    while let Some(Appended { id, kind, payload }) = parts.next_entry()? {
        let payload = Payload::from_parts(kind, buffer.slice_ref(payload))
            .map_err(|source| Damage::Payload { index: id.index, source })?;
        entries.push(Entry { id, payload });
    }
    Ok(entries.into())
}
