//! A file that is replaced is the old or the complete new one, wherever the power is cut and whatever fails.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::io;
use std::path::Path;

use raftkit_disk::{
    Disk, FinalName, OpenMode, Operation, RealDisk, ReplaceError, SimulatedDisk, create_aside,
    create_dir_all_durably, replace_durably,
};

const DIR: &str = "/data";
const FILE: &str = "/data/file";
const ASIDE: &str = "/data/file.new";
/// Larger than a sector, so that a write can be torn, and of another length than the new content.
const OLD: [u8; 1500] = [1; 1500];
const NEW: [u8; 3000] = [2; 3000];

fn save(disk: &dyn Disk, content: &[u8]) -> io::Result<()> {
    let file = create_aside(disk, Path::new(ASIDE))?;
    file.write_at(0, content)?;
    Ok(replace_durably(disk, &*file, Path::new(ASIDE), Path::new(FILE))?)
}

fn read(disk: &dyn Disk) -> Vec<u8> {
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut content).unwrap();
    content
}

/// A disk on which the old file is durable.
fn with_old(seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(seed);
    create_dir_all_durably(&disk, Path::new(DIR)).unwrap();
    save(&disk, &OLD).unwrap();
    disk
}

#[test]
fn power_cut_in_any_call_leaves_the_old_file_or_the_complete_new_one() {
    let mut found = [0, 0];
    for seed in 0..40 {
        for call in 0.. {
            let disk = with_old(seed);
            disk.crash_at_call(call);
            let saved = save(&disk, &NEW).is_ok();
            disk.crash();
            let content = read(&disk);
            assert!(content == NEW || content == OLD, "call {call}, seed {seed}: {} bytes", content.len());
            assert!(content == NEW || !saved, "call {call}, seed {seed}: a file reported durable is gone");
            found[usize::from(content == NEW)] += 1;
            // What the power cut left must not be in the way of the next attempt.
            save(&disk, &NEW).unwrap();
            disk.crash_losing_all_unsynced();
            assert_eq!(read(&disk), NEW, "call {call}, seed {seed}: the second attempt");
            if saved {
                assert_eq!(call, 5, "creation, write, sync, rename, sync of the folder");
                break;
            }
        }
    }
    assert!(found.iter().all(|count| *count > 40), "old and new: {found:?}");
}

#[test]
fn failed_replacement_says_which_file_has_the_name() {
    let expected = [
        (Operation::Create, None),
        (Operation::Write, None),
        (Operation::Sync, Some((ASIDE, FinalName::Old))),
        (Operation::Rename, Some((FILE, FinalName::Old))),
        (Operation::SyncDir, Some((DIR, FinalName::New))),
    ];
    for (operation, expected) in expected {
        let disk = with_old(1);
        disk.fail_next(operation, 0, io::ErrorKind::Other);
        let replaced = create_aside(&disk, Path::new(ASIDE)).and_then(|file| {
            file.write_at(0, &NEW)?;
            Ok(replace_durably(&disk, &*file, Path::new(ASIDE), Path::new(FILE)))
        });
        let failed = replaced.ok().map(|replaced| replaced.unwrap_err());
        let said = failed.as_ref().map(|ReplaceError { path, name, .. }| (path.to_str().unwrap(), *name));
        assert_eq!(said, expected, "{operation:?}");
        let is_new = said.is_some_and(|(_, name)| name == FinalName::New);
        assert_eq!(read(&disk), if is_new { &NEW[..] } else { &OLD[..] }, "{operation:?}");
    }
}

#[test]
fn real_disk_replaces_a_file_and_removes_what_was_left_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (aside, path) = (dir.path().join("file.new"), dir.path().join("file"));
    std::fs::write(&aside, b"of an earlier attempt, and longer").unwrap();
    std::fs::write(&path, b"old").unwrap();
    let disk = RealDisk;
    let file = create_aside(&disk, &aside).unwrap();
    file.write_at(0, b"new").unwrap();
    replace_durably(&disk, &*file, &aside, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert!(!aside.exists());
}
