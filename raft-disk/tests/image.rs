//! Images of a disk: taking them, changing them, and creating disks from them.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeSet;
use std::path::Path;

use raftkit_disk::{Disk, DiskFile, DiskImage, OpenMode, SimulatedDisk};

mod common;

use common::{content, create};

const FILE: &str = "/file";

#[test]
fn a_file_is_dirty_until_it_is_synced_or_the_power_is_cut() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    let is_dirty = || disk.is_dirty(Path::new(FILE));
    assert!(!is_dirty() && !disk.is_dirty(Path::new("/none")) && !disk.is_dirty(Path::new("/")));
    file.write_at(0, b"text").unwrap();
    assert!(is_dirty());
    file.sync().unwrap();
    assert!(!is_dirty());
    file.set_len(2).unwrap();
    disk.freeze();
    assert!(is_dirty(), "it is asked when the power is gone, before it is drawn what is left");
    disk.crash();
    assert!(!is_dirty());
}

#[test]
fn an_image_holds_what_is_durable_and_nothing_else() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    file.write_durably(0, b"text").unwrap();
    file.write_at(0, b"TEXT").unwrap();
    disk.open(Path::new("/unsynced"), OpenMode::New).unwrap().write_durably(0, b"x").unwrap();
    let image = disk.image();
    assert_eq!(image.files().collect::<Vec<_>>(), [Path::new(FILE)]);
    assert_eq!(image.read(Path::new(FILE)).unwrap(), b"text");
    assert_eq!((image.len(Path::new(FILE)), image.len(Path::new("/unsynced"))), (Some(4), None));

    let copy = SimulatedDisk::from_image(1, &image);
    assert_eq!(content(&copy, FILE).unwrap(), b"text");
    let file = copy.open(Path::new(FILE), OpenMode::Existing).unwrap();
    file.write_durably(0, b"copy").unwrap();
    create(&copy, "/more");
    assert_eq!(content(&disk, FILE).unwrap(), b"TEXT", "disks of one image are their own");
    assert_eq!(image.read(Path::new(FILE)).unwrap(), b"text");
    assert_ne!(copy.image(), image);
    copy.remove(Path::new("/more")).unwrap();
    copy.sync_dir(Path::new("/")).unwrap();
    file.write_durably(0, b"text").unwrap();
    assert_eq!(copy.image(), image);
    disk.crash_losing_all_unsynced();
    assert_eq!(disk.image(), image);
}

#[test]
fn each_sector_of_a_large_file_can_rot_once() {
    let mut image = DiskImage::new();
    let sectors = 4096_u64;
    image.put(Path::new("/a/b/file"), &vec![1; usize::try_from(sectors).unwrap() * 512]);
    for sector in 0..sectors {
        let mut rotten = image.clone();
        assert!(rotten.rot(Path::new("/a/b/file"), sector * 512 + 3, 0x80));
        let disk = SimulatedDisk::from_image(sector, &rotten);
        let file = disk.open(Path::new("/a/b/file"), OpenMode::ReadOnly).unwrap();
        let mut seen = [0; 512];
        file.read_at(sector * 512, &mut seen).unwrap();
        assert_eq!(seen.iter().position(|byte| *byte == 0x81), Some(3));
        if sector > 0 {
            file.read_at((sector - 1) * 512, &mut seen).unwrap();
            assert_eq!(seen, [1; 512], "only one is rotten");
        }
    }
    assert!(!image.rot(Path::new("/a/b/file"), sectors * 512, 1) && !image.rot(Path::new("/a/b"), 0, 1));
}

#[test]
fn a_file_can_be_put_on_a_disk() {
    let disk = SimulatedDisk::new(0);
    let (calls, image) = (disk.calls(), disk.image());
    assert!(image.is_empty());
    disk.put(Path::new("/a/b/file"), b"first");
    let file = disk.open(Path::new("/a/b/file"), OpenMode::Existing).unwrap();
    file.write_at(0, b"unsynced").unwrap();
    disk.put(Path::new("/a/b/file"), b"second");
    assert_eq!(disk.calls(), calls + 2, "it is no call");
    disk.crash();
    assert_eq!(content(&disk, "/a/b/file").unwrap(), b"second");
    disk.remove(Path::new("/a/b/file")).unwrap();
    disk.put(Path::new("/a/b/file"), b"third");
    disk.crash_losing_all_unsynced();
    assert_eq!(content(&disk, "/a/b/file").unwrap(), b"third");

    let mut image = DiskImage::new();
    image.put(Path::new("/a/b/file"), b"other");
    image.put(Path::new("/a/b/file"), b"third");
    assert_eq!(disk.image(), image);
}

#[test]
fn each_thing_that_differs_shows_in_the_digest() {
    let disk = || {
        let disk = SimulatedDisk::new(0);
        let file = disk.open(Path::new("/file"), OpenMode::New).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.set_len(1 << 30).unwrap();
        file.write_durably(1 << 20, &[1; 10_000]).unwrap();
        (disk, file)
    };
    let changes: [fn(&SimulatedDisk, &dyn DiskFile); 8] = [
        |_, _| {},
        |disk, _| assert!(disk.rot(Path::new("/file"), (1 << 20) + 5000, 1)),
        |_, file| file.write_at(1 << 20, &[2]).unwrap(),
        |_, file| file.write_durably(1 << 20, &[2]).unwrap(),
        |_, file| file.set_len((1 << 30) + 1).unwrap(),
        |disk, _| disk.rename(Path::new("/file"), Path::new("/other")).unwrap(),
        |_, file| assert!(!file.is_empty().unwrap()),
        |disk, _| disk.kill(),
    ];
    let mut seen = BTreeSet::new();
    for change in changes {
        let [one, two] = [disk(), disk()].map(|(disk, file)| {
            let before = disk.digest();
            change(&disk, &*file);
            assert_eq!(disk.digest() == before, seen.is_empty());
            disk.digest()
        });
        assert_eq!(one, two);
        assert!(seen.insert(one));
    }
}
