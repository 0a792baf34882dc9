//! Rot in a database that was just copied to give space back.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;

use common::roomy::{give_back, open, roomy, write, write_entries};
use common::*;
use raftkit_core::*;
use raftkit_disk::{DiskImage, SimulatedDisk};
use raftkit_log::*;

/// The newest commit in a file just copied may rot: redb must fall back to a commit that holds as much as the journal
/// needs.
#[test]
fn a_commit_after_a_copy_may_rot() {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = roomy(&disk).unwrap();
    assert_eq!(give_back(&mut store).unwrap(), Progress::Done);
    let before = disk.durable(Path::new(FILE)).unwrap();
    write_entries(&mut store, &mut model, 1, 300).unwrap();
    let after = disk.durable(Path::new(FILE)).unwrap();
    let mut image = disk.image();
    let mut count = 0;
    for at in (4096..after.len()).step_by(512) {
        if before.get(at..at + 512) != after.get(at..at + 512) {
            assert!(image.rot(Path::new(FILE), at as u64 + 77, 0x10));
            count += 1;
        }
    }
    assert!(count > 0);
    let store = open(&SimulatedDisk::from_image(7, &image)).unwrap();
    assert!(
        store.report().damage.as_ref().is_none_or(|damage| damage.lost == Lost::Nothing),
        "{:?}",
        store.report()
    );
    model.check(&store);
}

/// Runs `before` and then a copy, and cuts the power at a call of the copy that changes the disk: at each one from which
/// on the copy is the log. Returns the images of the disk after these power cuts, the finished copy first, and the
/// expected content of the log.
fn cut_copies(before: impl Fn(&mut Store, &mut Model)) -> (Vec<DiskImage>, Model) {
    let started = || {
        let disk = SimulatedDisk::new(1);
        let (mut store, mut model) = roomy(&disk).unwrap();
        before(&mut store, &mut model);
        (disk, store, model)
    };
    let (disk, mut store, model) = started();
    let (calls, long) = (disk.mutations(), disk.len_of(Path::new(FILE)));
    assert_eq!(give_back(&mut store).unwrap(), Progress::Done);
    let mut images = Vec::new();
    for nth in (0..=disk.mutations() - calls).rev() {
        let (disk, mut store, _) = started();
        disk.crash_at_call(nth);
        let copied = give_back(&mut store);
        assert_eq!(copied.is_ok(), images.is_empty(), "the power is cut in all but the first");
        disk.freeze();
        drop(store);
        disk.crash_losing_all_unsynced();
        if disk.len_of(Path::new(FILE)) == long {
            break;
        }
        images.push(disk.image());
    }
    assert!(images.len() > 1, "{} images", images.len());
    (images, model)
}

/// The head of redb's file names two commits. Once a copy is finished, either of them may rot: the other one and the
/// journal hold everything. While it is cut short the newest commit is that of its closing, behind which redb does not
/// fall back; then the loss is reported.
#[test]
fn either_commit_of_a_copy_may_rot() {
    let (images, model) = cut_copies(|_, _| {});
    for (at, image) in images.iter().enumerate() {
        for slot in [64, 192] {
            let disk = SimulatedDisk::from_image(1, image);
            assert!(disk.rot(Path::new(FILE), slot + 40, 1));
            let store = open(&disk).unwrap();
            let damage = &store.report().damage;
            if damage.as_ref().is_none_or(|damage| damage.lost == Lost::Nothing) {
                model.check(&store);
            } else {
                assert!(at > 0, "the copy is finished: {damage:?}");
                let hard_state =
                    HardState { health: Health::Damaged, commit: LogIndex::ZERO, ..model.hard_state };
                assert_eq!(store.restored().hard_state, hard_state);
            }
        }
    }
}

/// Entries 25 to 34 are in the database, with a membership in entry 28. Then the journal alone holds another write.
fn entries_and(last: Write) -> impl Fn(&mut Store, &mut Model) {
    move |store, model| {
        write_entries(store, model, 3, 3000).unwrap();
        write(store, model, append(28, vec![member(1, 28, 7)])).unwrap();
        write_entries(store, model, 6, 3000).unwrap();
        assert_eq!(model.last(), LogId::new(1, 34));
        write(store, model, last.clone()).unwrap();
    }
}

/// Opens the log after each power cut with rot in entry 33. Returns what was restored where entries are left, after a
/// comparison with the model.
fn rebuilt(last: Write) -> Vec<Restored> {
    let (images, model) = cut_copies(entries_and(last));
    let mut rebuilt = Vec::new();
    for (nth, image) in images.iter().enumerate() {
        let disk = SimulatedDisk::from_image(1, image);
        for place in places_of(&disk, FILE, &command(1, 33, 3000)) {
            assert!(disk.rot(Path::new(FILE), place + 1234, 0x10));
        }
        let store = open(&disk).unwrap();
        let restored = store.restored();
        assert_eq!(restored.hard_state.health, Health::Damaged, "call {nth}");
        let (first, last) = (restored.base.id.index.0 + 1, restored.last.0);
        if first <= last {
            assert_eq!(Some(read(&store, first, last)), model.read(first, last, usize::MAX), "call {nth}");
            rebuilt.push(restored);
        }
    }
    // The copy was closed in order, so redb reads it without checking every page first.
    assert!(!rebuilt.is_empty(), "some log is rebuilt from the copy, and the journal replayed on top");
    rebuilt
}

#[test]
fn a_log_rebuilt_from_a_copy_is_truncated_as_the_journal_says() {
    let append = append(35, vec![command(2, 30, 500), command(2, 31, 500)]);
    for restored in rebuilt(Write { truncate_from: Some(LogIndex(30)), ..append }) {
        assert_eq!(restored.last, LogIndex(31));
    }
}

#[test]
fn a_log_rebuilt_from_a_copy_has_the_membership_of_the_base_that_the_journal_compacts_to() {
    let write = Write { compact_to: Some(LogIndex(30)), ..append(35, vec![]) };
    for restored in rebuilt(write) {
        assert_eq!(restored.base, Base { id: LogId::new(1, 30), membership: membership(7) });
    }
}
