//! Rot is reported, never returned as data or skipped, and never loses acknowledged entries unnoticed.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::path::Path;

use common::folder::{End, Folder, folder, folder_with};
use common::*;
use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

/// Outcomes of the openings.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    sound: u32,
    mended: u32,
    damaged: u32,
    newest_lost: u32,
}

/// Makes each sector rot once, at a different byte each time, and opens the log.
fn rot_everywhere(end: End, folder: &Folder) -> Tally {
    let mut tally = Tally::default();
    for (name, bytes) in &folder.files {
        for sector in 0..bytes.len() / 512 {
            for part in [0, 1] {
                let place = sector * 512 + part * 256 + (sector * 37) % 256;
                let disk = folder.put();
                assert!(disk.rot(Path::new(name), place as u64, 1 << (sector % 8)));
                check_opening(folder, &disk, end, &format!("{name} byte {place}"), &mut tally);
            }
        }
    }
    tally
}

fn check_opening(folder: &Folder, disk: &SimulatedDisk, end: End, place: &str, tally: &mut Tally) {
    let (store, restored) = open(disk).unwrap_or_else(|error| panic!("{place}: {error:?}"));
    let [.., before, newest] = folder.models.as_slice() else { unreachable!() };
    assert_eq!(store.identity().cluster, Some(ClusterId(1)), "{place}");
    assert_eq!(store.identity().store, StoreId(11), "{place}");
    match (restored.hard_state.health, &store.report().damage) {
        (Health::Sound, damage) => {
            assert!(damage.as_ref().is_none_or(|damage| damage.lost == Lost::Nothing), "{place}: {damage:?}");
            if damage.is_some() {
                tally.mended += 1;
            }
            if newest.is_shown_by(&store) {
                tally.sound += 1;
                newest.check(&store);
            } else {
                // Without a witness, a rotten last record cannot be told from a torn one.
                assert_eq!(end, End::Unwitnessed, "{place}");
                tally.newest_lost += 1;
                before.check(&store);
            }
        }
        (Health::Damaged, damage) => {
            let damage = damage.as_ref().unwrap_or_else(|| panic!("{place}: it is told"));
            assert!(matches!(damage.lost, Lost::Entries { .. }), "{place}: {damage:?}");
            tally.damaged += 1;
            check_prefix(newest, &store, &restored, place);
        }
    }
}

/// Checks that what is left of a damaged log is correct, and so is the hard state.
fn check_prefix(model: &Model, store: &Store, restored: &Restored, place: &str) {
    let kept = |hard: HardState| (hard.term, hard.vote, hard.promise);
    assert_eq!(kept(restored.hard_state), kept(model.hard_state), "{place}");
    let (base, last) = (restored.base.id.index.0, restored.last.0);
    if last > base {
        // The compaction may be lost as well; the model no longer has the entries that it removed.
        let first = (base + 1).max(model.base.id.index.0 + 1);
        if first <= last {
            assert_eq!(Some(read(store, first, last)), model.read(first, last, usize::MAX), "{place}");
        }
    }
}

#[test]
fn every_sector_may_rot_after_a_clean_end() {
    let tally = rot_everywhere(End::Clean, &folder(End::Clean));
    assert!(tally.sound > 0 && tally.damaged > 0 && tally.mended > 0, "{tally:?}");
    assert_eq!(tally.newest_lost, 0);
}

#[test]
fn every_sector_may_rot_after_a_power_cut() {
    let tally = rot_everywhere(End::Witnessed, &folder(End::Witnessed));
    assert!(tally.sound > 0 && tally.damaged > 0, "{tally:?}");
    assert_eq!(tally.newest_lost, 0);
}

#[test]
fn before_there_is_a_witness_rot_in_the_last_record_is_taken_for_a_torn_one_and_nothing_else_is() {
    let tally = rot_everywhere(End::Unwitnessed, &folder(End::Unwitnessed));
    // The last record has four sectors (700 bytes and a membership), some of which contain only zeros.
    assert!((1..=8).contains(&tally.newest_lost), "{tally:?}");
}

/// The first byte of a commit slot is the version of redb's format, which redb checks before the checksum.
#[test]
fn the_version_of_a_commit_may_rot() {
    let mut tally = Tally::default();
    for (end, slot) in [(End::Clean, 64), (End::Clean, 192), (End::Witnessed, 64), (End::Witnessed, 192)] {
        let folder = folder(end);
        for bit in 0..8 {
            let disk = folder.put();
            assert!(disk.rot(Path::new(FILE), slot, 1 << bit));
            check_opening(&folder, &disk, end, &format!("bit {bit} of {slot}"), &mut tally);
        }
    }
    assert!(tally.damaged + tally.mended > 0, "{tally:?}");
}

/// A page holds the content of another, as when redb falls back to a commit whose pages have been reused. Following it
/// leads redb astray, which must not end the process.
#[test]
fn any_page_may_hold_what_another_one_should() {
    const PAGE: usize = 4096;
    let mut tally = Tally::default();
    for end in [End::Clean, End::Witnessed] {
        let folder = folder(end);
        let (name, bytes) = &folder.files[0];
        let pages = bytes.len() / PAGE;
        for (to, from) in (1..pages).flat_map(|to| (1..pages).map(move |from| (to, from))) {
            let mut bytes = bytes.clone();
            bytes.copy_within(from * PAGE..(from + 1) * PAGE, to * PAGE);
            let disk = folder.put();
            disk.put(Path::new(name), &bytes);
            check_opening(&folder, &disk, end, &format!("page {to} as {from}"), &mut tally);
        }
    }
    assert!(tally.sound > 0 && tally.damaged > 0, "{tally:?}");
}

/// Only the database's newest commit holds a write too large for the journal. If it rots, redb silently falls back to
/// the commit before, and only the journal reveals the loss.
#[test]
fn every_sector_may_rot_after_a_flush_that_went_around_the_journal() {
    let tally = rot_everywhere(End::Witnessed, &folder_with(End::Witnessed, Some(20_000)));
    assert!(tally.sound > 0 && tally.damaged > 0, "{tally:?}");
    assert_eq!(tally.newest_lost, 0);
}

/// A repair creates a new database and renames it over the old one. Wherever the power is cut, the next opening finds
/// the damage, or a log that records it.
#[test]
fn the_power_may_be_cut_in_each_step_of_the_mending() {
    let folder = folder(End::Witnessed);
    let newest = folder.models.last().unwrap();
    let mut damaged = 0;
    for (name, step) in [(FILE, 4096), (JOURNAL, 1536)] {
        let bytes = &folder.files.iter().find(|(file, _)| *file == name).unwrap().1;
        for place in (600..bytes.len()).step_by(step) {
            for nth in 0.. {
                let disk = folder.put();
                assert!(disk.rot(Path::new(name), place as u64, 4));
                disk.crash_at_call(nth);
                let opened = open(&disk);
                let finished = !disk.is_frozen();
                disk.freeze();
                drop(opened);
                disk.crash();
                let (store, restored) = open(&disk).unwrap();
                if restored.hard_state.health == Health::Damaged {
                    damaged += 1;
                    check_prefix(newest, &store, &restored, &format!("{name} {place} {nth}"));
                } else {
                    newest.check(&store);
                }
                if finished {
                    break;
                }
            }
        }
    }
    assert!(damaged > 50, "{damaged}");
}

/// Rot under a running store: reads are correct or fail, writes fail at worst, no panic escapes, and the next opening
/// finds the damage.
#[test]
fn every_sector_may_rot_under_a_running_store() {
    let folder = folder(End::Clean);
    let image = &folder.files[0].1;
    let mut errors = 0;
    for sector in 0..image.len() / 512 {
        let disk = folder.put();
        let mut model = folder.models.last().unwrap().clone();
        let (mut store, _) = open(&disk).unwrap();
        let place = sector * 512 + (sector * 37) % 512;
        if !disk.rot(Path::new(FILE), place as u64, 1 << (sector % 8)) {
            continue;
        }
        let last = model.last().index.0;
        for first in model.base.id.index.0 + 1..=last {
            match store.reader().read(LogIndex(first), LogIndex(last), usize::MAX) {
                Ok(result) => assert_eq!(Some(result), model.read(first, last, usize::MAX), "{place}"),
                Err(ReadError::Damaged { .. } | ReadError::Database { .. }) => errors += 1,
                Err(other) => panic!("{place}: {other}"),
            }
        }
        let write = Write {
            truncate_from: Some(LogIndex(last)),
            compact_to: Some(LogIndex(last - 3)),
            ..append(100, vec![command(9, last, 900)])
        };
        model.apply(&write);
        store.queue(write);
        // The journal accepts it whatever happened to the database.
        store.flush().unwrap();
        let went_on = store.settle().is_ok() && store.compact_step().is_ok() && store.settle().is_ok();
        errors += u32::from(!went_on);
        disk.freeze();
        drop(store);
        disk.crash_losing_all_unsynced();
        let (store, restored) = open(&disk).unwrap();
        match restored.hard_state.health {
            Health::Sound => model.check(&store),
            Health::Damaged => check_prefix(&model, &store, &restored, &format!("{place}")),
        }
    }
    assert!(errors > 20, "{errors}");
}

/// A formed store with `count` entries of 3000 bytes after the base 1.1, two in each flush, and its expected content.
fn filled(disk: &SimulatedDisk, count: u64) -> (Store, Vec<Model>) {
    let (mut store, _) = open(disk).unwrap();
    let mut model = Model::default();
    store.form(ClusterId(1), base(1, 1)).unwrap();
    model.form(ClusterId(1), base(1, 1));
    let mut models = vec![model.clone()];
    for first in (2..2 + count).step_by(2) {
        let entries = vec![command(1, first, 3000), member(1, first + 1, first)];
        let hard_state = HardState {
            term: Term(first),
            vote: Some(NodeId(2)),
            commit: LogIndex(first),
            ..HardState::default()
        };
        let write = Write { hard_state: Some(hard_state), ..append(first, entries) };
        model.apply(&write);
        store.queue(write);
        store.flush().unwrap();
        settle(&mut store);
        models.push(model.clone());
    }
    (store, models)
}

#[test]
fn a_rotten_entry_is_an_error_that_names_the_range_and_its_neighbours_are_read() {
    let disk = SimulatedDisk::new(1);
    let (store, models) = filled(&disk, 8);
    for place in places_of(&disk, FILE, &command(1, 6, 3000)) {
        assert!(disk.rot(Path::new(FILE), place + 1234, 0x10));
    }
    let error = store.reader().read(LogIndex(4), LogIndex(99), usize::MAX).unwrap_err();
    let ReadError::Damaged { first, last, damage, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*first, *last), (LogIndex(4), LogIndex(9)));
    assert!(matches!(damage, Damage::EntryChecksum { index: LogIndex(6) }), "{damage:?}");
    assert_eq!(error.to_string(), format!("entries 4 to 9 cannot be read: the log {FILE} is damaged"));
    let model = models.last().unwrap();
    for (from, to) in [(2, 5), (8, 9)] {
        assert_eq!(Some(read(&store, from, to)), model.read(from, to, usize::MAX));
    }
    drop(store);
    let (store, restored) = open(&disk).unwrap();
    let damage = store.report().damage.as_ref().unwrap();
    assert_eq!(damage.lost, Lost::Entries { first: LogIndex(6), last: LogIndex(9) });
    let text = format!("{FILE} is damaged (the database is damaged); entries 6 to 9 are lost");
    assert_eq!(damage.to_string(), text);
    assert_eq!((restored.last, restored.hard_state.health), (LogIndex(5), Health::Damaged));
    assert_eq!(Some(read(&store, 2, 5)), model.read(2, 5, usize::MAX));
}

/// The journal loses a record that replaced the last entry, and a later record states that this index is committed. The
/// old entry must not count as committed (raft-sim found a node that applied it). With `database`, the database rots
/// too, so that the log is rebuilt.
fn commit_after_a_lost_replacement(database: bool) {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    flush_one(&mut store, &mut model, 1);
    settle(&mut store);
    let committed = model.hard_state.commit;
    let newer = command(2, 2, 300);
    store.queue(Write { truncate_from: Some(LogIndex(2)), ..append(8, vec![newer.clone()]) });
    store.flush().unwrap();
    let hard_state = HardState { term: Term(2), commit: LogIndex(2), ..model.hard_state };
    store.queue(Write { hard_state: Some(hard_state), ..append(9, vec![]) });
    store.flush().unwrap();
    store.witness().unwrap();
    disk.freeze();
    drop(store);
    disk.crash();
    let at = places_of(&disk, JOURNAL, &newer)[0];
    assert!(disk.rot(Path::new(JOURNAL), at, 1));
    if database {
        // Damage both commit slots, so that no commit is readable.
        assert!(disk.rot(Path::new(FILE), 64 + 30, 1) && disk.rot(Path::new(FILE), 192 + 30, 1));
    }
    let (store, restored) = open(&disk).unwrap();
    assert_eq!(restored.hard_state.health, Health::Damaged);
    assert_eq!((restored.hard_state.term, restored.hard_state.vote), (Term(2), hard_state.vote));
    assert!(restored.hard_state.commit <= committed.min(restored.last), "{:?}", restored.hard_state);
    drop(store);
}

#[test]
fn what_is_left_is_not_taken_for_what_a_lost_record_put_in_its_place() {
    commit_after_a_lost_replacement(false);
}

#[test]
fn a_log_made_anew_is_not_committed_beyond_what_it_says_itself() {
    commit_after_a_lost_replacement(true);
}
