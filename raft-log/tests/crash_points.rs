//! A short life of a store, with a power cut in each of its mutations, and with each of its calls failing once.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::*;
use raftkit_core::*;
use raftkit_disk::SimulatedDisk;
use raftkit_log::*;

/// Progress of a life.
#[derive(Default)]
struct Told {
    /// The state that the store has acknowledged.
    acknowledged: Model,
    /// The states that it attempted after that, one for each write.
    attempted: Vec<Model>,
    /// The incarnation that it reported.
    incarnation: u64,
    finished: bool,
}

impl Told {
    fn flushed(&mut self, log: &Model) {
        self.acknowledged = log.clone();
        self.attempted.clear();
    }
}

/// The flushes of the life: every kind of write, and flushes with several.
fn flushes() -> Vec<Vec<Write>> {
    let hard_state = |term, commit| {
        let promise = Duration::from_millis(term * 100);
        let (term, commit) = (Term(term), LogIndex(commit));
        Some(HardState { term, commit, promise, ..HardState::default() })
    };
    let entries =
        |term, range: std::ops::RangeInclusive<u64>| range.map(|index| command(term, index, 200)).collect();
    vec![
        vec![Write { hard_state: hard_state(1, 1), ..append(1, entries(1, 2..=20)) }],
        vec![append(2, vec![member(2, 21, 7), command(2, 22, 9000)]), append(3, entries(2, 23..=30))],
        // Truncates in the middle of a run and appends in one write: both must happen, or neither.
        vec![Write {
            truncate_from: Some(LogIndex(10)),
            hard_state: hard_state(3, 5),
            ..append(4, vec![command(3, 10, 50), member(3, 11, 8), command(3, 12, 70_000)])
        }],
        // Compacts past a membership and moves the base into the middle of a run.
        vec![append(5, entries(3, 13..=20)), Write { compact_to: Some(LogIndex(15)), ..append(6, vec![]) }],
        vec![append(7, entries(4, 21..=24))],
        vec![Write {
            reset_to: Some(base(6, 40).into()),
            hard_state: hard_state(6, 40),
            ..append(8, entries(6, 41..=42))
        }],
        vec![append(9, entries(7, 43..=45))],
    ]
}

/// Runs until the first error, which must be an error of the disk.
fn live(disk: &SimulatedDisk) -> Told {
    let mut told = Told::default();
    if let Err(error) = try_to_live(disk, &mut told) {
        assert_honest(&*error);
    } else {
        told.finished = true;
    }
    told
}

fn try_to_live(disk: &SimulatedDisk, told: &mut Told) -> Result<(), Box<dyn std::error::Error>> {
    let (mut store, _) = open(disk)?;
    told.incarnation = store.identity().incarnation.0;
    let mut log = Model::default();
    log.form(ClusterId(5), base(1, 1));
    told.attempted.push(log.clone());
    store.form(ClusterId(5), base(1, 1))?;
    told.flushed(&log);
    for (at, writes) in flushes().into_iter().enumerate() {
        for write in writes {
            log.apply(&write);
            told.attempted.push(log.clone());
            store.queue(write);
        }
        store.flush().inspect_err(|_| assert!(matches!(store.flush(), Err(StoreError::Ended))))?;
        told.flushed(&log);
        match at % 3 {
            0 => store.witness()?,
            1 => drop(store.settle()?),
            _ => {}
        }
        store.compact_step()?;
        if at == 3 {
            // Begin another life, after a clean end.
            drop(store);
            (store, _) = open(disk)?;
            told.incarnation = store.identity().incarnation.0;
        }
    }
    store.reader().read(LogIndex(41), LogIndex(45), usize::MAX)?;
    Ok(())
}

/// Reopens the store: everything reported is there, each attempted write is there completely or not at all, and the
/// store works.
fn check_after(disk: &SimulatedDisk, told: &Told) {
    let (mut store, _) = open(disk).expect("it opens again");
    assert!(store.identity().incarnation.0 > told.incarnation);
    assert!(store.report().damage.is_none(), "{:?}", store.report());
    let mut states = vec![told.acknowledged.clone()];
    states.extend(told.attempted.clone());
    let found = check_one_of(&store, &states);
    let next = found.last().index.0 + 1;
    store.queue(append(100, vec![command(9, next, 1)]));
    store.flush().expect("it works on");
}

#[test]
fn wherever_the_power_is_cut_what_was_flushed_is_there_and_a_flush_is_whole() {
    let clean = SimulatedDisk::new(0);
    assert!(live(&clean).finished);
    let mutations = clean.mutations();
    assert!(mutations > 50, "{mutations}");
    for nth in 0..=mutations {
        for losing_all in [true, false, false] {
            let disk = SimulatedDisk::new(nth);
            disk.crash_at_call(nth);
            let told = live(&disk);
            disk.freeze();
            if losing_all {
                disk.crash_losing_all_unsynced()
            } else {
                disk.crash()
            }
            check_after(&disk, &told);
        }
    }
}

#[test]
fn the_power_may_be_cut_again_in_each_mutation_of_the_opening_after() {
    // In the creation of the file, and in some of the flushes.
    for nth in [3, 10, 17, 25, 33, 41, 50] {
        for again in 0.. {
            let disk = SimulatedDisk::new(nth * 100 + again);
            disk.crash_at_call(nth);
            let told = live(&disk);
            disk.freeze();
            disk.crash();
            disk.crash_at_call(again);
            let opened = open(&disk);
            let finished = !disk.is_frozen();
            disk.freeze();
            drop(opened);
            disk.crash();
            check_after(&disk, &told);
            if finished {
                break;
            }
        }
    }
}

#[test]
fn whichever_call_fails_the_store_says_so_and_has_what_it_told() {
    let clean = SimulatedDisk::new(0);
    assert!(live(&clean).finished);
    let calls = clean.calls();
    for nth in 0..calls {
        for power_cut in [false, true] {
            for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
                let disk = SimulatedDisk::new(nth);
                disk.fail_call(nth, kind);
                let told = live(&disk);
                if power_cut {
                    disk.freeze();
                    disk.crash();
                }
                disk.clear_faults();
                check_after(&disk, &told);
            }
        }
    }
}
