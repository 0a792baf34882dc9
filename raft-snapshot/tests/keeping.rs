//! Which files a folder of snapshots removes, and which it keeps.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::collections::BTreeSet;
use std::io::Write;

use common::{content, data, folder, membership, open, source, write};
use raftkit_core::LogId;
use raftkit_disk::{Disk, OpenMode, SimulatedDisk};
use raftkit_snapshot::{ChunkNumber, SnapshotError};

fn id(index: u64) -> LogId {
    LogId::new(2, index)
}

#[test]
fn newest_is_found_by_entry_and_the_rest_removed() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    for (term, index) in [(1, 9), (2, 10), (2, 100), (10, 11)] {
        write(&dir, LogId::new(term, index), &data(10, index));
    }
    let newest = dir.latest().unwrap().unwrap();
    assert_eq!(newest.manifest().id, LogId::new(10, 11));
    let (old, new) = (source(id(50), &data(2000, 1)), source(LogId::new(11, 200), &data(2000, 2)));
    dir.partial(old.manifest()).unwrap();
    dir.remove_all_but(&[LogId::new(2, 100)]).unwrap();
    let names: Vec<_> = disk.list(&folder()).unwrap();
    assert_eq!(names, [folder().join("00000000000000000002-00000000000000000100.snapshot")]);
    assert_eq!(content(&newest), data(10, 11), "an open file can be read on");
    let mut partial = dir.partial(new.manifest()).unwrap();
    dir.remove_all_but(&[LogId::new(2, 100)]).unwrap();
    for chunk in (0..2).map(ChunkNumber) {
        partial.store(chunk, &new.read_chunk(chunk).unwrap()).unwrap();
    }
    partial.finish().unwrap();
    assert_eq!(dir.latest().unwrap().unwrap().manifest().id, LogId::new(11, 200));
}

#[test]
fn what_comes_in_and_is_to_be_kept_goes_on_coming_in() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let from = source(id(9), &data(2000, 1));
    let mut partial = dir.partial(from.manifest()).unwrap();
    partial.store(ChunkNumber(0), &from.read_chunk(ChunkNumber(0)).unwrap()).unwrap();
    for keep in [&[][..], &[id(9)], &[id(5), id(9), id(12)]] {
        dir.remove_all_but(keep).unwrap();
        assert_eq!(disk.list(&folder()).unwrap().len(), 1, "kept were {keep:?}");
    }
    partial.store(ChunkNumber(1), &from.read_chunk(ChunkNumber(1)).unwrap()).unwrap();
    assert_eq!(content(&partial.finish().unwrap()), data(2000, 1));
}

#[test]
fn two_snapshots_can_be_written_at_a_time() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let mut writers = [5, 6].map(|index| (index, dir.create(membership()).unwrap()));
    for (index, writer) in &mut writers {
        writer.write_all(&data(2500, *index)).unwrap();
    }
    for (index, writer) in writers {
        assert_eq!(content(&writer.finish(id(index)).unwrap()), data(2500, index));
    }
}

#[test]
fn a_file_that_holds_more_or_fewer_bytes_than_its_manifest_says_is_refused() {
    let path = folder().join("00000000000000000002-00000000000000000005.snapshot");
    for change in [-1, 1] {
        let disk = SimulatedDisk::new(1);
        let dir = open(&disk).unwrap();
        write(&dir, id(5), &data(2500, 1));
        let mut bytes = disk.durable(&path).unwrap();
        if change < 0 {
            bytes.remove(0);
        } else {
            bytes.insert(0, 0)
        }
        let file = disk.open(&path, OpenMode::Existing).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        file.write_at(0, &bytes).unwrap();
        assert!(matches!(dir.open(id(5)), Err(SnapshotError::Damaged { .. })), "{change}");
    }
}

#[test]
fn equal_chunks_behind_one_that_cannot_be_read_need_not_come_again() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let bytes = data(5000, 1);
    write(&dir, id(5), &bytes);
    let path = folder().join("00000000000000000002-00000000000000000005.snapshot");
    assert!(disk.fail_reads(&path, 1000..1001));
    let newer = source(id(6), &bytes);
    // The sector that cannot be read touches the first two chunks.
    assert_eq!(dir.partial(newer.manifest()).unwrap().have(), &BTreeSet::from([2, 3, 4].map(ChunkNumber)));
}
