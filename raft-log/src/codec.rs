//! The encoding of values in the database.
//!
//! A *run* is a value of the table `runs`; its key is its first index. All numbers are little-endian.
//!
//! ```text
//! version: u8 = 1   zero: [u8; 3]   count: u32   first: u64          the head, 16 bytes
//! crc: u32   len: u32   term: u64   kind: u8   payload: [u8; len]    `count` times
//! ```
//! An entry's crc continues the crc of the entry before (for the first entry: [`CHAIN_START`]) over its index, len,
//! term, kind and payload. Any prefix of a run is therefore a valid run, and a truncation need not recompute the
//! checksums of the entries that it keeps. `Payload::to_parts` in raftkit-core defines kind and payload.
//!
//! A *record* is any other value: `crc: u32`, followed by a body. The crc covers the record's name, its key and the
//! body.

use bytes::Bytes;
use crc32fast::Hasher;
use raftkit_core::{Entry, LogId, LogIndex, Term};

use crate::error::Damage;

/// Maximum size of an entry's payload, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 1 << 30;
const RUN_VERSION: u8 = 1;
const RUN_HEAD: usize = 16;
const ENTRY_HEAD: usize = 17;
/// Initial value of the checksums in a run: "RUN1".
const CHAIN_START: u32 = u32::from_le_bytes(*b"RUN1");

/// Builds a run, entry by entry.
#[derive(Debug)]
pub(crate) struct RunBuilder {
    first: LogIndex,
    count: u32,
    /// Term of the last entry.
    term: Term,
    chain: u32,
    bytes: Vec<u8>,
}

impl RunBuilder {
    /// Begins a run whose first entry is `first`.
    pub(crate) fn new(first: LogIndex) -> Self {
        let mut bytes = vec![RUN_VERSION, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&first.0.to_le_bytes());
        Self { first, count: 0, term: Term(0), chain: CHAIN_START, bytes }
    }

    /// Appends the entry that follows the last one.
    pub(crate) fn push(&mut self, id: LogId, kind: u8, payload: &[u8]) {
        assert_eq!(id.index, self.first.plus(u64::from(self.count)), "a run has no gaps");
        assert!(payload.len() <= PAYLOAD_BYTES_MAX, "the caller checks the size");
        let len = u32::try_from(payload.len()).expect("the limit is below 4 GiB").to_le_bytes();
        self.chain = chain(self.chain, id, kind, len, payload);
        self.bytes.extend_from_slice(&self.chain.to_le_bytes());
        self.bytes.extend_from_slice(&len);
        self.bytes.extend_from_slice(&id.term.0.to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend_from_slice(payload);
        self.count += 1;
        assert!(self.term <= id.term, "the terms of a run do not go back: {id} follows one of {}", self.term);
        self.term = id.term;
    }

    /// Returns the length of the run so far, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Finishes the run; returns its key and value, re-read and checked.
    pub(crate) fn finish(mut self) -> (u64, Vec<u8>) {
        self.bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        let last = self.first.plus(u64::from(self.count)).previous().unwrap_or_default();
        assert_reads_back(self.first, last, &self.bytes);
        (self.first.0, self.bytes)
    }
}

/// Checks that a run about to be written can be read back, from its first to its last entry.
///
/// # Panics
/// It cannot, which is a bug in the encoding: once the run is in redb, the journal's copy of its entries is overwritten.
fn assert_reads_back(first: LogIndex, last: LogIndex, bytes: &[u8]) {
    let mut cursor =
        RunCursor::new(first.0, bytes).expect("the head of a run that was just encoded is sound");
    assert_eq!(cursor.last(), last, "the head of a run states its last index");
    let mut read = None;
    while let Some(entry) = cursor.next().expect("an entry that was just encoded matches its checksum") {
        read = Some(entry.id.index);
    }
    assert_eq!(read, Some(last), "a run holds all of its entries");
}

/// Returns the last index of a run, from its head alone.
pub(crate) fn run_last(key: u64, bytes: &[u8]) -> Result<LogIndex, Damage> {
    Ok(RunCursor::new(key, bytes)?.last())
}

/// Returns the prefix of a run up to and including `last`, which must be in the run but not its last entry.
pub(crate) fn run_prefix(key: u64, bytes: &[u8], last: LogIndex) -> Result<Vec<u8>, Damage> {
    let mut cursor = RunCursor::new(key, bytes)?;
    while let Some(entry) = cursor.next()? {
        if entry.id.index == last {
            let mut prefix = bytes[..entry.payload.end].to_vec();
            let count = u32::try_from(last.0 - key + 1).expect("a prefix is no longer than its run");
            prefix[4..8].copy_from_slice(&count.to_le_bytes());
            assert_reads_back(LogIndex(key), last, &prefix);
            return Ok(prefix);
        }
    }
    Err(Damage::Hole { wanted: last })
}

/// Iterates over the entries of a run and checks each one.
#[derive(Clone, Debug)]
pub(crate) struct RunCursor<'a> {
    bytes: &'a [u8],
    at: usize,
    first: LogIndex,
    next: LogIndex,
    left: u32,
    chain: u32,
    term: Term,
}

/// An entry of a run, not decoded yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RawEntry {
    pub(crate) id: LogId,
    pub(crate) kind: u8,
    /// The payload's byte range within the run.
    pub(crate) payload: std::ops::Range<usize>,
}

impl<'a> RunCursor<'a> {
    /// Creates a cursor before the first entry.
    pub(crate) fn new(key: u64, bytes: &'a [u8]) -> Result<Self, Damage> {
        let first = LogIndex(key);
        let shape = Damage::RunShape { first, got: bytes.len() };
        let Some((head, _)) = bytes.split_first_chunk::<RUN_HEAD>() else { return Err(shape) };
        let [version, z0, z1, z2, c0, c1, c2, c3, index @ ..] = *head;
        let left = u32::from_le_bytes([c0, c1, c2, c3]);
        let sound = version == RUN_VERSION && [z0, z1, z2] == [0; 3] && left > 0;
        // Reject a run whose last index would overflow.
        if !sound || u64::from_le_bytes(index) != key || key.checked_add(u64::from(left)).is_none() {
            return Err(shape);
        }
        Ok(Self { bytes, at: RUN_HEAD, first, next: first, left, chain: CHAIN_START, term: Term(0) })
    }

    /// Returns the run's last index, according to its head.
    pub(crate) fn last(&self) -> LogIndex {
        self.next.plus(u64::from(self.left)).previous().unwrap_or_default()
    }

    /// Returns the next entry, or `None` after the last one.
    pub(crate) fn next(&mut self) -> Result<Option<RawEntry>, Damage> {
        let shape = || Damage::RunShape { first: self.first, got: self.bytes.len() };
        let rest = &self.bytes[self.at..];
        if self.left == 0 {
            return if rest.is_empty() { Ok(None) } else { Err(shape()) };
        }
        let (head, rest) = rest.split_first_chunk::<ENTRY_HEAD>().ok_or_else(shape)?;
        let [c0, c1, c2, c3, l0, l1, l2, l3, term @ .., kind] = *head;
        let len = [l0, l1, l2, l3];
        let payload_len = usize::try_from(u32::from_le_bytes(len)).map_err(|_| shape())?;
        let payload = rest.get(..payload_len).ok_or_else(shape)?;
        let id = LogId { term: Term(u64::from_le_bytes(term)), index: self.next };
        let sum = chain(self.chain, id, kind, len, payload);
        if sum != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(Damage::EntryChecksum { index: id.index });
        }
        if id.term < self.term {
            return Err(Damage::TermWentBack { id, before: self.term });
        }
        let start = self.at + ENTRY_HEAD;
        self.at = start + payload_len;
        self.next = id.index.next();
        self.left -= 1;
        self.chain = sum;
        self.term = id.term;
        Ok(Some(RawEntry { id, kind, payload: start..self.at }))
    }
}

impl RunCursor<'_> {
    /// Skips an entry that [`next`](Self::next) has rejected, as far as its head can be trusted, to reach the entries
    /// after it. Returns false if the run cannot be followed any further.
    pub(crate) fn skip(&mut self) -> bool {
        let Some((head, rest)) = self.bytes[self.at..].split_first_chunk::<ENTRY_HEAD>() else {
            return false;
        };
        let [c0, c1, c2, c3, l0, l1, l2, l3, term @ .., kind] = *head;
        let len = [l0, l1, l2, l3];
        let Ok(payload_len) = usize::try_from(u32::from_le_bytes(len)) else { return false };
        let (Some(payload), Some(left)) = (rest.get(..payload_len), self.left.checked_sub(1)) else {
            return false;
        };
        let id = LogId { term: Term(u64::from_le_bytes(term)), index: self.next };
        // Either the stored checksum or the content is rotten; the next entry's checksum continues from the correct
        // one.
        let sums = [u32::from_le_bytes([c0, c1, c2, c3]), chain(self.chain, id, kind, len, payload)];
        let behind = sums.map(|chain| Self {
            at: self.at + ENTRY_HEAD + payload_len,
            next: id.index.next(),
            left,
            chain,
            ..*self
        });
        let [stored, _] = &behind;
        // If the next entry is rotten as well, it may still be possible to skip that one in turn.
        let goes_on = stored.left > 0 && stored.bytes.len() - stored.at >= ENTRY_HEAD;
        let stored = goes_on.then(|| stored.clone());
        let Some(followed) = behind.into_iter().find(|cursor| cursor.clone().next().is_ok()).or(stored)
        else {
            return false;
        };
        *self = followed;
        true
    }
}

impl RawEntry {
    /// Returns the weight that `Entry::weight` would give, without decoding the payload.
    pub(crate) fn weight(&self) -> usize {
        // A membership weighs as much as its encoding, so the kind of the entry makes no difference.
        let empty = Entry { id: self.id, payload: raftkit_core::Payload::Noop };
        empty.weight().saturating_add(self.payload.len())
    }

    /// Decodes the entry. Its payload shares `buffer`, which starts at byte `from` of the run.
    pub(crate) fn decode(&self, buffer: &Bytes, from: usize) -> Result<Entry, Damage> {
        let payload = buffer.slice(self.payload.start - from..self.payload.end - from);
        let payload = raftkit_core::Payload::from_parts(self.kind, payload)
            .map_err(|source| Damage::Payload { index: self.id.index, source })?;
        Ok(Entry { id: self.id, payload })
    }
}

fn chain(before: u32, id: LogId, kind: u8, len: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = Hasher::new_with_initial(before);
    hasher.update(&id.index.0.to_le_bytes());
    hasher.update(&len);
    hasher.update(&id.term.0.to_le_bytes());
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// Encodes a record: a checksum, followed by `body`.
pub(crate) fn seal(record: &'static str, key: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = record_sum(record, key, body).to_le_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes
}

/// Checks a record and returns its body.
pub(crate) fn unseal<'a>(record: &'static str, key: u64, bytes: &'a [u8]) -> Result<&'a [u8], Damage> {
    let (sum, body) =
        bytes.split_first_chunk::<4>().ok_or(Damage::Shape { record, key, got: bytes.len() })?;
    if u32::from_le_bytes(*sum) == record_sum(record, key, body) {
        Ok(body)
    } else {
        Err(Damage::Checksum { record, key })
    }
}

fn record_sum(record: &'static str, key: u64, body: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(record.as_bytes());
    hasher.update(&key.to_le_bytes());
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> (u64, Vec<u8>) {
        let mut run = RunBuilder::new(LogIndex(0x0102));
        run.push(LogId::new(7, 0x0102), 0, b"");
        run.push(LogId::new(7, 0x0103), 1, b"hello");
        run.push(LogId::new(9, 0x0104), 1, b"");
        run.finish()
    }

    fn entries(key: u64, bytes: &[u8]) -> Result<Vec<RawEntry>, Damage> {
        let mut cursor = RunCursor::new(key, bytes)?;
        let mut entries = Vec::new();
        while let Some(entry) = cursor.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Data folders hold these bytes: any change is a new format.
    #[test]
    fn the_bytes_of_a_run_are_these() {
        let (key, bytes) = run();
        assert_eq!(key, 0x0102);
        let parts = [
            "01000000030000000201000000000000",
            "42bf714400000000070000000000000000",
            "f93763170500000007000000000000000168656c6c6f",
            "6106415100000000090000000000000001",
        ];
        assert_eq!(hex(&bytes), parts.concat());
    }

    #[test]
    fn the_bytes_of_a_record_are_these() {
        assert_eq!(hex(&seal("term", 5, &[1, 2, 3])), "080c72e4010203");
    }

    #[test]
    fn a_run_is_read_back_and_so_is_each_prefix() {
        let (key, bytes) = run();
        let all = entries(key, &bytes).expect("it is sound");
        let ids: Vec<_> = all.iter().map(|entry| entry.id).collect();
        assert_eq!(ids, [LogId::new(7, 0x0102), LogId::new(7, 0x0103), LogId::new(9, 0x0104)]);
        assert_eq!(&bytes[all[1].payload.clone()], b"hello");
        assert_eq!(run_last(key, &bytes).expect("it is sound"), LogIndex(0x0104));
        for (at, id) in ids.iter().enumerate().take(2) {
            let prefix = run_prefix(key, &bytes, id.index).expect("it is sound");
            assert_eq!(entries(key, &prefix).expect("a prefix is a run"), all[..=at]);
            assert_eq!(run_last(key, &prefix).expect("a prefix is a run"), id.index);
        }
    }

    #[test]
    fn any_flipped_bit_cut_or_extension_of_a_run_is_damage() {
        let (key, bytes) = run();
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(entries(key, &rotten).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(entries(key, &bytes[..len]).is_err(), "{len} bytes");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(entries(key, &longer).is_err());
        assert!(entries(key + 1, &bytes).is_err(), "a run under another key");
    }

    #[test]
    fn a_rotten_entry_can_be_stepped_over_unless_its_length_is_rotten() {
        let (key, bytes) = run();
        let sound = entries(key, &bytes).expect("it is sound");
        // The second entry's checksum, length, term, kind and payload start here.
        for (place, followed) in [(33, true), (37, false), (41, true), (49, true), (50, true)] {
            let mut rotten = bytes.clone();
            rotten[place] ^= 0x10;
            let mut cursor = RunCursor::new(key, &rotten).expect("its head is sound");
            assert_eq!(cursor.next().expect("it is sound").as_ref(), sound.first());
            assert!(cursor.next().is_err());
            assert_eq!(cursor.skip(), followed, "byte {place}");
            if followed {
                assert_eq!(cursor.next().expect("it is sound").as_ref(), sound.last());
                assert!(cursor.next().is_ok_and(|end| end.is_none()) && !cursor.skip());
            }
        }
    }

    #[test]
    fn a_record_is_read_under_its_name_and_key_only() {
        let bytes = seal("term", 5, b"body");
        assert_eq!(unseal("term", 5, &bytes).expect("it is sound"), b"body");
        assert!(unseal("term", 6, &bytes).is_err());
        assert!(unseal("membership", 5, &bytes).is_err());
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes.clone();
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal("term", 5, &rotten).is_err(), "bit {bit}");
        }
        assert!(unseal("term", 5, &bytes[..3]).is_err());
    }
}
