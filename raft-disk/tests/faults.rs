//! The effects of power cuts and of failed syncs on a simulated disk.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;

use proptest::prelude::*;
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};

mod common;

use common::{content, create};

const FILE: &str = "/file";

#[test]
fn a_crash_keeps_what_was_synced_and_may_lose_the_rest() {
    let disk = SimulatedDisk::new(1);
    let file = create(&disk, FILE);
    file.write_at(0, b"kept").unwrap();
    file.sync().unwrap();
    file.write_at(4, b" and lost").unwrap();
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"kept");
    disk.crash_losing_all_unsynced();
    assert_eq!(content(&disk, FILE).unwrap(), b"kept");
}

#[test]
fn an_unsynced_write_is_kept_lost_or_torn_between_sectors() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        file.write_at(0, &[1; 1536]).unwrap();
        file.sync().unwrap();
        // The write starts in the first sector and ends in the third.
        file.write_at(100, &[2; 1000]).unwrap();
        disk.crash();
        let after = content(&disk, FILE).unwrap();
        assert_eq!(after.len(), 1536);
        let sectors: Vec<bool> =
            [100..512, 512..1024, 1024..1100].map(|part| after[part].iter().all(|byte| *byte == 2)).to_vec();
        let old =
            [100..512, 512..1024, 1024..1100].map(|part| after[part].iter().all(|byte| *byte == 1)).to_vec();
        assert!(sectors.iter().zip(&old).all(|(new, old)| new != old), "a sector was torn within");
        assert!(
            after[..100].iter().chain(&after[1100..]).all(|byte| *byte == 1),
            "a byte beside the write changed"
        );
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 8, "every mixture of sectors happens");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each byte after a crash is one that was synced or written since, never anything else.
    #[test]
    fn a_crash_invents_nothing(
        seed in any::<u64>(),
        writes in prop::collection::vec((0..2000_usize, 1..1500_usize, any::<bool>()), 1..20),
    ) {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        let mut possible: Vec<BTreeSet<u8>> = Vec::new();
        for (at, (offset, len, sync)) in writes.into_iter().enumerate() {
            let fill = u8::try_from(at + 1).unwrap();
            file.write_at(offset as u64, &vec![fill; len]).unwrap();
            if possible.len() < offset + len {
                possible.resize(offset + len, BTreeSet::from([0]));
            }
            possible[offset..offset + len].iter_mut().for_each(|byte| { byte.insert(fill); });
            if sync {
                file.sync().unwrap();
                let image = disk.durable(Path::new(FILE)).unwrap();
                possible = image.into_iter().map(|byte| BTreeSet::from([byte])).collect();
            }
        }
        disk.crash();
        let after = content(&disk, FILE).unwrap();
        prop_assert!(after.len() <= possible.len());
        for (at, byte) in after.iter().enumerate() {
            prop_assert!(possible[at].contains(byte), "byte {} is {}, possible are {:?}", at, byte, possible[at]);
        }
    }

    /// Whatever a durable write leaves unsynced, a later sync makes the medium equal to what reads show.
    #[test]
    fn a_sync_after_durable_writes_leaves_what_is_shown(
        seed in any::<u64>(),
        steps in prop::collection::vec((0..3_u8, 0..20_000_usize, 0..6000_usize), 1..20),
    ) {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        for (number, (kind, at, len)) in steps.into_iter().enumerate() {
            let data = vec![u8::try_from(number + 1).unwrap(); len];
            match kind {
                0 => file.write_at(at as u64, &data).unwrap(),
                1 => file.set_len(at as u64).unwrap(),
                _ => {
                    file.write_durably(at as u64, &data).unwrap();
                    let durable = disk.durable(Path::new(FILE)).unwrap();
                    prop_assert!(len == 0 || durable[at..at + len] == data);
                }
            }
        }
        file.sync().unwrap();
        prop_assert!(disk.durable(Path::new(FILE)) == content(&disk, FILE));
    }

    /// Whatever was pending, and whether or not a sync failed: after a crash, reads show only the medium.
    #[test]
    fn a_crash_leaves_nothing_in_the_cache(
        seed in any::<u64>(),
        steps in prop::collection::vec((0..6_u8, 0..20_000_usize, 1..6000_usize), 1..40),
    ) {
        let disk = SimulatedDisk::new(seed);
        create(&disk, FILE).write_durably(0, &[1; 20_000]).unwrap();
        for (number, (kind, at, len)) in steps.into_iter().enumerate() {
            let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
            match kind {
                0..3 => file.write_at(at as u64, &vec![u8::try_from(number + 2).unwrap(); len]).unwrap(),
                3 if len < 500 => file.set_len(at as u64).unwrap(),
                3 if len < 1500 => {
                    // The same length as before, with zeros from there on.
                    let whole = file.len().unwrap();
                    file.set_len(at as u64).unwrap();
                    file.set_len(whole).unwrap();
                }
                4 if len < 1000 => {
                    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
                    file.sync().unwrap_err();
                }
                3 | 4 => file.sync().unwrap(),
                _ => {
                    disk.crash();
                    prop_assert!(content(&disk, FILE) == disk.durable(Path::new(FILE)));
                }
            }
        }
    }

    #[test]
    fn the_same_seed_and_calls_give_the_same_disk(seed in any::<u64>()) {
        let run = || {
            let disk = SimulatedDisk::new(seed);
            for name in ["/a", "/b", "/c"] {
                let file = disk.open(Path::new(name), OpenMode::New).unwrap();
                file.write_at(0, &[1; 3000]).unwrap();
                disk.fail_next(Operation::Write, 0, ErrorKind::StorageFull);
                file.write_at(1000, &[2; 3000]).unwrap_err();
            }
            disk.crash();
            ["/a", "/b", "/c"].map(|name| content(&disk, name))
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn handles_and_locks_from_before_a_crash_are_dead() {
    let disk = SimulatedDisk::new(1);
    disk.create_dir_all(Path::new("/dir")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let old_lock = disk.lock_dir(Path::new("/dir")).unwrap();
    let old = create(&disk, FILE);
    disk.crash();
    let mut buffer = [];
    let calls = [
        old.len().err(),
        old.set_len(1).err(),
        old.read_at(0, &mut buffer).err(),
        old.write_at(0, b"x").err(),
    ];
    assert!(calls.into_iter().chain([old.sync().err(), old.drop_cache().err()]).all(|error| error.is_some()));
    let _lock = disk.lock_dir(Path::new("/dir")).unwrap();
    drop(old_lock);
    assert!(disk.lock_dir(Path::new("/dir")).is_err(), "an old lock's end does not end a new one");
    assert_eq!(content(&disk, FILE).unwrap(), b"");
}

#[test]
fn a_failed_sync_loses_the_data_and_goes_on_showing_it() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    file.write_at(0, b"one").unwrap();
    file.sync().unwrap();
    file.write_at(0, b"two").unwrap();
    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
    file.sync().unwrap_err();
    assert_eq!(
        content(&disk, FILE).unwrap(),
        b"two",
        "the cache shows it, also to one who opens the file now"
    );
    file.write_at(3, b"!").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"one!", "a later sync does not bring it back");
    assert_eq!(content(&disk, FILE).unwrap(), b"two!");
    file.write_at(4, b"?").unwrap();
    file.drop_cache().unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), b"one!?", "what is dirty stays, what only seemed clean goes");
    assert_eq!(disk.injected().failed_syncs, 1);
}

#[test]
fn the_next_process_sees_what_a_failed_sync_dropped_until_the_cache_is_dropped() {
    for durably in [false, true] {
        for crash in [false, true] {
            let disk = SimulatedDisk::new(0);
            let file = create(&disk, FILE);
            file.write_durably(0, b"one").unwrap();
            disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
            let failed = if durably {
                file.write_durably(0, b"two")
            } else {
                file.write_at(0, b"two").and_then(|()| file.sync())
            };
            failed.unwrap_err();
            // The process ends, but not the kernel.
            drop(file);
            assert_eq!(content(&disk, FILE).unwrap(), b"two");
            let next = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
            next.sync().unwrap();
            assert_eq!(content(&disk, FILE).unwrap(), b"two", "a sync that works changes nothing in that");
            assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"one");
            if crash {
                disk.crash();
            } else {
                next.drop_cache().unwrap();
            }
            assert_eq!(content(&disk, FILE).unwrap(), b"one");
        }
    }
}

#[test]
fn a_durable_write_need_not_make_others_durable() {
    let (mut with, mut without) = (0, 0);
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        file.write_at(0, b"head").unwrap();
        file.write_at(10_000, b"old").unwrap();
        file.write_at(9_000, &[1; 10]).unwrap();
        file.set_len(30_000).unwrap();
        file.write_durably(10_000, b"new").unwrap();
        let durable = disk.durable(Path::new(FILE)).unwrap();
        assert_eq!(&durable[10_000..10_003], b"new");
        assert_eq!(&durable[9_000..9_010], &[1; 10], "its page is written as a whole");
        match &durable[..4] {
            b"head" => with += 1,
            b"\0\0\0\0" => without += 1,
            other => panic!("{other:?}"),
        }
        disk.crash();
        let after = content(&disk, FILE).unwrap();
        assert_eq!((&after[10_000..10_003], &after[9_000..9_010]), (&b"new"[..], &[1; 10][..]));
    }
    assert!(with > 10 && without > 10, "{with} {without}");
}

#[test]
fn a_durable_write_takes_a_single_other_change_along_or_not() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        file.write_at(10_000, b"other").unwrap();
        file.write_durably(0, b"new").unwrap();
        seen.insert(disk.durable(Path::new(FILE)).unwrap().len());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [3, 10_005]);
}

#[test]
fn a_sync_covers_what_was_written_before_it_began() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    file.write_at(0, b"before").unwrap();
    disk.open(Path::new("/before"), OpenMode::New).unwrap();
    disk.hold_syncs();
    let syncing = [true, false].map(|folder| {
        let (disk, file) = (disk.clone(), file.clone());
        thread::spawn(move || if folder { disk.sync_dir(Path::new("/")) } else { file.sync() })
    });
    while disk.held_syncs() < 2 {
        thread::yield_now();
    }
    file.write_at(6, b" after").unwrap();
    disk.open(Path::new("/after"), OpenMode::New).unwrap();
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"", "it is held");
    disk.release_syncs();
    for thread in syncing {
        thread.join().unwrap().unwrap();
    }
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"before");
    assert_eq!(["/before", "/after"].map(|name| disk.durable(Path::new(name)).is_some()), [true, false]);
    assert_eq!(disk.held_syncs(), 0);
}

#[test]
fn held_syncs_fail_when_the_power_is_cut() {
    for freeze in [false, true] {
        let disk = SimulatedDisk::new(0);
        let file = create(&disk, FILE);
        file.write_at(0, b"text").unwrap();
        disk.hold_syncs();
        let syncing = [true, false].map(|folder| {
            let (disk, file) = (disk.clone(), file.clone());
            thread::spawn(move || if folder { disk.sync_dir(Path::new("/")) } else { file.sync() })
        });
        while disk.held_syncs() < 2 {
            thread::yield_now();
        }
        if freeze {
            disk.freeze()
        } else {
            disk.crash_losing_all_unsynced()
        }
        for thread in syncing {
            thread.join().unwrap().unwrap_err();
        }
        assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"");
    }
}
