//! Figure 13, "InstallSnapshot RPC", as far as the core decides it: chunks and files are the driver's (rules 1 to 4),
//! and so is the state machine's part of rule 8.

use raftkit_core::{Base, Input, LogId, LogIndex, NodeId};

use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{append, entry, matches};
use crate::one_of_three;

/// Node 1 of three: entries 2 and 3 of term 2 are durable, up to `commit` they are committed.
fn with_log(commit: u64) -> Driven {
    let mut it = one_of_three();
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3)], commit, 1)).persist();
    it
}

fn installed(base: LogId, members: &[u64]) -> Input {
    Input::SnapshotInstalled { base, membership: voters(members).into() }
}

/// Figure 13, receiver 5: "Save snapshot file, discard any existing or partial snapshot with a smaller index". The other
/// way round: a snapshot that is older than what is committed here changes nothing.
#[test]
fn rule_5_an_older_snapshot_is_not_installed() {
    for is_compacted in [false, true] {
        let mut it = with_log(3);
        it.give(Input::Applied(LogIndex(3)));
        if is_compacted {
            it.give(Input::Compact(LogIndex(3))).persist();
        }
        it.give(installed(LogId::new(2, 2), &[1]));
        assert!(it.effects.is_empty());
        let status = it.node.status();
        assert_eq!((status.last, status.membership.voters().len()), (LogId::new(2, 3), 3));
    }
}

/// Figure 13, receiver 6: "If existing log entry has same index and term as snapshot's last included entry, retain log
/// entries following it and reply".
#[test]
fn rule_6_a_snapshot_of_what_the_log_holds_keeps_what_follows() {
    let mut it = with_log(1);
    it.give(installed(LogId::new(2, 2), &[1, 2, 3]));
    assert!(it.effects.writes.is_empty() && it.effects.apply.is_empty());
    let status = it.node.status();
    assert_eq!((status.last, status.commit, status.applied), (LogId::new(2, 3), LogIndex(2), LogIndex(2)));
    it.hear(2, 2, append(LogId::new(2, 2), vec![], 2, 2));
    assert_eq!(it.outcomes().len(), 1, "it goes on as before");
}

/// Figure 13, receiver 7: "Discard the entire log": when the snapshot goes beyond it, or the entry at its end is
/// another one here. It is acknowledged when that is durable.
#[test]
fn rule_7_a_snapshot_of_what_the_log_lacks_discards_the_log() {
    for last in [LogId::new(2, 9), LogId::new(3, 3)] {
        let mut it = with_log(1);
        it.give(installed(last, &[1, 2, 3]));
        let base = Base { id: last, membership: voters(&[1, 2, 3]) };
        assert_eq!(it.effects.writes[0].reset_to, Some(base.into()), "{last}");
        assert_eq!(it.outcomes(), [], "the reset is not durable yet");
        assert_eq!((it.node.status().last, it.node.commit()), (last, last.index));
        it.persist();
        it.hear(2, last.term.0, append(last, vec![], 1, 2));
        assert_eq!(it.outcomes(), [matches(last.index.0)]);
    }
}

/// Figure 13, receiver 8: "Reset state machine using snapshot contents (and load snapshot's cluster configuration)".
/// Nothing that the snapshot includes is applied again.
#[test]
fn rule_8_the_snapshots_configuration_is_loaded_and_it_counts_as_applied() {
    let mut it = with_log(1);
    it.give(installed(LogId::new(2, 9), &[1, 2, 4])).persist();
    assert_eq!(
        it.node.membership().voters().iter().collect::<Vec<_>>(),
        [&NodeId(1), &NodeId(2), &NodeId(4)]
    );
    assert_eq!(it.node.applied(), LogIndex(9));
    it.hear(2, 2, append(LogId::new(2, 9), vec![entry(2, 10)], 10, 2)).persist();
    let applied: Vec<_> = it.effects.apply.iter().map(|apply| (apply.first, apply.last)).collect();
    assert_eq!(applied, [(LogIndex(10), LogIndex(10))]);
}
