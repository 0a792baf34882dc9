//! Power cuts and process ends while files are being created or rebuilt.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::path::Path;

use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};

/// Cuts the power in each mutation of an opening of this disk, with several outcomes each, and checks what the next
/// opening finds.
fn cut_in_each_mutation(disk: impl Fn(u64) -> SimulatedDisk, check: impl Fn(&SimulatedDisk)) {
    for nth in 0.. {
        for seed in 0..4 {
            let disk = disk(nth * 10 + seed);
            disk.crash_at_call(nth);
            let opened = open(&disk);
            let finished = !disk.is_frozen();
            disk.freeze();
            drop(opened);
            if seed == 0 {
                disk.crash_losing_all_unsynced()
            } else {
                disk.crash()
            }
            check(&disk);
            if finished {
                assert!(nth > 5, "{nth} mutations");
                return;
            }
        }
    }
}

#[test]
fn the_power_may_be_cut_anywhere_in_the_making() {
    cut_in_each_mutation(SimulatedDisk::new, |disk| {
        let (mut store, mut model) = formed(disk);
        assert!(store.report().damage.is_none(), "{:?}", store.report());
        flush_one(&mut store, &mut model, 1);
        assert_survives(disk, store, &model);
    });
}

/// A store with two entries. A bit of its database is rotten, but the journal holds everything.
fn rotten() -> raftkit_disk::DiskImage {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    flush_one(&mut store, &mut model, 1);
    settle(&mut store);
    let at = places_of(&disk, FILE, &command(1, 2, 700))[0];
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    assert!(disk.rot(Path::new(FILE), at + 99, 1));
    disk.image()
}

#[test]
fn the_power_may_be_cut_anywhere_in_the_mending() {
    let image = rotten();
    let wanted = open(&SimulatedDisk::from_image(1, &image)).unwrap().1;
    cut_in_each_mutation(
        |seed| SimulatedDisk::from_image(seed, &image),
        |disk| assert_eq!(open(disk).unwrap().1, wanted),
    );
}

#[test]
fn what_a_killed_maker_has_renamed_is_made_durable_by_the_next_opening() {
    for nth in 0..10 {
        let disk = SimulatedDisk::new(nth);
        disk.fail_next(Operation::SyncDir, nth, ErrorKind::Other);
        let first = open(&disk).map(drop);
        disk.clear_faults();
        let (mut store, mut model) = formed(&disk);
        flush_one(&mut store, &mut model, 1);
        assert_survives(&disk, store, &model);
        if first.is_ok() {
            assert!(nth > 2, "{nth}");
            return;
        }
    }
    panic!("each opening syncs folders again and again");
}

#[test]
fn a_database_that_was_made_anew_lasts() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    flush_one(&mut store, &mut model, 1);
    drop(store);
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    file.set_len(0).unwrap();
    file.sync().unwrap();
    let (mut store, restored) = open(&disk).unwrap();
    assert!(store.report().damage.is_some());
    // Heal it, as the replica does, and continue.
    let sound = HardState { health: Health::Sound, ..restored.hard_state };
    store.queue(Write { hard_state: Some(sound), ..append(9, vec![command(1, 1, 10), command(1, 2, 10)]) });
    store.flush().unwrap();
    let shown = store.restored();
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    let (store, restored) = open(&disk).unwrap();
    assert!(store.report().damage.is_none(), "{:?}", store.report());
    assert_eq!(restored, shown);
}
