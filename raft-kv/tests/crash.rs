//! Short scripts, repeated with a power cut or a failing call at every single call to the disk.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;

use common::{apply, delete, entry, fresh, open, put, state_bytes};
use raftkit_core::LogId;
use raftkit_disk::SimulatedDisk;
use raftkit_kv::KvMachine;
use raftkit_replica::{MachineError, StateMachine};

/// Cuts the power of a machine and opens it again.
fn crash(disk: &SimulatedDisk, machine: KvMachine) -> KvMachine {
    disk.freeze();
    drop(machine);
    disk.crash();
    open(disk).unwrap()
}

fn fill(machine: &mut KvMachine, from: u64, to: u64, value: &str) {
    let entries: Vec<_> =
        (from..=to).map(|index| entry(index, &put(&format!("k{}", index % 50), value))).collect();
    machine.apply(&entries).unwrap();
}

/// A machine with a durable state, and that state's snapshot.
fn old_state(seed: u64) -> (SimulatedDisk, KvMachine, Vec<u8>) {
    let (disk, mut machine) = fresh(seed);
    fill(&mut machine, 1, 80, "old");
    apply(&mut machine, &delete("k7", raftkit_kv::Condition::Always));
    machine.persist().unwrap();
    let bytes = state_bytes(&mut machine);
    (disk, machine, bytes)
}

/// A later state.
fn new_state() -> (LogId, Vec<u8>) {
    let (_disk, mut machine) = fresh(9);
    fill(&mut machine, 1, 200, &"new".repeat(500));
    (machine.applied(), state_bytes(&mut machine))
}

#[test]
fn crash_at_any_point_of_restore_leaves_the_old_state_or_the_new_one() {
    let (id, new) = new_state();
    let (disk, mut machine, _) = old_state(0);
    let before = disk.mutations();
    machine.restore(id, &mut new.as_slice()).unwrap();
    let points = disk.mutations() - before;
    assert_eq!((machine.applied(), machine.durable()), (id, id));
    assert!(points > 5);
    let (mut olds, mut news) = (0, 0);
    for point in 0..=points {
        for seed in 0..3 {
            let (disk, mut machine, old) = old_state(seed);
            disk.crash_at_call(point);
            let restored = machine.restore(id, &mut new.as_slice());
            assert_eq!(restored.is_ok(), point == points, "point {point}");
            let mut machine = crash(&disk, machine);
            let found = state_bytes(&mut machine);
            assert!(found == old || found == new, "point {point} seed {seed}");
            assert!(restored.is_err() || found == new, "what was restored is durable");
            if found == old {
                olds += 1
            } else {
                news += 1
            }
            // The machine applies further entries from there.
            apply(&mut machine, &put("more", "x"));
            machine.persist().unwrap();
            assert!(crash(&disk, machine).reader().get("more").unwrap().value.is_some());
        }
    }
    assert!(olds > 0 && news > 3, "{olds} {news}");
}

#[test]
fn crash_at_any_point_of_persist_leaves_a_whole_batch_boundary() {
    let prepare = |seed| {
        let (disk, mut machine, old) = old_state(seed);
        let first = machine.applied().index.0 + 1;
        fill(&mut machine, first, first + 40, "between");
        let between = state_bytes(&mut machine);
        fill(&mut machine, first + 41, first + 60, "last");
        (disk, machine, [old, between])
    };
    let (disk, mut machine, _) = prepare(0);
    let before = disk.mutations();
    machine.persist().unwrap();
    let points = disk.mutations() - before;
    for point in 0..=points {
        for seed in 0..5 {
            let (disk, mut machine, [old, between]) = prepare(seed);
            let new = state_bytes(&mut machine);
            disk.crash_at_call(point);
            let persisted = machine.persist();
            assert_eq!(persisted.is_ok(), point == points);
            let found = state_bytes(&mut crash(&disk, machine));
            assert!(found == old || found == between || found == new, "point {point} seed {seed}");
            assert!(persisted.is_err() || found == new);
        }
    }
}

#[test]
fn crash_at_any_point_of_the_first_opening_leaves_a_folder_that_opens() {
    let disk = SimulatedDisk::new(0);
    drop(open(&disk).unwrap());
    for point in 0..disk.mutations() {
        for seed in 0..5 {
            let disk = SimulatedDisk::new(seed);
            disk.crash_at_call(point);
            drop(open(&disk));
            disk.freeze();
            disk.crash();
            let mut machine = open(&disk).unwrap();
            assert_eq!(machine.applied(), LogId::ZERO);
            apply(&mut machine, &put("a", "1"));
        }
    }
}

/// Opens a machine and applies entries. Each step may fail. Returns what was durable and what was applied at the end.
fn life(disk: &SimulatedDisk, new: &[u8], id: LogId) -> Result<(), MachineError> {
    let mut machine = open(disk)?;
    machine.apply(&[entry(1, &put("a", "1")), entry(2, &put("b", &"x".repeat(9000)))])?;
    machine.persist()?;
    machine.apply(&[entry(3, &put("a", "2"))])?;
    machine.reader().list("")?;
    let mut bytes = Vec::new();
    machine.snapshot()?.write_to(&mut bytes)?;
    machine.persist()?;
    machine.restore(id, &mut &new[..])?;
    machine.reader().get("k1")?;
    drop(machine);
    let machine = open(disk)?;
    assert_eq!(machine.applied(), id);
    Ok(())
}

#[test]
fn any_call_of_the_disk_may_fail_once() {
    let (id, new) = new_state();
    let disk = SimulatedDisk::new(1);
    life(&disk, &new, id).unwrap();
    let calls = disk.calls();
    for call in 0..calls {
        for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
            let disk = SimulatedDisk::new(call);
            disk.fail_call(call, kind);
            // The failing call may be made by a destructor, which cannot report it. But nothing panics, and the state
            // afterwards is one that the machine has had.
            let _ = life(&disk, &new, id);
            disk.clear_faults();
            disk.freeze();
            disk.crash();
            let machine = open(&disk).unwrap();
            let applied = machine.applied();
            assert!(applied == id || applied.index.0 <= 3 && applied.index.0 != 1, "call {call}: {applied}");
            let read = machine.reader().list("").unwrap();
            let expected = [0, 0, 2, 2].get(usize::try_from(applied.index.0).unwrap()).copied().unwrap_or(50);
            assert_eq!(read.value.len(), expected, "call {call}");
        }
    }
}

#[test]
fn after_a_failed_commit_every_change_is_refused() {
    let (disk, mut machine, old) = old_state(1);
    apply(&mut machine, &put("a", "1"));
    disk.fail_next(raftkit_disk::Operation::Sync, 0, ErrorKind::Other);
    assert!(machine.persist().is_err());
    assert!(machine.persist().is_err(), "a failed sync is never tried again");
    let next = machine.applied().index.0 + 1;
    let refused = machine.apply(&[entry(next, &put("b", "1"))]).unwrap_err();
    assert!(format!("{refused}").contains("until it is opened again"), "not even tried: {refused}");
    assert_eq!(state_bytes(&mut crash(&disk, machine)).len(), old.len());
}

#[test]
fn what_an_opening_shows_after_a_failed_sync_outlives_a_power_cut() {
    for seed in 0..8 {
        for sync in 0..4 {
            let (disk, mut machine, _) = old_state(seed);
            for index in 0..200 {
                apply(&mut machine, &put(&format!("k{}", index % 50), &"x".repeat(300)));
            }
            disk.fail_next(raftkit_disk::Operation::Sync, sync, ErrorKind::Other);
            // A killed process: the page cache still shows what the failed sync has lost.
            let _ = machine.persist();
            std::mem::forget(machine);
            disk.clear_faults();
            let mut shown = open(&disk).unwrap();
            let expected = state_bytes(&mut shown);
            std::mem::forget(shown);
            disk.crash_losing_all_unsynced();
            assert!(state_bytes(&mut open(&disk).unwrap()) == expected, "seed {seed} sync {sync}");
        }
    }
}

#[test]
fn rot_is_reported_or_harmless_but_never_served() {
    let path = common::folder().join("state.redb");
    let (disk, machine, _) = old_state(1);
    drop(machine);
    let length = disk.durable(&path).unwrap().len() as u64;
    let (mut reported, mut harmless) = (0, 0);
    for clean in [true, false] {
        for offset in (0..length.min(400_000)).step_by(509) {
            let (disk, machine, old) = old_state(1);
            if clean {
                drop(machine);
            } else {
                disk.freeze();
                drop(machine);
                disk.crash();
            }
            assert!(disk.rot(&path, offset, 0x10));
            match open(&disk) {
                Ok(mut machine) => {
                    assert!(state_bytes(&mut machine) == old, "offset {offset} clean {clean}");
                    harmless += 1;
                }
                Err(MachineError::Damaged { .. } | MachineError::Storage(_)) => reported += 1,
                Err(error @ MachineError::NewerFormat { .. }) => panic!("{error}"),
            }
        }
    }
    assert!(reported > 10, "{reported} {harmless}");
}

#[test]
fn emptied_file_is_damage_and_not_a_new_store() {
    let (disk, machine, _) = old_state(1);
    drop(machine);
    let path = common::folder().join("state.redb");
    raftkit_disk::Disk::open(&disk, &path, raftkit_disk::OpenMode::Existing).unwrap().set_len(0).unwrap();
    assert!(matches!(open(&disk), Err(MachineError::Damaged { .. })));
}
