//! The journal's last records after a power cut. A torn record was never acknowledged and is dropped; a rotten one was,
//! and the node must know that it is damaged.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;

use common::*;
use raftkit_core::*;
use raftkit_disk::{DiskImage, SimulatedDisk};
use raftkit_log::*;

const SECTOR: usize = 512;

/// A store with some flushes that are not settled, after a power cut, and the positions of its records in the journal
/// file.
struct Life {
    image: DiskImage,
    /// The start of each flush's record, and the expected content after it.
    flushes: Vec<(usize, Model)>,
}

impl Life {
    /// Makes five flushes, the first `witnessed` of which are covered by the witness.
    fn new(witnessed: usize) -> Self {
        let disk = SimulatedDisk::new(1);
        let (mut store, mut model) = formed(&disk);
        settle(&mut store);
        let mut flushes = Vec::new();
        for at in 1..=5 {
            let before = disk.durable(Path::new(JOURNAL)).unwrap();
            let next = model.last().index.0 + 1;
            let hard_state = HardState { term: Term(next), vote: Some(NodeId(next)), ..model.hard_state };
            let write = Write { hard_state: Some(hard_state), ..append(next, vec![command(1, next, 1700)]) };
            model.apply(&write);
            store.queue(write);
            store.flush().unwrap();
            let after = disk.durable(Path::new(JOURNAL)).unwrap();
            let changed = before.iter().zip(&after).position(|(old, new)| old != new).unwrap();
            flushes.push((changed / SECTOR * SECTOR, model.clone()));
            if at == witnessed {
                store.witness().unwrap();
            }
        }
        disk.freeze();
        drop(store);
        disk.crash_losing_all_unsynced();
        Self { image: disk.image(), flushes }
    }

    /// A disk with other bytes in one sector of a record.
    fn with(&self, flush: usize, sector: usize, bytes: [u8; SECTOR]) -> SimulatedDisk {
        let disk = SimulatedDisk::from_image(1, &self.image);
        let mut journal = disk.durable(Path::new(JOURNAL)).unwrap();
        let start = self.flushes[flush].0 + sector * SECTOR;
        journal[start..start + SECTOR].copy_from_slice(&bytes);
        disk.put(Path::new(JOURNAL), &journal);
        disk
    }
}

#[test]
fn a_torn_last_record_is_dropped_and_nothing_is_damaged() {
    let life = Life::new(0);
    for sector in 0..4 {
        let disk = life.with(4, sector, [0; SECTOR]);
        let (mut store, _) = open(&disk).unwrap();
        assert!(store.report().damage.is_none(), "{:?}", store.report());
        // Without the head, nothing shows that a record was begun.
        assert_eq!(store.report().dropped_torn, sector > 0);
        let mut model = life.flushes[3].1.clone();
        model.check(&store);
        flush_one(&mut store, &mut model, 1);
        assert_survives(&disk, store, &model);
    }
}

#[test]
fn a_rotten_record_that_another_or_the_witness_speaks_of_is_damage() {
    for (witnessed, flush) in [(5, 4), (5, 2), (2, 1), (0, 1), (0, 3)] {
        let life = Life::new(witnessed);
        for sector in 0..4 {
            let disk = life.with(flush, sector, [0x5a; SECTOR]);
            let (store, restored) = open(&disk).unwrap();
            let newest = life.flushes[4].1.hard_state;
            assert_eq!(restored.hard_state, HardState { health: Health::Damaged, ..newest });
            let first = LogIndex(2 + flush as u64);
            let lost = store.report().damage.as_ref().unwrap().lost;
            assert_eq!(lost, Lost::Entries { first, last: LogIndex(6) });
            assert_eq!(restored.last.next(), first);
        }
    }
}

/// The database is gone, so the last record holds all that is left of the hard state. The commit index of the log is
/// unknown, because nothing is left of the log.
#[test]
fn the_newest_record_has_the_hard_state_when_the_database_is_gone() {
    let life = Life::new(2);
    let disk = SimulatedDisk::from_image(1, &life.image);
    disk.put(Path::new(FILE), b"");
    let newest = life.flushes[4].1.hard_state;
    let restored = open(&disk).unwrap().1;
    let commit = LogIndex::ZERO;
    assert_eq!(restored.hard_state, HardState { health: Health::Damaged, commit, ..newest });
}

/// Nothing is settled, so the whole ring is needed. Records of one sector each fill it completely.
#[test]
fn a_full_ring_overwrites_nothing_that_is_needed() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    for _ in 0..70 {
        let next = model.last().index.0 + 1;
        let write = append(next, vec![command(1, next, 10)]);
        model.apply(&write);
        store.queue(write);
        store.flush().unwrap();
        let (cut, _) = open(&SimulatedDisk::from_image(1, &disk.image())).unwrap();
        assert!(cut.report().damage.is_none(), "{:?}", cut.report());
        model.check(&cut);
    }
}
