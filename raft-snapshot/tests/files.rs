//! Snapshot files are complete or not there, with a crash at every point and with every call failing.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};

use common::{CHUNK, content, data, folder, membership, open, source, write};
use raftkit_core::LogId;
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};
use raftkit_snapshot::{ChunkNumber, Manifest, SnapshotDir, SnapshotError};

fn id(index: u64) -> LogId {
    LogId::new(2, index)
}

#[test]
fn snapshot_comes_back_as_it_was_written() {
    for length in [0, 1, 999, 1000, 1001, 5000, 5001] {
        let bytes = data(length, 1);
        let disk = SimulatedDisk::new(1);
        let dir = open(&disk).unwrap();
        let mut writer = dir.create(membership()).unwrap();
        for part in bytes.chunks(77) {
            writer.write_all(part).unwrap();
        }
        writer.finish(id(5)).unwrap();
        disk.crash_losing_all_unsynced();
        let file = open(&disk).unwrap().latest().unwrap().unwrap();
        assert_eq!(content(&file), bytes);
        let manifest = file.manifest();
        assert_eq!((manifest.id, &manifest.membership), (id(5), &membership()));
        assert_eq!(manifest.count() as usize, length.div_ceil(CHUNK as usize));
        for chunk in manifest.numbers() {
            let at = usize::try_from(manifest.offset(chunk)).unwrap();
            let read = file.read_chunk(chunk).unwrap();
            assert_eq!(read, bytes[at..][..read.len()]);
        }
        assert!(matches!(
            file.read_chunk(ChunkNumber(manifest.count())),
            Err(SnapshotError::NoSuchChunk { .. })
        ));
    }
}

#[test]
fn unfinished_snapshot_leaves_nothing() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let mut writer = dir.create(membership()).unwrap();
    writer.write_all(&data(5000, 1)).unwrap();
    drop(writer);
    assert!(disk.list(&folder()).unwrap().is_empty());
    assert!(dir.latest().unwrap().is_none());
    assert!(matches!(dir.open(id(1)), Err(SnapshotError::Missing { .. })));
}

#[test]
fn leftovers_of_an_earlier_life_are_removed_but_received_chunks_stay() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let from = source(id(9), &data(3000, 1));
    let mut writer = dir.create(membership()).unwrap();
    writer.write_all(&data(5000, 1)).unwrap();
    dir.partial(from.manifest())
        .unwrap()
        .store(ChunkNumber(1), &from.read_chunk(ChunkNumber(1)).unwrap())
        .unwrap();
    std::mem::forget(writer);
    let dir = open(&disk).unwrap();
    assert_eq!(disk.list(&folder()).unwrap().len(), 1);
    assert_eq!(dir.partial(from.manifest()).unwrap().have(), &BTreeSet::from([ChunkNumber(1)]));
}

#[test]
fn any_rotten_byte_is_reported_when_it_is_read() {
    let bytes = data(2500, 1);
    let path = folder().join("00000000000000000002-00000000000000000005.snapshot");
    let disk = SimulatedDisk::new(1);
    write(&open(&disk).unwrap(), id(5), &bytes);
    let length = disk.durable(&path).unwrap().len() as u64;
    for offset in (0..length).step_by(7).chain(length - 16..length) {
        let disk = SimulatedDisk::new(1);
        let dir = open(&disk).unwrap();
        write(&dir, id(5), &bytes);
        disk.crash();
        assert!(disk.rot(&path, offset, 4));
        let mut read = Vec::new();
        let error = match open(&disk).unwrap().latest() {
            Ok(file) => file.unwrap().reader().read_to_end(&mut read).unwrap_err(),
            Err(error) => error.into(),
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData, "offset {offset}: {error}");
        assert!(bytes.starts_with(&read), "nothing rotten is given out");
    }
}

#[test]
fn file_under_another_name_is_refused() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    write(&dir, id(5), b"x");
    let name = |index: u64| folder().join(format!("{:020}-{index:020}.snapshot", 2));
    disk.rename(&name(5), &name(6)).unwrap();
    assert!(matches!(dir.open(id(6)), Err(SnapshotError::Damaged { .. })));
}

#[test]
fn crash_at_any_point_of_writing_leaves_a_whole_snapshot_or_none() {
    let (old, new) = (data(2200, 1), data(3300, 2));
    let script = |disk: &SimulatedDisk| -> Result<(), std::io::Error> {
        let dir = open(disk)?;
        let mut writer = dir.create(membership())?;
        writer.write_all(&new)?;
        writer.finish(id(5))?;
        Ok(())
    };
    for there in [false, true] {
        let prepare = |seed| {
            let disk = SimulatedDisk::new(seed);
            let dir = open(&disk).unwrap();
            if there {
                write(&dir, id(5), &old);
            }
            disk
        };
        let disk = prepare(0);
        let before = disk.mutations();
        script(&disk).unwrap();
        let points = disk.mutations() - before;
        let (mut news, mut others) = (0, 0);
        for point in 0..=points {
            for seed in 0..8 {
                let disk = prepare(seed);
                disk.crash_at_call(point);
                let done = script(&disk);
                assert_eq!(done.is_ok(), point == points);
                disk.freeze();
                disk.crash();
                let found = open(&disk).unwrap().latest().unwrap().map(|file| content(&file));
                let is_new = found.as_ref() == Some(&new);
                assert!(is_new || found == there.then(|| old.clone()), "point {point} seed {seed}");
                assert!(done.is_err() || is_new, "what was finished is durable");
                if is_new { news += 1 } else { others += 1 }
            }
        }
        assert!(news > 8 && others > 8, "{news} {others}");
    }
}

/// Receives the missing chunks; stops at the first error.
fn receive(disk: &SimulatedDisk, manifest: &Manifest, bytes: &[u8]) -> Result<usize, std::io::Error> {
    let mut partial = open(disk)?.partial(manifest)?;
    let missing: Vec<ChunkNumber> =
        manifest.numbers().filter(|chunk| !partial.have().contains(chunk)).collect();
    for chunk in missing.iter().rev() {
        let at = usize::try_from(manifest.offset(*chunk)).unwrap();
        partial.store(*chunk, &bytes[at..][..manifest.chunk_length(*chunk).unwrap()])?;
    }
    partial.finish()?;
    Ok(missing.len())
}

#[test]
fn crash_at_any_point_of_receiving_leaves_a_whole_snapshot_or_none_and_can_go_on() {
    let bytes = data(4400, 1);
    let manifest = source(id(5), &bytes).manifest().clone();
    let disk = SimulatedDisk::new(0);
    assert_eq!(receive(&disk, &manifest, &bytes).unwrap(), 5);
    let points = disk.mutations();
    let mut resumed = 0;
    for point in 0..=points {
        for seed in 0..8 {
            let disk = SimulatedDisk::new(seed);
            disk.crash_at_call(point);
            let done = receive(&disk, &manifest, &bytes);
            disk.freeze();
            disk.crash();
            let found = open(&disk).unwrap().latest().unwrap().map(|file| content(&file));
            assert!(found.is_none() || found.as_ref() == Some(&bytes), "point {point} seed {seed}");
            assert!(done.is_err() || found.is_some(), "what was finished is durable");
            if found.is_none() {
                let asked = receive(&disk, &manifest, &bytes).unwrap();
                resumed += u32::from(asked < 5);
                assert_eq!(content(&open(&disk).unwrap().latest().unwrap().unwrap()), bytes);
            }
        }
    }
    assert!(resumed > 5, "chunks that survived are used: {resumed}");
}

#[test]
fn any_call_of_the_disk_may_fail_once() {
    let bytes = data(4400, 1);
    let manifest = source(id(5), &bytes).manifest().clone();
    let life = |disk: &SimulatedDisk| -> Result<(), std::io::Error> {
        let dir = open(disk)?;
        let mut writer = dir.create(membership())?;
        writer.write_all(&bytes[..3000])?;
        writer.finish(id(4))?;
        receive(disk, &manifest, &bytes)?;
        dir.remove_all_but(&[id(5)])?;
        let file = dir.latest()?.ok_or(ErrorKind::NotFound)?;
        file.reader().read_to_end(&mut Vec::new())?;
        Ok(())
    };
    let disk = SimulatedDisk::new(0);
    life(&disk).unwrap();
    for call in 0..disk.calls() {
        let disk = SimulatedDisk::new(call);
        disk.fail_call(call, ErrorKind::Other);
        let done = life(&disk);
        disk.clear_faults();
        // The same process continues after the error: what it then reports as durable must be durable.
        let again = life(&disk);
        assert!(done.is_ok() || again.is_ok(), "call {call}: {again:?}");
        disk.freeze();
        disk.crash_losing_all_unsynced();
        let file = open(&disk).unwrap().latest().unwrap().unwrap();
        assert_eq!(content(&file), bytes, "call {call}");
    }
}

#[test]
fn sync_that_fails_is_an_error_and_never_a_snapshot_that_may_vanish() {
    let bytes = data(2500, 1);
    let manifest = source(id(5), &bytes).manifest().clone();
    for received in [false, true] {
        let disk = SimulatedDisk::new(1);
        let dir = open(&disk).unwrap();
        disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
        let done = if received {
            receive(&disk, &manifest, &bytes).map(|_| ())
        } else {
            let mut writer = dir.create(membership()).unwrap();
            writer.write_all(&bytes).unwrap();
            writer.finish(id(5)).map(|_| ()).map_err(Into::into)
        };
        assert!(done.is_err());
        assert!(dir.latest().unwrap().is_none());
    }
}

#[test]
fn name_that_a_start_has_seen_is_durable_from_then_on() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    disk.fail_next(Operation::SyncDir, 0, ErrorKind::Other);
    let mut writer = dir.create(membership()).unwrap();
    writer.write_all(&data(2500, 1)).unwrap();
    writer.finish(id(5)).unwrap_err();
    // The process ends here, and the next one relies on what it finds.
    assert_eq!(open(&disk).unwrap().latest().unwrap().unwrap().manifest().id, id(5));
    disk.crash_losing_all_unsynced();
    assert_eq!(open(&disk).unwrap().latest().unwrap().unwrap().manifest().id, id(5));
}

#[test]
fn chunk_with_a_wrong_hash_length_or_number_is_refused() {
    let from = source(id(5), &data(2500, 1));
    let dir = open(&SimulatedDisk::new(1)).unwrap();
    let mut partial = dir.partial(from.manifest()).unwrap();
    let chunk = from.read_chunk(ChunkNumber(0)).unwrap();
    let wrong =
        |result: Result<(), SnapshotError>| assert!(matches!(result, Err(SnapshotError::WrongChunk { .. })));
    wrong(partial.store(ChunkNumber(1), &chunk));
    wrong(partial.store(ChunkNumber(0), &chunk[1..]));
    wrong(partial.store(ChunkNumber(3), &chunk));
    assert!(partial.have().is_empty());
    partial.store(ChunkNumber(0), &chunk).unwrap();
    assert!(matches!(partial.finish(), Err(SnapshotError::Incomplete { missing: 2 })));
    assert_eq!(dir.partial(from.manifest()).unwrap().have(), &BTreeSet::from([0].map(ChunkNumber)));
}

#[test]
fn chunks_of_another_snapshot_are_not_taken_for_good() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let (one, other) = (source(id(5), &data(3000, 1)), source(id(5), &data(3000, 2)));
    let mut partial = dir.partial(one.manifest()).unwrap();
    partial.store(ChunkNumber(0), &one.read_chunk(ChunkNumber(0)).unwrap()).unwrap();
    drop(partial);
    assert!(dir.partial(other.manifest()).unwrap().have().is_empty());
    let newer = source(id(6), &data(3000, 3));
    assert!(dir.partial(newer.manifest()).unwrap().have().is_empty());
    assert_eq!(disk.list(&folder()).unwrap().len(), 1, "one snapshot is received at a time");
}

#[test]
fn equal_chunks_of_other_snapshots_need_not_come_again() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let bytes = data(6500, 1);
    // One snapshot is complete, and some chunks of another have arrived; anything after these chunks is garbage.
    let whole = write(&dir, id(4), &bytes[..2500]);
    let mut later = bytes.clone();
    later[0] ^= 1;
    let from = source(id(5), &later);
    let mut partial = dir.partial(from.manifest()).unwrap();
    assert_eq!(
        partial.have(),
        &BTreeSet::from([ChunkNumber(1)]),
        "its first chunk has changed, its last was cut short"
    );
    for chunk in [3, 5, 6].map(ChunkNumber) {
        partial.store(chunk, &from.read_chunk(chunk).unwrap()).unwrap();
    }
    drop(partial);

    let mut newest = later.clone();
    newest[3000] ^= 1;
    newest[6400] ^= 1;
    let from = source(id(6), &newest);
    let partial = dir.partial(from.manifest()).unwrap();
    assert_eq!(partial.have(), &BTreeSet::from([1, 5].map(ChunkNumber)), "3 and 6 have changed");
    drop((partial, whole));
    receive(&disk, from.manifest(), &newest).unwrap();
    assert_eq!(content(&open(&disk).unwrap().open(id(6)).unwrap()), newest);
}

#[test]
fn an_equal_chunk_is_taken_to_every_place_where_it_belongs_and_none_that_has_rotted() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let bytes = data(3000, 1);
    let from = source(id(5), &bytes);
    receive(&disk, from.manifest(), &bytes).unwrap();
    let shifted: Vec<u8> = [&bytes[1000..2000], &bytes[1000..2000], &bytes[..1000], &bytes[2000..]].concat();
    let newer = source(id(6), &shifted);
    assert_eq!(dir.partial(newer.manifest()).unwrap().have(), &BTreeSet::from([0, 1, 2, 3].map(ChunkNumber)));

    let path = folder().join("00000000000000000002-00000000000000000005.snapshot");
    disk.open(&path, OpenMode::Existing).unwrap().write_at(1500, &[!bytes[1500]]).unwrap();
    for partial in
        disk.list(&folder()).unwrap().iter().filter(|it| it.extension().is_some_and(|it| it == "partial"))
    {
        disk.remove(partial).unwrap();
    }
    assert_eq!(dir.partial(newer.manifest()).unwrap().have(), &BTreeSet::from([2, 3].map(ChunkNumber)));
}

#[test]
fn longer_leftover_is_cut_to_the_snapshot() {
    let disk = SimulatedDisk::new(1);
    let dir = open(&disk).unwrap();
    let bytes = data(2000, 1);
    let from = source(id(5), &bytes);
    let path = folder().join("00000000000000000002-00000000000000000005.partial");
    let file = disk.open(&path, OpenMode::New).unwrap();
    file.write_at(0, &data(9000, 3)).unwrap();
    receive(&disk, from.manifest(), &bytes).unwrap();
    assert_eq!(content(&dir.latest().unwrap().unwrap()), bytes);
}

#[test]
fn works_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = std::sync::Arc::new(raftkit_disk::RealDisk);
    let dir = SnapshotDir::new(disk, folder.path().join("a/b")).unwrap();
    let bytes = data(3 << 20, 1);
    let file = write(&dir, id(7), &bytes);
    assert_eq!(file.manifest().count(), 12, "a chunk has 256 KiB unless another size is asked for");
    assert_eq!(content(&dir.latest().unwrap().unwrap()), bytes);
}
