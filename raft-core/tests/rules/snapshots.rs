//! Compaction and snapshots (paper, section 7).

use raftkit_core::*;

use crate::MS;
use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{answer, append, conflict, entry, matches};

#[test]
fn nothing_is_compacted_before_it_is_applied_and_durable() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2)], 2, 1));
    it.give(Input::Compact(LogIndex(2)));
    assert!(it.effects.writes.is_empty());
}

#[test]
fn a_log_is_cut_no_further_than_the_state_machine_is() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let log: Vec<Entry> = (2..=5).map(|index| entry(2, index)).collect();
    it.hear(2, 2, append(LogId::GENESIS, log, 5, 1)).persist();
    it.give(Input::Applied(LogIndex(3))).give(Input::Compact(LogIndex(5)));
    assert_eq!(it.effects.writes[0].compact_to, Some(LogIndex(3)));
}

#[test]
fn a_leader_whose_log_is_wholly_compacted_sends_a_snapshot() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    it.give(Input::Applied(LogIndex(2))).give(Input::Compact(LogIndex(2)));
    assert_eq!((it.node.status().base, it.node.status().last), (LogId::new(2, 2), LogId::new(2, 2)));
    let refused = AppendOutcome::Conflict { refused: LogIndex(1), hint: LogId::ZERO };
    it.hear(3, 2, answer(refused, 1));
    let [SnapshotEffect::Send { to, at_least }] = it.effects.snapshots[..] else {
        panic!("no snapshot is sent: {:?}", it.effects)
    };
    assert_eq!((to, at_least), (NodeId(3), LogIndex(2)));
}

/// hashicorp/raft#212: if the log after a snapshot in transfer is compacted, the peer needs another snapshot,
/// and so on.
#[test]
fn the_log_behind_a_snapshot_on_its_way_is_wanted_until_that_ends() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    it.give(Input::Applied(LogIndex(2))).give(Input::Compact(LogIndex(2))).persist();
    it.hear(3, 2, answer(AppendOutcome::Conflict { refused: LogIndex(1), hint: LogId::ZERO }, 1));
    assert_eq!(it.effects.snapshots.len(), 1);
    it.propose(1, "behind it").persist();
    it.hear(2, 2, answer(matches(3), 1)).give(Input::Applied(LogIndex(3)));
    assert_eq!(it.node.compactable(), LogIndex(2), "the snapshot may be of index 2");
    it.give(Input::SnapshotSent { to: NodeId(3), result: SnapshotSent::Failed });
    assert_eq!(it.node.compactable(), LogIndex(3));
}

#[test]
fn a_snapshot_below_what_is_compacted_changes_nothing() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let log: Vec<Entry> = (2..=5).map(|index| entry(2, index)).collect();
    it.hear(2, 2, append(LogId::GENESIS, log, 5, 1)).persist();
    it.give(Input::Applied(LogIndex(5))).give(Input::Compact(LogIndex(5))).persist();
    it.give(Input::SnapshotInstalled { base: LogId::new(2, 3), membership: voters(&[1]).into() });
    assert!(it.effects.is_empty(), "{:?}", it.effects);
    assert_eq!((it.node.status().base, it.node.commit()), (LogId::new(2, 5), LogIndex(5)));
}

#[test]
fn the_term_of_a_snapshot_does_not_take_the_own_term_back() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 9, append(LogId::GENESIS, vec![], 1, 1)).persist();
    it.give(Input::SnapshotInstalled { base: LogId::new(4, 40), membership: voters(&[1, 2, 3]).into() });
    assert_eq!((it.node.term(), it.node.commit()), (Term(9), LogIndex(40)));
}

#[test]
fn a_node_of_no_cluster_asks_for_a_snapshot_and_never_campaigns() {
    let mut it = Driven::new(Base::default());
    it.now = Time(10_000 * MS);
    it.give(Input::Tick);
    assert!(it.effects.is_empty());
    it.hear(2, 2, append(LogId::new(2, 40), vec![], 40, 1));
    assert_eq!(it.outcomes(), [conflict(40, LogId::ZERO)]);
    let (base, membership) = (LogId::new(2, 40), voters(&[1, 2, 3]));
    it.give(Input::SnapshotInstalled { base, membership: membership.clone().into() });
    assert_eq!(it.effects.writes[0].reset_to, Some(Base { id: base, membership }.into()));
    assert!(it.outcomes().is_empty(), "the reset is not durable yet");
    assert_eq!((it.node.commit(), it.node.applied()), (LogIndex(40), LogIndex(40)));
    it.persist();
    assert_eq!(it.outcomes(), [matches(40)]);
}
