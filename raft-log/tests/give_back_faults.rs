//! Giving space back while calls fail and the power is cut.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;

use common::roomy::{NEW, exists, give_back, open, roomy, write_entries};
use common::{Model, append, assert_honest, command};
use raftkit_core::*;
use raftkit_disk::{Operation, SimulatedDisk};
use raftkit_log::*;

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
