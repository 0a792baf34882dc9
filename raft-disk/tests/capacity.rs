//! A simulated disk that is full.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io::ErrorKind;
use std::path::Path;

use raftkit_disk::{Disk, OpenMode, SimulatedDisk};

mod common;

use common::{content, create};

const FULL: ErrorKind = ErrorKind::StorageFull;

#[test]
fn what_needs_more_space_than_there_is_fails() {
    let disk = SimulatedDisk::new(0);
    disk.set_capacity(Some(4 * 4096));
    let file = create(&disk, "/file");
    // One block for the file itself, two for this write.
    file.write_at(0, &[1; 5000]).unwrap();
    assert_eq!(file.write_at(5000, &[2; 9000]).unwrap_err().kind(), FULL);
    assert_eq!(file.len().unwrap(), 3 * 4096, "what fitted in is written");
    assert_eq!(file.set_len(3 * 4096 + 1).unwrap_err().kind(), FULL);
    assert_eq!(disk.open(Path::new("/other"), OpenMode::Either).unwrap_err().kind(), FULL);
    assert_eq!(disk.lock_dir(Path::new("/")).unwrap_err().kind(), FULL);
    assert!(!disk.exists(Path::new("/other")).unwrap());
    assert_eq!(disk.injected().full, 4);
    disk.set_capacity(None);
    file.write_at(5000, &[2; 9000]).unwrap();
}

#[test]
fn what_was_written_can_always_be_written_over() {
    let disk = SimulatedDisk::new(0);
    disk.set_capacity(Some(9 * 4096));
    let file = create(&disk, "/file");
    file.write_durably(0, &[0; 8 * 4096]).unwrap();
    // Even if the disk is smaller than its content.
    for capacity in [9 * 4096, 0] {
        disk.set_capacity(Some(capacity));
        for at in [0, 100, 7 * 4096] {
            file.write_durably(at, &[7; 4096]).unwrap();
        }
        assert_eq!(file.write_at(8 * 4096, b"x").unwrap_err().kind(), FULL);
        disk.rename(Path::new("/file"), Path::new("/new")).unwrap();
        disk.rename(Path::new("/new"), Path::new("/file")).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash();
    let file = disk.open(Path::new("/file"), OpenMode::Existing).unwrap();
    file.write_durably(4096, &[8; 4096]).unwrap();
}

#[test]
fn a_hole_reserves_no_space_and_zeros_do() {
    let disk = SimulatedDisk::new(0);
    disk.set_capacity(Some(6 * 4096));
    let (hole, zeros) = (create(&disk, "/hole"), create(&disk, "/zeros"));
    hole.set_len(4 * 4096).unwrap();
    assert_eq!(hole.set_len(9 * 4096).unwrap_err().kind(), FULL, "there would be no space for it");
    zeros.write_at(0, &[0; 3 * 4096]).unwrap();
    hole.write_at(0, b"x").unwrap();
    assert_eq!(hole.write_at(4096, b"x").unwrap_err().kind(), FULL);
    zeros.write_at(0, &[1; 3 * 4096]).unwrap();
    assert_eq!(content(&disk, "/hole").unwrap()[..2], *b"x\0");
}

#[test]
fn cutting_removing_and_renaming_over_frees_space() {
    let disk = SimulatedDisk::new(0);
    disk.set_capacity(Some(4 * 4096));
    let (one, two) = (create(&disk, "/one"), create(&disk, "/two"));
    one.write_at(0, &[1; 2 * 4096]).unwrap();
    let full = || two.write_at(0, b"x").unwrap_err().kind() == FULL;
    assert!(full());
    one.set_len(4096).unwrap();
    two.write_at(0, b"x").unwrap();
    two.set_len(0).unwrap();
    one.write_at(0, &[1; 2 * 4096]).unwrap();
    assert!(full());
    disk.remove(Path::new("/one")).unwrap();
    two.write_at(0, &[2; 3 * 4096]).unwrap();
    disk.set_capacity(Some(5 * 4096));
    let three = create(&disk, "/three");
    assert_eq!(three.write_at(0, b"x").unwrap_err().kind(), FULL);
    disk.rename(Path::new("/three"), Path::new("/two")).unwrap();
    three.write_at(0, &[3; 4 * 4096]).unwrap();
}
