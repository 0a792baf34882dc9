//! Giving space back: the state is copied into a new file while it is changed and read, with crashes and errors at any step.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::io::ErrorKind;
use std::sync::Arc;

use common::{apply, delete, delete_tree, entry, folder, put, state_bytes};
use raftkit_disk::{Disk, Operation, SimulatedDisk, Slack};
use raftkit_kv::{Condition, KvMachine};
use raftkit_replica::{MachineError, Progress, StateMachine};

const SLACK: Slack = Slack::new(64 << 10);
/// Approximate size of an empty database of redb, in bytes.
const EMPTY: u64 = 2 << 20;

fn open(disk: &SimulatedDisk) -> Result<KvMachine, MachineError> {
    KvMachine::open_with_slack(Arc::new(disk.clone()), folder(), SLACK)
}

fn file_bytes(disk: &SimulatedDisk) -> u64 {
    disk.len_of(&folder().join("state.redb")).unwrap()
}

fn has_left_over(disk: &SimulatedDisk) -> bool {
    Disk::exists(disk, &folder().join("state.redb.new")).unwrap()
}

fn fill(machine: &mut KvMachine, keys: std::ops::Range<u64>, len: usize) -> Result<(), MachineError> {
    for key in keys {
        let index = machine.applied().index.0 + 1;
        machine.apply(&[entry(index, &put(&format!("key/{key:06}"), &"v".repeat(len)))])?;
    }
    Ok(())
}

/// A machine whose file is much larger than its content, because most keys were deleted.
fn roomy(seed: u64, filled: u64, kept: u64) -> (SimulatedDisk, KvMachine) {
    let disk = SimulatedDisk::new(seed);
    let mut machine = open(&disk).unwrap();
    fill(&mut machine, 0..kept, 9_000).unwrap();
    for key in 0..filled {
        apply(&mut machine, &put(&format!("gone/{key:06}"), &"v".repeat(60_000)));
    }
    machine.persist().unwrap();
    apply(&mut machine, &delete_tree("gone/"));
    machine.persist().unwrap();
    apply(&mut machine, &delete("key/000001", Condition::Always));
    (disk, machine)
}

fn give_back(machine: &mut KvMachine) -> Result<Progress, MachineError> {
    loop {
        match machine.give_back()? {
            Progress::More => {}
            progress @ (Progress::Done | Progress::Nothing | Progress::Postponed) => return Ok(progress),
        }
    }
}

/// Lets the machine work until a copy has begun.
fn begin(disk: &SimulatedDisk, machine: &mut KvMachine) {
    while !has_left_over(disk) {
        assert_eq!(machine.give_back().unwrap(), Progress::More);
    }
}

#[test]
fn a_file_much_larger_than_what_is_in_it_shrinks_after_a_delete() {
    let (disk, mut machine) = roomy(1, 60, 20);
    let (before, state) = (file_bytes(&disk), state_bytes(&mut machine));
    assert!(before > 4 << 20, "{before}");
    let reader = machine.reader();
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Done);
    assert!(file_bytes(&disk) < EMPTY, "{} bytes", file_bytes(&disk));
    assert!(!has_left_over(&disk));
    assert!(machine.durable() < machine.applied(), "what is in memory only is not in the copy");
    assert!(state_bytes(&mut machine) == state);
    assert_eq!(reader.applied().unwrap(), machine.applied(), "a reader goes on");
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Nothing, "nothing more is to be gained");
    fill(&mut machine, 0..5, 100).unwrap();
    assert_eq!(reader.applied().unwrap(), machine.applied(), "in the new file");
    machine.persist().unwrap();
    let state = state_bytes(&mut machine);
    drop(machine);
    let mut machine = open(&disk).unwrap();
    assert!(state_bytes(&mut machine) == state);
}

#[test]
fn a_view_from_before_a_copy_is_written_out_after_it() {
    let (_disk, mut machine) = roomy(1, 60, 20);
    let state = state_bytes(&mut machine);
    let view = machine.snapshot().unwrap();
    fill(&mut machine, 0..3, 10).unwrap();
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Done);
    fill(&mut machine, 3..6, 10).unwrap();
    let mut written = Vec::new();
    view.write_to(&mut written).unwrap();
    assert!(written == state);
}

/// Changes of every kind to keys that are already copied and to keys that are not.
fn change(machine: &mut KvMachine, step: u64) -> Result<(), MachineError> {
    let mut apply = |command| {
        let index = machine.applied().index.0 + 1;
        machine.apply(&[entry(index, &command)]).map(|_| ())
    };
    let key = |number: u64| format!("key/{:06}", (step * 37 + number * 101) % 400);
    apply(put(&key(0), &"new".repeat(100)))?;
    apply(delete(&key(1), Condition::Always))?;
    apply(put(&format!("a/{step}"), "1"))?;
    apply(put(&format!("z/{step}"), "2"))?;
    apply(delete(&key(2), Condition::Always))?;
    apply(put(&key(2), "again"))?;
    apply(delete_tree(&format!("key/0000{step}")))
}

#[test]
fn what_is_changed_while_a_copy_is_made_is_in_it() {
    let (disk, mut machine) = roomy(1, 120, 400);
    let mut twin = open(&SimulatedDisk::new(2)).unwrap();
    twin.restore(machine.applied(), &mut state_bytes(&mut machine).as_slice()).unwrap();
    let mut steps = 0;
    while machine.give_back().unwrap() == Progress::More {
        steps += 1;
        change(&mut machine, steps).unwrap();
        change(&mut twin, steps).unwrap();
        // Several changes go into the file at once now and then.
        if steps % 3 != 0 {
            machine.persist().unwrap();
        }
    }
    machine.persist().unwrap();
    assert!(steps > 5, "{steps}");
    assert!(file_bytes(&disk) < 16 << 20);
    assert!(state_bytes(&mut machine) == state_bytes(&mut twin));
    drop(machine);
    assert!(state_bytes(&mut open(&disk).unwrap()) == state_bytes(&mut twin), "what was copied is durable");
}

#[test]
fn a_change_of_the_very_key_that_a_copy_has_reached_is_in_it() {
    let (_disk, mut machine) = roomy(1, 120, 400);
    let mut twin = open(&SimulatedDisk::new(2)).unwrap();
    twin.restore(machine.applied(), &mut state_bytes(&mut machine).as_slice()).unwrap();
    let mut steps = 0;
    while machine.give_back().unwrap() == Progress::More {
        steps += 1;
        // After most of its steps the copy has reached one of these keys.
        let value = char::from(b'a' + steps).to_string().repeat(9_000);
        for key in 0..400 {
            let command = put(&format!("key/{key:06}"), &value);
            apply(&mut machine, &command);
            apply(&mut twin, &command);
        }
        machine.persist().unwrap();
    }
    assert!(steps > 5, "{steps}");
    assert!(state_bytes(&mut machine) == state_bytes(&mut twin));
}

#[test]
fn the_index_of_a_prefix_is_the_same_in_a_copy() {
    let (_disk, mut machine) = roomy(1, 60, 20);
    let reader = machine.reader();
    let indexes = || ["gone/", "key/", "key/000001", ""].map(|prefix| reader.list(prefix).unwrap().index);
    let before = indexes();
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Done);
    assert_eq!(indexes(), before);
}

#[test]
fn a_restore_gives_a_copy_up() {
    let (disk, mut machine) = roomy(1, 60, 20);
    let (_disk, mut other) = roomy(2, 61, 30);
    let (id, state) = (other.applied(), state_bytes(&mut other));
    begin(&disk, &mut machine);
    machine.persist().unwrap();
    machine.restore(id, &mut state.as_slice()).unwrap();
    assert_eq!(machine.give_back().unwrap(), Progress::Postponed);
    assert!(!has_left_over(&disk));
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Done);
    assert!(file_bytes(&disk) < EMPTY);
    assert!(state_bytes(&mut machine) == state);
}

#[test]
fn a_file_with_little_room_in_it_is_left_alone() {
    let disk = SimulatedDisk::new(1);
    let mut machine = open(&disk).unwrap();
    fill(&mut machine, 0..300, 9_000).unwrap();
    machine.persist().unwrap();
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Nothing);
    let reopened = {
        drop(machine);
        give_back(&mut open(&disk).unwrap()).unwrap()
    };
    assert_eq!(reopened, Progress::Nothing);
}

/// Runs a copy with changes in between, and appends the state after each change to `states`: a crash may leave any of them.
fn live(machine: &mut KvMachine, states: &mut Vec<Vec<u8>>) -> Result<Progress, MachineError> {
    let mut step = 0;
    loop {
        let progress = machine.give_back()?;
        if progress != Progress::More {
            machine.persist()?;
            return Ok(progress);
        }
        step += 1;
        if step <= 2 {
            change(machine, step)?;
            states.push(state_bytes(machine));
            machine.persist()?;
        }
    }
}

fn check_after(disk: &SimulatedDisk, states: &[Vec<u8>], durable: usize, why: &str) {
    let mut machine = open(disk).unwrap_or_else(|error| panic!("{why}: {error}"));
    assert!(!has_left_over(disk), "{why}");
    let found = state_bytes(&mut machine);
    let at = states.iter().position(|state| *state == found);
    assert!(at.is_some_and(|at| at >= durable), "{why}: {at:?}, and {durable} was durable");
    apply(&mut machine, &put("more", "x"));
    give_back(&mut machine).unwrap_or_else(|error| panic!("{why}: {error}"));
    assert!(machine.reader().get("more").unwrap().value.is_some(), "{why}");
}

#[test]
fn the_power_may_be_cut_in_each_call_of_a_copy() {
    let prepare = |seed| {
        let (disk, mut machine) = roomy(seed, 50, 8);
        machine.persist().unwrap();
        let states = vec![state_bytes(&mut machine)];
        (disk, machine, states)
    };
    let (disk, mut machine, mut states) = prepare(0);
    let before = disk.mutations();
    assert_eq!(live(&mut machine, &mut states).unwrap(), Progress::Done);
    let calls = disk.mutations() - before;
    assert!(calls > 20, "{calls}");
    for nth in 0..=calls {
        for losing_all in [true, false] {
            let (disk, mut machine, mut states) = prepare(nth);
            disk.crash_at_call(nth);
            let lived = live(&mut machine, &mut states);
            // A power cut while the old file, which has no name any more, is closed is not reported.
            assert!(lived.is_ok() || nth < calls, "call {nth}");
            let durable = if lived.is_ok() { states.len() - 1 } else { 0 };
            disk.freeze();
            drop(machine);
            if losing_all {
                disk.crash_losing_all_unsynced()
            } else {
                disk.crash()
            }
            check_after(&disk, &states, durable, &format!("call {nth}, losing all {losing_all}"));
        }
    }
}

#[test]
fn each_call_of_a_copy_may_fail_and_a_full_disk_only_puts_it_off() {
    let prepare = |seed| {
        let (disk, mut machine) = roomy(seed, 50, 8);
        machine.persist().unwrap();
        let states = vec![state_bytes(&mut machine)];
        (disk, machine, states)
    };
    let (disk, mut machine, mut states) = prepare(0);
    let before = disk.calls();
    live(&mut machine, &mut states).unwrap();
    let calls = disk.calls() - before;
    let mut postponed = 0;
    for nth in 0..calls {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            let (disk, mut machine, mut states) = prepare(nth);
            disk.fail_call(nth, kind);
            let lived = live(&mut machine, &mut states);
            if let Ok(progress) = &lived {
                assert!(
                    kind == ErrorKind::StorageFull || *progress == Progress::Done,
                    "call {nth}: {progress:?}"
                );
                postponed += u64::from(*progress == Progress::Postponed);
            }
            let durable = if lived.is_ok() { states.len() - 1 } else { 0 };
            disk.clear_faults();
            disk.freeze();
            drop(machine);
            disk.crash();
            check_after(&disk, &states, durable, &format!("call {nth}, {kind}"));
        }
    }
    assert!(postponed > 5, "{postponed}");
}

#[test]
fn a_copy_waits_for_a_disk_with_room_for_it() {
    let (disk, mut machine) = roomy(1, 60, 20);
    disk.set_capacity(Some(0));
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Nothing, "not even tried");
    disk.set_capacity(None);
    begin(&disk, &mut machine);
    disk.set_capacity(Some(0));
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Postponed);
    assert!(!has_left_over(&disk));
    disk.set_capacity(None);
    fill(&mut machine, 0..2, 10).unwrap();
    assert_eq!(give_back(&mut machine).unwrap(), Progress::Done);
}

#[test]
fn after_a_folder_whose_sync_failed_nothing_more_is_applied() {
    let (disk, mut machine) = roomy(1, 60, 20);
    disk.fail_next(Operation::SyncDir, 0, ErrorKind::StorageFull);
    assert!(give_back(&mut machine).is_err());
    let next = machine.applied().index.0 + 1;
    let refused = machine.apply(&[entry(next, &put("b", "1"))]).unwrap_err();
    assert!(refused.to_string().contains("until it is opened again"), "{refused}");
    assert!(machine.give_back().is_err());
}
