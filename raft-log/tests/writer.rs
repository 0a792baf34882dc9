//! A store's threads: what they report is durable and in order, and they stop at the first error.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::*;
use raftkit_core::*;
use raftkit_disk::{Operation, SimulatedDisk};
use raftkit_log::*;

const LONG: Duration = Duration::from_secs(60);

fn start(disk: &SimulatedDisk) -> (Writer, Receiver<Written>) {
    let (mut store, _) = open(disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    let (sender, reports) = channel();
    (Writer::start(store, move |written| drop(sender.send(written))).unwrap(), reports)
}

/// Waits until this write is reported durable.
fn wait(reports: &Receiver<Written>, seq: u64) {
    loop {
        match reports.recv_timeout(LONG).unwrap() {
            Written::Persisted(WriteSeq(got)) if got >= seq => return,
            Written::Persisted(_) => {}
            Written::Failed(error) => panic!("{error}"),
        }
    }
}

#[test]
fn what_is_reported_survives_and_a_drop_finishes_what_was_written() {
    let disk = SimulatedDisk::new(1);
    let (writer, reports) = start(&disk);
    for seq in 2..300 {
        writer.write(append(seq, vec![command(1, seq, 300)])).unwrap();
    }
    wait(&reports, 150);
    for seq in 300..400 {
        writer.write(append(seq, vec![command(1, seq, 300)])).unwrap();
    }
    drop(writer);
    let reported = reports.iter().map(|written| match written {
        Written::Persisted(seq) => seq.0,
        Written::Failed(error) => panic!("{error}"),
    });
    let reported: Vec<_> = reported.collect();
    assert!(reported.is_sorted(), "{reported:?}");
    assert_eq!(reported.last(), Some(&399));
    disk.crash_losing_all_unsynced();
    let (store, restored) = open(&disk).unwrap();
    assert_eq!(restored.last, LogIndex(399));
    assert_eq!(store.report().replayed, Replayed::default(), "a clean end leaves nothing to replay");
}

#[test]
fn what_is_reported_survives_a_power_cut() {
    for seed in 0..20 {
        let disk = SimulatedDisk::new(seed);
        let (writer, reports) = start(&disk);
        for seq in 2..60 {
            writer.write(append(seq, vec![command(1, seq, 300)])).unwrap();
        }
        wait(&reports, 10 + seed);
        disk.freeze();
        drop(writer);
        disk.crash();
        let (_store, restored) = open(&disk).unwrap();
        assert!(restored.last.0 >= 10 + seed, "{restored:?}");
    }
}

#[test]
fn the_witness_follows_without_being_asked() {
    let disk = SimulatedDisk::new(1);
    let (writer, reports) = start(&disk);
    writer.write(append(2, vec![command(1, 2, 300)])).unwrap();
    wait(&reports, 2);
    let head = || disk.durable(std::path::Path::new(JOURNAL)).unwrap()[..8192].to_vec();
    let before = head();
    // The witness is written by itself after 20 ms.
    while head() == before {
        std::thread::yield_now();
    }
    disk.freeze();
    drop(writer);
    disk.crash_losing_all_unsynced();
    let (store, restored) = open(&disk).unwrap();
    assert!(store.report().damage.is_none());
    assert_eq!(restored.last, LogIndex(2));
}

#[test]
fn the_first_error_is_reported_and_what_comes_later_is_dropped() {
    let disk = SimulatedDisk::new(1);
    let (writer, reports) = start(&disk);
    writer.write(append(2, vec![command(1, 2, 300)])).unwrap();
    wait(&reports, 2);
    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
    // The failing sync may be the witness's or this write's.
    writer.write(append(3, vec![command(1, 3, 300)])).unwrap();
    let failed = reports.iter().find(|written| matches!(written, Written::Failed(_)));
    assert!(matches!(failed, Some(Written::Failed(StoreError::Disk { .. }))), "{failed:?}");
    disk.clear_faults();
    writer.write(append(4, vec![command(1, 4, 300)])).unwrap();
    drop(writer);
    assert!(reports.iter().all(|written| matches!(written, Written::Failed(StoreError::Ended))));
    let (_store, restored) = open(&disk).unwrap();
    assert!(restored.last.0 <= 3, "{restored:?}");
}

#[test]
fn a_stuck_sync_of_the_database_does_not_stop_the_flushes() {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    let (mut flusher, mut settler) = store.split();
    flusher.queue(append(2, vec![command(1, 2, 300)]));
    flusher.flush().unwrap();
    disk.hold_syncs();
    let settling = std::thread::spawn(move || settler.settle());
    while disk.held_syncs() == 0 {
        std::thread::yield_now();
    }
    flusher.queue(append(3, vec![command(1, 3, 300)]));
    let reader = flusher.reader();
    let flushing = std::thread::spawn(move || flusher.flush().map(|_| flusher));
    while disk.held_syncs() < 2 {
        std::thread::yield_now();
    }
    // Readers wait for neither thread.
    let entries = ReadResult::Entries(vec![command(1, 2, 300)]);
    assert_eq!(reader.read(LogIndex(2), LogIndex(9), usize::MAX).unwrap(), entries);
    disk.release_syncs();
    settling.join().unwrap().unwrap();
    let mut flusher = flushing.join().unwrap().unwrap();
    flusher.witness().unwrap();
    assert!(matches!(reader.read(LogIndex(3), LogIndex(3), usize::MAX).unwrap(), ReadResult::Entries(_)));
}

#[test]
fn nothing_is_reported_before_it_is_durable() {
    let disk = SimulatedDisk::new(1);
    let (writer, reports) = start(&disk);
    disk.hold_syncs();
    writer.write(append(2, vec![command(1, 2, 300)])).unwrap();
    while disk.held_syncs() == 0 {
        std::thread::yield_now();
    }
    let early = reports.try_recv();
    disk.release_syncs();
    assert!(early.is_err(), "its sync is under way: {early:?}");
    wait(&reports, 2);
}

#[test]
fn an_error_of_the_settling_is_reported_too() {
    let disk = SimulatedDisk::new(1);
    let options = OpenOptions { journal_bytes: 20 << 20, ..options() };
    let (store, _) =
        Store::open(std::sync::Arc::new(disk.clone()), std::path::Path::new(DIR), options).unwrap();
    let (sender, reports) = channel();
    let writer = Writer::start(store, move |written| drop(sender.send(written))).unwrap();
    // Only settling reads. It starts at once when there is much to settle.
    disk.fail_next(Operation::Read, 0, ErrorKind::Other);
    writer.write(append(1, vec![command(1, 1, (9 << 20) / 2)])).unwrap();
    let failed = reports.iter().find_map(|written| match written {
        Written::Failed(error) => Some(error),
        Written::Persisted(_) => None,
    });
    assert!(matches!(failed, Some(StoreError::Database { .. })), "{failed:?}");
}

#[test]
fn a_panic_on_the_thread_that_flushes_is_reported_as_the_end_and_later_writes_are_dropped() {
    let disk = SimulatedDisk::new(1);
    let (mut store, _) = open(&disk).unwrap();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    let (sender, reports) = channel();
    let report = move |written| match written {
        // Panic on the flushing thread, like a bug in the flusher.
        Written::Persisted(WriteSeq(seq)) => panic!("write {seq} is one too many"),
        failed @ Written::Failed(_) => drop(sender.send(failed)),
    };
    let writer = Writer::start(store, report).unwrap();
    writer.write(append(2, vec![command(1, 2, 300)])).unwrap();
    let Written::Failed(error) = reports.recv_timeout(LONG).unwrap() else { panic!("nothing was persisted") };
    assert_eq!(error.to_string(), "the thread raft-flush panicked: write 2 is one too many");
    for seq in 3..100 {
        writer.write(append(seq, vec![command(1, seq, 300)])).expect("the thread still takes what it drops");
    }
}
