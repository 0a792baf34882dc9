//! The key-value machine in whole nodes: log and state are separate redb files, and a crash may fall between any two
//! steps of apply, persist, compact and install.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

#[path = "../../raft-replica/tests/harness/mod.rs"]
mod harness;

use bytes::Bytes;
use harness::{Acknowledged, Cluster, Lost, Subject, small_options};
use raftkit_core::{Health, LogIndex, NodeId};
use raftkit_kv::{Command, Condition, KvEntry, KvMachine};

type Nodes = Cluster<KvMachine>;

fn put(key: u64, value: u64) -> Bytes {
    let value = Bytes::from(format!("{value}-{}", "x".repeat(3000)));
    Command::Put { key: format!("key/{key}"), value, flags: 0, condition: Condition::Always }.encode()
}

fn state(cluster: &Nodes, id: NodeId) -> Vec<KvEntry> {
    cluster.reader(id).list("").unwrap().value
}

fn assert_all_hold(cluster: &Nodes, acknowledged: &Acknowledged, why: &str) {
    let first = state(cluster, NodeId(1));
    for id in cluster.nodes.keys() {
        let state = state(cluster, *id);
        assert_eq!(state, first, "{why}: node {id} differs from node 1, ModifyIndex included");
        for (key, (value, at)) in acknowledged {
            let entry = state.iter().find(|entry| entry.key == format!("key/{key}"));
            let entry = entry.unwrap_or_else(|| panic!("{why}: key {key} is gone on node {id}"));
            assert!(entry.value.starts_with(format!("{value}-").as_bytes()), "{why}: key {key} on node {id}");
            // Lower if an earlier attempt of unknown outcome was applied: a PUT that changes nothing keeps the version.
            assert!(
                entry.modify_index <= at.index.0,
                "{why}: the version is a log index, not above the last write"
            );
        }
    }
}

const KV: Subject<KvMachine> = Subject { open: KvMachine::open, put, check: assert_all_hold };

#[test]
fn a_crash_between_any_two_steps_loses_nothing_and_mixes_nothing() {
    let points = KV.crash_everywhere();
    assert!(points > 150, "only {points} crash points: the script does too little");
}

/// Every call of a node to its disk fails once, without a power cut. The node continues or ends with a reason, and
/// after a restart it has lost nothing.
#[test]
fn each_disk_call_fails_once_and_nothing_acknowledged_is_lost() {
    let mut ended = 0;
    for call in 0.. {
        let mut cluster = Nodes::new(3, KvMachine::open, small_options());
        let leader = cluster.until_leader();
        let victim = NodeId(if call % 2 == 0 { leader.0 } else { leader.0 % 3 + 1 });
        let mut acknowledged = Acknowledged::new();
        let disk = cluster.nodes[&victim].disk.clone();
        disk.fail_call(call, std::io::ErrorKind::Other);
        let before = disk.calls();
        KV.write(&mut cluster, 0..12, &mut acknowledged);
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

/// The machine refuses entries that it has applied already or that leave a gap, so the node must skip exactly the former.
#[test]
fn a_node_whose_log_lost_what_its_state_holds_heals() {
    for lost in [Lost::From(LogIndex(6)), Lost::Base] {
        let mut cluster = Nodes::new(3, KvMachine::open, raftkit_replica::ReplicaOptions::default());
        let mut acknowledged = Acknowledged::new();
        cluster.until_leader();
        KV.write(&mut cluster, 0..12, &mut acknowledged);
        cluster.run(std::time::Duration::from_millis(1500));
        let victim = [1, 2, 3].map(NodeId).into_iter().find(|id| Some(*id) != cluster.leader()).unwrap();
        let now = cluster.now;
        let node = cluster.nodes.get_mut(&victim).unwrap();
        node.crash(true);
        node.damage(lost);
        node.start(now).unwrap();
        KV.write(&mut cluster, 12..15, &mut acknowledged);
        cluster.until("the node has healed", |cluster| cluster.health(victim) == Health::Sound);
        cluster.settle();
        assert_all_hold(&cluster, &acknowledged, &format!("{lost:?}"));
    }
}
