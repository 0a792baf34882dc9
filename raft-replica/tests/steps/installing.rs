//! A follower that installs snapshots. Whenever the power is cut or the node ends, a state machine that is ahead of
//! its log has a snapshot beside it that explains that.

use raftkit_core::{LogId, LogIndex};
use raftkit_replica::{Event, LogReport, MachineWork, OpenReplicaError, Opened, Repair};

use super::Machine;
use super::follower::{Follower, snapshot};

/// Asserts that the node comes back with the snapshot's state, and a log that starts after it.
#[track_caller]
fn assert_comes_back_with(index: u64, reopened: Result<Opened<Machine>, OpenReplicaError>) {
    let opened = reopened.expect("a snapshot explains the state");
    let id = LogId::new(2, index);
    assert_eq!(opened.repaired, Some(Repair::LogReset(id)));
    assert_eq!(opened.replica.status().base, id);
    assert_eq!(opened.applier.reader().read(|state| state.sum), (index - 1, id));
}

#[test]
fn a_snapshot_whose_last_entry_the_log_holds_in_memory_is_kept_until_the_log_is_durable() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.append(14, 22); // Its log is stuck from here on.
    follower.switch_to(22);
    assert_eq!(follower.opened.replica.status().last.index, LogIndex(22));
    assert_eq!(follower.opened.replica.status().base, LogId::GENESIS, "nothing was reset");
    assert_comes_back_with(22, follower.crash());
}

#[test]
fn a_snapshot_whose_last_entry_is_durable_in_the_log_is_removed() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.append(14, 22);
    follower.switch_to(22);
    assert_eq!(follower.files().len(), 1);
    follower.settle();
    assert_eq!(follower.files(), Vec::<String>::new());
    let opened = follower.crash().unwrap();
    assert_eq!((opened.repaired, opened.replica.status().last.index), (None, LogIndex(22)));
}

#[test]
fn a_snapshot_that_comes_in_while_the_log_follows_an_earlier_one_is_not_forgotten() {
    let mut follower = Follower::new();
    follower.switch_to(30);
    follower.receive(&snapshot(50));
    follower.work_on_log(1);
    assert!(follower.writes.is_empty(), "the log is durably reset to the first one");
    // The second snapshot is finished, and the snapshot that the end of the first install released is removed.
    follower.work_on_snapshots();
    follower.work_on_machine();
    assert_eq!(follower.opened.replica.durable(), LogIndex(50));
    follower.work_on_snapshots();
    assert_comes_back_with(50, follower.crash());
}

#[test]
fn each_snapshot_is_kept_until_the_log_is_durable_up_to_that_one() {
    let mut follower = Follower::new();
    follower.switch_to(30);
    follower.append(31, 50);
    follower.switch_to(50);
    assert_eq!(follower.files().len(), 2);
    follower.work_on_log(1);
    follower.work_on_snapshots();
    assert_eq!(follower.files().len(), 1, "the log is reset to the first one and does not need it any more");
    assert_comes_back_with(50, follower.crash());
}

/// Otherwise the log would be cut up to that snapshot, and a power cut would leave a gap.
#[test]
fn a_snapshot_that_the_log_was_faster_than_counts_as_durable_only_once_the_state_is() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.append(14, 22);
    follower.work_on_log(1);
    assert!(matches!(follower.machine.front(), Some(MachineWork::Apply { .. })), "and is not applied yet");
    follower.receive(&snapshot(20));
    follower.work_on_snapshots();
    assert_eq!(follower.machine.len(), 2, "first it applies, then it installs");
    follower.work_on_machine();
    let durable = follower.opened.replica.durable();
    assert!(durable >= LogIndex(20));
    let opened = follower.crash().unwrap();
    assert!(opened.replica.durable() >= durable, "only {} is", opened.replica.durable());
}

#[test]
fn a_node_whose_log_has_failed_installs_nothing_any_more() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.receive(&snapshot(30));
    follower.give(Event::Log(LogReport::Failed("no space".into())));
    assert!(follower.ended.is_some());
    follower.work_on_snapshots();
    assert_eq!(follower.files().len(), 1, "it is whole");
    assert!(follower.machine.is_empty(), "and the state machine stays where the log is");
    let reopened = follower.crash().unwrap();
    assert_eq!((reopened.repaired, reopened.replica.status().last.index), (None, LogIndex(13)));
}

#[test]
fn an_install_that_was_under_way_when_the_node_ended_is_finished_by_the_restart() {
    let mut follower = Follower::new();
    follower.append(2, 13);
    follower.settle();
    follower.receive(&snapshot(30));
    follower.work_on_snapshots();
    assert!(matches!(follower.machine.front(), Some(MachineWork::Restore(_))));
    follower.give(Event::Log(LogReport::Failed("no space".into())));
    // The state machine switches, and the report of that is lost.
    follower.work_on_machine();
    follower.work_on_snapshots();
    assert!(follower.writes.is_empty());
    assert_comes_back_with(30, follower.crash());
}

#[test]
fn a_snapshot_that_an_earlier_life_left_is_removed_at_the_start_and_received_chunks_are_not() {
    let mut follower = Follower::new();
    follower.receive(&snapshot(30));
    follower.work_on_snapshots();
    let whole = follower.files();
    assert!(whole[0].ends_with("30.snapshot"), "{whole:?}");
    let mut follower = follower.restart();
    assert_eq!(follower.files(), Vec::<String>::new(), "nothing refers to it");
    follower.receive(&snapshot(50));
    let follower = follower.restart();
    assert!(follower.files()[0].ends_with("50.partial"), "{:?}", follower.files());
}
