//! Rot of redb's newest commit: redb falls back to the one before, and the journal holds everything since.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use common::golden::{self, disk_of};
use common::*;
use raftkit_core::*;
use raftkit_disk::{Disk, OpenMode, Operation, SimulatedDisk};
use raftkit_log::*;

/// Follows the database file on the medium from commit to commit.
struct Watch {
    before: Vec<u8>,
    now: Vec<u8>,
}

impl Watch {
    fn new(disk: &SimulatedDisk) -> Self {
        let now = disk.durable(Path::new(FILE)).unwrap();
        Self { before: now.clone(), now }
    }

    /// Must be called after each commit.
    fn look(&mut self, disk: &SimulatedDisk) {
        let bytes = disk.durable(Path::new(FILE)).unwrap();
        if bytes != self.now {
            self.before = std::mem::replace(&mut self.now, bytes);
        }
    }

    /// A disk after a power cut on which everything written by the newest commit is rotten, except the file's head,
    /// which names both commits.
    fn rotten(&self, disk: &SimulatedDisk) -> SimulatedDisk {
        const HEAD: usize = 4096;
        let mut image = disk.image();
        let mut count = 0;
        for at in (HEAD..self.now.len()).step_by(512) {
            if self.before.get(at..at + 512) != self.now.get(at..at + 512) {
                assert!(image.rot(Path::new(FILE), at as u64 + 77, 0x10));
                count += 1;
            }
        }
        assert!(count > 0, "there was no commit");
        SimulatedDisk::from_image(7, &image)
    }
}

/// Flushes one more entry. If that had to settle, which may take two commits, flushes another one, watched on its own.
fn flush_watched(store: &mut Store, model: &mut Model, watch: &mut Watch, disk: &SimulatedDisk) {
    let before = store.unsettled_bytes();
    flush_one(store, model, 1);
    watch.look(disk);
    if store.unsettled_bytes() <= before {
        settle(store);
        watch.look(disk);
    }
}

fn assert_nothing_lost(disk: &SimulatedDisk, model: &Model) {
    let (store, restored) = open(disk).unwrap();
    assert_eq!(restored.hard_state.health, Health::Sound, "{:?}", store.report());
    assert!(store.report().damage.as_ref().is_none_or(|damage| damage.lost == Lost::Nothing));
    model.check(&store);
}

/// Goes around the ring twice, settling at different distances.
#[test]
fn a_stretch_of_the_ring_is_reused_only_when_two_commits_have_it() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    settle(&mut store);
    flush_one(&mut store, &mut model, 1);
    let mut watch = Watch::new(&disk);
    settle(&mut store);
    watch.look(&disk);
    for pause in [3, 9, 20, 12, 60] {
        for _ in 0..pause {
            flush_watched(&mut store, &mut model, &mut watch, &disk);
            assert_nothing_lost(&watch.rotten(&disk), &model);
        }
        settle(&mut store);
        watch.look(&disk);
    }
}

/// While a commit is not durable the one before it is the newest: if that rots, redb falls back behind it.
#[test]
fn a_stretch_of_the_ring_is_not_reused_before_the_commit_after_it_is_durable() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    settle(&mut store);
    let mut watch = Watch::new(&disk);
    (0..6).for_each(|_| flush_one(&mut store, &mut model, 1));
    settle(&mut store);
    watch.look(&disk);
    (0..6).for_each(|_| flush_one(&mut store, &mut model, 1));
    let (flusher, settler) = store.split();
    let (mut flushing, mut settling) = (Flushing::new(flusher), Settling::new(settler));
    disk.defer_syncs();
    settling.begin(Chore::Settle);
    assert!(!disk.take_new_deferred().is_empty(), "the commit is under way");
    let mut flushed = 0;
    loop {
        let next = model.last().index.0 + 1;
        let write = append(next, vec![command(1, next, 700)]);
        flushing.take(std::iter::once(write.clone()));
        assert_eq!(flushing.next(Duration::ZERO), Next::Do(FlushChore::Flush));
        if flushing.would_wait() {
            break;
        }
        flushing.begin(FlushChore::Flush);
        disk.take_new_deferred().iter().for_each(|sync| assert!(disk.complete_sync(sync.id)));
        assert!(matches!(flushing.end(Duration::ZERO).written, Some(Written::Persisted(_))));
        model.apply(&write);
        assert_nothing_lost(&watch.rotten(&disk), &model);
        flushed += 1;
    }
    assert!(flushed > 0, "some entries fit beside the commit");
    disk.freeze();
}

#[test]
fn what_an_opening_settled_stays_in_the_ring_until_the_next_commit() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    settle(&mut store);
    for _ in 0..12 {
        flush_one(&mut store, &mut model, 1);
    }
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    let mut watch = Watch::new(&disk);
    let (mut store, _) = open(&disk).unwrap();
    watch.look(&disk);
    for _ in 0..40 {
        assert_nothing_lost(&watch.rotten(&disk), &model);
        flush_watched(&mut store, &mut model, &mut watch, &disk);
    }
}

#[test]
fn the_incarnation_of_an_opening_is_not_used_twice() {
    let disk = SimulatedDisk::new(1);
    drop(formed(&disk));
    let mut watch = Watch::new(&disk);
    let (store, _) = open(&disk).unwrap();
    watch.look(&disk);
    let (again, _) = open(&watch.rotten(&disk)).unwrap();
    assert!(again.identity().incarnation > store.identity().incarnation);
    assert_eq!(again.identity().cluster, Some(ClusterId(1)));
}

#[test]
fn what_went_around_the_journal_is_lost_with_the_commit_and_the_node_knows_it() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    flush_one(&mut store, &mut model, 1);
    settle(&mut store);
    let mut watch = Watch::new(&disk);
    let hard_state = HardState { term: Term(3), vote: Some(NodeId(2)), ..model.hard_state };
    store.queue(Write { hard_state: Some(hard_state), ..append(9, vec![command(1, 3, 20_000)]) });
    store.flush().unwrap();
    watch.look(&disk);
    let (store, restored) = open(&watch.rotten(&disk)).unwrap();
    assert_eq!(restored.hard_state, HardState { health: Health::Damaged, ..hard_state });
    assert_eq!(restored.last, LogIndex(2));
    let lost = store.report().damage.as_ref().unwrap().lost;
    assert_eq!(lost, Lost::Entries { first: LogIndex(3), last: LogIndex(3) });
}

/// A killed process left a record only in the cache. The next process replays it, so the record must be on the medium
/// before anything is written after it.
#[test]
fn a_record_of_a_killed_process_is_made_durable_before_it_is_built_upon() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    settle(&mut store);
    let before = disk.image();
    // The record has pages of its own: sharing one with the next record would make it durable too.
    let write = append(2, vec![command(1, 2, 7000)]);
    model.apply(&write);
    store.queue(write);
    store.flush().unwrap();
    let journal = disk.durable(Path::new(JOURNAL)).unwrap();
    let old = before.read(Path::new(JOURNAL)).unwrap();
    for seed in 0..40 {
        let disk = SimulatedDisk::from_image(seed, &before);
        let file = disk.open(Path::new(JOURNAL), OpenMode::Existing).unwrap();
        for at in (0..journal.len()).step_by(512).filter(|at| old[*at..at + 512] != journal[*at..at + 512]) {
            file.write_at(at as u64, &journal[at..at + 512]).unwrap();
        }
        let mut watch = Watch::new(&disk);
        let mut model = model.clone();
        let (mut store, _) = open(&disk).unwrap();
        watch.look(&disk);
        model.check(&store);
        flush_one(&mut store, &mut model, 1);
        assert_nothing_lost(&watch.rotten(&disk), &model);
    }
}

/// After a failed sync, the cache shows data that the disk never received. Nothing may be built on it.
#[test]
fn a_record_whose_sync_failed_is_not_built_upon() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    settle(&mut store);
    disk.fail_next(Operation::Sync, 0, ErrorKind::Other);
    store.queue(append(9, vec![command(1, 2, 700)]));
    store.flush().unwrap_err();
    drop(store);
    let mut watch = Watch::new(&disk);
    let (mut store, restored) = open(&disk).unwrap();
    watch.look(&disk);
    assert_eq!(restored.last, LogIndex(1), "it is not on the medium");
    flush_one(&mut store, &mut model, 1);
    assert_nothing_lost(&watch.rotten(&disk), &model);
}

/// The commit that upgraded a log of format 1 rots, and the journal that came with the upgrade is unreadable. The hard
/// state is lost, and no new journal may hide that.
#[test]
fn an_upgrade_that_is_done_again_makes_no_journal_in_place_of_one_that_cannot_be_read() {
    let disk = disk_of(&golden::text(1, "clean"));
    let mut watch = Watch::new(&disk);
    let (mut store, restored) = open(&disk).unwrap();
    watch.look(&disk);
    assert_eq!(store.report().upgraded_from, Some(1));
    let vote = HardState { term: Term(99), vote: Some(NodeId(2)), ..restored.hard_state };
    store.queue(Write { hard_state: Some(vote), ..append(9, vec![]) });
    store.flush().unwrap();
    let rotten = watch.rotten(&disk);
    for witness in [0, 4096] {
        assert!(rotten.rot(Path::new(JOURNAL), witness + 100, 1));
    }
    let error = open(&rotten).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged { path, .. } if path == Path::new(JOURNAL)), "{error:?}");
}

/// A record rots, which an opening tolerates. Then the commit rots in which that opening raised the incarnation: redb
/// falls back to the one before, from which the journal can be followed only to the rotten record.
#[test]
fn no_incarnation_is_used_twice_where_a_record_and_then_the_newest_commit_rot() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    settle(&mut store);
    for term in 1..4 {
        flush_one(&mut store, &mut model, term);
    }
    store.witness().unwrap();
    disk.freeze();
    drop(store);
    disk.crash();
    let at = places_of(&disk, JOURNAL, &model.entries[1])[0];
    assert!(disk.rot(Path::new(JOURNAL), at, 1));
    let mut watch = Watch::new(&disk);
    let (store, restored) = open(&disk).unwrap();
    assert_eq!(restored.hard_state.health, Health::Damaged);
    watch.look(&disk);
    let earlier = *store.identity();
    let disk = watch.rotten(&disk);
    let (store, restored) = open(&disk).unwrap();
    assert_eq!(restored.hard_state.health, Health::Damaged);
    let lost = store.report().damage.as_ref().unwrap().to_string();
    assert!(lost.contains("records"), "redb fell back, and the journal tells: {lost}");
    let Identity { cluster, incarnation, .. } = *store.identity();
    assert!(incarnation > earlier.incarnation, "{incarnation} after {}", earlier.incarnation);
    assert_eq!(cluster, earlier.cluster);
}
