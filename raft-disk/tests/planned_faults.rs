//! The faults of a simulated disk that a test plans: failing calls, power cuts, and rot.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use raftkit_disk::{Disk, Operation, SimulatedDisk};

mod common;

use common::{content, create};

const FILE: &str = "/file";

#[test]
fn the_named_call_fails_and_only_that() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    disk.fail_call(1, ErrorKind::StorageFull);
    file.set_len(10).unwrap();
    assert_eq!(file.write_at(0, b"x").unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_at(0, b"x").unwrap();
    disk.fail_next(Operation::Read, 1, ErrorKind::Other);
    file.read_at(0, &mut [0]).unwrap();
    file.sync().unwrap();
    assert_eq!(file.read_at(0, &mut [0]).unwrap_err().kind(), ErrorKind::Other);
    disk.fail_call(0, ErrorKind::Other);
    disk.clear_faults();
    assert_eq!(file.len().unwrap(), 10);
    assert_eq!((disk.calls(), disk.mutations()), (9, 6));
}

#[test]
fn a_failed_write_may_have_written_its_first_sectors() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        disk.fail_call(0, ErrorKind::StorageFull);
        file.write_at(500, &[7; 600]).unwrap_err();
        seen.insert(file.len().unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 512, 1024, 1100]);
}

#[test]
fn a_crash_point_cuts_the_power_in_the_named_mutation() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        disk.crash_at_call(1);
        file.write_at(0, b"a").unwrap();
        file.read_at(0, &mut [0]).unwrap();
        assert!(!disk.is_frozen());
        file.write_at(1, b"b").unwrap_err();
        assert!(disk.is_frozen());
        file.read_at(0, &mut [0]).unwrap_err();
        file.write_at(2, b"c").unwrap_err();
        file.sync().unwrap_err();
        disk.exists(Path::new(FILE)).unwrap_err();
        disk.crash();
        assert!(!disk.is_frozen());
        seen.insert(content(&disk, FILE).unwrap());
    }
    let possible = [&b""[..], b"\0b", b"a", b"ab"].map(<[u8]>::to_vec);
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), possible);
}

#[test]
fn rot_flips_bits_of_what_is_durable() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    file.write_at(0, &[0b1010]).unwrap();
    assert!(!disk.rot(Path::new(FILE), 0, 1), "not durable yet");
    file.sync().unwrap();
    assert!(disk.rot(Path::new(FILE), 0, 0b0011));
    assert!(!disk.rot(Path::new(FILE), 1, 1) && !disk.rot(Path::new("/none"), 0, 1));
    file.drop_cache().unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), disk.durable(Path::new(FILE)).unwrap());
    let [byte] = content(&disk, FILE).unwrap()[..] else { panic!("it is one byte") };
    file.write_at(0, &[byte]).unwrap();
    assert!(disk.rot(Path::new(FILE), 0, 1));
    assert_eq!(content(&disk, FILE).unwrap(), [byte], "what is dirty is in memory and does not rot");
    assert_eq!(disk.injected().rotten_bytes, 2);
}

#[test]
fn a_durable_write_is_a_write_and_a_sync() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    let mutations = disk.mutations();
    file.write_durably(0, b"text").unwrap();
    assert_eq!(disk.mutations(), mutations + 2, "two crash points");
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"text");
    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
    file.write_durably(0, b"TEXT").unwrap_err();
    assert_eq!(content(&disk, FILE).unwrap(), b"TEXT", "the cache shows it");
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"text", "the medium has it not");
    file.drop_cache().unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), b"text");
}
