//! Changes of membership through whole nodes: on their disks, over restarts, and while writes go on.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod harness;

use bytes::Bytes;
use harness::{Cluster, small_options};
use raftkit_core::{ChangeRefused, LogId, Member, NodeId, Suffrage};
use raftkit_replica::{Answer, Application, ChangeError, InMemory};
use serde::{Deserialize, Serialize};

/// A state that counts its commands. Each command makes it larger, so that logs are cut and snapshots are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counter(Vec<u64>);

impl Application for Counter {
    type Command = u64;
    type Response = u64;

    fn apply(&mut self, _: LogId, command: u64) -> u64 {
        self.0.push(command);
        command
    }
}

type Nodes = Cluster<InMemory<Counter>>;

fn command(of: u64) -> Bytes {
    InMemory::<Counter>::encode(&of).unwrap()
}

fn restart_all(cluster: &mut Nodes) {
    cluster.nodes.values_mut().for_each(|node| node.crash(true));
    cluster.start_all();
}

#[test]
fn a_removed_voter_comes_back_as_a_learner_and_is_promoted() {
    let mut cluster = Cluster::new(3, InMemory::<Counter>::open, small_options());
    let leader = cluster.until_leader();
    let gone = [1, 2, 3].map(NodeId).into_iter().find(|id| *id != leader).unwrap();
    let membership = cluster.replica(leader).node().membership().clone();
    let member: Member = membership.members()[&gone].clone();
    // A leader refuses changes before it has committed an entry of its term.
    cluster.commit(&command(0)).expect("three voters commit");

    let removal = cluster.change(leader, membership.without(gone));
    cluster.until("the removal is answered", |cluster| cluster.answers.contains_key(&removal));
    let Answer::Changed(Ok(removed_in)) = cluster.answers[&removal] else {
        panic!("{:?}", cluster.answers[&removal])
    };
    for value in 1..40 {
        cluster.commit(&command(value)).expect("two voters commit");
    }

    // After a restart of all nodes the membership is the same, with the same id.
    restart_all(&mut cluster);
    cluster.until("one of the two leads", |cluster| cluster.leader().is_some());
    cluster.commit(&command(40)).expect("two voters commit");
    let leader = cluster.leader().unwrap();
    let membership = cluster.replica(leader).node().membership().clone();
    assert_eq!((membership.id(), membership.voters().len()), (removed_in, 2));

    let back = cluster.change(leader, membership.with(gone, member, Suffrage::Staging));
    cluster.until("the node is promoted by itself", |cluster| {
        cluster.replica(gone).node().membership().voters().contains(&gone)
    });
    assert!(matches!(cluster.answers[&back], Answer::Changed(Ok(_))), "{:?}", cluster.answers[&back]);
    cluster.settle();
    for value in 41..50 {
        cluster.commit(&command(value)).expect("three voters commit");
    }
    cluster.settle();
    let expected: Vec<u64> = (0..50).collect();
    for id in [1, 2, 3].map(NodeId) {
        assert_eq!(cluster.reader(id).read(Clone::clone).0.0, expected, "node {id}");
    }
}

#[test]
fn a_second_change_is_refused_while_one_is_under_way() {
    let mut cluster = Cluster::new(3, InMemory::<Counter>::open, small_options());
    let leader = cluster.until_leader();
    let membership = cluster.replica(leader).node().membership().clone();
    let others: Vec<NodeId> = [1, 2, 3].map(NodeId).into_iter().filter(|id| *id != leader).collect();
    cluster.commit(&command(0)).unwrap();
    let first = cluster.change(leader, membership.clone().without(others[0]));
    let second = cluster.change(leader, membership.without(others[1]));
    cluster.until("both are answered", |cluster| {
        cluster.answers.contains_key(&first) && cluster.answers.contains_key(&second)
    });
    assert!(matches!(cluster.answers[&first], Answer::Changed(Ok(_))));
    assert_eq!(
        cluster.answers[&second],
        Answer::Changed(Err(ChangeError::Refused(ChangeRefused::InProgress)))
    );
}
