//! The store's operations one by one, on a simulated disk.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use common::*;
use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

#[test]
fn what_was_flushed_is_read_back_and_restored() {
    let disk = SimulatedDisk::new(1);
    let (mut store, restored) = open(&disk).unwrap();
    assert_eq!(restored, Restored::default());
    assert_eq!(store.identity().incarnation, Incarnation(1));
    store.form(ClusterId(7), base(1, 1)).unwrap();
    store.queue(Write {
        seq: WriteSeq(1),
        append: vec![command(1, 2, 10), command(1, 3, 10)],
        ..Write::default()
    });
    let hard_state = HardState { term: Term(2), vote: Some(NodeId(3)), commit: LogIndex(2) };
    store.queue(Write {
        seq: WriteSeq(2),
        append: vec![command(2, 4, 0), member(2, 5, 9)],
        hard_state: Some(hard_state),
        ..Write::default()
    });
    assert_eq!(store.queued(), 2);
    assert_eq!(store.flush().unwrap(), Some(WriteSeq(2)));
    assert_eq!(store.flush().unwrap(), None);
    drop(store);
    disk.crash_losing_all_unsynced();

    let (store, restored) = open(&disk).unwrap();
    assert_eq!(store.identity().incarnation, Incarnation(2));
    assert_eq!(store.identity().cluster, Some(ClusterId(7)));
    assert_eq!(restored.base, base(1, 1));
    let runs = [TermRun { term: Term(1), first: LogIndex(2) }, TermRun { term: Term(2), first: LogIndex(4) }];
    assert_eq!(restored.term_runs, runs);
    assert_eq!(restored.last, LogIndex(5));
    assert_eq!(restored.memberships, vec![(LogIndex(5), membership(9))]);
    assert_eq!(restored.hard_state, hard_state);
    let all = vec![command(1, 2, 10), command(1, 3, 10), command(2, 4, 0), member(2, 5, 9)];
    assert_eq!(read(&store, 2, 99), ReadResult::Entries(all.clone()));
    assert_eq!(read(&store, 3, 4), ReadResult::Entries(all[1..3].to_vec()));
    assert_eq!(read(&store, 1, 4), ReadResult::Compacted);
    assert!(matches!(
        store.reader().read(LogIndex(6), LogIndex(9), 1),
        Err(ReadError::BeyondEnd { last: LogIndex(5), .. })
    ));
}
