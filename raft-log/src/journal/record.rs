//! A record: the writes of one flush, chained to the record before it.
//!
//! ```text
//! magic: u32   len: u32   sum: u64   prev: u64   seq: u64   at: u64       the head, 40 bytes
//! hard state (layout.rs)   last: (term: u64, index: u64)                 as they are after it
//! then, in the order in which they act:
//!   1  identity (layout.rs)
//!   2  reset: base (term: u64, index: u64)   len: u32   membership
//!   3  truncate from: u64
//!   4  append: count: u32   first: u64, then of each entry   len: u32   term: u64   kind: u8   payload
//!   5  compact to: u64
//!   6  marks a flush too large for the ring, whose changes are in redb only
//! zeros up to the sector's end
//! ```
//!
//! The magic states the format: "RKJ2", or "RKJ1" for a record of format 2, whose hard state has no promise. A chain
//! may continue from records of the old format to records of the new one, so upgrading a log does not rewrite its
//! journal.
//!
//! `len` is the length of everything after the head, without the padding. `sum` covers everything except the magic and
//! itself, and starts from the journal's salt. `prev` is the `sum` of the record before.

use raftkit_core::{Entry, HardState, LogId, Payload, Write};
use xxhash_rust::xxh3::Xxh3;

use super::{SECTOR, padded};
use crate::layout::{
    HARD_STATE_BYTES, HARD_STATE_BYTES_BEFORE_3, ID_BYTES, Identity, encode_hard_state, encode_id,
    encode_identity,
};

const MAGIC: u32 = u32::from_le_bytes(*b"RKJ2");
/// Magic of a record of format 2.
const MAGIC_BEFORE_3: u32 = u32::from_le_bytes(*b"RKJ1");
pub(crate) const HEAD: usize = 40;
/// Length of a record without parts, in bytes.
pub(crate) const RECORD_BYTES_MIN: usize = HEAD + HARD_STATE_BYTES + ID_BYTES;
/// Length of an entry without its payload, in bytes.
pub(super) const ENTRY_HEAD: usize = 13;
/// Name of a record in error messages.
pub(super) const NAME: &str = "journal record";

/// Tags that precede the parts of a record.
pub(super) mod tag {
    pub(in crate::journal) const IDENTITY: u8 = 1;
    pub(in crate::journal) const RESET: u8 = 2;
    pub(in crate::journal) const TRUNCATE: u8 = 3;
    pub(in crate::journal) const APPEND: u8 = 4;
    pub(in crate::journal) const COMPACT: u8 = 5;
    pub(in crate::journal) const ELSEWHERE: u8 = 6;
}

/// Returns the maximum length of a write in a record, in bytes.
pub(crate) fn encoded_len(write: &Write) -> usize {
    let entries: usize = write.append.iter().map(|entry| ENTRY_HEAD + payload_len(entry)).sum();
    let reset = write.reset_to.as_ref().map_or(0, |base| 21 + base.membership.encoded_len());
    entries + reset + 13 + 9 + 9
}

/// Returns the length of an entry's payload, in bytes.
pub(crate) fn payload_len(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Noop => 0,
        Payload::Command(command) => command.len(),
        Payload::Membership(membership) => membership.encoded_len(),
    }
}

/// The checksum of a record just sealed, and the number of bytes that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Checksum of the record.
    pub(crate) sum: u64,
    /// Number of bytes after the head that the checksum covers.
    pub(crate) body_bytes: usize,
}

/// Builds one record at a time, reusing the same buffer.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Begins a record, with the hard state and the last entry as they are after it.
    pub(crate) fn begin(&mut self, hard_state: &HardState, last: LogId) {
        self.bytes.clear();
        self.bytes.resize(HEAD, 0);
        self.bytes.extend_from_slice(&encode_hard_state(hard_state));
        self.id(last);
    }

    /// Adds a change of the identity.
    pub(crate) fn identity(&mut self, identity: &Identity) {
        self.bytes.push(tag::IDENTITY);
        self.bytes.extend_from_slice(&encode_identity(identity));
    }

    /// Adds a write, except its hard state: the record has a single one, at its start.
    pub(crate) fn write(&mut self, write: &Write) {
        if let Some(base) = &write.reset_to {
            self.bytes.push(tag::RESET);
            self.id(base.id);
            self.sized(&base.membership.encode());
        }
        if let Some(from) = write.truncate_from {
            self.bytes.push(tag::TRUNCATE);
            self.u64(from.0);
        }
        if let Some(first) = write.append.first() {
            self.bytes.push(tag::APPEND);
            self.u32(write.append.len());
            self.u64(first.id.index.0);
            for entry in &write.append {
                self.entry(entry);
            }
        }
        if let Some(to) = write.compact_to {
            self.bytes.push(tag::COMPACT);
            self.u64(to.0);
        }
    }

    /// Marks the record as one whose changes are in redb only.
    pub(crate) fn elsewhere(&mut self) {
        self.bytes.push(tag::ELSEWHERE);
    }

    fn entry(&mut self, entry: &Entry) {
        let (kind, payload) = entry.payload.to_parts();
        self.u32(payload.len());
        self.u64(entry.id.term.0);
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&payload);
    }

    fn id(&mut self, id: LogId) {
        self.bytes.extend_from_slice(&encode_id(id));
    }

    fn u64(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn u32(&mut self, number: usize) {
        let number = u32::try_from(number).expect("a record is far below 4 GiB");
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.u32(bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the length of the record with its padding, in bytes.
    pub(crate) fn padded(&self) -> usize {
        padded(self.bytes.len())
    }

    /// Finishes the record: fills in its head and pads it.
    pub(crate) fn seal(&mut self, salt: u64, seq: u64, at: u64, prev: u64) -> Seal {
        let body_bytes = self.bytes.len() - HEAD;
        let len = u32::try_from(body_bytes).expect("a record is far below 4 GiB").to_le_bytes();
        self.bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&len);
        for (place, number) in [(16, prev), (24, seq), (32, at)] {
            self.bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(salt, len, &self.bytes[16..]);
        self.bytes[8..16].copy_from_slice(&sum.to_le_bytes());
        self.bytes.resize(padded(self.bytes.len()), 0);
        Seal { sum, body_bytes }
    }

    /// Returns the bytes of the record sealed last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) fn checksum(salt: u64, len: [u8; 4], rest: &[u8]) -> u64 {
    let mut hasher = Xxh3::with_seed(salt);
    hasher.update(&len);
    hasher.update(rest);
    hasher.digest()
}

/// Returns the length of the hard state in a record with this magic, in bytes; `None` if no record has this magic.
pub(super) fn hard_state_bytes(magic: u32) -> Option<usize> {
    match magic {
        MAGIC => Some(HARD_STATE_BYTES),
        MAGIC_BEFORE_3 => Some(HARD_STATE_BYTES_BEFORE_3),
        _ => None,
    }
}

/// Builds a record with an arbitrary body, to test what lies behind the checksum.
#[cfg(test)]
pub(crate) fn sealed(body: &[u8], salt: u64) -> Vec<u8> {
    let mut encoder = Encoder { bytes: vec![0; HEAD] };
    encoder.bytes.extend_from_slice(body);
    encoder.seal(salt, 5, 512, 9);
    encoder.bytes
}

const _: () = assert!(SECTOR > RECORD_BYTES_MIN, "the smallest record has a sector of its own");
