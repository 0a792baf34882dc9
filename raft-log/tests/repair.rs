//! Repairs of damaged logs, interrupted by a second power cut or failing call.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use common::*;
use raftkit_core::*;
use raftkit_disk::{DiskImage, SimulatedDisk};
use raftkit_log::*;

/// The parts of a log that are damaged before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// One bit of an entry in the database.
    Entry,
    /// All of the database.
    Database,
    /// A record of the journal that the database does not hold yet.
    Record,
    /// Both an entry and a record.
    EntryAndRecord,
}

const HARMS: [Harm; 4] = [Harm::Entry, Harm::Database, Harm::Record, Harm::EntryAndRecord];

/// What the journal's last records hold that the database does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    Appends,
    CompactsAcrossMembership,
    Truncates,
    Resets,
}

const TAILS: [Tail; 4] = [Tail::Appends, Tail::CompactsAcrossMembership, Tail::Truncates, Tail::Resets];

fn kinds() -> Vec<Membership> {
    let member = |id: u64| (NodeId(id), Member::new(StoreId(u128::from(id)), format!("host{id}:1")));
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    let four = || (1..=4).map(member).collect();
    let three = Membership::founding((1..=3).map(member).collect());
    let fourth = member(4).1;
    vec![
        three.clone(),
        Membership::joint(four(), nodes(&[1, 2, 4]), nodes(&[1, 2, 3])).unwrap(),
        Membership::joint(four(), nodes(&[2, 3, 4]), nodes(&[1, 2, 3])).unwrap(),
        three.clone().with(NodeId(4), fourth.clone(), Suffrage::Staging),
        three.clone().with(NodeId(4), fourth, Suffrage::NonVoter),
        three.without(NodeId(1)),
    ]
}

/// Creates a log with entries 2 to 12: a settled membership in entry 5, and one in entry 9 that only the journal holds.
/// Returns its image and its expected content.
fn log(tail: Tail, membership: &Membership) -> (DiskImage, Model) {
    let disk = SimulatedDisk::new(1);
    let (mut store, mut model) = formed(&disk);
    let changes =
        |index| Entry { id: LogId::new(2, index), payload: Payload::Membership(membership.clone().into()) };
    let mut write = |store: &mut Store, write: Write| {
        model.apply(&write);
        store.queue(write);
        store.flush().unwrap();
    };
    let hard_state = |commit, promise| HardState {
        term: Term(2),
        vote: Some(NodeId(3)),
        commit: LogIndex(commit),
        promise: Duration::from_millis(promise),
        ..HardState::default()
    };
    let entries = vec![command(2, 2, 700), command(2, 3, 700), command(2, 4, 700), changes(5)];
    write(&mut store, Write { hard_state: Some(hard_state(5, 500)), ..append(1, entries) });
    write(&mut store, append(2, vec![command(2, 6, 700), command(2, 7, 700)]));
    settle(&mut store);
    write(&mut store, append(3, vec![command(2, 8, 700), changes(9), command(2, 10, 700)]));
    let end = Write { hard_state: Some(hard_state(9, 750)), ..append(4, vec![command(2, 11, 700)]) };
    match tail {
        Tail::Appends => write(&mut store, end),
        Tail::CompactsAcrossMembership => {
            write(&mut store, Write { compact_to: Some(LogIndex(6)), ..end });
        }
        Tail::Truncates => {
            let append = vec![command(3, 9, 700)].into();
            write(&mut store, Write { truncate_from: Some(LogIndex(9)), append, ..end });
        }
        Tail::Resets => {
            let base = Base { id: LogId::new(2, 20), membership: membership.clone() };
            let hard_state = Some(hard_state(20, 750));
            let append = Entries::default();
            write(&mut store, Write { reset_to: Some(base.into()), hard_state, append, ..end });
        }
    }
    store.witness().unwrap();
    disk.freeze();
    drop(store);
    disk.crash_losing_all_unsynced();
    (disk.image(), model)
}

fn harmed(image: &DiskImage, harm: Harm, seed: u64) -> SimulatedDisk {
    let disk = SimulatedDisk::from_image(seed, image);
    if matches!(harm, Harm::Entry | Harm::EntryAndRecord) {
        let at = places_of(&disk, FILE, &command(2, 7, 700))[0];
        assert!(disk.rot(Path::new(FILE), at + 99, 1));
    }
    if matches!(harm, Harm::Record | Harm::EntryAndRecord) {
        let at = places_of(&disk, JOURNAL, &command(2, 8, 700))[0];
        assert!(disk.rot(Path::new(JOURNAL), at + 99, 1));
    }
    if harm == Harm::Database {
        disk.put(Path::new(FILE), &[]);
    }
    disk
}

/// The membership in force at an index of this log.
fn as_of(model: &Model, membership: &Membership, tail: Tail, index: u64) -> Membership {
    match index {
        0 => Membership::default(),
        1..5 => base(1, 1).membership,
        20.. if tail == Tail::Resets => model.base.membership.clone(),
        _ => membership.clone(),
    }
}

#[test]
fn what_is_made_anew_starts_with_the_membership_that_was_in_force_there() {
    let mut crossed = 0;
    for membership in kinds() {
        for tail in TAILS {
            let (image, model) = log(tail, &membership);
            for harm in HARMS {
                let place = format!("{tail:?}, {harm:?}, {membership:?}");
                let (store, restored) = open(&harmed(&image, harm, 1)).unwrap();
                let found = &restored.base;
                assert_eq!(found.membership, as_of(&model, &membership, tail, found.id.index.0), "{place}");
                crossed += u64::from(found.id.index == LogIndex(6));
                let kept = |hard: HardState| (hard.term, hard.vote, hard.promise);
                assert_eq!(kept(restored.hard_state), kept(model.hard_state), "{place}");
                let (first, last) = (found.id.index.0 + 1, restored.last.0);
                let entries = match (first <= last).then(|| read(&store, first, last)) {
                    Some(ReadResult::Entries(entries)) => entries,
                    Some(other) => panic!("{place}: {other:?}"),
                    None => Vec::new(),
                };
                let memberships: Vec<_> = entries
                    .iter()
                    .filter_map(|entry| match &entry.payload {
                        Payload::Membership(it) => Some((entry.id.index, Membership::clone(it))),
                        Payload::Noop | Payload::Command(_) => None,
                    })
                    .collect();
                assert_eq!(restored.memberships, memberships, "{place}");
                let whole = restored.hard_state.health == Health::Sound;
                assert!(!whole || restored == model.restored(), "{place}: sound, and not what it was");
            }
        }
    }
    assert!(crossed > 0, "some base was compacted across a membership");
}

/// Opens the log; returns what it restored, and its entries.
fn opened(disk: &SimulatedDisk) -> (Restored, Vec<Entry>) {
    let (store, restored) = open(disk).unwrap();
    let (first, last) = (restored.base.id.index.0 + 1, restored.last.0);
    let entries = match (first <= last).then(|| read(&store, first, last)) {
        Some(ReadResult::Entries(entries)) => entries,
        Some(other) => panic!("{other:?}"),
        None => Vec::new(),
    };
    (restored, entries)
}

/// Opens the log with a power cut at the `nth` call that changes the disk; false if the opening finished before that.
fn cut(disk: &SimulatedDisk, nth: u64, losing_all: bool) -> bool {
    disk.crash_at_call(nth);
    let store = open(disk);
    let is_cut = disk.is_frozen();
    disk.freeze();
    drop(store);
    if losing_all {
        disk.crash_losing_all_unsynced()
    } else {
        disk.crash()
    }
    is_cut
}

#[test]
fn the_power_may_be_cut_in_each_call_of_a_repair_and_in_each_of_the_next_one() {
    let membership = kinds().swap_remove(1);
    for tail in TAILS {
        let (image, _) = log(tail, &membership);
        for harm in HARMS {
            let wanted = opened(&harmed(&image, harm, 1));
            for nth in 0.. {
                let mut is_cut = true;
                for (seed, losing_all) in [(1, true), (2, false)] {
                    let disk = harmed(&image, harm, nth * 2 + seed);
                    is_cut &= cut(&disk, nth, losing_all);
                    let again = disk.image();
                    assert_eq!(opened(&disk), wanted, "{tail:?}, {harm:?}, cut at {nth}");
                    // Cut the power again, in some calls of the next opening.
                    for second in (nth % 11..40).step_by(11) {
                        let disk = SimulatedDisk::from_image(seed, &again);
                        let goes_on = cut(&disk, second, losing_all);
                        assert_eq!(opened(&disk), wanted, "{tail:?}, {harm:?}, cut at {nth} and {second}");
                        if !goes_on {
                            break;
                        }
                    }
                }
                if !is_cut {
                    assert!(nth > 5, "{tail:?}, {harm:?}: {nth} calls");
                    break;
                }
            }
        }
    }
}

#[test]
fn each_call_of_a_repair_may_fail_and_the_next_one_comes_to_the_same() {
    let membership = kinds().swap_remove(1);
    for tail in TAILS {
        let (image, _) = log(tail, &membership);
        for harm in HARMS {
            let wanted = opened(&harmed(&image, harm, 1));
            let clean = harmed(&image, harm, 1);
            drop(open(&clean).unwrap());
            for nth in 0..clean.calls() {
                let disk = harmed(&image, harm, nth);
                disk.fail_call(nth, if nth % 2 == 0 { ErrorKind::Other } else { ErrorKind::StorageFull });
                let first = open(&disk).map(drop);
                if nth % 3 == 0 {
                    disk.freeze();
                    disk.crash();
                }
                disk.clear_faults();
                let (shown, _) = opened(&disk);
                assert_eq!(shown, wanted.0, "{tail:?}, {harm:?}, call {nth} failed: {first:?}");
            }
        }
    }
}
