//! A log of format 2 is upgraded in the transaction of its first opening and keeps its journal. Whatever happens
//! meanwhile, nothing is lost, and its unknown promise is assumed to be a long one.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::golden::{self, disk_of};
use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_log::*;

/// The promise assumed for a hard state of a format without promises.
const UNKNOWN: Duration = Duration::from_secs(10);
const ENDS: [&str; 2] = ["clean", "unclean"];

fn old(end: &str) -> SimulatedDisk {
    disk_of(&golden::text(2, end))
}

/// Opens the log on a disk, which upgrades it, and returns what it restored.
fn shown(disk: &SimulatedDisk) -> Restored {
    let (store, restored) = open(disk).unwrap();
    assert!(store.report().damage.is_none(), "{:?}", store.report());
    restored
}

/// Lowers the promise, as a node does once the promise has ended.
fn lower(store: &mut Store, restored: &Restored) -> HardState {
    let hard_state = HardState { promise: Duration::from_millis(500), ..restored.hard_state };
    store.queue(Write { hard_state: Some(hard_state), ..append(1, vec![]) });
    store.flush().unwrap();
    hard_state
}

#[test]
fn the_unknown_promise_of_an_old_log_is_a_long_one_until_the_node_lowers_it() {
    for end in ENDS {
        let disk = old(end);
        let (mut store, restored) = open(&disk).unwrap();
        assert_eq!(store.report().upgraded_from, Some(2));
        assert_eq!(restored.hard_state.promise, UNKNOWN);
        drop(store);
        // Nothing was written in between: the promise may still be in force.
        (store, _) = open(&disk).unwrap();
        assert_eq!((store.report().upgraded_from, store.identity().format), (None, 3));
        assert_eq!(store.restored().hard_state.promise, UNKNOWN);
        let lowered = lower(&mut store, &restored);
        disk.freeze();
        drop(store);
        disk.crash_losing_all_unsynced();
        assert_eq!(shown(&disk).hard_state, lowered);
    }
}

#[test]
fn the_power_may_be_cut_in_each_call_of_the_upgrade_and_of_the_flush_after() {
    for end in ENDS {
        let before = shown(&old(end));
        for nth in 0.. {
            let disk = old(end);
            disk.crash_at_call(nth);
            let lowered = open(&disk).ok().map(|(mut store, restored)| {
                let hard_state = HardState { promise: Duration::from_millis(500), ..restored.hard_state };
                store.queue(Write { hard_state: Some(hard_state), ..append(1, vec![]) });
                let told = store.flush().is_ok();
                (store, hard_state, told)
            });
            let finished = !disk.is_frozen();
            disk.freeze();
            let told = lowered.map(|(_store, hard_state, told)| (hard_state, told));
            disk.crash();
            let after = shown(&disk);
            match told {
                Some((lowered, true)) => assert_eq!(after.hard_state, lowered, "{end}, call {nth}"),
                Some((lowered, false)) => {
                    let either = [before.hard_state, lowered].contains(&after.hard_state);
                    assert!(either, "{end}, call {nth}: {:?}", after.hard_state);
                }
                None => assert_eq!(after, before, "{end}, call {nth}"),
            }
            if finished {
                assert!(nth > 8, "{nth} calls");
                break;
            }
        }
    }
}

/// The journal holds records of both formats when redb falls back to the commit before the upgrade.
#[test]
fn a_journal_goes_on_from_records_of_the_old_format_to_those_of_the_new_one() {
    let disk = old("unclean");
    let image = disk.durable(Path::new(FILE)).unwrap();
    let (mut store, restored) = open(&disk).unwrap();
    let lowered = lower(&mut store, &restored);
    store.witness().unwrap();
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    disk.put(Path::new(FILE), &image);
    let (store, again) = open(&disk).unwrap();
    assert_eq!(store.report().upgraded_from, Some(2));
    assert!(store.report().damage.is_none(), "{:?}", store.report());
    assert!(store.report().replayed.records > 1, "{:?}", store.report());
    assert_eq!(again, Restored { hard_state: lowered, ..restored });
}

#[test]
fn a_database_of_the_old_format_that_is_damaged_is_made_anew_from_its_journal() {
    for end in ENDS {
        let disk = old(end);
        let before = shown(&old(end)).hard_state;
        let file = disk.open(Path::new(FILE), raftkit_disk::OpenMode::Existing).unwrap();
        file.set_len(0).unwrap();
        file.sync().unwrap();
        let (store, restored) = open(&disk).unwrap();
        assert!(store.report().damage.is_some());
        let hard_state = restored.hard_state;
        assert_eq!((hard_state.term, hard_state.vote), (before.term, before.vote));
        assert_eq!((hard_state.promise, hard_state.health), (UNKNOWN, Health::Damaged));
        assert_eq!(store.identity().format, 3);
    }
}

#[test]
fn a_log_of_the_old_format_whose_journal_is_gone_gets_no_new_one() {
    let disk = old("clean");
    disk.remove(Path::new(JOURNAL)).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { path, .. } if path == Path::new(JOURNAL)), "{error:?}");
}
