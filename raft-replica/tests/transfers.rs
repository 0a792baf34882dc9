//! Snapshot transfers between whole nodes: how many snapshots are made, and what is kept for which peer.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod harness;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use harness::{Cluster, small_options};
use raftkit_core::{LogId, LogIndex, NodeId, PeerState};
use raftkit_replica::{Application, InMemory};
use serde::{Deserialize, Serialize};

/// A state of the numbers of all commands, without their padding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct History(Vec<u64>);

impl Application for History {
    /// (number, padding)
    type Command = (u64, Vec<u8>);
    type Response = u64;

    fn apply(&mut self, _: LogId, (number, _): Self::Command) -> u64 {
        self.0.push(number);
        number
    }
}

type Nodes = Cluster<InMemory<History>>;

fn command(number: u64, padding: usize) -> Bytes {
    InMemory::<History>::encode(&(number, vec![7; padding])).unwrap()
}

fn commit(cluster: &mut Nodes, numbers: Range<u64>) {
    for number in numbers {
        cluster.commit(&command(number, 10)).expect("a quorum commits");
        cluster.run(Duration::from_millis(20));
    }
}

fn assert_histories(cluster: &Nodes, count: u64) {
    let expected: Vec<u64> = (0..count).collect();
    for id in cluster.nodes.keys() {
        assert_eq!(cluster.reader(*id).read(Clone::clone).0.0, expected, "node {id}");
    }
}

/// Three nodes, one of which was away while the part of the log that it lacks was cut. Returns the leader, the second
/// node, and that one, which is up again.
fn with_one_behind(bulk_slowness: Option<u64>) -> (Nodes, [NodeId; 3]) {
    let mut cluster = Nodes::new(3, InMemory::open, small_options());
    let leader = cluster.until_leader();
    let mut others = [1, 2, 3].map(NodeId).into_iter().filter(|id| *id != leader);
    let (other, away) = (others.next().unwrap(), others.next().unwrap());
    cluster.nodes.get_mut(&away).unwrap().crash(true);
    commit(&mut cluster, 0..40);
    cluster.bulk_slowness = bulk_slowness;
    let now = cluster.now;
    cluster.nodes.get_mut(&away).unwrap().start(now).unwrap();
    (cluster, [leader, other, away])
}

/// A node is installing one leader's snapshot, which takes long, when another leader is elected and offers its own.
#[test]
fn for_a_peer_that_is_busy_one_snapshot_is_made_and_offered_once_a_second() {
    let (mut cluster, [leader, other, away]) = with_one_behind(None);
    cluster.nodes.get_mut(&away).unwrap().machine_frozen = true;
    cluster.until("it has a snapshot to install", |cluster| cluster.is_installing(away));
    let first = cluster.offered.last().unwrap().1;
    commit(&mut cluster, 40..60);
    cluster.transfer(leader, other);
    cluster.until("the other one leads", |cluster| cluster.leader() == Some(other));
    commit(&mut cluster, 60..62);
    cluster.until("the new leader offers its own", |cluster| {
        cluster.offered.iter().any(|(_, snapshot)| *snapshot > first)
    });
    let offers = cluster.offered.len();
    let numbers = 62..182;
    let start = cluster.now;
    commit(&mut cluster, numbers.clone());
    let seconds = (cluster.now.0 - start.0) / 1_000_000;
    assert!(seconds >= 3, "{seconds} s");
    assert_eq!(cluster.nodes[&other].views, 1, "all the while");
    let again = (cluster.offered.len() - offers) as u64;
    assert!((1..=seconds + 1).contains(&again), "it was offered {again} times more in {seconds} s");

    cluster.nodes.get_mut(&away).unwrap().machine_frozen = false;
    cluster.settle();
    assert_eq!(cluster.nodes[&other].views, 1, "it is of use after all that: the log behind it was kept");
    assert_histories(&cluster, numbers.end);
    commit(&mut cluster, numbers.end..numbers.end + 10);
    let base = cluster.replica(other).status().base.index;
    assert!(base > LogIndex(180), "and is cut now: it begins after {base}");
}

/// The log behind the snapshot has grown during the transfer, and is more than fits into one message, or is not
/// durable at once. It is not cut before the peer has it.
#[test]
fn a_peer_that_has_installed_a_snapshot_catches_up_from_the_log_behind_it() {
    let (mut cluster, [leader, _, away]) = with_one_behind(Some(20));
    cluster.until("it is installing", |cluster| cluster.is_installing(away));
    cluster.nodes.get_mut(&away).unwrap().log_frozen = true;
    commit(&mut cluster, 40..60);
    let state = |cluster: &Nodes| cluster.replica(leader).status().peers[&away];
    cluster
        .until("the leader hears that it is installed", |cluster| state(cluster).state == PeerState::Probe);
    let installed = state(&cluster).next_index;
    commit(&mut cluster, 60..80);
    assert!(cluster.replica(leader).status().base.index < installed, "what it needs is there");
    cluster.nodes.get_mut(&away).unwrap().log_frozen = false;
    cluster.settle();
    assert_eq!(cluster.nodes[&leader].views, 1, "{:?}", cluster.offered);
    assert_histories(&cluster, 80);
    commit(&mut cluster, 80..90);
    let base = cluster.replica(leader).status().base.index;
    assert!(base > LogIndex(70), "it is cut now: it begins after {base}");
}

/// The peer has installed the snapshot and does not answer any more.
#[test]
fn for_a_peer_that_does_not_catch_up_the_log_is_kept_for_half_a_minute() {
    let (mut cluster, [leader, other, away]) = with_one_behind(None);
    cluster.nodes.get_mut(&away).unwrap().log_frozen = true;
    let state = |cluster: &Nodes| cluster.replica(leader).status().peers[&away];
    cluster
        .until("the leader hears that it is installed", |cluster| state(cluster).state == PeerState::Probe);
    let installed = state(&cluster).next_index;
    cluster.cut.extend([(away, leader), (away, other)]);
    commit(&mut cluster, 40..60);
    cluster.run(Duration::from_secs(28));
    assert!(cluster.replica(leader).status().base.index < installed);
    cluster.run(Duration::from_secs(3));
    let base = cluster.replica(leader).status().base.index;
    assert!(base > LogIndex(50), "nothing is written, and it is cut all the same: it begins after {base}");
}
