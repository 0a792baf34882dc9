//! Figure 3, the properties that always hold: each in a scenario in which it is at stake. `cluster.rs` checks
//! all of them after every step.

use std::time::Duration;

use raftkit_core::{Input, LogIndex, Message, NodeId, RoleName, Term};

use crate::cluster::{Cluster, id};
use crate::messages::{append, entry, message};

/// Figure 3, Election Safety: "at most one leader can be elected in a given term. §5.2". Two candidates of one term want
/// the vote of node 3, which crashes after it decided for the first: before its vote is durable, or after.
#[test]
fn election_safety() {
    for is_durable in [false, true] {
        let mut cluster = Cluster::new(&[&[], &[], &[]], 1);
        cluster.campaign(1, &[3]);
        cluster.campaign(2, &[3]);
        cluster.persist(1);
        cluster.persist(2);
        cluster.deliver(1, 3);
        if is_durable {
            cluster.persist(3);
        }
        cluster.deliver(3, 1);
        assert_eq!(cluster.node(1).is_leader(), is_durable);
        cluster.crash(3);
        cluster.restart(3);
        cluster.wait(Duration::from_millis(500));
        cluster.deliver(2, 3);
        cluster.persist(3);
        cluster.deliver(3, 2);
        assert_eq!(cluster.node(2).is_leader(), !is_durable);
        assert_eq!(cluster.leaders.get(&Term(2)), Some(if is_durable { &1 } else { &2 }));
    }
}

/// Figure 3, Leader Append-Only: "a leader never overwrites or deletes entries in its log; it only appends new entries.
/// §5.3". The new leader's log has what a minority kept; neither conflicts, nor an old leader's entries, nor somebody
/// who claims to lead the same term, change it.
#[test]
fn leader_append_only() {
    let mut cluster = Cluster::new(&[&[2, 2, 2], &[2, 3], &[2]], 3);
    cluster.elect(2, &[2, 3]);
    assert_eq!(cluster.log(2), [2, 3, 4]);
    let of_old_leader = message(1, 3, append(id(3, 3), vec![entry(3, 4)], 4, 9));
    let of_no_leader = message(1, 4, append(id(2, 2), vec![entry(4, 3)], 4, 9));
    for forged in [of_old_leader, of_no_leader] {
        cluster.give(2, Input::Message(Message { to: NodeId(2), ..forged }));
    }
    assert_eq!((cluster.node(2).role(), cluster.log(2)), (RoleName::Leader, vec![2, 3, 4]));
    cluster.propose(2, "x");
    cluster.wait(Duration::from_millis(100));
    cluster.tick(2);
    cluster.settle(&[1, 2, 3]);
    assert_eq!((cluster.log(1), cluster.log(2)), (vec![2, 3, 4, 4], vec![2, 3, 4, 4]));
}

/// Figure 3, Log Matching: "if two logs contain an entry with the same index and term, then the logs are identical in
/// all entries up through the given index. §5.3". The logs of Figure 7, with the leader for term 8 (one term and one
/// index lower or higher than there makes no difference).
#[test]
fn log_matching() {
    let logs: [&[u64]; 7] = [
        &[2, 2, 2, 5, 5, 6, 6, 7, 7, 7],
        &[2, 2, 2, 5, 5, 6, 6, 7, 7],
        &[2, 2, 2, 5],
        &[2, 2, 2, 5, 5, 6, 6, 7, 7, 7, 7],
        &[2, 2, 2, 5, 5, 6, 6, 7, 7, 7, 8, 8],
        &[2, 2, 2, 5, 5, 5, 5],
        &[2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4],
    ];
    let mut cluster = Cluster::new(&logs, 8);
    let all = [1, 2, 3, 4, 5, 6, 7];
    cluster.elect(1, &all);
    for _ in 0..40 {
        cluster.wait(Duration::from_millis(50));
        cluster.tick(1);
        cluster.settle(&all);
    }
    for id in all {
        assert_eq!(cluster.log(id), [2, 2, 2, 5, 5, 6, 6, 7, 7, 7, 9], "node {id}");
    }
}

/// Figure 3, Leader Completeness: "if a log entry is committed in a given term, then that entry will be present in the
/// logs of the leaders for all higher-numbered terms. §5.4". Node 3 missed an entry that 1 and 2 committed, and cannot
/// be elected by any majority; node 2 can.
#[test]
fn leader_completeness() {
    let mut cluster = Cluster::new(&[&[], &[], &[]], 1);
    cluster.elect(1, &[1, 2]);
    cluster.propose(1, "x");
    cluster.settle(&[1, 2]);
    assert_eq!(cluster.committed.keys().max(), Some(&LogIndex(3)));
    cluster.crash(1);
    for _ in 0..5 {
        cluster.wait(Duration::from_millis(500));
        cluster.tick(3);
        cluster.settle(&[2, 3]);
        assert!(!cluster.node(3).is_leader());
    }
    cluster.elect(2, &[2, 3]);
    assert!(cluster.hosts[&2].disk.view.holds(id(2, 3)));
    assert_eq!(cluster.log(3), [2, 2, cluster.node(2).term().0]);
}

/// Figure 3, State Machine Safety: "if a server has applied a log entry at a given index to its state machine, no other
/// server will ever apply a different log entry for the same index. §5.4.3". Two leaders have each an entry of its own
/// at index 3; only the one that gets committed is ever applied, by the other one, too.
#[test]
fn state_machine_safety() {
    let mut cluster = Cluster::new(&[&[], &[], &[]], 1);
    cluster.elect(1, &[1, 2, 3]);
    cluster.propose(1, "of node 1");
    cluster.settle(&[1]);
    while cluster.node(1).is_leader() {
        cluster.tick(1); // Nobody answers.
    }
    cluster.campaign(2, &[3]);
    for (from, to) in [(2, 3), (3, 2)] {
        cluster.persist(from);
        cluster.deliver(from, to);
    }
    assert!(cluster.node(2).is_leader());
    cluster.settle(&[2]);
    cluster.crash(2);
    assert_eq!((cluster.log(1), cluster.log(2), cluster.log(3)), (vec![2, 2], vec![2, 3], vec![2]));
    assert_eq!(cluster.applied.len(), 1, "nothing is committed at index 3");

    cluster.elect(1, &[1, 3]);
    assert_eq!(cluster.applied.keys().max(), Some(&LogIndex(4)));
    cluster.restart(2);
    cluster.wait(Duration::from_millis(100));
    cluster.tick(1);
    cluster.settle(&[1, 2, 3]);
    for id in 1..=3 {
        assert_eq!(cluster.log(id), [2, 2, cluster.node(1).term().0], "node {id}");
        assert_eq!(cluster.node(id).commit(), LogIndex(4), "node {id}");
    }
}
