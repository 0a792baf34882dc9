//! What forming a cluster does to a hard state that is there already, and where the cluster is kept.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;

use common::*;
use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::FormError;

/// Offset of the ring in the journal's file, in bytes.
const RING_START: usize = 8192;

#[test]
fn forming_takes_no_vote_along_into_a_newer_term_and_no_term_back() {
    let voted = HardState { term: Term(3), vote: Some(NodeId(2)), ..HardState::default() };
    for (base_term, expected) in [
        (5, HardState { term: Term(5), vote: None, commit: LogIndex(1), ..voted }),
        (3, HardState { commit: LogIndex(1), ..voted }),
        (2, HardState { commit: LogIndex(1), ..voted }),
    ] {
        let disk = SimulatedDisk::new(1);
        let (mut store, _) = open(&disk).unwrap();
        store.queue(Write { hard_state: Some(voted), ..Write::default() });
        store.form(ClusterId(1), base(base_term, 1)).unwrap();
        assert_eq!(store.restored().hard_state, expected, "base of term {base_term}");
        disk.freeze();
        drop(store);
        disk.crash_losing_all_unsynced();
        assert_eq!(open(&disk).unwrap().1.hard_state, expected, "base of term {base_term}, after a crash");
    }
}

#[test]
fn forming_replaces_no_entries_that_are_queued() {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.queue(append(1, vec![command(1, 1, 10)]));
    let formed = store.form(ClusterId(1), base(1, 1));
    assert!(
        matches!(formed, Err(FormError::NotEmpty { last, .. }) if last == LogId::new(1, 1)),
        "{formed:?}"
    );
    assert_eq!(store.restored().last, LogIndex(1));
}

#[test]
fn cluster_is_known_when_only_the_witness_is_left() {
    let disk = SimulatedDisk::new(1);
    let (store, _) = formed(&disk);
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    let mut journal = disk.durable(Path::new(JOURNAL)).unwrap();
    journal[RING_START..].fill(0);
    disk.put(Path::new(JOURNAL), &journal);
    disk.put(Path::new(FILE), b"");
    let (store, _) = open(&disk).unwrap();
    assert_eq!(store.identity().cluster, Some(ClusterId(1)));
}
