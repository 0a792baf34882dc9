//! Giving space back: by compaction under load, and by copying the database into a new file, whatever happens.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, Operation, SimulatedDisk, Slack};
use raftkit_log::*;

const NEW: &str = "/data/log/log.redb.new";
const SLACK: Slack = Slack::new(64 << 10);
/// Approximate minimum size of an empty redb database, in bytes.
const EMPTY: u64 = 512 << 10;

fn open(disk: &SimulatedDisk) -> Result<Store, OpenError> {
    let options = OpenOptions { slack: SLACK, journal_bytes: 256 << 10, ..options() };
    Store::open(Arc::new(disk.clone()), Path::new(DIR), options).map(|(store, _)| store)
}

fn exists(disk: &SimulatedDisk, path: &str) -> bool {
    Disk::exists(disk, Path::new(path)).unwrap()
}

/// Applies a write to the store and the model.
fn write(store: &mut Store, model: &mut Model, write: Write) -> Result<(), StoreError> {
    model.apply(&write);
    store.queue(write);
    store.flush().map(|_| ())
}

fn write_entries(store: &mut Store, model: &mut Model, count: u64, len: usize) -> Result<(), StoreError> {
    let first = model.last().index.0 + 1;
    for index in first..first + count {
        write(store, model, append(index, vec![command(1, index, len)]))?;
        while store.settle()? == Settled::More {}
    }
    Ok(())
}

/// A store whose file is much larger than its content, because most of it was compacted.
fn roomy(disk: &SimulatedDisk) -> Result<(Store, Model), StoreError> {
    let mut store = open(disk).unwrap();
    let mut model = Model::default();
    model.form(ClusterId(5), base(1, 1));
    store.form(ClusterId(5), base(1, 1)).unwrap();
    write_entries(&mut store, &mut model, 20, 60_000)?;
    let to = LogIndex(model.last().index.0 - 2);
    write(&mut store, &mut model, Write { compact_to: Some(to), ..append(99, vec![]) })?;
    while store.settle()? == Settled::More {}
    while store.compact_step()? == Compaction::More {}
    // Pages freed without a sync become reusable after two more durable commits.
    write_entries(&mut store, &mut model, 3, 2_000)?;
    Ok((store, model))
}

fn give_back(store: &mut Store) -> Result<Progress, StoreError> {
    loop {
        match store.give_back()? {
            Progress::More => {}
            progress @ (Progress::Done | Progress::Nothing | Progress::Postponed) => return Ok(progress),
        }
    }
}

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

/// As [`roomy`], but with enough content for a copy of several steps.
fn large(disk: &SimulatedDisk) -> (Store, Model) {
    let (mut store, mut model) = roomy(disk).unwrap();
    write_entries(&mut store, &mut model, 160, 60_000).unwrap();
    let to = LogIndex(model.last().index.0 - 50);
    write(&mut store, &mut model, Write { compact_to: Some(to), ..append(99, vec![]) }).unwrap();
    settle(&mut store);
    while store.compact_step().unwrap() == Compaction::More {}
    write_entries(&mut store, &mut model, 3, 2_000).unwrap();
    (store, model)
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

/// Gives space back, with one entry appended during the copy and one after it. Keeps the model at what is acknowledged,
/// and another at what was attempted.
fn live(store: &mut Store, model: &mut Model) -> Result<Progress, StoreError> {
    let mut came_to = store.give_back()?;
    let mut next = model.clone();
    write_entries(store, &mut next, 1, 70)?;
    *model = next;
    while came_to == Progress::More {
        came_to = store.give_back()?;
    }
    let mut next = model.clone();
    write_entries(store, &mut next, 1, 80)?;
    *model = next;
    Ok(came_to)
}

/// Reopens the store and checks that it holds everything acknowledged, and at most one entry more.
fn check_after(disk: &SimulatedDisk, model: &Model, why: &str) {
    let mut store = open(disk).unwrap_or_else(|error| panic!("{why}: {error}"));
    assert!(store.report().damage.is_none(), "{why}: {:?}", store.report());
    assert!(!exists(disk, NEW), "{why}");
    let mut longer = model.clone();
    let index = model.last().index.0 + 1;
    let len = store.read(LogIndex(index), LogIndex(index), usize::MAX).map_or(0, |read| match read {
        ReadResult::Entries(entries) => entries[0].weight(),
        ReadResult::Compacted => 0,
    });
    for sent in [70, 80] {
        let entry = command(1, index, sent);
        if len == entry.weight() {
            longer.apply(&append(index, vec![entry]));
        }
    }
    longer.check(&store);
    write_entries(&mut store, &mut longer, 1, 10).unwrap_or_else(|error| panic!("{why}: {error}"));
    give_back(&mut store).unwrap_or_else(|error| panic!("{why}: {error}"));
    longer.check(&store);
}

#[test]
fn the_power_may_be_cut_in_each_call_of_a_copy() {
    let disk = SimulatedDisk::new(0);
    let (mut store, mut model) = roomy(&disk).unwrap();
    let before = disk.mutations();
    assert_eq!(live(&mut store, &mut model).unwrap(), Progress::Done);
    let calls = disk.mutations() - before;
    assert!(calls > 20, "{calls}");
    for nth in 0..=calls {
        for losing_all in [true, false] {
            let disk = SimulatedDisk::new(nth);
            let (mut store, mut model) = roomy(&disk).unwrap();
            disk.crash_at_call(nth);
            let lived = live(&mut store, &mut model);
            assert_eq!(lived.is_ok(), nth == calls, "call {nth}");
            disk.freeze();
            drop(store);
            if losing_all {
                disk.crash_losing_all_unsynced();
            } else {
                disk.crash();
            }
            check_after(&disk, &model, &format!("call {nth}, losing all {losing_all}"));
        }
    }
}

#[test]
fn each_call_of_a_copy_may_fail_and_a_full_disk_only_puts_it_off() {
    let disk = SimulatedDisk::new(0);
    let (mut store, mut model) = roomy(&disk).unwrap();
    let before = disk.calls();
    live(&mut store, &mut model).unwrap();
    let calls = disk.calls() - before;
    let mut postponed = 0;
    for nth in 0..calls {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let power_cut = nth.is_multiple_of(2) != (kind == ErrorKind::Other);
            let disk = SimulatedDisk::new(nth);
            let (mut store, mut model) = roomy(&disk).unwrap();
            disk.fail_call(nth, kind);
            match live(&mut store, &mut model) {
                Ok(progress) => {
                    assert!(kind == ErrorKind::StorageFull || progress == Progress::Done, "call {nth}");
                    postponed += u64::from(progress == Progress::Postponed);
                    model.check(&store);
                }
                Err(error) => assert_honest(&error),
            }
            if power_cut {
                disk.freeze();
            }
            drop(store);
            if power_cut {
                disk.crash();
            }
            disk.clear_faults();
            check_after(&disk, &model, &format!("call {nth}, {kind}, power cut {power_cut}"));
        }
    }
    assert!(postponed > 10, "{postponed}");
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

#[test]
fn a_failed_sync_of_a_folder_ends_the_store_whichever_file_has_the_name() {
    for lost in [true, false] {
        let disk = SimulatedDisk::new(u64::from(lost));
        let (mut store, model) = roomy(&disk).unwrap();
        disk.fail_next(Operation::SyncDir, 0, ErrorKind::StorageFull);
        let error = give_back(&mut store).unwrap_err();
        assert_honest(&error);
        assert!(matches!(store.flush(), Err(StoreError::Ended)));
        disk.clear_faults();
        disk.freeze();
        drop(store);
        if lost {
            disk.crash_losing_all_unsynced()
        } else {
            disk.crash()
        }
        check_after(&disk, &model, "a folder whose sync failed");
    }
}

/// The newest commit in a file just copied may rot: redb must fall back to a commit that holds as much as the journal
/// needs.
#[test]
fn a_commit_after_a_copy_may_rot() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = roomy(&disk).unwrap();
    assert_eq!(give_back(&mut store).unwrap(), Progress::Done);
    let before = disk.durable(Path::new(FILE)).unwrap();
    write_entries(&mut store, &mut model, 1, 300).unwrap();
    let after = disk.durable(Path::new(FILE)).unwrap();
    let mut image = disk.image();
    let mut count = 0;
    for at in (4096..after.len()).step_by(512) {
        if before.get(at..at + 512) != after.get(at..at + 512) {
            assert!(image.rot(Path::new(FILE), at as u64 + 77, 0x10));
            count += 1;
        }
    }
    assert!(count > 0);
    let store = open(&SimulatedDisk::from_image(7, &image)).unwrap();
    assert!(
        store.report().damage.as_ref().is_none_or(|damage| damage.lost == Lost::Nothing),
        "{:?}",
        store.report()
    );
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
