//! Syncs completed by a simulation: what is durable at which time, what a crash leaves, and in which order.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use raftkit_disk::{Chance, Disk, Faults, OpenMode, Operation, RedbFile, SimulatedDisk, SyncId, SyncKind};

mod common;

use common::{content, create};

const FILE: &str = "/file";
const ROOT: &str = "/";

fn durable(disk: &SimulatedDisk) -> Vec<u8> {
    disk.durable(Path::new(FILE)).unwrap()
}

fn ids(disk: &SimulatedDisk) -> Vec<SyncId> {
    disk.deferred_syncs().iter().map(|sync| sync.id).collect()
}

#[test]
fn a_deferred_sync_is_done_when_it_is_completed() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    disk.defer_syncs();
    file.write_at(0, b"before").unwrap();
    file.sync().unwrap();
    file.write_at(6, b" after").unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), b"before after");
    assert_eq!(durable(&disk), b"");
    let [sync] = &disk.deferred_syncs()[..] else { panic!("there is one") };
    assert_eq!((sync.kind, &*sync.path, sync.stalled), (SyncKind::File, Path::new(FILE), false));
    assert!(disk.complete_sync(sync.id));
    assert_eq!(durable(&disk), b"before", "what came later is not covered");
    assert!(!disk.complete_sync(sync.id) && !disk.fail_sync(sync.id), "it is over");
    disk.stop_deferring_syncs();
    file.sync().unwrap();
    assert_eq!(durable(&disk), b"before after");
}

#[test]
fn a_driver_is_told_once_of_each_sync_that_is_outstanding() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    let told = || disk.take_new_deferred().iter().map(|sync| sync.id).collect::<Vec<_>>();
    disk.defer_syncs();
    file.write_at(0, b"text").unwrap();
    assert_eq!(told(), []);
    file.sync().unwrap();
    disk.sync_dir(Path::new(ROOT)).unwrap();
    let two = disk.take_new_deferred();
    assert_eq!(two, disk.deferred_syncs());
    assert_eq!([two[0].kind, two[1].kind], [SyncKind::File, SyncKind::Folder]);
    assert_eq!(told(), []);
    disk.complete_sync(two[0].id);
    file.sync().unwrap();
    file.sync().unwrap();
    let [_, third, fourth] = ids(&disk)[..] else { panic!("there are three") };
    disk.complete_sync(third);
    assert_eq!(told(), [fourth], "the third is over");
    for end in [SimulatedDisk::crash, SimulatedDisk::kill] {
        let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
        file.sync().unwrap();
        end(&disk);
        assert_eq!(told(), []);
        disk.open(Path::new(FILE), OpenMode::Existing).unwrap().sync().unwrap();
        assert_eq!(told(), ids(&disk));
    }
}

#[test]
fn a_sync_that_fails_in_its_call_finds_the_earlier_ones_done() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    disk.defer_syncs();
    file.write_at(0, b"before").unwrap();
    file.sync().unwrap();
    file.write_at(6, b" after").unwrap();
    disk.fail_next(Operation::Sync, 0, std::io::ErrorKind::Other);
    file.sync().unwrap_err();
    assert_eq!((durable(&disk), ids(&disk)), (b"before".to_vec(), Vec::new()));
    assert_eq!(content(&disk, FILE).unwrap(), b"before after", "what is lost goes on being shown");
}

#[test]
fn a_crash_forgets_what_is_outstanding() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    disk.defer_syncs();
    file.write_durably(0, b"text").unwrap();
    let [old] = ids(&disk)[..] else { panic!("there is one") };
    disk.crash_losing_all_unsynced();
    assert_eq!(content(&disk, FILE).unwrap(), b"");
    assert!(ids(&disk).is_empty() && !disk.complete_sync(old));
    // Syncs are still deferred, with new numbers.
    let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
    file.write_durably(0, b"next").unwrap();
    assert!(ids(&disk)[0] > old && !disk.complete_sync(old));
    disk.freeze();
    assert!(!disk.complete_sync(ids(&disk)[0]) && !disk.fail_sync(ids(&disk)[0]));
    assert_eq!(durable(&disk), b"", "a frozen disk takes nothing");
}

#[test]
fn a_later_sync_of_a_file_covers_the_earlier_and_can_be_completed_first() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    disk.defer_syncs();
    file.write_at(0, b"1").unwrap();
    file.sync().unwrap();
    file.write_at(1, b"2").unwrap();
    file.sync().unwrap();
    file.write_at(0, b"3").unwrap();
    let [one, two] = ids(&disk)[..] else { panic!("there are two") };
    assert!(disk.complete_sync(two));
    assert_eq!(durable(&disk), b"12");
    assert!(disk.complete_sync(one));
    assert_eq!(durable(&disk), b"12");
}

#[test]
fn a_deferred_sync_that_fails_loses_what_it_covers_and_reads_go_on_showing_it() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    disk.defer_syncs();
    file.write_at(0, b"1").unwrap();
    file.sync().unwrap();
    file.write_at(1, b"2").unwrap();
    file.sync().unwrap();
    let [one, two] = ids(&disk)[..] else { panic!("there are two") };
    assert!(disk.fail_sync(one));
    assert_eq!(disk.injected().failed_syncs, 1);
    assert!(disk.complete_sync(two));
    assert_eq!(durable(&disk), b"\x002", "the kernel tells of an error once");
    assert_eq!(content(&disk, FILE).unwrap(), b"12");
    file.drop_cache().unwrap();
    assert_eq!(content(&disk, FILE).unwrap(), b"\x002");
}

#[test]
fn names_are_durable_when_the_sync_of_their_folder_is_completed() {
    let disk = SimulatedDisk::new(0);
    let (new, other) = (create(&disk, "/new"), create(&disk, FILE));
    other.write_durably(0, b"old").unwrap();
    disk.defer_syncs();
    new.write_durably(0, b"new").unwrap();
    disk.rename(Path::new("/new"), Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new(ROOT)).unwrap();
    disk.rename(Path::new(FILE), Path::new("/later")).unwrap();
    assert_eq!(disk.deferred_syncs()[1].kind, SyncKind::Folder);
    assert_eq!(durable(&disk), b"old");
    disk.complete_all_syncs();
    assert_eq!(durable(&disk), b"new");
    assert!(disk.durable(Path::new("/later")).is_none(), "renamed after the sync was called");
    disk.crash_losing_all_unsynced();
    assert_eq!(content(&disk, FILE).unwrap(), b"new");
}

#[test]
fn a_rename_is_durable_before_the_data_only_if_the_simulation_completes_it_first() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, "/new");
    create(&disk, FILE).write_durably(0, b"old").unwrap();
    disk.defer_syncs();
    file.write_at(0, b"new").unwrap();
    file.sync().unwrap();
    disk.rename(Path::new("/new"), Path::new(FILE)).unwrap();
    disk.sync_dir(Path::new(ROOT)).unwrap();
    disk.complete_sync(ids(&disk)[1]);
    disk.crash_losing_all_unsynced();
    assert_eq!(content(&disk, FILE).unwrap(), b"", "as two threads could have it");
}

/// A program writes one file after another, syncing each before the next.
#[test]
fn a_crash_keeps_the_order_that_a_program_relies_on() {
    let names = ["/0", "/1", "/2", "/3"];
    let mut seen = BTreeSet::new();
    for seed in 0..300 {
        let disk = SimulatedDisk::new(seed);
        let files = names.map(|name| create(&disk, name));
        disk.defer_syncs();
        for file in &files {
            file.write_at(0, b"x").unwrap();
            file.sync().unwrap();
        }
        disk.rename(Path::new("/3"), Path::new("/end")).unwrap();
        disk.crash();
        let end = content(&disk, "/end");
        let written = ["/0", "/1", "/2"].map(|name| !content(&disk, name).unwrap().is_empty()).to_vec();
        let last = content(&disk, "/3").or(end.clone()).unwrap() == b"x";
        let all = [written, vec![last, end.is_some()]].concat();
        assert!(all.windows(2).all(|pair| pair[0] || !pair[1]), "out of order: {all:?}");
        seen.insert(all);
    }
    assert_eq!(seen.len(), 6, "cut at each place: {seen:?}");
}

#[test]
fn what_followed_a_sync_that_failed_is_lost_unless_it_was_synced() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimulatedDisk::new(seed);
        let (data, pointer, synced) =
            (create(&disk, FILE), create(&disk, "/pointer"), create(&disk, "/synced"));
        disk.defer_syncs();
        data.write_at(0, b"data").unwrap();
        data.sync().unwrap();
        pointer.write_at(0, b"here").unwrap();
        pointer.sync().unwrap();
        synced.write_durably(0, b"kept").unwrap();
        let [first, _, third] = ids(&disk)[..] else { panic!("there are three") };
        disk.fail_sync(first);
        disk.complete_sync(third);
        disk.crash();
        let after = [FILE, "/pointer", "/synced"].map(|name| content(&disk, name).unwrap());
        assert_eq!(after, [&b""[..], b"", b"kept"].map(<[u8]>::to_vec));
        // The next life is not affected by that.
        let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
        file.write_at(0, b"next").unwrap();
        disk.crash();
        seen.insert(content(&disk, FILE).unwrap());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [&b""[..], b"next"].map(<[u8]>::to_vec));
}

#[test]
fn a_stall_by_chance_marks_the_sync() {
    let disk = SimulatedDisk::new(0);
    let file = create(&disk, FILE);
    disk.defer_syncs();
    disk.set_faults(Faults { stalls: Chance::one_in(2), ..Faults::default() });
    for _ in 0..100 {
        file.sync().unwrap();
    }
    let stalled = disk.deferred_syncs().iter().filter(|sync| sync.stalled).count();
    assert!((30..70).contains(&stalled), "{stalled}");
    assert_eq!(disk.injected().stalls, stalled as u64);
}

const TABLE: redb::TableDefinition<'static, u64, u64> = redb::TableDefinition::new("table");

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// redb continues as if its syncs were done. Everything that a driver completed is kept, and a crash always leaves
    /// a valid database.
    #[test]
    fn redb_over_deferred_syncs_keeps_what_was_completed(
        seed in any::<u64>(),
        two_phase in any::<bool>(),
        completed in prop::collection::vec(any::<bool>(), 1..12),
    ) {
        use redb::ReadableDatabase;
        let disk = SimulatedDisk::new(seed);
        let file = create(&disk, FILE);
        let database = redb::Builder::new().create_with_backend(RedbFile::new(file)).unwrap();
        disk.defer_syncs();
        let (mut promised, mut last) = (0, 0);
        for complete in completed {
            last += 1;
            let mut txn = database.begin_write().unwrap();
            txn.set_two_phase_commit(two_phase);
            txn.open_table(TABLE).unwrap().insert(0, last).unwrap();
            txn.commit().unwrap();
            if complete {
                disk.complete_all_syncs();
                promised = last;
            }
        }
        disk.freeze();
        drop(database);
        disk.crash();
        let file = disk.open(Path::new(FILE), OpenMode::Existing).unwrap();
        let database = redb::Builder::new().create_with_backend(RedbFile::new(file)).unwrap();
        let txn = database.begin_read().unwrap();
        let found = txn.open_table(TABLE).map_or(0, |table| table.get(0).unwrap().unwrap().value());
        prop_assert!((promised..=last).contains(&found), "{} promised, {} found, {} last", promised, found, last);
    }
}

#[test]
fn a_thread_makes_no_name_durable_that_another_one_has_not_given_yet() {
    let (disk, root) = (SimulatedDisk::new(0), Path::new(ROOT));
    let [old, new, own] = ["old", "new", "own"].map(|name| root.join(name));
    let other = create(&disk, new.to_str().unwrap());
    disk.sync_dir(root).unwrap();
    disk.defer_syncs();
    disk.act_as(1);
    other.sync().unwrap();
    // This happens only after that sync is done.
    disk.rename(&new, &old).unwrap();
    disk.act_as(2);
    disk.open(&own, OpenMode::New).unwrap();
    disk.sync_dir(root).unwrap();
    let [first, second] = ids(&disk)[..] else { panic!("there are two") };
    let is_there = |name: &Path| disk.exists(name).unwrap();
    let has_been_renamed_at_the_end = |completed: SyncId| {
        disk.complete_sync(completed);
        disk.act_as(2);
        disk.sync_dir(root).unwrap();
        disk.complete_sync(*ids(&disk).last().unwrap());
        disk.crash_losing_all_unsynced();
        is_there(&own) && is_there(&old)
    };
    assert!(!has_been_renamed_at_the_end(second), "the thread was waiting for its own sync");
    assert!(is_there(&own) && is_there(&new));
    disk.act_as(1);
    disk.open(&new, OpenMode::Existing).unwrap().sync().unwrap();
    disk.rename(&new, &old).unwrap();
    assert!(!disk.complete_sync(first), "a crash forgets it");
    let [again] = ids(&disk)[..] else { panic!("there is one") };
    assert!(has_been_renamed_at_the_end(again), "it has come so far");
}

#[test]
fn each_thread_has_come_as_far_as_its_own_syncs_let_it() {
    let root = Path::new(ROOT);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = SimulatedDisk::new(seed);
        let files = ["a", "b"].map(|name| create(&disk, root.join(name).to_str().unwrap()));
        disk.sync_dir(root).unwrap();
        disk.defer_syncs();
        // Thread 2 begins and ends its single step in the middle of thread 1's two steps.
        for (thread, file, at) in [(1, 0, 0), (2, 1, 0), (1, 0, 1)] {
            disk.act_as(thread);
            files[file].write_durably(at, b"x").unwrap();
        }
        if seed % 2 == 0 {
            disk.crash()
        } else {
            disk.kill()
        }
        let [a, b] = ["a", "b"].map(|name| disk.durable(&root.join(name)).unwrap());
        assert_ne!(a, b"\0x", "the second step comes after the first");
        seen.insert((a.len(), b.len()));
    }
    let all = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}
