//! Single steps by hand: the actions of a replica, and workers that get the same work twice.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod background;
mod behind;
mod follower;
mod installing;
mod memberships;
mod opening;
mod workers;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::{
    Apply, Base, ClusterId, Config, Entry, FetchId, LogId, LogIndex, Member, Membership, NodeId, Payload,
    Proposal, StoreId, Ticket, Time, Write,
};
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_log::{OpenOptions, Store, Written};
use raftkit_replica::{
    Action, Answer, Answers, Application, AppliedBatch, CompactionOptions, Event, InMemory, LogReport,
    MachineReport, MachineWork, NotDone, OpenReplicaError, Opened, Output, ReplicaOptions,
};
use raftkit_snapshot::SnapshotDir;
use serde::{Deserialize, Serialize};

/// Makes writes durable, as the log's thread does, and returns its report.
fn flush(log: &mut Store, writes: Vec<Write>) -> Option<Event> {
    writes.into_iter().for_each(|write| log.queue(write));
    log.flush()
        .map(|seq| seq.map(|seq| Event::Log(LogReport::Persisted(seq))))
        .unwrap_or_else(|error| Some(Written::Failed(error).into()))
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sum {
    sum: u64,
}

impl Application for Sum {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, _id: LogId, add: u64) -> u64 {
        self.sum += add;
        self.sum
    }
}

type Machine = InMemory<Sum>;

const DIR: &str = "/data";

fn membership(address: &str) -> Membership {
    let member = Member::new(StoreId(9), address.to_owned());
    Membership::founding(BTreeMap::from([(NodeId(1), member)]))
}

fn open(disk: &SimulatedDisk, prepare: impl FnOnce(&mut Store)) -> Opened<Machine> {
    try_open(disk, prepare).unwrap()
}

fn try_open(
    disk: &SimulatedDisk,
    prepare: impl FnOnce(&mut Store),
) -> Result<Opened<Machine>, OpenReplicaError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let options = OpenOptions { journal_bytes: 64 << 10, ..OpenOptions::new(NodeId(1), StoreId(9)) };
    let (mut store, _) = Store::open(Arc::clone(&disk), Path::new(DIR), options).unwrap();
    store.form(ClusterId(7), Base::founding(membership("first"))).unwrap();
    prepare(&mut store);
    let restored = store.restored();
    let machine = Machine::open(Arc::clone(&disk), Path::new(DIR)).unwrap();
    let snapshots = SnapshotDir::new(disk, Path::new(DIR).join("snapshots")).unwrap();
    let config = Config::new(NodeId(1), StoreId(9), store.identity().incarnation, 1);
    let options = ReplicaOptions {
        compaction: CompactionOptions { trailing_logs: 1, ..CompactionOptions::default() },
        unapplied_bytes_max: 1000,
        ..ReplicaOptions::default()
    };
    Opened::new(config, options, Time(0), (store, restored), machine, snapshots)
}

fn command(index: u64) -> Entry {
    Entry { id: LogId::new(2, index), payload: Payload::Command(Machine::encode(&1).unwrap()) }
}

#[test]
fn the_log_is_cut_below_what_is_durable_and_not_below_what_is_applied() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let mut now = Time(0);
    let mut applied = LogId::ZERO;
    let mut actions = Vec::new();
    let mut cuts = Vec::new();
    let mut tickets = 0..40u64;
    // A single voter, which elects itself and commits by itself. The applier is this loop: it applies and never
    // persists.
    for _ in 0..400 {
        now = now.after(Duration::from_millis(10));
        opened.replica.tick(now, &mut actions);
        if opened.replica.node().is_leader()
            && let Some(ticket) = tickets.next()
        {
            let command = Machine::encode(&1).unwrap();
            let proposals = vec![Proposal { ticket: Ticket(ticket), command }];
            opened.replica.propose(now, proposals, &mut actions);
        }
        for action in std::mem::take(&mut actions) {
            if let Output::Do(Action::Log(write)) = action {
                cuts.extend(write.compact_to);
                let event = flush(&mut opened.log, vec![write]).unwrap();
                opened.replica.handle(now, event, &mut actions);
            } else if let Output::Do(Action::Machine(MachineWork::Apply { apply, .. })) = action {
                applied = apply.entries.unwrap().last().unwrap().id;
                let batch = AppliedBatch { through: applied.index, responses: Vec::new() };
                opened.replica.handle(now, Event::Machine(MachineReport::Applied(batch)), &mut actions);
            }
        }
    }
    assert!(applied.index > LogIndex(30), "much is applied: {applied}");
    opened.replica.handle(now, Event::Machine(MachineReport::Durable(LogId::new(2, 12))), &mut actions);
    cuts.extend(actions.iter().filter_map(|action| {
        if let Output::Do(Action::Log(write)) = action { write.compact_to } else { None }
    }));
    assert_eq!(cuts, [LogIndex(11)], "below 12, which is durable, less one trailing entry");
}

#[test]
fn entries_that_come_twice_are_applied_once() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let run = |first: u64, last: u64| {
        let entries = Some((first..=last).map(command).collect());
        let apply = Apply { first: LogIndex(first), last: LogIndex(last), entries };
        MachineWork::Apply { apply, answers: Answers::Wanted }
    };
    let (mut answered, mut through) = (Vec::new(), Vec::new());
    for works in [vec![run(2, 5)], vec![run(2, 5)], vec![run(4, 8)], vec![run(9, 9), run(9, 10)]] {
        opened.applier.run(works, &mut |event| {
            if let Event::Machine(MachineReport::Applied(batch)) = event {
                through.push(batch.through.0);
                answered.extend(batch.responses.into_iter().map(|(id, _)| id.index.0));
            }
        });
    }
    assert_eq!(answered, [2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(through, [5, 5, 8, 9, 10], "each run is reported, also one that brings nothing new");
    assert_eq!(opened.applier.reader().read(|state| state.sum).0, 9);
}

#[test]
fn after_the_end_requests_are_refused_and_nothing_else_is_done() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let mut actions = Vec::new();
    opened.replica.handle(Time(1), Event::Log(LogReport::Failed("no space".into())), &mut actions);
    assert!(actions.iter().any(
        |action| matches!(action, Output::Do(Action::Ended(why)) if why.to_string().contains("no space"))
    ));
    actions.clear();
    let base = Base { id: LogId::new(3, 50), membership: membership("other") };
    let restored = Event::Machine(MachineReport::Restored { id: base.id, membership: base.membership });
    opened.replica.handle(Time(2), restored, &mut actions);
    opened.replica.tick(Time(3), &mut actions);
    opened.replica.persist_commit(Time(3), &mut actions);
    assert!(actions.is_empty());
    let proposals = vec![Proposal { ticket: Ticket(5), command: Machine::encode(&1).unwrap() }];
    opened.replica.propose(Time(4), proposals, &mut actions);
    assert!(matches!(
        actions.as_slice(),
        [Output::Answer { ticket: Ticket(5), answer: Answer::NotDone(NotDone::Stopped) }]
    ));
}

#[test]
fn a_log_that_cannot_be_read_ends_the_node_only_if_the_answer_is_waited_for() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let mut actions = Vec::new();
    let failed = Event::Log(LogReport::FetchFailed { id: FetchId(7), reason: "gone".into() });
    opened.replica.handle(Time(1), failed, &mut actions);
    assert!(actions.is_empty(), "nobody asked");
    opened.replica.handle(Time(2), Event::Log(LogReport::Damaged("entries 4 to 9".into())), &mut actions);
    let said = |action: &Output| {
        if let Output::Do(Action::Ended(why)) = action { Some(why.to_string()) } else { None }
    };
    let why = actions.iter().find_map(said).expect("rot is rot");
    assert!(why.contains("entries 4 to 9") && why.contains("heals from its peers"), "{why}");
}
