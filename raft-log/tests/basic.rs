//! The store's operations one by one, on a simulated disk.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, Operation, SimulatedDisk};
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
        append: vec![command(1, 2, 10), command(1, 3, 10)].into(),
        ..Write::default()
    });
    let hard_state =
        HardState { term: Term(2), vote: Some(NodeId(3)), commit: LogIndex(2), ..HardState::default() };
    store.queue(Write {
        seq: WriteSeq(2),
        append: vec![command(2, 4, 0), member(2, 5, 9)].into(),
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
    assert_eq!(read(&store, 3, 2), ReadResult::Entries(all[1..2].to_vec()), "the first one at least");
    assert_eq!(read(&store, 1, 4), ReadResult::Compacted);
    assert_eq!(read(&store, 0, 0), ReadResult::Compacted);
    assert!(matches!(
        store.reader().read(LogIndex(6), LogIndex(9), 1),
        Err(ReadError::BeyondEnd { last: LogIndex(5), .. })
    ));
}

#[test]
fn a_store_opens_once_at_a_time_and_its_readers_do_not_keep_it_open() {
    let disk = SimulatedDisk::new(1);
    let (store, _) = open(&disk).unwrap();
    let reader = store.reader();
    assert!(matches!(open(&disk), Err(OpenError::Locked { .. })));
    drop(store);
    let (store, _) = open(&disk).unwrap();
    assert!(matches!(reader.read(LogIndex(1), LogIndex(1), 1), Err(ReadError::Closed)));
    let shared = OpenOptions { lock: FolderLock::HeldByCaller, ..options() };
    drop(store);
    let _lock = Disk::lock_dir(&disk, Path::new(DIR)).unwrap();
    Store::open(Arc::new(disk.clone()), Path::new(DIR), shared).unwrap();
}

#[test]
fn the_folder_of_another_node_is_refused_and_both_are_named() {
    let disk = SimulatedDisk::new(1);
    drop(open(&disk).unwrap());
    let other = OpenOptions { node: NodeId(2), ..options() };
    let error = Store::open(Arc::new(disk.clone()), Path::new(DIR), other).unwrap_err();
    assert_eq!(error.to_string(), format!("the log {FILE} belongs to node 1, this is node 2"));
    let again = OpenOptions { new_store: StoreId(99), ..options() };
    let (store, _) = Store::open(Arc::new(disk), Path::new(DIR), again).unwrap();
    assert_eq!(store.identity().store, StoreId(11), "a store keeps its name");
    assert_eq!(store.identity().incarnation, Incarnation(2), "what was refused is no life");
}

#[test]
fn a_database_that_is_gone_empty_or_none_is_made_anew_and_the_node_knows_that_it_is_damaged() {
    for content in [None, Some(&b""[..]), Some(b"text"), Some(&[0; 100_000])] {
        let disk = SimulatedDisk::new(1);
        let mut store = small(&disk);
        let vote = HardState { term: Term(9), vote: Some(NodeId(2)), ..HardState::default() };
        store.queue(Write { hard_state: Some(vote), ..append(7, vec![]) });
        store.flush().unwrap();
        drop(store);
        match content {
            None => Disk::remove(&disk, Path::new(FILE)).unwrap(),
            Some(content) => {
                let file = Disk::open(&disk, Path::new(FILE), raftkit_disk::OpenMode::Existing).unwrap();
                file.set_len(0).unwrap();
                file.write_at(0, content).unwrap();
            }
        }
        let (store, restored) = open(&disk).unwrap();
        let damage = store.report().damage.as_ref().expect("it is told");
        assert_eq!(damage.lost, Lost::Entries { first: LogIndex(1), last: LogIndex(5) });
        assert_eq!(damage.file, Path::new(FILE));
        assert_eq!((restored.base.id, restored.last), (LogId::ZERO, LogIndex(0)));
        assert_eq!(restored.hard_state, HardState { health: Health::Damaged, ..vote });
        assert_eq!(store.identity().cluster, Some(ClusterId(1)));
        drop(store);
        let (store, again) = open(&disk).unwrap();
        assert_eq!(again, restored, "it stays damaged until it has healed");
        assert!(store.report().damage.is_none());
    }
}

#[test]
fn without_the_journal_the_hard_state_is_lost_and_the_folder_is_refused() {
    let disk = SimulatedDisk::new(1);
    drop(small(&disk));
    Disk::remove(&disk, Path::new(JOURNAL)).unwrap();
    let error = open(&disk).unwrap_err();
    let text = format!(
        "{JOURNAL} is damaged, and with it the hard state is lost: remove the data folder and let the node join anew"
    );
    assert_eq!(error.to_string(), text);
}

#[test]
fn the_journal_of_another_store_is_refused_and_both_are_named() {
    let (disk, other) = (SimulatedDisk::new(1), SimulatedDisk::new(2));
    drop(small(&disk));
    let options = OpenOptions { new_store: StoreId(12), ..options() };
    drop(Store::open(Arc::new(other.clone()), Path::new(DIR), options).unwrap());
    let file = Disk::open(&disk, Path::new(JOURNAL), raftkit_disk::OpenMode::Existing).unwrap();
    file.write_at(0, &other.durable(Path::new(JOURNAL)).unwrap()).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(
        matches!(error, OpenError::OtherStore { found: StoreId(12), store: StoreId(11), .. }),
        "{error:?}"
    );
}

#[test]
fn a_cluster_is_formed_once() {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.form(ClusterId(0xa), base(1, 1)).unwrap();
    let formed = store.restored();
    assert_eq!(formed.base, base(1, 1));
    assert_eq!(
        formed.hard_state,
        HardState { term: Term(1), vote: None, commit: LogIndex(1), ..HardState::default() }
    );
    store.form(ClusterId(0xa), base(9, 9)).unwrap();
    let error = store.form(ClusterId(0xb), base(1, 1)).unwrap_err();
    let text = format!("the store belongs to cluster {:032x}, it cannot join cluster {:032x}", 0xa, 0xb);
    assert_eq!(error.to_string(), text);
    drop(store);
    disk.crash_losing_all_unsynced();
    let (store, restored) = open(&disk).unwrap();
    assert_eq!((restored, store.identity().cluster), (formed, Some(ClusterId(0xa))));
}

#[test]
fn one_that_joins_keeps_its_log_and_one_that_founds_has_none() {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.queue(Write { reset_to: Some(base(3, 30).into()), ..append(1, vec![command(3, 31, 5)]) });
    store.flush().unwrap();
    let before = store.restored();
    let error = store.form(ClusterId(1), base(1, 1)).unwrap_err();
    assert_eq!(error.to_string(), "the log is not empty: it starts after 3.30 and ends with 3.31");
    store.form(ClusterId(1), Base::default()).unwrap();
    assert_eq!(store.restored(), before);
}

/// A store with entries 2 to 5 of term 2.
fn small(disk: &SimulatedDisk) -> Store {
    let (mut store, _) = open(disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    store.queue(append(1, (2..=5).map(|index| command(2, index, 5)).collect()));
    store.flush().unwrap();
    store
}

#[test]
fn a_write_that_cannot_be_ends_the_store_and_leaves_nothing() {
    let wrong = [
        (append(3, vec![command(2, 7, 1)]), "entry 2.7 cannot be appended: the next index is 6"),
        (append(3, vec![command(2, 5, 1)]), "entry 2.5 cannot be appended: the next index is 6"),
        (append(3, vec![command(1, 6, 1)]), "entry 1.6 cannot be appended after 2.5: terms never go back"),
        (
            Write { truncate_from: Some(LogIndex(1)), ..append(3, vec![]) },
            "the log cannot be truncated from 1 on: it starts after 1.1",
        ),
        (
            Write { compact_to: Some(LogIndex(6)), ..append(3, vec![]) },
            "the log cannot be compacted up to 6: it ends with 2.5",
        ),
    ];
    for (write, text) in wrong {
        let disk = SimulatedDisk::new(1);
        let mut store = small(&disk);
        let good = store.restored();
        store.queue(Write { truncate_from: Some(LogIndex(6)), ..append(2, vec![]) });
        store.queue(write);
        assert_eq!(store.flush().unwrap_err().to_string(), text);
        assert!(matches!(store.flush(), Err(StoreError::Ended)));
        assert!(matches!(store.form(ClusterId(1), base(1, 1)), Err(FormError::Store(StoreError::Ended))));
        drop(store);
        assert_eq!(open(&disk).unwrap().1, good);
    }
}

#[test]
fn a_flush_is_one_sync() {
    let disk = SimulatedDisk::new(1);
    let mut store = small(&disk);
    for seq in 2..12 {
        store.queue(append(seq, vec![command(2, seq + 4, 100)]));
    }
    disk.fail_next(Operation::Sync, 1, ErrorKind::Other);
    store.flush().unwrap();
    store.queue(append(12, vec![command(2, 16, 1)]));
    store.flush().unwrap_err();
}

#[test]
fn compaction_frees_whole_runs_costs_no_sync_and_is_exact_in_the_middle_of_a_run() {
    let disk = SimulatedDisk::new(1);
    let mut store = small(&disk);
    for seq in 2..200 {
        store.queue(append(seq, vec![command(2, seq + 4, 50_000)]));
        store.flush().unwrap();
    }
    store.queue(Write { compact_to: Some(LogIndex(3)), ..append(200, vec![]) });
    store.flush().unwrap();
    settle(&mut store);
    assert_eq!(store.compact_step().unwrap(), Compaction::Done);
    assert_eq!(read(&store, 3, 5), ReadResult::Compacted);
    assert_eq!(read(&store, 4, 5), ReadResult::Entries(vec![command(2, 4, 5), command(2, 5, 5)]));
    store.queue(Write { compact_to: Some(LogIndex(150)), ..append(201, vec![]) });
    store.flush().unwrap();
    settle(&mut store);
    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
    assert_eq!(store.compact_step().unwrap(), Compaction::More);
    while store.compact_step().unwrap() == Compaction::More {}
    disk.clear_faults();
    assert_eq!(read(&store, 151, 151), ReadResult::Entries(vec![command(2, 151, 50_000)]));
    assert_eq!(store.restored().term_runs, [TermRun { term: Term(2), first: LogIndex(151) }]);
    // If a power cut loses it, it is repeated.
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    let (mut store, restored) = open(&disk).unwrap();
    assert_eq!(restored.base.id, LogId::new(2, 150));
    assert_eq!(store.compact_step().unwrap(), Compaction::More);
}

#[test]
fn the_base_takes_along_the_membership_as_of_it() {
    let disk = SimulatedDisk::new(1);
    let mut store = small(&disk);
    store.queue(append(2, vec![member(3, 6, 7), command(3, 7, 1), member(4, 8, 8), command(4, 9, 1)]));
    store.queue(Write { compact_to: Some(LogIndex(7)), ..append(3, vec![]) });
    store.flush().unwrap();
    drop(store);
    let (_store, restored) = open(&disk).unwrap();
    assert_eq!(restored.base, Base { id: LogId::new(3, 7), membership: membership(7) });
    assert_eq!(restored.memberships, [(LogIndex(8), membership(8))]);
}

#[test]
fn a_file_stays_small_under_endless_appends_and_compactions() {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    let (flushes, entries, kept) = (200, 1000, 5000);
    let mut longest = 0;
    for flush in 0..flushes {
        let first = 2 + flush * entries;
        let last = first + entries - 1;
        store.queue(append(flush, (first..=last).map(|index| command(1, index, 100)).collect()));
        let compact_to = (last > kept).then(|| LogIndex(last - kept));
        store.queue(Write { compact_to, ..append(flush, vec![]) });
        store.flush().unwrap();
        settle(&mut store);
        while store.compact_step().unwrap() == Compaction::More {}
        longest = longest.max(store.bytes());
    }
    assert_eq!(store.restored().last.0, 1 + flushes * entries);
    // 600 kB are kept, 23 MB were written.
    assert!(longest < 4 << 20, "{longest} bytes");
}

#[test]
fn readers_read_beside_the_store() {
    let disk = SimulatedDisk::new(1);
    let mut store = small(&disk);
    let reader = store.reader();
    std::thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut last = 5;
            while last < 500 {
                let Ok(ReadResult::Entries(entries)) = reader.read(LogIndex(2), LogIndex(500), usize::MAX)
                else {
                    panic!("nothing is compacted");
                };
                let got = entries.last().unwrap().id.index.0;
                assert!(got >= last && entries.len() as u64 == got - 1);
                last = got;
            }
        });
        for index in 6..=500 {
            store.queue(append(index, vec![command(2, index, 10)]));
            store.flush().unwrap();
            if index % 10 == 0 {
                settle(&mut store);
            }
        }
        reading.join().unwrap();
    });
}

#[test]
fn it_works_on_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("deep/log");
    let open = || Store::open(Arc::new(raftkit_disk::RealDisk), &dir, options());
    let (mut store, _) = open().unwrap();
    assert!(matches!(open(), Err(OpenError::Locked { .. })));
    store.queue(append(1, vec![command(1, 1, 1000)]));
    store.flush().unwrap();
    assert!(store.bytes() > 1000);
    drop(store);
    let (store, restored) = open().unwrap();
    assert_eq!(restored.last, LogIndex(1));
    assert_eq!(read(&store, 1, 1), ReadResult::Entries(vec![command(1, 1, 1000)]));
}
