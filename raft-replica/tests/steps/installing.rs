//! A follower that installs snapshots, step by step: each worker does as much of its queue as a test says. Whenever the
//! power goes, a state machine that is ahead of its log has a snapshot beside it that says so.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use raftkit_core::{
    AppendEntries, Body, Incarnation, LogId, LogIndex, Message, NodeId, StoreId, Term, Time, Write,
};
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_replica::{
    Action, Applied, Event, MachineWork, OpenReplicaError, Opened, Repair, SnapshotWork, StateMachine,
};
use raftkit_snapshot::{SnapshotDir, SnapshotFile, SnapshotMessage};

use super::{DIR, Machine, command, membership, open, try_open};

const LEADER: NodeId = NodeId(2);

/// The snapshot of a log of which each entry up to `index` added one.
fn snapshot(index: u64) -> SnapshotFile {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(index));
    let mut machine = Machine::open(Arc::clone(&disk), Path::new("/")).unwrap();
    let applied = (2..=index).map(|at| Applied { id: LogId::new(2, at), command: Some(one()) });
    machine.apply(&applied.collect::<Vec<_>>()).unwrap();
    let dir = SnapshotDir::new(disk, "/snapshots".into()).unwrap();
    let mut writer = dir.create(membership("first")).unwrap();
    machine.snapshot().unwrap().write_to(&mut writer).unwrap();
    writer.flush().unwrap();
    writer.finish(LogId::new(2, index)).unwrap()
}

fn one() -> bytes::Bytes {
    Machine::encode(&1).unwrap()
}

/// A follower and what its workers have to do.
struct Follower {
    disk: SimulatedDisk,
    opened: Opened<Machine>,
    now: Time,
    writes: VecDeque<Write>,
    machine: VecDeque<MachineWork>,
    snapshots: VecDeque<SnapshotWork>,
    /// What it said to whoever sends a snapshot.
    said: Vec<SnapshotMessage>,
}

impl Follower {
    fn new() -> Self {
        let disk = SimulatedDisk::new(1);
        let opened = open(&disk, |_| {});
        let (writes, machine, snapshots) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { disk, opened, now: Time(1), writes, machine, snapshots, said: Vec::new() }
    }

    fn give(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.opened.replica.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Action::Log(write) => self.writes.push_back(write),
                Action::Machine(work) => self.machine.push_back(work),
                Action::Snapshot(work) => self.snapshots.push_back(work),
                Action::SendBulk { body, .. } => self.said.push(SnapshotMessage::decode(body).unwrap()),
                Action::Ended(why) => panic!("it ended: {why}"),
                Action::Send(_) | Action::Fetch(_) | Action::Answer { .. } | Action::Role(_) => {}
            }
        }
    }

    /// The leader's entries from `first` to `last` come in; all of them are committed.
    fn append(&mut self, first: u64, last: u64) {
        let prev = if first == 2 { LogId::GENESIS } else { LogId::new(2, first - 1) };
        let entries = (first..=last).map(command).collect();
        let append = AppendEntries { prev, entries, commit: LogIndex(last), round: 1 };
        self.give(Event::Message(Message {
            from: LEADER,
            from_store: StoreId(8),
            from_incarnation: Incarnation(1),
            to: NodeId(1),
            term: Term(2),
            body: Body::AppendEntries(append),
        }));
    }

    fn tell(&mut self, message: &SnapshotMessage) {
        self.give(Event::Bulk { from: LEADER, body: message.encode() });
    }

    /// The leader offers a snapshot, and its one chunk comes in. What is left for the snapshot worker is to finish it.
    fn receive(&mut self, file: &SnapshotFile) {
        let snapshot = file.manifest().id;
        self.tell(&SnapshotMessage::Offer(file.manifest().clone()));
        self.work_on_snapshots();
        assert!(self.said.contains(&SnapshotMessage::Want { snapshot, chunk: 0 }), "{:?}", self.said);
        self.tell(&SnapshotMessage::Chunk { snapshot, chunk: 0, bytes: file.read_chunk(0).unwrap() });
        let store = self.snapshots.pop_front().unwrap();
        self.give_all(|it| it.opened.snapshots.run(store).into_iter().collect());
        assert!(matches!(self.snapshots.front(), Some(SnapshotWork::FinishPartial)));
    }

    fn give_all(&mut self, work: impl FnOnce(&mut Self) -> Vec<Event>) {
        for event in work(self) {
            self.give(event);
        }
    }

    /// The snapshot worker does all that it has by now.
    fn work_on_snapshots(&mut self) {
        let works: Vec<SnapshotWork> = self.snapshots.drain(..).collect();
        self.give_all(|it| works.into_iter().filter_map(|work| it.opened.snapshots.run(work)).collect());
    }

    fn work_on_machine(&mut self) {
        let works: Vec<MachineWork> = self.machine.drain(..).collect();
        self.give_all(|it| {
            let mut events = Vec::new();
            it.opened.applier.run(works, &mut |event| events.push(event));
            events
        });
    }

    /// The log makes its next `count` writes durable, and no more.
    fn work_on_log(&mut self, count: usize) {
        let writes = self.writes.drain(..count).collect();
        self.give_all(|it| it.opened.log.flush(writes).into_iter().collect());
    }

    /// All workers do all that they have, until nothing is left.
    fn settle(&mut self) {
        while !(self.writes.is_empty() && self.machine.is_empty() && self.snapshots.is_empty()) {
            self.work_on_log(self.writes.len());
            self.work_on_machine();
            self.work_on_snapshots();
        }
    }

    /// It receives this snapshot and its state machine switches to it; the log does nothing.
    fn switch_to(&mut self, index: u64) {
        self.receive(&snapshot(index));
        self.work_on_snapshots();
        self.work_on_machine();
        self.work_on_snapshots();
        assert_eq!(self.opened.replica.durable(), LogIndex(index));
    }

    fn files(&self) -> Vec<String> {
        let paths = self.disk.list(&Path::new(DIR).join("snapshots")).unwrap();
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        paths.iter().map(name).collect()
    }

    /// The power goes, and comes back. All that was not synced is lost, but for one thing: a snapshot that was removed
    /// stays so, as it may.
    fn crash(self) -> Result<Opened<Machine>, OpenReplicaError> {
        let disk = self.disk.clone();
        drop(self);
        disk.sync_dir(&Path::new(DIR).join("snapshots")).unwrap();
        disk.crash_losing_all_unsynced();
        try_open(&disk, |_| {})
    }
}

/// The node comes back with the snapshot's state, and a log that begins after it.
#[track_caller]
fn assert_comes_back_with(index: u64, reopened: Result<Opened<Machine>, OpenReplicaError>) {
    let opened = reopened.expect("a snapshot explains the state");
    let id = LogId::new(2, index);
    assert_eq!(opened.repaired, Some(Repair::LogReset(id)));
    assert_eq!(opened.replica.status().base, id);
    assert_eq!(opened.applier.reader().read(|state| state.sum), (index - 1, id));
}

#[test]
fn a_snapshot_whose_last_entry_the_log_holds_in_memory_is_kept_until_the_log_is_durable() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.append(14, 22); // Its log is stuck from here on.
    follower.switch_to(22);
    assert_eq!(follower.opened.replica.status().last.index, LogIndex(22));
    assert_eq!(follower.opened.replica.status().base, LogId::GENESIS, "nothing was reset");
    assert_comes_back_with(22, follower.crash());
}

#[test]
fn a_snapshot_whose_last_entry_is_durable_in_the_log_is_removed() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.append(14, 22);
    follower.switch_to(22);
    assert_eq!(follower.files().len(), 1);
    follower.settle();
    assert_eq!(follower.files(), Vec::<String>::new());
    let opened = follower.crash().unwrap();
    assert_eq!((opened.repaired, opened.replica.status().last.index), (None, LogIndex(22)));
}

#[test]
fn a_snapshot_that_comes_in_while_the_log_follows_an_earlier_one_is_not_forgotten() {
    let mut follower = Follower::new();
    follower.switch_to(30);
    follower.receive(&snapshot(50));
    follower.work_on_log(1);
    assert!(follower.writes.is_empty(), "the log is durably reset to the first one");
    // The second one is finished, and what the end of the first one's install lets go is removed.
    follower.work_on_snapshots();
    follower.work_on_machine();
    assert_eq!(follower.opened.replica.durable(), LogIndex(50));
    follower.work_on_snapshots();
    assert_comes_back_with(50, follower.crash());
}

#[test]
fn each_snapshot_is_kept_until_the_log_is_durable_up_to_that_one() {
    let mut follower = Follower::new();
    follower.switch_to(30);
    follower.append(31, 50);
    follower.switch_to(50);
    assert_eq!(follower.files().len(), 2);
    follower.work_on_log(1);
    follower.work_on_snapshots();
    assert_eq!(follower.files().len(), 1, "the log is reset to the first one and does not need it any more");
    assert_comes_back_with(50, follower.crash());
}

/// Otherwise the log would be cut up to there, and a power cut would leave a gap.
#[test]
fn a_snapshot_that_the_log_was_faster_than_counts_as_durable_only_once_the_state_is() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.append(14, 22);
    follower.work_on_log(1);
    assert!(matches!(follower.machine.front(), Some(MachineWork::Apply { .. })), "and is not applied yet");
    follower.receive(&snapshot(20));
    follower.work_on_snapshots();
    assert_eq!(follower.machine.len(), 2, "first it applies, then it installs");
    follower.work_on_machine();
    let durable = follower.opened.replica.durable();
    assert!(durable >= LogIndex(20));
    let opened = follower.crash().unwrap();
    assert!(opened.replica.durable() >= durable, "only {} is", opened.replica.durable());
}
