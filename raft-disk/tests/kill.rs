//! A process is killed while the machine keeps running: what the next process reads, and what is still unsynced.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};

mod common;

use common::{content, create};

const FILE: &str = "/file";
const ROOT: &str = "/";

#[test]
fn what_a_killed_process_wrote_is_read_by_the_next_and_lost_by_a_crash() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir_all(Path::new("/dir")).unwrap();
    disk.sync_dir(Path::new(ROOT)).unwrap();
    let file = create(&disk, FILE);
    file.write_durably(0, b"synced").unwrap();
    file.write_at(6, b", not").unwrap();
    disk.open(Path::new("/new"), OpenMode::New).unwrap();
    let lock = disk.lock_dir(Path::new("/dir")).unwrap();
    disk.freeze();
    file.write_at(0, b"destructor").unwrap_err();
    disk.kill();
    assert!(!disk.is_frozen());
    file.read_at(0, &mut [0]).unwrap_err();
    let _next_lock = disk.lock_dir(Path::new("/dir")).unwrap();
    drop(lock);
    assert_eq!(disk.lock_dir(Path::new("/dir")).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(content(&disk, FILE).unwrap(), b"synced, not");
    assert_eq!(content(&disk, "/new").unwrap(), b"");
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"synced");
    let counts = disk.injected();
    assert_eq!((counts.kills, counts.kills_with_unsynced, counts.crashes), (1, 1, 0));

    // A sync in the next life makes durable what the previous one wrote.
    disk.sync_dir(Path::new(ROOT)).unwrap();
    disk.open(Path::new(FILE), OpenMode::Existing).unwrap().write_at(11, b".").unwrap();
    disk.kill();
    disk.crash_losing_all_unsynced();
    assert_eq!(content(&disk, FILE).unwrap(), b"synced");
    assert_eq!(content(&disk, "/new").unwrap(), b"");
    disk.open(Path::new(FILE), OpenMode::Existing).unwrap().write_at(6, b"!").unwrap();
    disk.kill();
    disk.open(Path::new(FILE), OpenMode::Existing).unwrap().sync().unwrap();
    disk.sync_dir(Path::new("/dir")).unwrap();
    disk.kill();
    disk.crash_losing_all_unsynced();
    assert_eq!(content(&disk, FILE).unwrap(), b"synced!");
    let counts = disk.injected();
    assert_eq!((counts.kills, counts.kills_with_unsynced, counts.crashes), (4, 3, 2));
}

#[test]
fn a_kill_forgets_planned_faults_and_keeps_those_by_chance() {
    use raftkit_disk::{Chance, ErrorChance, Faults};
    let disk = SimulatedDisk::new(0);
    disk.fail_call(0, ErrorKind::Other);
    disk.crash_at_call(0);
    disk.kill();
    create(&disk, FILE).sync().unwrap();
    let (operation, kind, chance) = (Operation::Open, ErrorKind::Other, Chance::ALWAYS);
    disk.set_faults(Faults { errors: vec![ErrorChance { operation, kind, chance }], ..Faults::default() });
    disk.kill();
    disk.open(Path::new(FILE), OpenMode::Existing).unwrap_err();
}

#[test]
fn a_held_sync_fails_when_its_process_is_killed() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    file.write_at(0, b"text").unwrap();
    disk.hold_syncs();
    let syncing = std::thread::spawn(move || file.sync());
    while disk.held_syncs() < 1 {
        std::thread::yield_now();
    }
    disk.kill();
    syncing.join().unwrap().unwrap_err();
    assert_eq!((disk.durable(Path::new(FILE)).unwrap(), disk.held_syncs()), (vec![], 0));
    disk.open(Path::new(FILE), OpenMode::Existing).unwrap().sync().unwrap();
    assert_eq!(disk.durable(Path::new(FILE)).unwrap(), b"text", "what it was to cover was still dirty");
}

#[test]
fn a_failed_sync_is_shown_to_the_next_process_until_the_cache_is_dropped() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    file.write_durably(0, b"one").unwrap();
    file.write_at(0, b"two").unwrap();
    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
    file.sync().unwrap_err();
    disk.kill();
    assert_eq!(disk.injected().kills_with_unsynced, 0, "the kernel takes it for clean");
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    file.sync().unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), b"two");
    file.drop_cache().unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), b"one");
}

#[test]
fn a_file_whose_removal_is_not_durable_comes_back_in_a_crash_after_a_kill() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        create(&disk, FILE).write_durably(0, b"text").unwrap();
        disk.remove(Path::new(FILE)).unwrap();
        disk.kill();
        assert_eq!((content(&disk, FILE), disk.injected().kills_with_unsynced), (None, 1));
        disk.crash();
        seen.insert(content(&disk, FILE));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [None, Some(b"text".to_vec())]);
}

/// A program writes one file after another, syncing each before the next.
#[test]
fn a_kill_keeps_the_order_that_a_program_relies_on() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, "/0");
        disk.defer_syncs();
        file.write_durably(0, b"1").unwrap();
        file.write_durably(1, b"2").unwrap();
        disk.rename(Path::new("/0"), Path::new("/1")).unwrap();
        disk.sync_dir(Path::new(ROOT)).unwrap();
        disk.open(Path::new("/2"), OpenMode::New).unwrap().write_at(0, b"end").unwrap();
        disk.kill();
        assert!(disk.deferred_syncs().is_empty());
        let [old, new] = ["/0", "/1"].map(|name| (content(&disk, name), disk.durable(Path::new(name))));
        let text = |text: &str| Some(text.as_bytes().to_vec());
        // What is visible and what is durable: while waiting for the first, second or third sync, or at the end.
        let possible = [
            [(text("1"), text("")), (None, None)],
            [(text("12"), text("1")), (None, None)],
            [(None, text("12")), (text("12"), None)],
            [(None, None), (text("12"), text("12"))],
        ];
        let at = possible.iter().position(|possible| *possible == [old.clone(), new.clone()]);
        let at = at.unwrap_or_else(|| panic!("{old:?} {new:?}"));
        assert_eq!(content(&disk, "/2"), (at == 3).then(|| b"end".to_vec()));
        seen.insert(at);
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_folder_that_never_was_takes_along_what_another_thread_synced_in_it() {
    let (dir, inside, root) = (Path::new("/dir"), Path::new("/dir/inside"), Path::new(ROOT));
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        disk.defer_syncs();
        disk.sync_dir(root).unwrap();
        disk.create_dir_all(dir).unwrap();
        disk.open(inside, OpenMode::New).unwrap();
        disk.sync_dir(dir).unwrap();
        assert!(disk.complete_sync(disk.deferred_syncs()[1].id));
        disk.kill();
        let there = disk.exists(dir).unwrap();
        assert_eq!(disk.exists(inside).unwrap(), there);
        disk.stop_deferring_syncs();
        disk.create_dir_all(dir).unwrap();
        disk.sync_dir(root).unwrap();
        disk.crash();
        assert_eq!(disk.exists(inside).unwrap(), there);
        seen.insert(there);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_file_without_a_name_goes_away() {
    let disk = SimulatedDisk::new(0);
    create(&disk, FILE);
    disk.remove(Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new(ROOT)).unwrap();
    assert!(format!("{disk:?}").contains("files: 1"));
    disk.kill();
    assert!(format!("{disk:?}").contains("files: 0"));
}

#[test]
fn rot_is_shown_where_neither_a_failed_sync_nor_a_write_hides_it() {
    let mut seen = BTreeSet::new();
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        file.write_durably(0, &[1, 1, 1]).unwrap();
        file.write_at(0, &[2]).unwrap();
        disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
        file.sync().unwrap_err();
        file.write_at(2, &[3]).unwrap();
        file.sync().unwrap();
        for at in 0..3 {
            assert!(disk.rot(Path::new(FILE), at, 0x10));
        }
        assert_eq!(content(&disk, FILE).unwrap(), [2, 0x11, 0x13]);
        disk.defer_syncs();
        file.sync().unwrap();
        file.write_at(1, &[4]).unwrap();
        disk.kill();
        let shown = content(&disk, FILE).unwrap();
        assert_eq!((shown[0], shown[2]), (2, 0x13));
        let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
        file.drop_cache().unwrap();
        assert_eq!(content(&disk, FILE).unwrap(), [0x11, shown[1], 0x13]);
        seen.insert(shown[1]);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [4, 0x11]);
}
