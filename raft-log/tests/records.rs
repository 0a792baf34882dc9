//! How the writes of a flush are divided among the journal's records.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;

use common::*;
use raftkit_disk::SimulatedDisk;

/// A quarter of the ring, in bytes: the most that one record may take.
const SHARE: usize = 8 << 10;

/// The lengths of all records in the ring, in bytes of whole sectors.
fn records(disk: &SimulatedDisk) -> Vec<usize> {
    let journal = disk.durable(Path::new(JOURNAL)).unwrap();
    assert_eq!(journal.len(), 8192 + 4 * SHARE);
    let len = |head: &[u8]| 40 + u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
    let heads = journal[8192..].chunks(512).filter(|sector| sector.starts_with(b"RKJ2"));
    heads.map(|head| len(head).next_multiple_of(512)).collect()
}

#[test]
fn no_record_takes_more_than_its_share_of_the_ring() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    settle(&mut store);
    // Together these writes are twice as large as a record may be.
    for index in 2..18 {
        let write = append(index, vec![command(1, index, 1000)]);
        model.apply(&write);
        store.queue(write);
    }
    store.flush().unwrap();
    let lens = records(&disk);
    assert!(lens.iter().all(|len| *len <= SHARE), "{lens:?}");
    assert!(store.unsettled_bytes() > 16_000, "the journal holds all of them");
    // One write that is too large for a record goes into redb, and its record says so.
    settle(&mut store);
    let write = append(18, vec![command(1, 18, SHARE)]);
    model.apply(&write);
    store.queue(write);
    store.flush().unwrap();
    let lens = records(&disk);
    assert!(lens.iter().all(|len| *len <= SHARE), "{lens:?}");
    assert_eq!(store.unsettled_bytes(), 0, "redb holds it");
    assert_survives(&disk, store, &model);
}
