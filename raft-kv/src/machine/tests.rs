//! Tombstones, their limit and the floor.

use std::ops::ControlFlow;

use proptest::prelude::*;
use raftkit_disk::SimulatedDisk;

use super::*;
use crate::command::Condition;

const MAX: u64 = 3;

fn open() -> KvMachine {
    KvMachine::open_with(Arc::new(SimulatedDisk::new(1)), Path::new("/state"), MAX, Slack::default()).unwrap()
}

fn apply(machine: &mut KvMachine, command: &Command) -> u64 {
    let id = LogId::new(1, machine.applied().index.0 + 1);
    machine.apply(&[Applied { id, command: Some(command.encode()) }]).unwrap();
    id.index.0
}

fn put(machine: &mut KvMachine, key: &str) -> u64 {
    let (key, value) = (key.to_owned(), Bytes::new());
    apply(machine, &Command::Put { key, value, flags: 0, condition: Condition::Always })
}

fn delete(machine: &mut KvMachine, key: &str) -> u64 {
    apply(machine, &Command::Delete { key: key.to_owned(), condition: Condition::Always })
}

fn graves(machine: &KvMachine) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    machine
        .view
        .tombstones(|index, key, _| {
            found.push((index, key.to_owned()));
            Ok(ControlFlow::Continue(()))
        })
        .map_err(|fault| fault.0)
        .unwrap();
    found
}

#[test]
fn oldest_tombstones_go_first_and_the_floor_tells() {
    let mut machine = open();
    for key in ["a", "b", "c", "d", "e"] {
        put(&mut machine, key);
    }
    let deleted: Vec<_> = ["e", "d", "c", "b", "a"].map(|key| delete(&mut machine, key)).into();
    let expected: Vec<_> = deleted[2..].iter().copied().zip(["c", "b", "a"].map(str::to_owned)).collect();
    assert_eq!(graves(&machine), expected);
    assert_eq!(machine.view.meta.floor, deleted[1]);
}

#[test]
fn index_of_a_prefix_never_goes_back_when_a_tombstone_goes() {
    let mut machine = open();
    put(&mut machine, "p/stays");
    put(&mut machine, "p/goes");
    let deleted = delete(&mut machine, "p/goes");
    let reader = machine.reader();
    let mut last = reader.list("p/").unwrap().index;
    assert_eq!(last, deleted);
    for number in 0..10 {
        let key = format!("other{number}");
        put(&mut machine, &key);
        delete(&mut machine, &key);
        let index = reader.list("p/").unwrap().index;
        assert!(index >= last, "{index} after {last}");
        last = index;
    }
    assert!(machine.view.meta.floor >= deleted, "the tombstone under the prefix is gone");
}

#[test]
fn key_deleted_again_keeps_its_newest_grave() {
    let mut machine = open();
    for _ in 0..3 {
        put(&mut machine, "p/a");
        delete(&mut machine, "p/a");
    }
    put(&mut machine, "q");
    let newest = delete(&mut machine, "q");
    assert_eq!(graves(&machine).len(), 3);
    assert_eq!(machine.reader().list("p/").unwrap().index, 6, "the floor is 2, the newest grave 6");
    assert_eq!(machine.reader().list("q").unwrap().index, newest);
}

#[test]
fn floor_comes_along_in_a_snapshot() {
    let (mut machine, mut bytes) = (open(), Vec::new());
    for key in ["p/a", "b", "c", "d", "e"] {
        put(&mut machine, key);
        delete(&mut machine, key);
    }
    put(&mut machine, "p/stays");
    machine.snapshot().unwrap().write_to(&mut bytes).unwrap();
    let mut restored = open();
    restored.restore(machine.applied(), &mut bytes.as_slice()).unwrap();
    assert_eq!((restored.view.meta, restored.view.meta.floor), (machine.view.meta, 4));
}

#[test]
fn tree_larger_than_the_limit_leaves_that_many_tombstones() {
    let mut machine = open();
    for number in 0..9 {
        put(&mut machine, &format!("t/{number}"));
    }
    let deleted = apply(&mut machine, &Command::DeleteTree { prefix: "t/".into(), keys_max: None });
    assert_eq!(graves(&machine).len(), 3);
    assert_eq!(machine.view.meta.floor, deleted);
    assert_eq!(machine.reader().list("t/").unwrap().index, deleted);
}

#[test]
fn a_tombstone_that_is_dropped_while_a_copy_is_made_is_not_in_the_copy() {
    // More than one step copies, so that a step ends among them.
    const MANY: u64 = 20_000;
    let open = |seed| {
        let (disk, slack) = (Arc::new(SimulatedDisk::new(seed)), Slack::new(64 << 10));
        KvMachine::open_with(disk, Path::new("/state"), MANY, slack).unwrap()
    };
    let mut machine = open(1);
    let puts = (0..MANY).map(|number| Command::Put {
        key: format!("gone/{number:06}"),
        value: Bytes::from(vec![b'v'; 300]),
        flags: 0,
        condition: Condition::Always,
    });
    let entries = (2..)
        .zip(puts)
        .map(|(index, command)| Applied { id: LogId::new(1, index), command: Some(command.encode()) });
    machine.apply(&entries.collect::<Vec<_>>()).unwrap();
    machine.persist().unwrap();
    apply(&mut machine, &Command::DeleteTree { prefix: "gone/".into(), keys_max: None });
    machine.persist().unwrap();
    let mut steps = 0;
    loop {
        match machine.give_back().unwrap() {
            Progress::More => {}
            progress @ (Progress::Done | Progress::Nothing | Progress::Postponed) => {
                break assert_eq!(progress, Progress::Done);
            }
        }
        steps += u64::from(machine.store.as_ref().unwrap().notes.touched.is_some());
        put(&mut machine, "more");
        delete(&mut machine, "more");
        machine.persist().unwrap();
    }
    assert!(steps > 2, "{steps}");
    let kept = graves(&machine);
    let newest = machine.view.meta.changed;
    assert_eq!(kept.len() as u64, MANY);
    assert_eq!(kept.iter().filter(|(_, key)| key == "more").map(|(index, _)| *index).max(), Some(newest));
}

/// Runs commands on two machines with a low limit of tombstones. One never persists; the other persists and restarts as
/// `steps` says: 1 begins, 2 ends what was begun, 3 restarts. Their states must be the same after every command.
fn compare(commands: &[(u8, u8)], steps: &[u8]) {
    let disk = SimulatedDisk::new(1);
    let open_other =
        || KvMachine::open_with(Arc::new(disk.clone()), Path::new("/other"), MAX, Slack::default()).unwrap();
    let (mut one, mut other, mut begun) = (open(), open_other(), None);
    let bytes = |machine: &mut KvMachine| {
        let mut bytes = Vec::new();
        machine.snapshot().unwrap().write_to(&mut bytes).unwrap();
        bytes
    };
    for ((command, key), step) in commands.iter().zip(steps) {
        match step {
            1 if begun.is_none() => {
                begun = match other.begin_persist().unwrap() {
                    Begun::Done(_) => None,
                    Begun::Background(work) => Some(work),
                };
            }
            2 | 3 => {
                if let Some(work) = begun.take() {
                    work.run().by(&mut other).unwrap();
                }
                if *step == 3 {
                    other.persist().unwrap();
                    drop(other);
                    other = open_other();
                }
            }
            _ => {}
        }
        for machine in [&mut one, &mut other] {
            let key = format!("{}/{key}", key % 3);
            match command {
                0 | 1 => put(machine, &key),
                2 | 3 => delete(machine, &key),
                _ => {
                    let (prefix, keys_max) = (key[..2].to_owned(), Some(u32::from(*command) - 4));
                    apply(machine, &Command::DeleteTree { prefix, keys_max })
                }
            };
        }
        assert_eq!(bytes(&mut one), bytes(&mut other), "after {}", one.applied());
        for prefix in ["", "0/", "1/", "2/"] {
            let (one, other) = (one.reader().list(prefix).unwrap(), other.reader().list(prefix).unwrap());
            assert_eq!(one, other, "{prefix}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_cannot_be_seen_how_much_of_the_state_is_in_the_file(
        commands in proptest::collection::vec((0_u8..8, 0_u8..9), 1..60),
        steps in proptest::collection::vec(0_u8..4, 60),
    ) {
        compare(&commands, &steps);
    }
}

#[test]
fn after_a_flush_that_failed_nothing_more_is_applied_or_flushed() {
    let disk = SimulatedDisk::new(1);
    let open =
        || KvMachine::open_with(Arc::new(disk.clone()), Path::new("/state"), MAX, Slack::default()).unwrap();
    let mut machine = open();
    for key in 0..500 {
        put(&mut machine, &format!("{key:0300}"));
    }
    machine.persist().unwrap();
    // Each call of a flush fails once: reads of pages, which leave the file as it was, and writes.
    let mut failed = 0;
    loop {
        drop(machine);
        machine = open();
        let durable = machine.durable();
        put(&mut machine, "a");
        delete(&mut machine, "a");
        put(&mut machine, &format!("{failed:0300}/new"));
        let Begun::Background(work) = machine.begin_persist().unwrap() else {
            panic!("there is something to do")
        };
        put(&mut machine, "later");
        disk.fail_call(failed, std::io::ErrorKind::Other);
        let ended = work.run().by(&mut machine);
        disk.clear_faults();
        if ended.is_ok() {
            break;
        }
        assert_eq!(machine.durable(), durable, "call {failed}");
        let refused = machine.persist().unwrap_err();
        assert!(refused.to_string().contains("until it is opened again"), "call {failed}: {refused}");
        let reader = machine.reader();
        assert!(reader.get("a").unwrap().value.is_none(), "call {failed}");
        assert!(reader.get("later").unwrap().value.is_some(), "call {failed}");
        failed += 1;
    }
    assert!(failed > 5, "{failed} calls failed");
}

#[test]
fn a_tree_that_is_deleted_in_steps_leaves_no_key_between_two_of_them() {
    let mut machine = open();
    // The last key of the first step begins the key after it.
    for number in 0..1023 {
        put(&mut machine, &format!("t/{number:04}"));
    }
    for key in ["t/2", "t/2a", "t/2\u{10ffff}", "t/3"] {
        put(&mut machine, key);
    }
    apply(&mut machine, &Command::DeleteTree { prefix: "t/".into(), keys_max: None });
    assert_eq!(machine.reader().list("").unwrap().value, []);
}
