//! A record: what one flush made durable, chained to the record before it.
//!
//! ```text
//! magic: u32   len: u32   sum: u64   prev: u64   seq: u64   at: u64       the head, 40 bytes
//! hard state (tables.rs)   last: (term: u64, index: u64)                 as they are after it
//! then, in the order in which they act:
//!   1  identity (tables.rs)
//!   2  reset: base (term: u64, index: u64)   len: u32   membership
//!   3  truncate from: u64
//!   4  append: count: u32   first: u64, then of each entry   len: u32   term: u64   kind: u8   payload
//!   5  compact to: u64
//!   6  what it did is in redb alone: it was too large for the ring
//! zeros up to the sector's end
//! ```
//!
//! The magic says the format: "RKJ2", or "RKJ1" of a record of format 2, whose hard state has no promise. The chain goes
//! on from records of the one to those of the other, so a log is upgraded with its journal unread.
//!
//! `len` is that of all after the head, without the zeros; `sum` is over all but magic and itself, and starts from the
//! journal's salt; `prev` is the sum of the record before.

use bytes::{Buf, Bytes};
use raftkit_core::{Base, Entries, Entry, HardState, LogId, LogIndex, Membership, Payload, Term, Write};
use xxhash_rust::xxh3::Xxh3;

use super::{Mark, SECTOR, padded};
use crate::error::Damage;
use crate::fields::Fields;
use crate::tables::{
    HARD_STATE_BYTES, HARD_STATE_BYTES_BEFORE_3, IDENTITY_BYTES, Identity, decode_hard_state,
    decode_identity, encode_hard_state, encode_identity,
};

const MAGIC: u32 = u32::from_le_bytes(*b"RKJ2");
/// Of a record of format 2.
const MAGIC_BEFORE_3: u32 = u32::from_le_bytes(*b"RKJ1");
pub(crate) const HEAD: usize = 40;
/// Length of a term and an index, in bytes.
const ID_BYTES: usize = 16;
/// What a record holds in any case, in bytes.
pub(crate) const RECORD_BYTES_MIN: usize = HEAD + HARD_STATE_BYTES + ID_BYTES;
const ENTRY_HEAD: usize = 13;
/// What errors call it.
const NAME: &str = "journal record";

/// What stands before each part.
mod tag {
    pub(super) const IDENTITY: u8 = 1;
    pub(super) const RESET: u8 = 2;
    pub(super) const TRUNCATE: u8 = 3;
    pub(super) const APPEND: u8 = 4;
    pub(super) const COMPACT: u8 = 5;
    pub(super) const ELSEWHERE: u8 = 6;
}

/// How many bytes a write takes in a record, at most.
pub(crate) fn encoded_len(write: &Write) -> usize {
    let entries: usize = write.append.iter().map(|entry| ENTRY_HEAD + payload_len(entry)).sum();
    let reset = write.reset_to.as_ref().map_or(0, |base| 21 + base.membership.encoded_len());
    entries + reset + 13 + 9 + 9
}

/// The length of an entry's payload, in bytes.
pub(crate) fn payload_len(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Noop => 0,
        Payload::Command(command) => command.len(),
        Payload::Membership(membership) => membership.encoded_len(),
    }
}

/// Builds one record at a time, always in the same memory.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// Starts a record after which these are the hard state and the last entry.
    pub(crate) fn begin(&mut self, hard_state: &HardState, last: LogId) {
        self.bytes.clear();
        self.bytes.resize(HEAD, 0);
        self.bytes.extend_from_slice(&encode_hard_state(hard_state));
        self.id(last);
    }

    /// The identity is this from here on.
    pub(crate) fn identity(&mut self, identity: &Identity) {
        self.bytes.push(tag::IDENTITY);
        self.bytes.extend_from_slice(&encode_identity(identity));
    }

    /// All of a write but its hard state, which is the record's.
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

    /// What the record stands for is in redb already.
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
        self.u64(id.term.0);
        self.u64(id.index.0);
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

    /// How long the record will be with its zeros.
    pub(crate) fn padded(&self) -> usize {
        padded(self.bytes.len())
    }

    /// Ends the record; answers its checksum.
    pub(crate) fn seal(&mut self, salt: u64, seq: u64, at: u64, prev: u64) -> u64 {
        let len = u32::try_from(self.bytes.len() - HEAD).expect("a record is far below 4 GiB").to_le_bytes();
        self.bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&len);
        for (place, number) in [(16, prev), (24, seq), (32, at)] {
            self.bytes[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        let sum = checksum(salt, len, &self.bytes[16..]);
        self.bytes[8..16].copy_from_slice(&sum.to_le_bytes());
        self.bytes.resize(padded(self.bytes.len()), 0);
        sum
    }

    /// The record that was sealed last.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

fn checksum(salt: u64, len: [u8; 4], rest: &[u8]) -> u64 {
    let mut hasher = Xxh3::with_seed(salt);
    hasher.update(&len);
    hasher.update(rest);
    hasher.digest()
}

/// A record whose checksum holds, not looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed<'a> {
    /// The checksum of the record before it.
    pub(crate) prev: u64,
    /// The sequence that it ends with, and up to where the journal is with it.
    pub(crate) mark: Mark,
    /// Length of the hard state that it begins with, in bytes.
    hard_state_bytes: usize,
    body: &'a [u8],
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// Up to where the journal is with it.
    pub(crate) mark: Mark,
    /// The hard state after it.
    pub(crate) hard_state: HardState,
    /// The last entry after it.
    pub(crate) last: LogId,
    /// The identity, where it changed.
    pub(crate) identity: Option<Identity>,
    /// Its changes of the log, one part each, and the hard state with the last.
    pub(crate) writes: Vec<Write>,
    /// What it did is in redb alone.
    pub(crate) elsewhere: bool,
}

/// The sequence of what may be a record at the start of `bytes`, unchecked: for a first look.
pub(crate) fn claimed_seq(bytes: &[u8]) -> Option<u64> {
    let mut fields = Fields::new(NAME, bytes.get(..HEAD)?);
    hard_state_bytes(fields.u32().ok()?)?;
    let mut seq = Fields::new(NAME, bytes.get(24..32)?);
    seq.u64().ok()
}

/// What the first sector of a record says, if it is one: the rest may be torn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The checksum of the record before it.
    pub(crate) prev: u64,
    pub(crate) seq: u64,
    /// Where it starts, counted without end.
    pub(crate) at: u64,
    /// The hard state after it.
    pub(crate) hard_state: HardState,
    /// The last entry after it.
    pub(crate) last: LogId,
}

impl Claim {
    /// What may be a record at the start of `bytes` says of itself, unchecked.
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

/// The checksums that a damaged record at the start of `bytes` may have had: the one that it says, and the one that its bytes
/// have, whichever of the two is rotten.
pub(crate) fn possible_sums(bytes: &[u8], salt: u64) -> [Option<u64>; 2] {
    let head = || {
        let mut fields = Fields::new(NAME, bytes.get(..HEAD)?);
        let _magic = fields.u32().ok()?;
        Some((fields.u32().ok()?, fields.u64().ok()?))
    };
    let Some((len, said)) = head() else { return [None; 2] };
    let end = usize::try_from(len).ok().and_then(|len| HEAD.checked_add(len));
    let rest = end.and_then(|end| bytes.get(16..end));
    // Nothing was ever written where there are zeros.
    [Some(said).filter(|said| *said != 0), rest.map(|rest| checksum(salt, len.to_le_bytes(), rest))]
}

/// Length of the hard state in a record of this magic, in bytes; none where it is no record's.
fn hard_state_bytes(magic: u32) -> Option<usize> {
    match magic {
        MAGIC => Some(HARD_STATE_BYTES),
        MAGIC_BEFORE_3 => Some(HARD_STATE_BYTES_BEFORE_3),
        _ => None,
    }
}

impl<'a> Sealed<'a> {
    /// The record at the start of `bytes`; none when there is none whose checksum holds.
    pub(crate) fn find(bytes: &'a [u8], salt: u64) -> Option<Self> {
        let mut fields = Fields::new(NAME, bytes.get(..HEAD)?);
        let hard_state_bytes = hard_state_bytes(fields.u32().ok()?)?;
        let len = fields.u32().ok()?;
        let sum = fields.u64().ok()?;
        let (prev, seq, at) = (fields.u64().ok()?, fields.u64().ok()?, fields.u64().ok()?);
        let end = HEAD.checked_add(usize::try_from(len).ok()?)?;
        let body = bytes.get(HEAD..end)?;
        let sound = checksum(salt, len.to_le_bytes(), bytes.get(16..end)?) == sum;
        if body.len() < hard_state_bytes + ID_BYTES || !sound {
            return None;
        }
        let at = at.checked_add(padded(end) as u64)?;
        Some(Self { prev, mark: Mark { seq, at, sum }, hard_state_bytes, body })
    }

    /// Where it starts, counted without end.
    pub(crate) fn start(&self) -> u64 {
        self.mark.at - padded(HEAD + self.body.len()) as u64
    }

    /// The hard state and the last entry after it.
    pub(crate) fn ends(&self) -> Result<(HardState, LogId), Damage> {
        let mut fields = Fields::keyed(NAME, self.mark.seq, self.body);
        let hard_state = decode_hard_state(fields.bytes(self.hard_state_bytes)?)?;
        Ok((hard_state, fields.log_id()?))
    }

    /// What it says.
    ///
    /// # Errors
    /// Its checksum holds but it has not the shape of a record.
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
        let skipped = self.hard_state_bytes + ID_BYTES;
        // One copy for all payloads: they must not keep the whole ring in memory.
        let mut rest = Bytes::copy_from_slice(&self.body[skipped..]);
        while !rest.is_empty() {
            let mut fields = Fields::keyed(NAME, self.mark.seq, &rest);
            let before = fields.rest().len();
            let mut write = Write::default();
            match fields.u8()? {
                tag::IDENTITY => {
                    let identity = decode_identity(fields.bytes(IDENTITY_BYTES)?)?;
                    record.identity = Some(identity.map_err(|_| fields.shape())?);
                }
                tag::RESET => write.reset_to = Some(Box::new(reset(&mut fields)?)),
                tag::TRUNCATE => write.truncate_from = Some(fields.index()?),
                tag::APPEND => write.append = append(&mut fields, &rest)?,
                tag::COMPACT => write.compact_to = Some(fields.index()?),
                tag::ELSEWHERE => record.elsewhere = true,
                _ => return Err(fields.shape()),
            }
            let read = before - fields.rest().len();
            rest.advance(read);
            if write != Write::default() {
                record.writes.push(write);
            }
        }
        record.writes.push(Write { hard_state: Some(hard_state), ..Write::default() });
        Ok(record)
    }
}

fn reset(fields: &mut Fields<'_>) -> Result<Base, Damage> {
    let id = fields.log_id()?;
    let len = fields.len()?;
    let membership = Membership::decode(fields.bytes(len)?)
        .map_err(|source| Damage::Payload { index: LogIndex::ZERO, source })?;
    Ok(Base { id, membership })
}

/// Reads entries, whose payloads share `buffer`, which the fields are of.
fn append(fields: &mut Fields<'_>, buffer: &Bytes) -> Result<Entries, Damage> {
    let count = fields.len()?;
    let mut index = fields.index()?;
    // No more than there is room for, whatever the count says.
    let mut entries = Vec::with_capacity(count.min(fields.rest().len() / ENTRY_HEAD));
    for _ in 0..count {
        let len = fields.len()?;
        let term = Term(fields.u64()?);
        let kind = fields.u8()?;
        let payload = buffer.slice_ref(fields.bytes(len)?);
        let payload =
            Payload::from_parts(kind, payload).map_err(|source| Damage::Payload { index, source })?;
        entries.push(Entry { id: LogId { term, index }, payload });
        index = LogIndex(index.0.checked_add(1).ok_or_else(|| fields.shape())?);
    }
    Ok(entries.into())
}

/// A record of any body, for tests of what is behind the checksum.
#[cfg(test)]
pub(crate) fn sealed(body: &[u8], salt: u64) -> Vec<u8> {
    let mut encoder = Encoder { bytes: vec![0; HEAD] };
    encoder.bytes.extend_from_slice(body);
    encoder.seal(salt, 5, 512, 9);
    encoder.bytes
}

const _: () = assert!(SECTOR > RECORD_BYTES_MIN, "the smallest record has a sector of its own");
