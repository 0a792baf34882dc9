//! The key-value machine in whole nodes: log and state are separate redb files, and a crash may fall between any two
//! steps of apply, persist, compact and install.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

#[path = "../../raft-replica/tests/harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use harness::{Cluster, small_options};
use raftkit_core::{LogId, NodeId};
use raftkit_kv::{Command, Condition, KvEntry, KvMachine};

type Nodes = Cluster<KvMachine>;

fn put(key: u64, value: u64) -> Bytes {
    let value = Bytes::from(format!("{value}-{}", "x".repeat(3000)));
    Command::Put { key: format!("key/{key}"), value, flags: 0, condition: Condition::Always }.encode()
}

fn state(cluster: &Nodes, id: NodeId) -> Vec<KvEntry> {
    cluster.reader(id).list("").unwrap().value
}

fn assert_all_hold(cluster: &Nodes, acknowledged: &BTreeMap<u64, (u64, LogId)>, why: &str) {
    let first = state(cluster, NodeId(1));
    for id in cluster.nodes.keys() {
        let state = state(cluster, *id);
        assert_eq!(state, first, "{why}: node {id} differs from node 1, ModifyIndex included");
        for (key, (value, at)) in acknowledged {
            let entry = state.iter().find(|entry| entry.key == format!("key/{key}"));
            let entry = entry.unwrap_or_else(|| panic!("{why}: key {key} is gone on node {id}"));
            assert!(entry.value.starts_with(format!("{value}-").as_bytes()), "{why}: key {key} on node {id}");
            // Lower where an earlier try, of unknown outcome, had been applied: an unchanged PUT keeps its version.
            assert!(
                entry.modify_index <= at.index.0,
                "{why}: the version is a log index, not above the last write"
            );
        }
    }
}

/// True when the crash point was met.
fn crash_at(victim: NodeId, point: u64, lose_all: bool) -> bool {
    let mut cluster = Nodes::new(3, KvMachine::open, small_options());
    let leader = cluster.until_leader();
    let away = NodeId(if leader == NodeId(3) { 2 } else { 3 });
    let mut acknowledged = BTreeMap::new();
    let mut write = |cluster: &mut Nodes, values: std::ops::Range<u64>| {
        for value in values {
            if let Some(id) = cluster.commit(&put(value % 5, value)) {
                acknowledged.insert(value % 5, (value, id));
            }
            cluster.run(Duration::from_millis(30));
        }
    };
    write(&mut cluster, 0..2);
    cluster.nodes.get_mut(&away).unwrap().crash(true);
    write(&mut cluster, 2..14);
    cluster.nodes.get_mut(&away).unwrap().start(cluster.now).unwrap();
    cluster.nodes[&victim].disk.crash_at_call(point);
    cluster.run(Duration::from_millis(800));
    write(&mut cluster, 14..16);
    let met = cluster.nodes[&victim].running.is_none();
    cluster.nodes[&victim].disk.clear_faults();
    if lose_all {
        // And the power goes on all the others too.
        for node in cluster.nodes.values_mut().filter(|node| node.running.is_some()) {
            node.crash(true);
        }
    }
    cluster.start_all();
    write(&mut cluster, 16..18);
    cluster.settle();
    assert_all_hold(&cluster, &acknowledged, &format!("node {victim} lost power at call {point}"));
    met
}

#[test]
fn a_crash_between_any_two_steps_loses_nothing_and_mixes_nothing() {
    let mut points = 0;
    for victim in [1, 2, 3].map(NodeId) {
        for point in 0.. {
            if !crash_at(victim, point, point % 3 == 0) {
                break;
            }
            points += 1;
        }
    }
    assert!(points > 150, "only {points} crash points: the script does too little");
}

/// Every call that a node makes to its disk fails once, with its power left on: it goes on or it ends and says why, and
/// after a restart it is whole.
#[test]
fn each_disk_call_fails_once_and_nothing_acknowledged_is_lost() {
    let mut ended = 0;
    for call in 0.. {
        let mut cluster = Nodes::new(3, KvMachine::open, small_options());
        let leader = cluster.until_leader();
        let victim = NodeId(if call % 2 == 0 { leader.0 } else { leader.0 % 3 + 1 });
        let mut acknowledged = BTreeMap::new();
        let disk = cluster.nodes[&victim].disk.clone();
        disk.fail_call(call, std::io::ErrorKind::Other);
        let before = disk.calls();
        for value in 0..12 {
            if let Some(id) = cluster.commit(&put(value % 5, value)) {
                acknowledged.insert(value % 5, (value, id));
            }
            cluster.run(Duration::from_millis(30));
        }
        assert_eq!(acknowledged.len(), 5, "the cluster goes on without node {victim} (call {call})");
        if disk.calls() - before <= call {
            break;
        }
        disk.clear_faults();
        if cluster.nodes[&victim].ended.is_some() {
            ended += 1;
            cluster.nodes.get_mut(&victim).unwrap().crash(false);
        }
        cluster.start_all();
        cluster.settle();
        assert_all_hold(&cluster, &acknowledged, &format!("call {call} of node {victim} failed"));
    }
    assert!(ended > 50, "only {ended} failures ended a node: they are swallowed");
}
