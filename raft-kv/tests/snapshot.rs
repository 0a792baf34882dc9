//! Snapshots: they do not change once taken, equal states give equal bytes, and malformed ones are refused.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::{self, Read};

use common::{apply, delete, entry, fresh, put, put_if, state_bytes};
use proptest::prelude::*;
use raftkit_core::LogId;
use raftkit_kv::{Condition, KvMachine, KvReader};
use raftkit_replica::{MachineError, StateMachine};

/// A machine with three keys and two tombstones.
fn sample() -> (raftkit_disk::SimulatedDisk, KvMachine) {
    let (disk, mut kv) = fresh(3);
    apply(&mut kv, &put("b", "2"));
    apply(&mut kv, &put_if("a", "1", 5, Condition::Always));
    apply(&mut kv, &put("gone", "x"));
    apply(&mut kv, &delete("gone", Condition::Always));
    apply(&mut kv, &put("gone", "y"));
    apply(&mut kv, &delete("gone", Condition::Always));
    apply(&mut kv, &put("ü", ""));
    (disk, kv)
}

fn restore(id: LogId, mut bytes: &[u8]) -> Result<KvMachine, MachineError> {
    let (_disk, mut kv) = fresh(4);
    apply(&mut kv, &put("old", "x"));
    let result = kv.restore(id, &mut bytes);
    if result.is_err() {
        assert_eq!(kv.applied(), LogId::new(1, 1), "the old state stays");
        assert!(kv.reader().get("old").unwrap().value.is_some(), "the old state stays");
        assert!(apply(&mut kv, &put("old", "y")).1, "and goes on");
    }
    result.map(|()| kv)
}

#[test]
fn restored_machine_is_the_same_and_goes_on_alike() {
    let (_disk, mut one) = sample();
    let mut other = restore(one.applied(), &state_bytes(&mut one)).unwrap();
    assert_eq!((other.applied(), other.durable()), (one.applied(), one.applied()));
    for key in ["a", "gone", "old"] {
        assert_eq!(one.reader().get(key).unwrap(), other.reader().get(key).unwrap());
    }
    assert_eq!(one.reader().list("go").unwrap(), other.reader().list("go").unwrap(), "tombstones come along");
    apply(&mut one, &delete("a", Condition::Cas(2)));
    apply(&mut other, &delete("a", Condition::Cas(2)));
    assert_eq!(state_bytes(&mut one), state_bytes(&mut other));
}

#[test]
fn tombstones_of_the_state_before_a_restore_are_gone() {
    let (_disk, mut source) = sample();
    let (id, bytes) = (source.applied(), state_bytes(&mut source));
    let (_disk, mut kv) = fresh(4);
    for _ in 0..10 {
        apply(&mut kv, &put("a/x", "1"));
        apply(&mut kv, &delete("a/x", Condition::Always));
    }
    kv.restore(id, &mut bytes.as_slice()).unwrap();
    for prefix in ["a", "a/", "gone", ""] {
        assert_eq!(kv.reader().list(prefix).unwrap(), source.reader().list(prefix).unwrap(), "{prefix}");
    }
    assert_eq!(state_bytes(&mut kv), bytes);
}

#[test]
fn empty_machine_has_a_snapshot() {
    let (_disk, mut kv) = fresh(1);
    let bytes = state_bytes(&mut kv);
    let restored = restore(LogId::ZERO, &bytes).unwrap();
    assert!(restored.reader().list("").unwrap().value.is_empty());
}

#[test]
fn bytes_of_a_snapshot_are_fixed() {
    let (_disk, mut kv) = fresh(1);
    apply(&mut kv, &put_if("a", "v", 5, Condition::Always));
    apply(&mut kv, &put("d", "x"));
    apply(&mut kv, &delete("d", Condition::Always));
    let mut expected = b"RKKVSNAP\x01\0\0\0".to_vec();
    for number in [1_u64, 3, 3, 0] {
        expected.extend_from_slice(&number.to_le_bytes());
    }
    expected.extend_from_slice(b"\x01\x01\0\0\0a\x22\0\0\0");
    for number in [5_u64, 1, 1, 0] {
        expected.extend_from_slice(&number.to_le_bytes());
    }
    expected.extend_from_slice(b"\0v\x02");
    for number in [3_u64, 2] {
        expected.extend_from_slice(&number.to_le_bytes());
    }
    expected.extend_from_slice(b"\x01\0\0\0d\0");
    for number in [1_u64, 1] {
        expected.extend_from_slice(&number.to_le_bytes());
    }
    let sum = crc32fast::hash(&expected);
    expected.extend_from_slice(&sum.to_le_bytes());
    assert_eq!(state_bytes(&mut kv), expected);
}

#[test]
fn snapshot_shows_the_state_as_it_was_taken() {
    let (_disk, mut kv) = sample();
    let (id, before) = (kv.applied(), state_bytes(&mut kv));
    let view = kv.snapshot().unwrap();
    apply(&mut kv, &put("a", "later"));
    apply(&mut kv, &common::delete_tree(""));
    kv.persist().unwrap();
    assert_eq!(view.id(), id);
    let mut bytes = Vec::new();
    view.write_to(&mut bytes).unwrap();
    assert_eq!(bytes, before);
}

/// A source for a restore that reads from the machine in between.
struct Spy<'a> {
    bytes: &'a [u8],
    reader: KvReader,
    reads: u32,
}

impl Read for Spy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let list = self.reader.list("").unwrap();
        assert_eq!((list.value.len(), list.applied), (1, LogId::new(1, 1)), "the old state, whole");
        assert_eq!(self.reader.get("old").unwrap().applied, LogId::new(1, 1));
        self.reads += 1;
        // Return less than the buffer holds, so that the restore calls this many times.
        let length = buffer.len().min(1000);
        (&mut self.bytes).take(length as u64).read(buffer)
    }
}

#[test]
fn reads_during_a_restore_see_the_old_state_and_then_the_new() {
    let (_disk, mut source) = fresh(1);
    let entries: Vec<_> =
        (1..=100).map(|index| entry(index, &put(&format!("k{index}"), &"x".repeat(100)))).collect();
    source.apply(&entries).unwrap();
    let (id, bytes) = (source.applied(), state_bytes(&mut source));
    let (_disk, mut kv) = fresh(2);
    apply(&mut kv, &put("old", "x"));
    let mut spy = Spy { bytes: &bytes, reader: kv.reader(), reads: 0 };
    kv.restore(id, &mut spy).unwrap();
    assert!(spy.reads > 10);
    let list = spy.reader.list("").unwrap();
    assert_eq!((list.value.len(), list.applied), (100, id), "the same reader sees the new state");
}

#[test]
fn failing_source_leaves_the_old_state() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the network is gone"))
        }
    }
    let (_disk, mut kv) = sample();
    let before = state_bytes(&mut kv);
    assert!(matches!(kv.restore(LogId::new(1, 9), &mut Broken), Err(MachineError::Storage(_))));
    assert_eq!(state_bytes(&mut kv), before);
}

#[test]
fn wrong_snapshots_are_refused_by_name() {
    let (_disk, mut kv) = sample();
    let (id, bytes) = (kv.applied(), state_bytes(&mut kv));
    let refuse = |bytes: &[u8], words: &str| match restore(id, bytes) {
        Err(MachineError::Damaged { what }) => assert!(what.contains(words), "{what}"),
        other => panic!("{words}: {:?}", other.map(|kv| kv.applied())),
    };
    refuse(&[&bytes[..], b"x"].concat(), "bytes follow");
    refuse(&[b"X", &bytes[1..]].concat(), "magic");
    refuse(&bytes[..bytes.len() - 1], "ends early");
    refuse(b"", "ends early");
    let mut newer = bytes.clone();
    newer[8] = 2;
    let found = restore(id, &newer).map(|kv| kv.applied());
    assert!(matches!(found, Err(MachineError::NewerFormat { found: 2, supported: 1 })), "{found:?}");
    match restore(LogId::new(1, 6), &bytes) {
        Err(MachineError::Damaged { what }) => assert!(what.contains("not of 1.6"), "{what}"),
        other => panic!("{:?}", other.map(|kv| kv.applied())),
    }
}

/// Builds the bytes of a snapshot with the right checksum.
fn forged(records: &[&[u8]], entries: u64, tombstones: u64) -> Vec<u8> {
    let mut bytes = b"RKKVSNAP\x01\0\0\0".to_vec();
    for number in [1_u64, 9, 9, 0] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&records.concat());
    bytes.push(0);
    bytes.extend_from_slice(&entries.to_le_bytes());
    bytes.extend_from_slice(&tombstones.to_le_bytes());
    let sum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

fn entry_record(key: &str, created: u64, modified: u64) -> Vec<u8> {
    let mut record = vec![1];
    record.extend_from_slice(&u32::try_from(key.len()).unwrap().to_le_bytes());
    record.extend_from_slice(key.as_bytes());
    record.extend_from_slice(&33_u32.to_le_bytes());
    for number in [0, created, modified, 0] {
        record.extend_from_slice(&number.to_le_bytes());
    }
    record.push(0);
    record
}

fn tombstone_record(key: &str, index: u64, created: u64) -> Vec<u8> {
    let mut record = vec![2];
    record.extend_from_slice(&index.to_le_bytes());
    record.extend_from_slice(&created.to_le_bytes());
    record.extend_from_slice(&u32::try_from(key.len()).unwrap().to_le_bytes());
    record.extend_from_slice(key.as_bytes());
    record
}

#[test]
fn snapshots_of_another_form_are_refused_though_their_checksum_is_right() {
    let id = LogId::new(1, 9);
    let (a, b, d, e) = (
        entry_record("a", 1, 2),
        entry_record("b", 1, 9),
        tombstone_record("d", 4, 3),
        tombstone_record("e", 4, 1),
    );
    restore(id, &forged(&[&a, &b, &d, &e], 2, 2)).unwrap();
    let refuse = |records: &[&[u8]], entries, tombstones, words: &str| match restore(
        id,
        &forged(records, entries, tombstones),
    ) {
        Err(MachineError::Damaged { what }) => assert!(what.contains(words), "{what}"),
        other => panic!("{words}: {:?}", other.map(|kv| kv.applied())),
    };
    refuse(&[&b, &a], 2, 0, "out of order");
    refuse(&[&a, &a], 2, 0, "out of order");
    refuse(&[&e, &d], 0, 2, "out of order");
    refuse(&[&d, &a], 1, 1, "no record 1 here");
    refuse(&[&[9]], 0, 0, "no record 9");
    refuse(&[&a, &b], 1, 0, "it holds (2, 0)");
    refuse(&[&entry_record("a", 0, 2)], 1, 0, "indexes 0 and 2");
    refuse(&[&entry_record("a", 3, 2)], 1, 0, "indexes 3 and 2");
    refuse(&[&entry_record("a", 3, 10)], 1, 0, "indexes 3 and 10");
    refuse(&[&entry_record("", 1, 2)], 1, 0, "empty key");
    refuse(&[&tombstone_record("d", 10, 1)], 0, 1, "indexes 1 and 10");
    refuse(&[b"\x01\xff\xff\xff\xff"], 0, 0, "limit is");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_or_cut_snapshot_is_refused(at in any::<prop::sample::Index>(), mask in 1_u8.., cut in any::<bool>()) {
        let (_disk, mut kv) = sample();
        let (id, mut bytes) = (kv.applied(), state_bytes(&mut kv));
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= mask }
        prop_assert!(restore(id, &bytes).is_err());
    }
}
