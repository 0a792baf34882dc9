//! Fuzzes every decoder of on-disk data: random changes of valid bytes, both with broken checksums and with checksums
//! recomputed to match. A decoder must not panic, must not allocate more than the input justifies, and must decode
//! accepted bytes correctly.
//!
//! `FUZZ=<executions>` sets the number of executions of each target; `FUZZ_SEED` selects another seed.

#![allow(clippy::expect_used, reason = "test")]

use raftkit_core::{
    Base, Entry, HardState, Incarnation, LogId, LogIndex, Member, Membership, NodeId, Payload, StoreId, Term,
    Write,
};

use crate::codec::{RunBuilder, RunCursor, run_prefix, seal, unseal};
use crate::journal::claim::claimed_seq;
use crate::journal::record::Encoder;
use crate::journal::salt;
use crate::journal::sealed::Sealed;
use crate::journal::witness::Witness;
use crate::layout::{
    FORMAT, Identity, Mark, decode_hard_state, decode_identity, decode_mark, encode_hard_state,
    encode_identity, encode_mark,
};
use crate::tables::{Ends, decode_ends, decode_membership, decode_term, encode_ends};

/// A small random number generator whose output is the same on every platform.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64* (Vigna 2016).
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("it is below a usize")
    }

    /// Changes the bytes in one to four ways.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => bytes.truncate(at),
                2 => {
                    let more = self.below(40);
                    bytes.extend((0..more).map(|n| u8::try_from(n % 251).expect("it is below 251")));
                }
                3 => {
                    // Extreme numbers are what breaks lengths and counts.
                    let edges = [0, 1, u64::MAX, u64::MAX - 1, u64::from(u32::MAX), 1 << 31, 1 << 63];
                    let number = edges[self.below(edges.len())].to_le_bytes();
                    let end = bytes.len().min(at + [1, 4, 8][self.below(3)]);
                    bytes[at..end].copy_from_slice(&number[..end - at]);
                }
                4 => {
                    let to = self.below(bytes.len() + 1);
                    bytes.copy_within(at.min(to)..at.max(to), 0);
                }
                5 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, self.next().to_le_bytes()[0]),
            }
        }
    }
}

/// Runs one target on changed samples.
fn fuzz(samples: &[Vec<u8>], mut target: impl FnMut(&[u8])) {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let mut random = Random(number("FUZZ_SEED", 0x5eed) | 1);
    for _ in 0..number("FUZZ", 30_000) {
        let mut bytes = samples[random.below(samples.len())].clone();
        random.change(&mut bytes);
        target(&bytes);
    }
}

fn identity() -> Identity {
    Identity {
        node: NodeId(1),
        store: StoreId(2),
        cluster: None,
        incarnation: Incarnation(3),
        format: FORMAT,
    }
}

fn membership() -> Membership {
    Membership::founding([(NodeId(1), Member::new(StoreId(2), "host:1".to_owned()))].into())
}

fn entries() -> Vec<Entry> {
    let payloads =
        [Payload::Noop, Payload::Command(vec![7; 60].into()), Payload::Membership(membership().into())];
    let numbered = (1..).zip(payloads);
    numbered.map(|(index, payload)| Entry { id: LogId::new(3, index), payload }).collect()
}

fn run() -> (u64, Vec<u8>) {
    let mut run = RunBuilder::new(LogIndex(1));
    for entry in entries() {
        let (kind, payload) = entry.payload.to_parts();
        run.push(entry.id, kind, &payload);
    }
    run.finish()
}

/// Builds a sealed record that has every kind of part.
fn record(change: impl FnOnce(&mut Encoder)) -> Vec<u8> {
    let mut encoder = Encoder::default();
    encoder.begin(&HardState { term: Term(3), ..HardState::default() }, LogId::new(3, 3));
    encoder.identity(&identity());
    encoder.write(&Write {
        reset_to: Some(Base { id: LogId::new(1, 1), membership: membership() }.into()),
        truncate_from: Some(LogIndex(2)),
        append: entries().into(),
        compact_to: Some(LogIndex(2)),
        ..Write::default()
    });
    change(&mut encoder);
    encoder.seal(salt(&identity()), 5, 512, 9);
    encoder.bytes().to_vec()
}

#[test]
fn a_run_of_any_bytes() {
    let (key, bytes) = run();
    fuzz(&[bytes], |bytes| {
        let Ok(mut cursor) = RunCursor::new(key, bytes) else { return };
        let (_, mut count) = (cursor.last(), 0_u64);
        while let Ok(Some(entry)) = cursor.next() {
            assert_eq!(entry.id.index.0, key + count, "indexes have no gaps");
            assert!(entry.payload.end <= bytes.len());
            let whole = bytes::Bytes::copy_from_slice(bytes);
            let _ = entry.decode(&whole, 0);
            count += 1;
        }
        let _ = run_prefix(key, bytes, LogIndex(key));
    });
}

#[test]
fn table_records_of_any_bytes() {
    let ends = Ends { base: LogId::new(1, 2), last: LogId::new(3, 4) };
    let samples = [
        encode_identity(&identity()),
        encode_hard_state(&HardState::default()),
        encode_ends(&ends),
        encode_mark(&Mark { seq: 1, at: 2, sum: 3 }),
        membership().encode().to_vec(),
        7_u64.to_le_bytes().to_vec(),
    ];
    fuzz(&samples, |body| {
        let _ = decode_identity(body);
        let _ = decode_hard_state(body);
        let _ = decode_mark(body);
        let _ = decode_membership(LogIndex(1), body);
        if let Ok(ends) = decode_ends(body) {
            assert!(ends.base.index <= ends.last.index);
        }
        let _ = decode_term(7, body);
        let _ = unseal("term", 7, body);
        let _ = decode_term(7, &seal("term", 7, body));
    });
}

#[test]
fn a_witness_of_any_bytes() {
    let witness = Witness {
        generation: 1,
        identity: identity(),
        ring: 1 << 16,
        mark: Mark { seq: 1, at: 2, sum: 3 },
        last: LogId::new(1, 1),
        hard_state: HardState::default(),
    };
    let sound = witness.encode();
    fuzz(std::slice::from_ref(&sound), |bytes| {
        let found = Witness::decode(bytes);
        // The checksum does not cover the format.
        let same = bytes.len() >= sound.len() && bytes[..4] == sound[..4] && bytes[8..512] == sound[8..];
        assert_eq!(found.is_some(), same);
        let _ = Witness::newest(bytes);
    });
}

#[test]
fn a_record_of_any_bytes_whose_checksum_does_not_hold() {
    let sound = record(|_| {});
    fuzz(std::slice::from_ref(&sound), |bytes| {
        let _ = claimed_seq(bytes);
        if let Some(sealed) = Sealed::find(bytes, salt(&identity())) {
            // Bytes after the record's end do not matter.
            let ends = sealed.open().expect("it is the sound one");
            assert_eq!(ends.last, LogId::new(3, 3));
        }
    });
}

#[test]
fn a_record_of_any_body_whose_checksum_holds() {
    let sound = record(|_| {});
    let body = sound[crate::journal::record::HEAD..].to_vec();
    let mut opened = 0_u64;
    fuzz(&[body], |body| {
        let bytes = crate::journal::record::sealed(body, salt(&identity()));
        if let Some(sealed) = Sealed::find(&bytes, salt(&identity()))
            && let Ok(record) = sealed.open()
        {
            opened += 1;
            let entries: usize = record.writes.iter().map(|write| write.append.len()).sum();
            assert!(entries * 13 <= body.len(), "no more entries than there are bytes for");
        }
    });
    assert!(opened > 0, "some must get through, or nothing behind the checksum was tried");
}
