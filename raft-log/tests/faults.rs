//! Disk errors, and folders changed under the store: the store reports them, and everything acknowledged is there
//! afterwards.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};
use raftkit_log::*;

fn assert_ended(store: &mut Store) {
    assert!(matches!(store.flush(), Err(StoreError::Ended)));
    assert!(matches!(store.settle(), Err(StoreError::Ended)));
}

#[test]
fn a_flush_needs_no_space_and_a_settling_that_gets_none_ends_the_store() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    disk.set_capacity(Some(0));
    for _ in 0..10 {
        flush_one(&mut store, &mut model, 1);
    }
    // The database eventually needs more space than there is; the ring still has room for a while.
    let mut settled = store.settle();
    while settled.is_ok() {
        let next = model.last().index.0 + 1;
        let write = append(next, vec![command(1, next, 7000)]);
        store.queue(write.clone());
        settled = match store.flush() {
            Ok(_) => {
                model.apply(&write);
                store.settle()
            }
            Err(error) => Err(error),
        };
        assert!(next < 10_000, "the disk was full all the time");
    }
    assert_honest(&settled.unwrap_err());
    assert_ended(&mut store);
    drop(store);
    disk.set_capacity(None);
    let (store, _) = open(&disk).unwrap();
    model.check(&store);
    assert_survives(&disk, store, &model);
}

#[test]
fn a_commit_that_fails_ends_the_store_and_the_cache_is_not_believed() {
    // In each sync of a settling, however many there are.
    for nth in 0.. {
        let disk = SimulatedDisk::new(nth);
        let (mut store, mut model) = formed(&disk);
        flush_one(&mut store, &mut model, 1);
        settle(&mut store);
        flush_one(&mut store, &mut model, 1);
        disk.fail_next(Operation::Sync, nth, ErrorKind::Other);
        let settled = store.settle();
        disk.clear_faults();
        if settled.is_ok() {
            assert!(nth > 0, "a settling syncs");
            return;
        }
        assert_ended(&mut store);
        // The process restarts, but not the machine.
        drop(store);
        let (mut store, _) = open(&disk).unwrap();
        assert!(store.report().damage.is_none(), "{:?}", store.report());
        model.check(&store);
        flush_one(&mut store, &mut model, 1);
        assert_survives(&disk, store, &model);
    }
}

#[test]
fn the_folder_of_another_node_is_not_mended() {
    let disk = SimulatedDisk::new(1);
    drop(formed(&disk));
    Disk::remove(&disk, Path::new(FILE)).unwrap();
    let other = OpenOptions { node: NodeId(2), ..options() };
    let error = Store::open(Arc::new(disk.clone()), Path::new(DIR), other).unwrap_err();
    assert!(matches!(error, OpenError::OtherNode { found: NodeId(1), node: NodeId(2), .. }), "{error:?}");
    assert!(!disk.exists(Path::new(FILE)).unwrap(), "nothing was changed");
}

/// Two lives that diverged from one image: the database after `settled` flushes of the first, with the journal after
/// `flushed` flushes of the second.
fn mixed(settled: u64, flushed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::new(1);
    let (store, model) = formed(&disk);
    drop(store);
    let image = disk.image();
    let live = |fill, settled, flushed| {
        let disk = SimulatedDisk::from_image(1, &image);
        let (mut store, _) = open(&disk).unwrap();
        let mut model = model.clone();
        for at in 0..flushed {
            flush_one(&mut store, &mut model, fill);
            if at + 1 == settled {
                settle(&mut store);
            }
        }
        store.witness().unwrap();
        disk.freeze();
        drop(store);
        disk.crash_losing_all_unsynced();
        disk
    };
    let (one, two) = (live(1, settled, settled), live(2, 0, flushed));
    let journal = two.durable(Path::new(JOURNAL)).unwrap();
    one.open(Path::new(JOURNAL), OpenMode::Existing).unwrap().write_at(0, &journal).unwrap();
    one
}

/// Like a backup taken file by file, or restored only partly.
#[test]
fn a_journal_of_another_history_is_not_taken_for_the_rest_of_this_one() {
    for (settled, flushed) in [(3, 3), (3, 5)] {
        let disk = mixed(settled, flushed);
        let (store, restored) = open(&disk).unwrap();
        assert_eq!(restored.hard_state.health, Health::Damaged, "{settled}, {flushed}: {:?}", store.report());
        assert_eq!(restored.last, LogIndex(1 + settled), "nothing of the other history is replayed");
    }
}

/// Entries whose compaction only the journal knows are still needed, because the database may be settled only up to a
/// record before that.
#[test]
fn what_is_compacted_is_freed_only_when_the_database_knows_it() {
    let disk = SimulatedDisk::new(1);
    let options = OpenOptions { journal_bytes: 20 << 20, ..options() };
    let open = || Store::open(Arc::new(disk.clone()), Path::new(DIR), options.clone()).unwrap().0;
    let mut store = open();
    for seq in 1..=4 {
        store.queue(append(seq, vec![command(1, seq, 100)]));
        store.flush().unwrap();
        settle(&mut store);
    }
    // Two transactions' worth; the compaction is in the second.
    store.queue(append(5, vec![command(1, 5, 4 << 20)]));
    store.flush().unwrap();
    store.queue(Write { compact_to: Some(LogIndex(3)), ..append(6, vec![]) });
    store.flush().unwrap();
    assert_eq!(store.compact_step().unwrap(), Compaction::Done, "the database does not know it yet");
    assert_eq!(store.settle().unwrap(), Settled::More);
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    let store = open();
    assert!(store.report().damage.is_none(), "{:?}", store.report());
    assert_eq!(store.restored().base.id, LogId::new(1, 3));
}
