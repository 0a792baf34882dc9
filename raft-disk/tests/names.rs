//! The names that a power cut leaves, after creations, renames and removals.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeSet;
use std::path::Path;

use raftkit_disk::{Disk, OpenMode, SimulatedDisk, create_dir_all_durably};

mod common;

use common::{content, create};

#[test]
fn unsynced_names_are_kept_or_lost_and_synced_ones_are_kept() {
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let old = create(&disk, "/name");
        old.write_at(0, b"old").unwrap();
        old.sync().unwrap();
        let new = disk.open(Path::new("/new"), OpenMode::New).unwrap();
        new.write_at(0, b"new").unwrap();
        new.sync().unwrap();
        disk.rename(Path::new("/new"), Path::new("/name")).unwrap();
        disk.crash();
        let after = (content(&disk, "/name").unwrap(), content(&disk, "/new"));
        assert!(
            [&b"old"[..], b"new"].contains(&after.0.as_slice()),
            "the name always stands for one of both"
        );
        seen.insert(after);
    }
    assert_eq!(seen.len(), 3, "kept, lost, and only made: {seen:?}");

    let disk = SimulatedDisk::new(0);
    drop(create(&disk, "/name"));
    disk.remove(Path::new("/name")).unwrap();
    disk.crash_losing_all_unsynced();
    assert!(disk.exists(Path::new("/name")).unwrap(), "the removal was not synced");
    disk.rename(Path::new("/name"), Path::new("/other")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash_losing_all_unsynced();
    assert_eq!(disk.list(Path::new("/")).unwrap(), [Path::new("/other")]);
}

#[test]
fn a_folder_that_is_lost_takes_its_files_with_it() {
    let disk = SimulatedDisk::new(0);
    let deep = Path::new("/a/b");
    disk.create_dir_all(deep).unwrap();
    disk.open(&deep.join("file"), OpenMode::New).unwrap().sync().unwrap();
    disk.sync_dir(deep).unwrap();
    disk.crash_losing_all_unsynced();
    assert!(!disk.exists(deep).unwrap());

    create_dir_all_durably(&disk, deep).unwrap();
    disk.open(&deep.join("file"), OpenMode::New).unwrap();
    disk.sync_dir(deep).unwrap();
    disk.crash_losing_all_unsynced();
    assert!(disk.exists(&deep.join("file")).unwrap());
}

#[test]
fn a_rename_into_another_folder_is_whole_after_a_sync_of_either() {
    for synced in ["/a", "/b"] {
        let disk = SimulatedDisk::new(0);
        create_dir_all_durably(&disk, Path::new("/a")).unwrap();
        create_dir_all_durably(&disk, Path::new("/b")).unwrap();
        disk.open(Path::new("/a/x"), OpenMode::New).unwrap();
        disk.rename(Path::new("/a/x"), Path::new("/b/x")).unwrap();
        disk.sync_dir(Path::new(synced)).unwrap();
        disk.crash();
        let names = ["/a/x", "/b/x"].map(|name| disk.exists(Path::new(name)).unwrap());
        assert_eq!(names, [false, true], "after a sync of {synced}");
    }
}
