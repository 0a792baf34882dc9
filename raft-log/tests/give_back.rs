//! Giving space back: by compaction under load, and by copying the database into a new file.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;

use common::roomy::{EMPTY, NEW, exists, give_back, large, open, roomy, write, write_entries};
use common::{FILE, Model, append, base, command, member, settle};
use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

#[test]
fn a_file_much_larger_than_what_is_in_it_is_copied_into_a_short_one() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = roomy(&disk).unwrap();
    let before = store.file_bytes();
    assert!(before > 1 << 20, "{before}");
    assert_eq!(give_back(&mut store).unwrap(), Progress::Done);
    assert!(store.file_bytes() < 2 * EMPTY, "{} bytes", store.file_bytes());
    assert!(!exists(&disk, NEW));
    model.check(&store);
    assert_eq!(give_back(&mut store).unwrap(), Progress::Nothing, "nothing more is to be gained");
    write_entries(&mut store, &mut model, 5, 100).unwrap();
    drop(store);
    let store = open(&disk).unwrap();
    model.check(&store);
    assert!(store.file_bytes() < 2 * EMPTY, "{} bytes", store.file_bytes());
}

#[test]
fn a_reader_from_before_a_copy_reads_on_after_it() {
    let disk = SimulatedDisk::new(1);
    let (mut store, model) = roomy(&disk).unwrap();
    let reader = store.reader();
    assert_eq!(give_back(&mut store).unwrap(), Progress::Done);
    let entries = reader.read(model.base.id.index.next(), model.last().index, usize::MAX).unwrap();
    assert_eq!(entries, ReadResult::Entries(model.entries.clone()));
}

#[test]
fn what_comes_while_a_copy_is_made_is_in_it() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = large(&disk);
    let mut steps = 0;
    while store.give_back().unwrap() == Progress::More {
        steps += 1;
        let index = model.last().index.0 + 1;
        let compact_to = (steps == 2).then(|| LogIndex(index - 20));
        let entries = vec![command(2 + steps, index, 50), member(2 + steps, index + 1, steps)];
        let hard_state = HardState { term: Term(2 + steps), commit: LogIndex(index), ..HardState::default() };
        let new = Write { compact_to, hard_state: Some(hard_state), ..append(index, entries) };
        write(&mut store, &mut model, new).unwrap();
        settle(&mut store);
    }
    assert!(steps >= 2, "{steps}");
    assert!(store.file_bytes() < 8 << 20, "{} bytes", store.file_bytes());
    model.check(&store);
    drop(store);
    model.check(&open(&disk).unwrap());
}

#[test]
fn a_log_that_is_cut_begins_its_copy_anew() {
    for reset in [false, true] {
        let disk = SimulatedDisk::new(1);
        let (mut store, mut model) = large(&disk);
        assert_eq!(store.give_back().unwrap(), Progress::More);
        assert_eq!(store.give_back().unwrap(), Progress::More);
        assert!(exists(&disk, NEW));
        let index = model.last().index.0;
        let cut = if reset {
            Write { reset_to: Some(base(3, index + 40).into()), ..append(1, vec![command(3, index + 41, 9)]) }
        } else {
            // In the middle of what is already copied.
            Write { truncate_from: Some(LogIndex(index - 45)), ..append(1, vec![command(3, index - 45, 9)]) }
        };
        write(&mut store, &mut model, cut).unwrap();
        settle(&mut store);
        assert!(!exists(&disk, NEW), "it is given up");
        assert_eq!(give_back(&mut store).unwrap(), Progress::Done);
        model.check(&store);
        drop(store);
        model.check(&open(&disk).unwrap());
    }
}

#[test]
fn a_copy_waits_for_a_disk_with_room_for_it() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = large(&disk);
    disk.set_capacity(Some(0));
    assert_eq!(give_back(&mut store).unwrap(), Progress::Nothing, "not even tried");
    disk.set_capacity(None);
    assert_eq!(store.give_back().unwrap(), Progress::More);
    // The disk fills up before the copy is finished.
    disk.set_capacity(Some(0));
    assert_eq!(give_back(&mut store).unwrap(), Progress::Postponed);
    assert!(!exists(&disk, NEW));
    model.check(&store);
    disk.set_capacity(None);
    write_entries(&mut store, &mut model, 1, 10).unwrap();
    assert_eq!(give_back(&mut store).unwrap(), Progress::Done);
    model.check(&store);
}

/// A load that leaves time for nothing else: everything is settled by flushes that find the journal full or are too
/// large for it.
#[test]
fn a_file_stays_bounded_where_nothing_but_flushes_settles_and_frees() {
    for len in [3_000, 20_000, 100_000] {
        let disk = SimulatedDisk::new(1);
        let mut store = open(&disk).unwrap();
        let mut model = Model::default();
        model.form(ClusterId(5), base(1, 1));
        store.form(ClusterId(5), base(1, 1)).unwrap();
        let kept = 1_000_000 / len as u64;
        for _ in 0..30_000_000 / len {
            let index = model.last().index.0 + 1;
            let compact_to = (index > kept + 2).then(|| LogIndex(index - kept));
            let new = Write { compact_to, ..append(index, vec![command(1, index, len)]) };
            write(&mut store, &mut model, new).unwrap();
            let most = 12 << 20;
            assert!(store.file_bytes() < most, "{} bytes at {index} of {len} bytes", store.file_bytes());
        }
        model.check(&store);
    }
}

#[test]
fn the_threads_of_a_writer_give_space_back_after_an_opening() {
    let disk = SimulatedDisk::new(1);
    let (store, model) = roomy(&disk).unwrap();
    // As after a crash, because closing a database cuts off free pages at its end.
    disk.freeze();
    drop(store);
    disk.crash();
    let before = disk.len_of(Path::new(FILE)).unwrap();
    let (failed, failures) = std::sync::mpsc::channel();
    let writer = Writer::start(open(&disk).unwrap(), move |written| match written {
        Written::Persisted(_) => {}
        Written::Failed(error) => drop(failed.send(error)),
    })
    .unwrap();
    while disk.len_of(Path::new(FILE)).unwrap() >= before.min(2 * EMPTY) {
        assert!(failures.try_recv().is_err());
        std::thread::yield_now();
    }
    drop(writer);
    model.check(&open(&disk).unwrap());
}

#[test]
fn a_copy_that_cannot_keep_up_is_given_up() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = large(&disk);
    let mut longest = 0;
    loop {
        match store.give_back().unwrap() {
            Progress::More => {}
            Progress::Postponed => break,
            Progress::Done | Progress::Nothing => panic!("it cannot catch up"),
        }
        longest = longest.max(disk.len_of(Path::new(NEW)).unwrap());
        // Write and compact more than a step copies in the meantime.
        write_entries(&mut store, &mut model, 30, 60_000).unwrap();
        let to = LogIndex(model.last().index.0 - 50);
        write(&mut store, &mut model, Write { compact_to: Some(to), ..append(99, vec![]) }).unwrap();
        settle(&mut store);
    }
    assert!(!exists(&disk, NEW));
    assert!(longest < 4 * store.file_bytes(), "{longest}");
    model.check(&store);
}
