//! A node whose log lost entries: it opens, takes no part in votes, fills its log from its peers, and never shows an
//! older state than before.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod harness;

use std::time::Duration;

use bytes::Bytes;
use harness::{Cluster, Lost, small_options};
use raftkit_core::{Health, LogId, LogIndex, Member, Membership, NodeId, Suffrage};
use raftkit_replica::{Answer, Application, InMemory, ReplicaOptions};
use serde::{Deserialize, Serialize};

/// A state of all commands, so that a command that is lost, repeated or undone is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct History(Vec<u64>);

impl Application for History {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, _: LogId, command: u64) -> u64 {
        self.0.push(command);
        command
    }
}

type Nodes = Cluster<InMemory<History>>;

fn command(of: u64) -> Bytes {
    InMemory::<History>::encode(&of).unwrap()
}

fn commit(cluster: &mut Nodes, values: std::ops::Range<u64>) {
    for value in values {
        cluster.commit(&command(value)).expect("a quorum commits");
    }
}

fn shown(cluster: &Nodes, id: NodeId) -> LogIndex {
    cluster.reader(id).read(|_| ()).1.index
}

fn assert_histories(cluster: &Nodes, count: u64) {
    let expected: Vec<u64> = (0..count).collect();
    for id in cluster.nodes.keys() {
        assert_eq!(cluster.reader(*id).read(Clone::clone).0.0, expected, "node {id}");
    }
}

/// Three nodes that have applied and persisted the commands `0..count`. Returns a follower and the other follower.
fn settled(options: ReplicaOptions, count: u64) -> (Nodes, NodeId, NodeId) {
    let mut cluster = Nodes::new(3, InMemory::open, options);
    let leader = cluster.until_leader();
    commit(&mut cluster, 0..count);
    cluster.settle();
    cluster.run(Duration::from_millis(1500));
    let mut followers = [1, 2, 3].map(NodeId).into_iter().filter(|id| *id != leader);
    let victim = followers.next().unwrap();
    let durable = cluster.replica(victim).durable();
    assert_eq!(durable, shown(&cluster, victim), "the state is on disk");
    (cluster, victim, followers.next().unwrap())
}

fn start(cluster: &mut Nodes, id: NodeId) {
    let now = cluster.now;
    cluster.nodes.get_mut(&id).unwrap().start(now).unwrap();
}

/// Crashes the node, removes the lost part from its log, and starts it again. Returns the last index that its state
/// shows.
fn crash_and_damage(cluster: &mut Nodes, id: NodeId, lost: Lost) -> LogIndex {
    let node = cluster.nodes.get_mut(&id).unwrap();
    node.crash(true);
    node.damage(lost);
    start(cluster, id);
    let status = cluster.replica(id).status();
    let state = shown(cluster, id);
    assert_eq!(status.health, Health::Damaged);
    assert!(status.last.index < state, "the log ends at {}, before the state, {state}", status.last.index);
    assert_eq!(cluster.replica(id).applied(), state, "what the node shows is what its state holds");
    state
}

/// Runs until the node is sound, while its state never goes below `floor`, and checks that the disk says so too.
fn heal(cluster: &mut Nodes, id: NodeId, floor: LogIndex) {
    cluster.until("the node has healed", |cluster| {
        assert!(shown(cluster, id) >= floor, "the state went back to {} from {floor}", shown(cluster, id));
        assert!(cluster.replica(id).applied() >= floor);
        assert_eq!(cluster.nodes[&id].ended, None);
        cluster.health(id) == Health::Sound
    });
    cluster.settle();
    assert!(shown(cluster, id) >= floor);
    cluster.run(Duration::from_millis(1500));
    let node = cluster.nodes.get_mut(&id).unwrap();
    node.crash(true);
    let stored = node.stored();
    assert_eq!(stored.hard_state.health, Health::Sound, "the disk says that it is sound");
    assert!(stored.last >= floor, "and holds what the state holds");
    start(cluster, id);
    cluster.settle();
}

/// Asserts that a leader is elected with the vote of this node.
fn assert_votes(cluster: &mut Nodes, id: NodeId, other: NodeId) {
    let gone = cluster.nodes.keys().copied().find(|node| *node != id && *node != other).unwrap();
    cluster.nodes.get_mut(&gone).unwrap().crash(true);
    cluster.until("two of three elect a leader", |cluster| {
        cluster.leader().is_some_and(|leader| leader == id || leader == other)
    });
    cluster.start_all();
    cluster.settle();
}

#[test]
fn a_log_cut_below_the_state_is_filled_up_and_its_node_does_not_vote_before() {
    let (mut cluster, victim, other) = settled(ReplicaOptions::default(), 30);
    let leader = cluster.leader().unwrap();
    cluster.isolate(&[leader]);
    let floor = crash_and_damage(&mut cluster, victim, Lost::From(LogIndex(12)));
    // The leader cannot be reached, so a quorum would need the damaged node's vote. The harness checks each message.
    for _ in 0..1000 {
        cluster.run(Duration::from_millis(10));
        assert!(cluster.leader().is_none_or(|now| now == leader), "nobody is elected with a damaged vote");
        assert_eq!((cluster.health(victim), shown(&cluster, victim)), (Health::Damaged, floor));
    }
    cluster.cut.clear();
    commit(&mut cluster, 30..33);
    heal(&mut cluster, victim, floor);
    assert_eq!(cluster.offered, [], "it came from the log");
    assert_histories(&cluster, 33);
    assert_votes(&mut cluster, victim, other);
}

#[test]
fn an_emptied_log_heals_by_a_snapshot_that_the_state_does_not_need() {
    let (mut cluster, victim, other) = settled(ReplicaOptions::default(), 30);
    let floor = crash_and_damage(&mut cluster, victim, Lost::Base);
    assert_eq!(cluster.replica(victim).node().membership().members().len(), 0, "it knows nobody");
    heal(&mut cluster, victim, floor);
    assert!(cluster.offered.iter().any(|(to, _)| *to == victim), "the entries before its base are nowhere");
    assert_eq!(cluster.replica(victim).node().membership().voters().len(), 3);
    commit(&mut cluster, 30..33);
    cluster.settle();
    assert_histories(&cluster, 33);
    assert_votes(&mut cluster, victim, other);
}

#[test]
fn a_log_that_lost_what_the_leader_has_compacted_heals_by_a_snapshot() {
    let (mut cluster, victim, other) = settled(small_options(), 40);
    cluster.nodes.get_mut(&victim).unwrap().crash(true);
    for value in 40..80 {
        commit(&mut cluster, value..value + 1);
        cluster.run(Duration::from_millis(20));
    }
    cluster.nodes.get_mut(&victim).unwrap().damage(Lost::From(LogIndex(0)));
    start(&mut cluster, victim);
    let floor = shown(&cluster, victim);
    heal(&mut cluster, victim, floor);
    assert!(cluster.offered.iter().any(|(to, _)| *to == victim));
    assert_histories(&cluster, 80);
    assert_votes(&mut cluster, victim, other);
}

/// A leader that is sending a third node a snapshot below the durable state of the victim.
fn with_an_older_snapshot_on_its_way() -> (Nodes, NodeId, LogId) {
    let (mut cluster, victim, away) = settled(small_options(), 20);
    cluster.nodes.get_mut(&away).unwrap().crash(true);
    for value in 20..50 {
        commit(&mut cluster, value..value + 1);
        cluster.run(Duration::from_millis(20));
    }
    // One frame arrives every 500 ms, so the transfer takes long, and the snapshot stays the newest.
    cluster.bulk_slowness = Some(100);
    start(&mut cluster, away);
    cluster.until("it is being sent a snapshot", |cluster| !cluster.offered.is_empty());
    let snapshot = cluster.offered[0].1;
    commit(&mut cluster, 50..60);
    cluster
        .until("the state is on disk", |cluster| cluster.replica(victim).durable() > snapshot.index.plus(8));
    (cluster, victim, snapshot)
}

#[test]
fn a_snapshot_below_the_state_resets_the_log_and_leaves_the_state_where_it_is() {
    let (mut cluster, victim, snapshot) = with_an_older_snapshot_on_its_way();
    let floor = crash_and_damage(&mut cluster, victim, Lost::Base);
    assert!(floor > snapshot.index);
    cluster.until("the log begins after the old snapshot", |cluster| {
        assert!(shown(cluster, victim) >= floor);
        cluster.replica(victim).status().base == snapshot
    });
    assert!(cluster.offered.contains(&(victim, snapshot)), "{:?}", cluster.offered);
    heal(&mut cluster, victim, floor);
    cluster.bulk_slowness = None;
    cluster.settle();
    assert_histories(&cluster, 60);
}

#[test]
fn what_a_damaged_node_knew_to_be_committed_is_not_forgotten_by_a_second_crash() {
    let (mut cluster, victim, _) = settled(ReplicaOptions::default(), 20);
    commit(&mut cluster, 20..30);
    cluster.settle();
    // The commit index is on disk, and the state is not.
    cluster.nodes.get_mut(&victim).unwrap().crash(true);
    let committed = cluster.nodes[&victim].stored().hard_state.commit;
    let floor = crash_and_damage_again(&mut cluster, victim);
    assert!(floor < committed, "{floor} < {committed}");
    heal(&mut cluster, victim, floor);
    assert_histories(&cluster, 30);
}

fn crash_and_damage_again(cluster: &mut Nodes, id: NodeId) -> LogIndex {
    cluster.nodes[&id].damage(Lost::From(LogIndex(5)));
    start(cluster, id);
    cluster.run(Duration::from_millis(5));
    crash_and_damage(cluster, id, Lost::From(LogIndex(3)))
}

/// A change of membership is among the entries that the state holds and the log lost. A node that heals and then
/// leads sends snapshots that name that membership.
#[test]
fn a_healed_node_makes_snapshots_with_the_membership_that_stood_in_what_it_lost() {
    let (mut cluster, victim, other) = settled(ReplicaOptions::default(), 5);
    let leader = cluster.leader().unwrap();
    let membership = cluster.replica(leader).node().membership().clone();
    let moved = change(&membership, other);
    let ticket = cluster.change(leader, moved.clone());
    cluster.until("the change is answered", |cluster| cluster.answers.contains_key(&ticket));
    assert!(matches!(cluster.answers[&ticket], Answer::Changed(Ok(_))), "{:?}", cluster.answers[&ticket]);
    commit(&mut cluster, 5..20);
    cluster.settle();
    cluster.run(Duration::from_millis(1500));
    let floor = crash_and_damage(&mut cluster, victim, Lost::From(LogIndex(3)));
    assert!(
        cluster.replica(victim).node().membership_index() < cluster.replica(leader).node().membership_index()
    );
    // There is no restart, which would read the membership from the log.
    cluster.until("the node has healed", |cluster| {
        assert!(shown(cluster, victim) >= floor);
        cluster.health(victim) == Health::Sound
    });
    cluster.settle();

    // The node leads, and another node without a log gets a snapshot from it.
    let ticket = cluster.transfer(cluster.leader().unwrap(), victim);
    cluster.until("it leads", |cluster| cluster.leader() == Some(victim));
    cluster.settle();
    assert!(matches!(cluster.answers[&ticket], Answer::Transferred(Ok(_))));
    let floor = crash_and_damage(&mut cluster, other, Lost::Base);
    cluster.until("its log begins after the snapshot", |cluster| {
        cluster.replica(other).status().base.index > LogIndex::ZERO
    });
    let named = cluster.replica(other).node().membership().clone();
    assert_eq!(named.members()[&other].address, "moved");
    heal(&mut cluster, other, floor);
    assert_histories(&cluster, 20);
}

/// A membership with the same voters, one of them at another address.
fn change(membership: &Membership, of: NodeId) -> Membership {
    let member = Member::new(membership.members()[&of].store, "moved".to_owned());
    membership.clone().with(of, member, Suffrage::Voter)
}

/// A way in which a log is lost and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Entries,
    Snapshot,
    OlderSnapshot,
}

/// Cuts the power at each call that changes the disk of the damaged node, from its start until it has healed.
#[test]
fn a_crash_at_any_step_of_the_healing_leaves_a_node_that_heals() {
    for (way, least) in [(Way::Entries, 15), (Way::Snapshot, 40), (Way::OlderSnapshot, 40)] {
        let points = (0..).take_while(|point| crash_while_healing(way, *point)).count();
        assert!(points > least, "{way:?}: only {points} crash points: the script does too little");
    }
}

/// True if the run reached that call.
fn crash_while_healing(way: Way, point: u64) -> bool {
    let why = format!("{way:?}, at call {point}");
    let (mut cluster, victim, lost, count) = match way {
        Way::Entries => {
            let (cluster, victim, _) = settled(ReplicaOptions::default(), 15);
            (cluster, victim, Lost::From(LogIndex(8)), 15)
        }
        Way::Snapshot => {
            let (cluster, victim, _) = settled(ReplicaOptions::default(), 15);
            (cluster, victim, Lost::Base, 15)
        }
        Way::OlderSnapshot => {
            let (cluster, victim, _) = with_an_older_snapshot_on_its_way();
            (cluster, victim, Lost::Base, 60)
        }
    };
    let floor = cluster.replica(victim).durable();
    let now = cluster.now;
    let node = cluster.nodes.get_mut(&victim).unwrap();
    node.crash(true);
    node.damage(lost);
    node.disk.crash_at_call(point);
    let mut met = node.start(now).is_err();
    commit(&mut cluster, count..count + 2);
    if way == Way::OlderSnapshot {
        let resets = |cluster: &Nodes| {
            let running = cluster.nodes[&victim].running.as_ref();
            running.is_none_or(|running| running.replica.status().base.index > LogIndex::ZERO)
        };
        cluster.until("the log is reset, or the power is gone", resets);
        cluster.bulk_slowness = None;
    }
    cluster.run(Duration::from_millis(700));
    met |= cluster.nodes[&victim].running.is_none();
    cluster.nodes[&victim].disk.clear_faults();
    if !met {
        assert_eq!(cluster.health(victim), Health::Sound, "{why}: the script is over before it has healed");
    }
    cluster.bulk_slowness = None;
    cluster.start_all();
    assert!(shown(&cluster, victim) >= floor, "{why}");
    heal(&mut cluster, victim, floor);
    assert_histories(&cluster, count + 2);
    met
}
