//! A follower whose workers do as much of their work as a test says, and the snapshots that it gets.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use raftkit_core::{
    AppendEntries, Body, Entry, Incarnation, LogId, LogIndex, Message, NodeId, Round, StoreId, Term, Time,
    Write,
};
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_replica::{
    Action, Applied, Ended, Event, MachineWork, OpenReplicaError, Opened, Output, SnapshotWork, StateMachine,
    TransportReport,
};
use raftkit_snapshot::{ChunkNumber, SnapshotDir, SnapshotFile, SnapshotMessage};

use super::{DIR, Machine, command, flush, membership, open, try_open};

const LEADER: NodeId = NodeId(2);

/// The snapshot of a log in which each entry up to `index` added one.
pub(crate) fn snapshot(index: u64) -> SnapshotFile {
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

/// A follower, and the work of its workers.
pub(crate) struct Follower {
    disk: SimulatedDisk,
    pub(crate) opened: Opened<Machine>,
    now: Time,
    pub(crate) writes: VecDeque<Write>,
    pub(crate) machine: VecDeque<MachineWork>,
    pub(crate) snapshots: VecDeque<SnapshotWork>,
    pub(crate) ended: Option<Ended>,
    /// The messages that it sent to the sender of a snapshot.
    said: Vec<SnapshotMessage>,
}

impl Follower {
    pub(crate) fn new() -> Self {
        Self::on(SimulatedDisk::new(1))
    }

    fn on(disk: SimulatedDisk) -> Self {
        let opened = open(&disk, |_| {});
        let (writes, machine, snapshots) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Self { disk, opened, now: Time(1), writes, machine, snapshots, ended: None, said: Vec::new() }
    }

    pub(crate) fn give(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.opened.replica.handle(self.now, event, &mut actions);
        for action in actions {
            match action {
                Output::Do(Action::Log(write)) => self.writes.push_back(write),
                Output::Do(Action::Machine(work)) => self.machine.push_back(work),
                Output::Do(Action::Snapshot(work)) => self.snapshots.push_back(work),
                Output::Do(Action::SendBulk { body, .. }) => {
                    self.said.push(SnapshotMessage::decode(body).unwrap())
                }
                Output::Do(Action::Ended(why)) => self.ended = Some(why),
                Output::Do(Action::Send(_))
                | Output::Do(Action::Fetch(_))
                | Output::Answer { .. }
                | Output::Do(Action::Role(_)) => {}
            }
        }
    }

    /// Gives the leader's entries from `first` to `last`, all of them committed.
    pub(crate) fn append(&mut self, first: u64, last: u64) {
        self.append_entries(first - 1, (first..=last).map(command).collect(), last);
    }

    /// Gives the leader's entries after index `prev`, committed up to `commit`.
    pub(crate) fn append_entries(&mut self, prev: u64, entries: Vec<Entry>, commit: u64) {
        let prev = if prev == 1 { LogId::GENESIS } else { LogId::new(2, prev) };
        let append =
            AppendEntries { prev, entries: entries.into(), commit: LogIndex(commit), round: Round(1) };
        self.give(Event::Transport(TransportReport::Message(Message {
            from: LEADER,
            from_store: StoreId(8),
            from_incarnation: Incarnation(1),
            to: NodeId(1),
            term: Term(2),
            body: Body::AppendEntries(append),
        })));
    }

    fn tell(&mut self, message: &SnapshotMessage) {
        self.give(Event::Transport(TransportReport::Bulk { from: LEADER, body: message.encode() }));
    }

    /// Gives the leader's offer of a snapshot, and its one chunk. All that is left for the snapshot worker is to
    /// finish it.
    pub(crate) fn receive(&mut self, file: &SnapshotFile) {
        let snapshot = file.manifest().id;
        self.tell(&SnapshotMessage::Offer(file.manifest().clone()));
        self.work_on_snapshots();
        assert!(
            self.said.contains(&SnapshotMessage::Want { snapshot, chunk: ChunkNumber(0) }),
            "{:?}",
            self.said
        );
        self.tell(&SnapshotMessage::Chunk {
            snapshot,
            chunk: ChunkNumber(0),
            bytes: file.read_chunk(ChunkNumber(0)).unwrap(),
        });
        let store = self.snapshots.pop_front().unwrap();
        self.give_all(|it| it.opened.snapshots.run(store).into_iter().map(Event::from).collect());
        assert!(matches!(self.snapshots.front(), Some(SnapshotWork::FinishPartial)));
    }

    fn give_all(&mut self, work: impl FnOnce(&mut Self) -> Vec<Event>) {
        for event in work(self) {
            self.give(event);
        }
    }

    /// Lets the snapshot worker do all its present work.
    pub(crate) fn work_on_snapshots(&mut self) {
        let works: Vec<SnapshotWork> = self.snapshots.drain(..).collect();
        self.give_all(|it| {
            works.into_iter().filter_map(|work| it.opened.snapshots.run(work)).map(Event::from).collect()
        });
    }

    pub(crate) fn work_on_machine(&mut self) {
        let works: Vec<MachineWork> = self.machine.drain(..).collect();
        self.give_all(|it| {
            let mut events = Vec::new();
            it.opened.applier.run(works, &mut |event| events.push(event));
            events
        });
    }

    /// Lets the log make its next `count` writes durable, and no more.
    pub(crate) fn work_on_log(&mut self, count: usize) {
        let writes = self.writes.drain(..count).collect();
        self.give_all(|it| flush(&mut it.opened.log, writes).into_iter().collect());
    }

    /// Lets all workers work until nothing is left.
    pub(crate) fn settle(&mut self) {
        while !(self.writes.is_empty() && self.machine.is_empty() && self.snapshots.is_empty()) {
            self.work_on_log(self.writes.len());
            self.work_on_machine();
            self.work_on_snapshots();
        }
    }

    /// Gives this snapshot and lets the state machine switch to it, while the log does nothing.
    pub(crate) fn switch_to(&mut self, index: u64) {
        self.switch_to_file(&snapshot(index));
    }

    /// As [`switch_to`](Self::switch_to), with this snapshot.
    pub(crate) fn switch_to_file(&mut self, file: &SnapshotFile) {
        self.receive(file);
        self.work_on_snapshots();
        self.work_on_machine();
        self.work_on_snapshots();
        assert_eq!(self.opened.replica.durable(), file.manifest().id.index);
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let paths = self.disk.list(&Path::new(DIR).join("snapshots")).unwrap();
        let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        paths.iter().map(name).collect()
    }

    /// Cuts the power and starts the node again. Everything that was not synced is lost, but for one thing: a
    /// snapshot that was removed stays so, as it may.
    pub(crate) fn crash(self) -> Result<Opened<Machine>, OpenReplicaError> {
        let disk = self.disk.clone();
        drop(self);
        disk.sync_dir(&Path::new(DIR).join("snapshots")).unwrap();
        disk.crash_losing_all_unsynced();
        try_open(&disk, |_| {})
    }

    /// Kills the process and starts it again.
    pub(crate) fn restart(self) -> Self {
        let disk = self.disk.clone();
        disk.freeze();
        drop(self);
        disk.kill();
        Self::on(disk)
    }
}
