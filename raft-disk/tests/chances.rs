//! Random faults, unreadable sectors, and the fault counters.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;

use raftkit_disk::{Chance, Disk, ErrorChance, Faults, OpenMode, Operation, SimulatedDisk};

mod common;

use common::{content, create};

const FILE: &str = "/file";

/// A disk with a durable file of `sectors` sectors, and another file.
fn filled(seed: u64, sectors: usize) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    for name in [FILE, "/beside"] {
        create(&disk, name).write_durably(0, &vec![5; sectors * 512]).unwrap();
    }
    disk
}

/// The number of bytes of a durable file that differ from what was written.
fn rotten(disk: &SimulatedDisk, name: &str) -> usize {
    disk.durable(Path::new(name)).unwrap().iter().filter(|byte| **byte != 5).count()
}

#[test]
fn calls_fail_as_often_as_they_are_told_to() {
    let disk = filled(1, 1);
    let error = |operation, kind, chance| ErrorChance { operation, kind, chance };
    disk.set_faults(Faults {
        errors: vec![
            error(Operation::Write, ErrorKind::StorageFull, Chance::one_in(4)),
            error(Operation::Write, ErrorKind::Other, Chance::of(1, 3)),
            error(Operation::Sync, ErrorKind::Other, Chance::of(1, 10)),
            error(Operation::Rename, ErrorKind::Other, Chance::ALWAYS),
            error(Operation::Read, ErrorKind::Other, Chance::NEVER),
        ],
        ..Faults::default()
    });
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    let (mut full, mut other, mut syncs) = (0, 0, 0);
    for _ in 0..1200 {
        match file.write_at(0, b"x").map_err(|error| error.kind()) {
            Ok(()) => {}
            Err(ErrorKind::StorageFull) => full += 1,
            Err(_) => other += 1,
        }
        syncs += u64::from(file.sync().is_err());
        file.read_at(0, &mut [0]).unwrap();
    }
    assert!((250..350).contains(&full) && (250..350).contains(&other) && (90..150).contains(&syncs));
    disk.rename(Path::new(FILE), Path::new("/new")).unwrap_err();
    let injected = disk.injected();
    assert_eq!((injected.full, injected.io_errors, injected.failed_syncs), (full, other + 1, syncs));
    disk.set_faults(Faults::default());
    disk.rename(Path::new(FILE), Path::new("/new")).unwrap();
}

#[test]
fn chances_that_are_off_change_no_draw() {
    let run = |faults: Option<Faults>| {
        let disk = filled(7, 20);
        if let Some(faults) = faults {
            disk.set_faults(faults);
        }
        let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
        for at in 0..30 {
            file.write_at(at * 300, &[9; 900]).unwrap();
            file.read_at(0, &mut [0; 512]).unwrap();
        }
        disk.crash();
        disk.image()
    };
    let off = Faults {
        errors: vec![ErrorChance {
            operation: Operation::Write,
            kind: ErrorKind::Other,
            chance: Chance::one_in(0),
        }],
        may_rot: vec![PathBuf::from("/")],
        ..Faults::default()
    };
    assert_eq!(run(None), run(Some(off)));
    let rot_of_nothing = Faults {
        rot_at_crash: Chance::ALWAYS,
        rot_at_read: Chance::ALWAYS,
        may_rot: vec![PathBuf::from("/none"), PathBuf::from("/fil")],
        ..Faults::default()
    };
    assert_eq!(run(None), run(Some(rot_of_nothing)));
}

#[test]
fn rot_strikes_at_crashes_as_often_as_told_and_only_where_it_may() {
    let disk = filled(3, 2000);
    disk.set_faults(Faults {
        rot_at_crash: Chance::one_in(20),
        may_rot: vec![PathBuf::from(FILE)],
        ..Faults::default()
    });
    disk.crash();
    let image = disk.durable(Path::new(FILE)).unwrap();
    let sectors: Vec<usize> =
        image.chunks(512).map(|sector| sector.iter().filter(|byte| **byte != 5).count()).collect();
    let hit = sectors.iter().filter(|bytes| **bytes > 0).count();
    assert!((60..140).contains(&hit), "{hit} of 2000");
    let flips = sectors.iter().filter(|bytes| **bytes == 1).count();
    assert!((20..hit - 20).contains(&flips), "bits and whole sectors: {flips} of {hit}");
    assert_eq!(disk.injected().rotten_bytes, rotten(&disk, FILE) as u64);
    assert_eq!(rotten(&disk, "/beside"), 0);
    assert_eq!(content(&disk, FILE).unwrap(), image);
}

#[test]
fn rot_strikes_what_is_read_where_it_may() {
    let disk = filled(3, 8);
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    disk.rename(Path::new(FILE), Path::new("/renamed")).unwrap();
    disk.set_faults(Faults {
        rot_at_read: Chance::ALWAYS,
        may_rot: vec![PathBuf::from("/renamed")],
        ..Faults::default()
    });
    let mut seen = [0; 1000];
    file.read_at(600, &mut seen).unwrap();
    disk.set_faults(Faults::default());
    assert!(seen.iter().any(|byte| *byte != 5), "the read shows it");
    disk.sync_dir(Path::new("/")).unwrap();
    let image = disk.durable(Path::new("/renamed")).unwrap();
    let hit: Vec<bool> = image.chunks(512).map(|sector| sector.iter().any(|byte| *byte != 5)).collect();
    assert_eq!(hit, [false, true, true, true, false, false, false, false]);
    assert_eq!(disk.injected().rotten_bytes, rotten(&disk, "/renamed") as u64);
    // Data that is not durable yet cannot rot.
    disk.set_faults(Faults {
        rot_at_read: Chance::ALWAYS,
        may_rot: vec![PathBuf::from("/")],
        ..Faults::default()
    });
    file.write_at(0, &[6; 8 * 512]).unwrap();
    file.read_at(0, &mut seen).unwrap();
    assert_eq!(seen, [6; 1000]);
}

#[test]
fn a_bad_sector_fails_reads_until_it_is_written_as_a_whole_and_synced() {
    let disk = filled(0, 4);
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    assert!(disk.fail_reads(Path::new(FILE), 700..1100) && !disk.fail_reads(Path::new("/none"), 0..1));
    let readable = || {
        [0, 512, 1024, 1536].map(|at| {
            let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
            file.read_at(at, &mut [0; 512]).is_ok()
        })
    };
    assert_eq!(readable(), [true, false, false, true]);
    assert_eq!(disk.injected().io_errors, 2);
    file.write_at(600, &[6; 424]).unwrap();
    assert_eq!(readable(), [true, false, false, true], "a part is not enough");
    file.write_at(500, &[6; 600]).unwrap();
    assert_eq!(readable(), [true, true, false, true]);
    disk.crash_losing_all_unsynced();
    assert_eq!(readable(), [true, false, false, true], "the medium was not written");

    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    file.write_durably(512, &[6; 512]).unwrap();
    disk.crash_losing_all_unsynced();
    assert_eq!(readable(), [true, true, false, true]);
    disk.clear_failing_reads(Path::new(FILE));
    assert_eq!(readable(), [true; 4]);
}

#[test]
fn a_bad_sector_is_gone_with_its_part_of_the_file_and_back_with_the_cache() {
    let disk = filled(0, 4);
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    disk.fail_reads(Path::new(FILE), 0..u64::MAX);
    let mut buffer = [0; 512];
    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
    file.write_durably(0, &[6; 512]).unwrap_err();
    file.read_at(0, &mut buffer).unwrap();
    file.drop_cache().unwrap();
    file.read_at(0, &mut buffer).unwrap_err();

    file.set_len(512).unwrap();
    file.set_len(2048).unwrap();
    file.read_at(512, &mut buffer).unwrap();
    file.sync().unwrap();
    disk.crash();
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    file.read_at(512, &mut buffer).unwrap();
    assert_eq!(buffer, [0; 512]);
    file.read_at(0, &mut buffer).unwrap_err();

    // The last sector of a file counts as rewritten once it is written up to the file's end.
    file.set_len(700).unwrap();
    disk.fail_reads(Path::new(FILE), 600..601);
    file.write_at(512, &[6; 188]).unwrap();
    file.read_at(512, &mut buffer[..188]).unwrap();
}

#[test]
fn a_sync_that_stalls_waits_until_it_is_let_go_on() {
    let disk = filled(0, 1);
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    file.write_at(0, b"x").unwrap();
    disk.set_faults(Faults { stalls: Chance::ALWAYS, ..Faults::default() });
    let syncing = thread::spawn(move || file.sync());
    while disk.held_syncs() == 0 {
        assert!(!syncing.is_finished(), "it waits");
        thread::yield_now();
    }
    assert_eq!(rotten(&disk, FILE), 0, "not durable yet");
    disk.set_faults(Faults::default());
    let others = disk.open(Path::new("/beside"), OpenMode::Existing).unwrap();
    others.sync().unwrap();
    disk.release_syncs();
    syncing.join().unwrap().unwrap();
    assert_eq!((rotten(&disk, FILE), disk.injected().stalls), (1, 1));
}

#[test]
fn a_crash_counts_what_it_lost_and_tore() {
    let (mut sum, mut kept) = (raftkit_disk::Injected::default(), 0);
    for seed in 0..100 {
        let disk = filled(seed, 8);
        let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
        file.write_at(0, &[6; 2048]).unwrap();
        disk.open(Path::new("/new"), OpenMode::New).unwrap();
        disk.crash();
        let changed = rotten(&disk, FILE);
        let (now, is_new) = (disk.injected(), disk.exists(Path::new("/new")).unwrap());
        let expected = (u64::from(changed == 0), u64::from((1..2048).contains(&changed)), u64::from(!is_new));
        assert_eq!((now.lost_writes, now.torn_writes, now.lost_names), expected);
        kept += u64::from(changed == 2048 && is_new);
        sum += now;
    }
    assert_eq!((sum.crashes, sum.crashes_with_loss), (100, 100 - kept));
    assert!(kept > 0 && sum.torn_writes > 10 && sum.lost_writes > 10, "{sum:?}");
}
