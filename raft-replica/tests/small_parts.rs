//! The parts that stand by themselves: a state machine in memory, and the worker that owns the snapshots.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::{LogId, Member, Membership, NodeId, StoreId};
use raftkit_disk::{Operation, SimulatedDisk, create_dir_all_durably};
use raftkit_replica::{
    Application, Applied, InMemory, MachineError, SnapshotReport, SnapshotWork, SnapshotWorker, StateMachine,
    TypedError,
};
use raftkit_snapshot::{ChunkNumber, Manifest, SnapshotDir};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Names(Vec<String>);

impl Application for Names {
    type Command = String;
    type Response = u64;

    fn apply(&mut self, id: LogId, name: String) -> u64 {
        self.0.push(name);
        id.index.0
    }
}

type Machine = InMemory<Names>;

fn open(disk: &SimulatedDisk) -> Machine {
    // A server has made the folder by then, for the log.
    create_dir_all_durably(disk, Path::new("/state")).unwrap();
    Machine::open(Arc::new(disk.clone()), Path::new("/state")).unwrap()
}

fn apply(machine: &mut Machine, command: Bytes) -> Bytes {
    let id = LogId::new(1, machine.applied().index.0 + 1);
    machine.apply(&[Applied { id, command: Some(command) }]).unwrap().remove(0)
}

fn add(machine: &mut Machine, name: &str) -> Bytes {
    apply(machine, Machine::encode(&name.to_owned()).unwrap())
}

fn names(machine: &Machine) -> Vec<String> {
    machine.reader().read(|names| names.0.clone()).0
}

/// The state of another machine, and its last entry.
fn other_state() -> (LogId, Vec<u8>) {
    let mut machine = open(&SimulatedDisk::new(2));
    add(&mut machine, "other");
    add(&mut machine, "names");
    let mut bytes = Vec::new();
    machine.snapshot().unwrap().write_to(&mut bytes).unwrap();
    (machine.applied(), bytes)
}

#[test]
fn a_command_that_is_not_understood_changes_nothing_and_is_answered_so() {
    let mut machine = open(&SimulatedDisk::new(1));
    let answer = apply(&mut machine, Bytes::from_static(&[0xff, 0xff]));
    assert!(matches!(Machine::decode(&answer), Err(TypedError::NotUnderstood)));
    assert_eq!(Machine::decode(&add(&mut machine, "a")).unwrap(), 2, "the machine goes on");
    assert_eq!(names(&machine), ["a"]);
}

#[test]
fn a_snapshot_of_another_entry_than_its_name_says_is_refused() {
    let (id, state) = other_state();
    let mut machine = open(&SimulatedDisk::new(1));
    add(&mut machine, "own");
    let wrong = LogId::new(id.term.0, id.index.0 + 1);
    let refused = machine.restore(wrong, &mut state.as_slice());
    assert!(matches!(refused, Err(MachineError::Damaged { .. })), "{refused:?}");
    assert_eq!(names(&machine), ["own"]);
    machine.restore(id, &mut state.as_slice()).unwrap();
    assert_eq!((names(&machine).len(), machine.applied(), machine.durable()), (2, id, id));
}

#[test]
fn readers_never_see_a_restored_state_that_is_not_durable() {
    let (id, state) = other_state();
    for operation in [Operation::Write, Operation::Sync, Operation::Rename, Operation::SyncDir] {
        let disk = SimulatedDisk::new(1);
        let mut machine = open(&disk);
        add(&mut machine, "own");
        disk.fail_next(operation, 0, ErrorKind::Other);
        assert!(machine.restore(id, &mut state.as_slice()).is_err(), "{operation:?}");
        assert_eq!(names(&machine), ["own"], "{operation:?}");
    }
}

/// A worker with a snapshot that it has made.
fn worker() -> (SnapshotWorker, Manifest) {
    let dir = SnapshotDir::new(Arc::new(SimulatedDisk::new(3)), "/snapshots".into()).unwrap();
    let mut worker = SnapshotWorker::new(dir);
    let mut machine = open(&SimulatedDisk::new(1));
    add(&mut machine, "a");
    let member = Member::new(StoreId(9), "there".to_owned());
    let membership = Membership::founding(BTreeMap::from([(NodeId(1), member)]));
    let view = machine.snapshot().unwrap();
    let Some(SnapshotReport::Built(Ok(manifest))) = worker.run(SnapshotWork::Build { view, membership })
    else {
        panic!("the disk is sound")
    };
    (worker, manifest)
}

fn read(worker: &mut SnapshotWorker, snapshot: LogId) -> Result<Bytes, String> {
    let read = worker.run(SnapshotWork::ReadChunk { to: NodeId(2), snapshot, chunk: ChunkNumber(0) });
    let Some(SnapshotReport::ChunkRead { bytes, .. }) = read else {
        panic!("a read is answered with a chunk")
    };
    bytes
}

#[test]
fn a_snapshot_is_read_as_long_as_it_is_to_be_kept() {
    let (mut worker, manifest) = worker();
    let id = manifest.id;
    assert!(worker.run(SnapshotWork::Keep(vec![id])).is_none());
    assert!(read(&mut worker, id).is_ok());
    assert!(worker.run(SnapshotWork::Keep(Vec::new())).is_none());
    assert!(read(&mut worker, id).is_err(), "the file is closed, so that its space is given back");
}

#[test]
fn no_chunk_is_stored_for_a_snapshot_that_was_given_up() {
    let (mut maker, manifest) = worker();
    let bytes = read(&mut maker, manifest.id).unwrap();
    let (mut worker, _) = worker();
    worker.run(SnapshotWork::Keep(Vec::new()));
    let store = || SnapshotWork::StoreChunk { chunk: ChunkNumber(0), bytes: bytes.clone() };
    assert!(matches!(worker.run(store()), Some(SnapshotReport::ChunkStored(Err(_)))), "nothing is coming in");
    let opened = worker.run(SnapshotWork::OpenPartial(manifest));
    assert!(matches!(opened, Some(SnapshotReport::PartialOpened(Ok(_)))));
    assert!(matches!(worker.run(store()), Some(SnapshotReport::ChunkStored(Ok(ChunkNumber(0))))));
    worker.run(SnapshotWork::DropPartial);
    assert!(matches!(worker.run(store()), Some(SnapshotReport::ChunkStored(Err(_)))), "it was given up");
}
