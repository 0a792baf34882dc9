//! Durability of whole nodes over simulated disks: what is acknowledged survives a crash at any point.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use harness::{Acknowledged, Cluster, Subject, small_options};
use raftkit_core::{LogId, LogIndex, NodeId};
use raftkit_replica::{Answer, Application, InMemory, NotDone, ReplicaOptions};
use serde::{Deserialize, Serialize};

/// A state of all writes with their entries, so that a write that is lost or invented is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Register {
    values: BTreeMap<u64, (u64, u64)>,
    padding: Vec<u8>,
}

impl Application for Register {
    /// (key, value)
    type Command = (u64, u64);
    type Response = u64;

    fn apply(&mut self, id: LogId, (key, value): (u64, u64)) -> u64 {
        self.padding.resize(20_000, 7);
        self.values.insert(key, (value, id.index.0));
        id.index.0
    }
}

type Nodes = Cluster<InMemory<Register>>;

fn cluster(options: ReplicaOptions) -> Nodes {
    Cluster::new(3, InMemory::<Register>::open, options)
}

fn put(key: u64, value: u64) -> Bytes {
    InMemory::<Register>::encode(&(key, value)).unwrap()
}

fn state(cluster: &Nodes, id: NodeId) -> Register {
    cluster.reader(id).read(Clone::clone).0
}

/// Asserts that every acknowledged write is on every node, at its index, and that all nodes have the same state.
fn assert_all_hold(cluster: &Nodes, acknowledged: &Acknowledged, why: &str) {
    let first = state(cluster, NodeId(1));
    for id in cluster.nodes.keys() {
        let state = state(cluster, *id);
        assert_eq!(state, first, "{why}: node {id} differs from node 1");
        for (key, (value, at)) in acknowledged {
            let held = state.values.get(key);
            assert_eq!(held, Some(&(*value, at.index.0)), "{why}: key {key} on node {id}");
        }
    }
}

#[test]
fn with_syncs_frozen_on_two_of_three_nodes_nothing_is_acknowledged() {
    let mut cluster = cluster(ReplicaOptions::default());
    let leader = cluster.until_leader();
    for id in [1, 2, 3].map(NodeId).into_iter().filter(|id| *id != leader) {
        cluster.nodes.get_mut(&id).unwrap().log_frozen = true;
    }
    let ticket = cluster.propose(leader, put(1, 1));
    cluster.run(Duration::from_millis(1500));
    assert!(cluster.committed(ticket).is_none(), "one durable copy of three is no quorum");
    assert_eq!(cluster.leader(), Some(leader), "the followers are there, their disks are slow: no election");
    let one = [1, 2, 3].map(NodeId).into_iter().find(|id| *id != leader).unwrap();
    cluster.nodes.get_mut(&one).unwrap().log_frozen = false;
    cluster.until("two durable copies are a quorum", |cluster| cluster.committed(ticket).is_some());
}

#[test]
fn the_leaders_own_copy_does_not_count_before_it_is_durable() {
    let mut cluster = cluster(ReplicaOptions::default());
    let leader = cluster.until_leader();
    let other = [1, 2, 3].map(NodeId).into_iter().find(|id| *id != leader).unwrap();
    for id in [leader, other] {
        cluster.nodes.get_mut(&id).unwrap().log_frozen = true;
    }
    let ticket = cluster.propose(leader, put(1, 1));
    cluster.run(Duration::from_millis(1000));
    assert!(cluster.committed(ticket).is_none(), "only one follower has it durably");
}

#[test]
fn losing_all_that_is_unsynced_on_all_nodes_at_once_loses_no_acknowledged_write() {
    for seed in 0..8u64 {
        let mut cluster = cluster(small_options());
        cluster.until_leader();
        let mut acknowledged = BTreeMap::new();
        for key in 0..12 {
            for value in 0..=seed {
                let id = cluster.commit(&put(key, value)).expect("a healthy cluster commits");
                acknowledged.insert(key, (value, id));
            }
            if key % 4 == 3 {
                let ids: Vec<NodeId> = cluster.nodes.keys().copied().collect();
                for id in ids {
                    cluster.nodes.get_mut(&id).unwrap().crash(true);
                }
                cluster.start_all();
                cluster.settle();
                assert_all_hold(&cluster, &acknowledged, "after the power went everywhere");
            }
        }
    }
}

#[test]
fn a_follower_that_lacks_the_log_gets_a_snapshot_and_the_log_stays_bounded() {
    let mut cluster = cluster(small_options());
    let leader = cluster.until_leader();
    let away = [1, 2, 3].map(NodeId).into_iter().find(|id| *id != leader).unwrap();
    cluster.nodes.get_mut(&away).unwrap().crash(true);
    let mut acknowledged = BTreeMap::new();
    for value in 0..60 {
        let id = cluster.commit(&put(value % 5, value)).expect("two of three commit");
        acknowledged.insert(value % 5, (value, id));
        cluster.run(Duration::from_millis(20));
    }
    let bases = cluster.replica(leader).status();
    assert!(bases.base.index > LogIndex(30), "the log is compacted while writes go on: {}", bases.base.index);
    cluster.start_all();
    cluster.settle();
    assert!(cluster.replica(away).status().base.index > LogIndex(30), "it came by a snapshot");
    assert_all_hold(&cluster, &acknowledged, "after the snapshot");
}

const REGISTER: Subject<InMemory<Register>> = Subject { open: InMemory::open, put, check: assert_all_hold };

/// The order of changes to log, state and snapshots: at whatever step the power is cut, the node comes back with the
/// old or the new state and goes on.
#[test]
fn a_crash_between_any_two_steps_of_apply_persist_compact_and_install_loses_nothing() {
    let points = REGISTER.crash_everywhere();
    assert!(points > 150, "only {points} crash points: the script does too little");
}

#[test]
fn a_failed_sync_ends_the_node_and_a_restart_has_all_that_was_acknowledged() {
    let mut cluster = cluster(small_options());
    let leader = cluster.until_leader();
    let id = cluster.commit(&put(1, 1)).unwrap();
    let acknowledged = BTreeMap::from([(1, (1, id))]);
    let disk = cluster.nodes[&leader].disk.clone();
    disk.fail_next(raftkit_disk::Operation::Sync, 0, std::io::ErrorKind::Other);
    let ticket = cluster.propose(leader, put(1, 2));
    cluster.run(Duration::from_millis(50));
    assert!(cluster.nodes[&leader].ended.is_some(), "the node has ended");
    assert!(
        !matches!(cluster.answers.get(&ticket), Some(Answer::Committed(_))),
        "and did not acknowledge it"
    );
    cluster.nodes.get_mut(&leader).unwrap().crash(false);
    cluster.until_leader();
    let id = cluster.commit(&put(2, 3)).expect("the others go on");
    cluster.start_all();
    cluster.settle();
    let values = state(&cluster, leader).values;
    assert_eq!(values.get(&2), Some(&(3, id.index.0)));
    assert!(
        values[&1].0 == 1 || values[&1].0 == 2,
        "what was in doubt is either there or not: {acknowledged:?}"
    );
    assert_all_hold(&cluster, &BTreeMap::from([(2, (3, id))]), "after the restart");
}

#[test]
fn the_harness_is_deterministic() {
    let run = || {
        let mut cluster = cluster(small_options());
        cluster.until_leader();
        for value in 0..10 {
            cluster.commit(&put(value, value));
        }
        (cluster.now, cluster.nodes.values().map(|node| node.disk.calls()).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}

#[test]
fn a_proposal_that_another_leaders_entry_replaced_is_answered_as_not_done() {
    let mut cluster = cluster(ReplicaOptions::default());
    let old = cluster.until_leader();
    for other in [1, 2, 3].map(NodeId).into_iter().filter(|id| *id != old) {
        cluster.cut.extend([(old, other), (other, old)]);
    }
    let ticket = cluster.propose(old, put(1, 666));
    cluster.until("the others elect one of them", |cluster| {
        cluster.leader().is_some_and(|leader| leader != old)
    });
    cluster.commit(&put(2, 2)).expect("two of three commit");
    assert_eq!(cluster.answers.get(&ticket), None, "nobody can tell yet");
    cluster.cut.clear();
    cluster.settle();
    assert!(
        matches!(cluster.answers.get(&ticket), Some(Answer::NotDone(NotDone::NotLeader(_)))),
        "the log tells that it was not and will not be applied: {:?}",
        cluster.answers.get(&ticket)
    );
    assert_eq!(state(&cluster, old).values.get(&1), None);
}

#[test]
fn the_log_is_kept_while_a_snapshot_is_on_its_way_so_one_is_enough() {
    let mut cluster = cluster(small_options());
    let leader = cluster.until_leader();
    let away = [1, 2, 3].map(NodeId).into_iter().find(|id| *id != leader).unwrap();
    cluster.nodes.get_mut(&away).unwrap().crash(true);
    for value in 0..40 {
        cluster.commit(&put(value % 5, value)).expect("two of three commit");
        cluster.run(Duration::from_millis(20));
    }
    // One frame of the transfer arrives every 100 ms, and writes and cuts of the log go on meanwhile.
    cluster.bulk_slowness = Some(20);
    cluster.nodes.get_mut(&away).unwrap().start(cluster.now).unwrap();
    for value in 40..120 {
        cluster.commit(&put(value % 5, value)).expect("two of three commit");
    }
    cluster.settle();
    let offered: std::collections::BTreeSet<LogId> =
        cluster.offered.iter().filter(|(to, _)| *to == away).map(|(_, id)| *id).collect();
    assert_eq!(offered.len(), 1, "it came by one snapshot and the log after it: {offered:?}");
}
