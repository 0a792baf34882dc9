//! A full disk: writes that do not fit are refused, nothing acknowledged is lost, and with space everything continues.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::error::Error;

use common::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

fn says_full(error: &(dyn Error + 'static)) -> bool {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(present) = source {
        said = format!("{said}: {present}");
        source = present.source();
    }
    said.contains("the simulated disk is full")
}

/// Writes until the first error; returns the last index acknowledged, and the error.
fn fill(store: &mut Store) -> (u64, StoreError) {
    let mut acknowledged = store.restored().last.0;
    loop {
        let next = acknowledged + 1;
        store.queue(append(next, vec![command(1, next, 2000)]));
        if let Err(error) = store.flush() {
            return (acknowledged, error);
        }
        acknowledged = next;
        if next.is_multiple_of(4)
            && let Err(error) = store.settle()
        {
            return (acknowledged, error);
        }
    }
}

#[test]
fn a_full_disk_ends_the_store_and_with_space_it_is_all_there() {
    for room in (0..60_u64).map(|blocks| blocks * 4096) {
        let disk = SimulatedDisk::new(room);
        let (store, _) = open(&disk).unwrap();
        let used = store.bytes();
        drop(store);
        disk.set_capacity(Some(used + room));
        // An opening needs some space too. Without it, it fails and changes nothing.
        let acknowledged = match open(&disk) {
            Ok((mut store, _)) => {
                let (acknowledged, error) = fill(&mut store);
                assert!(says_full(&error), "{error:?}");
                assert!(matches!(store.flush(), Err(StoreError::Ended)));
                assert!(matches!(store.settle(), Err(StoreError::Ended)));
                acknowledged
            }
            Err(error) => {
                assert!(says_full(&error), "{error:?}");
                0
            }
        };
        if let Err(error) = open(&disk) {
            assert!(says_full(&error), "{error:?}");
        }
        disk.set_capacity(None);
        let (mut store, restored) = open(&disk).unwrap();
        assert!(store.report().damage.is_none());
        assert!(restored.last.0 >= acknowledged, "{restored:?}, {acknowledged}");
        for index in 1..=acknowledged {
            assert_eq!(read(&store, index, index), ReadResult::Entries(vec![command(1, index, 2000)]));
        }
        let next = restored.last.0 + 1;
        store.queue(append(next, vec![command(1, next, 1)]));
        store.flush().unwrap();
    }
}
