//! Every way in which a node learns its membership, with every kind of membership: from log and state at an opening,
//! from an install, and from an install that a restart completes; and the membership that the next snapshot names.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use raftkit_core::{
    Base, Entry, HardState, LogId, LogIndex, Member, Membership, NodeId, Payload, StoreId, Suffrage, Term,
    Write,
};
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_replica::{Applied, Event, MachineReport, MachineWork, Opened, Repair, StateMachine};
use raftkit_snapshot::{SnapshotDir, SnapshotFile};

use super::follower::Follower;
use super::{DIR, Machine, command, membership, open, try_open};

fn member(id: u64) -> Member {
    Member::new(StoreId(u128::from(id)), format!("host{id}:1"))
}

fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn members(ids: &[u64]) -> BTreeMap<NodeId, Member> {
    // Node 1 is the node under test, with its data folder.
    let own = |id: &u64| if *id == 1 { Member::new(StoreId(9), "host1:1") } else { member(*id) };
    ids.iter().map(|id| (NodeId(*id), own(id))).collect()
}

/// One membership of each kind, as node 1 may find it in force.
fn kinds() -> Vec<(&'static str, Membership)> {
    let three = Membership::founding(members(&[1, 2, 3]));
    let joint =
        |old: &[u64], new: &[u64]| Membership::joint(members(&[1, 2, 3, 4]), nodes(new), nodes(old)).unwrap();
    vec![
        ("simple", three.clone()),
        ("joint, in both halves", joint(&[1, 2, 3], &[1, 2, 4])),
        ("joint, going", joint(&[1, 2, 3], &[2, 3, 4])),
        ("joint, coming", joint(&[2, 3, 4], &[1, 2, 3])),
        ("with a staging learner", three.clone().with(NodeId(4), member(4), Suffrage::Staging)),
        ("with a non-voter", three.clone().with(NodeId(4), member(4), Suffrage::NonVoter)),
        (
            "itself a non-voter",
            three.clone().with(NodeId(1), members(&[1])[&NodeId(1)].clone(), Suffrage::NonVoter),
        ),
        ("itself removed", three.clone().without(NodeId(1))),
        (
            "itself named with another folder",
            three.without(NodeId(1)).with(NodeId(1), member(77), Suffrage::Voter),
        ),
    ]
}

fn entry(index: u64, membership: &Membership) -> Entry {
    Entry { id: LogId::new(2, index), payload: Payload::Membership(Arc::new(membership.clone())) }
}

/// The membership that a snapshot made now would name, and the entry that it is as of.
fn named(opened: &mut Opened<Machine>) -> (LogId, Membership) {
    let mut named = None;
    opened.applier.run(vec![MachineWork::View], &mut |event| {
        if let Event::Machine(MachineReport::View { view, membership }) = event {
            named = Some((view.id(), membership));
        }
    });
    named.expect("a view is answered")
}

/// A node whose log holds a command at 2, a membership at 3 and another at 5, and whose state is durable up to
/// `applied`.
fn with_log(first: &Membership, second: &Membership, applied: u64) -> Opened<Machine> {
    let disk = SimulatedDisk::new(1);
    open(&disk, |store| {
        let append = vec![command(2), entry(3, first), command(4), entry(5, second), command(6)];
        let hard_state = Some(HardState { term: Term(2), ..HardState::default() });
        store.queue(Write { append: append.into(), hard_state, ..Write::default() });
        store.flush().unwrap();
        let mut machine = Machine::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap();
        let noop = |index| Applied { id: LogId::new(2, index), command: None };
        machine.apply(&(2..=applied).map(noop).collect::<Vec<_>>()).unwrap();
        machine.persist().unwrap();
    })
}

#[test]
fn a_snapshot_after_a_restart_names_the_membership_as_of_what_is_applied() {
    for (kind, first) in kinds() {
        for (_, second) in kinds() {
            for (applied, as_of) in [
                (2, &membership("first")),
                // The state ends with exactly the entry that changes the membership.
                (3, &first),
                (4, &first),
                (5, &second),
                (6, &second),
            ] {
                let mut opened = with_log(&first, &second, applied);
                assert_eq!(named(&mut opened), (LogId::new(2, applied), as_of.clone()), "{kind}, {applied}");
                // The protocol goes by the last membership in the log, committed or not.
                assert_eq!(opened.replica.node().membership(), &second, "{kind}, {applied}");
            }
        }
    }
}

/// The snapshot of a log whose entries up to 2.`index` added one each, made under this membership.
fn snapshot(index: u64, membership: &Membership) -> SnapshotFile {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(index));
    let mut machine = Machine::open(Arc::clone(&disk), Path::new("/")).unwrap();
    let one = Machine::encode(&1).unwrap();
    let applied = (2..=index).map(|at| Applied { id: LogId::new(2, at), command: Some(one.clone()) });
    machine.apply(&applied.collect::<Vec<_>>()).unwrap();
    let dir = SnapshotDir::new(disk, "/snapshots".into()).unwrap();
    let mut writer = dir.create(membership.clone()).unwrap();
    machine.snapshot().unwrap().write_to(&mut writer).unwrap();
    writer.flush().unwrap();
    writer.finish(LogId::new(2, index)).unwrap()
}

#[test]
fn a_snapshot_puts_its_membership_in_force_also_in_the_middle_of_a_change() {
    for (kind, membership) in kinds() {
        let mut follower = Follower::new();
        follower.append(2, 13);
        follower.settle();
        follower.switch_to_file(&snapshot(30, &membership));
        assert_eq!(follower.opened.replica.node().membership(), &membership, "{kind}");
        follower.settle();
        assert_eq!(named(&mut follower.opened), (LogId::new(2, 30), membership.clone()), "{kind}");
        // The log is reset to the snapshot, durably.
        let mut opened = follower.crash().unwrap();
        assert_eq!(opened.repaired, None, "{kind}");
        assert_eq!(opened.replica.node().membership(), &membership, "{kind}");
        assert_eq!(named(&mut opened), (LogId::new(2, 30), membership), "{kind}");
    }
}

#[test]
fn an_install_that_a_restart_finishes_puts_its_membership_in_force() {
    for (kind, membership) in kinds() {
        let mut follower = Follower::new();
        follower.append(2, 13);
        follower.settle();
        follower.switch_to_file(&snapshot(30, &membership));
        let mut opened = follower.crash().unwrap();
        assert_eq!(opened.repaired, Some(Repair::LogReset(LogId::new(2, 30))), "{kind}");
        assert_eq!(opened.replica.node().membership(), &membership, "{kind}");
        assert_eq!(named(&mut opened), (LogId::new(2, 30), membership), "{kind}");
    }
}

/// The log's entries behind a snapshot stay. The memberships in them are in force, and the snapshot's is not.
#[test]
fn a_membership_behind_a_snapshot_that_keeps_the_tail_stays_in_force() {
    for (kind, behind) in kinds() {
        let mut follower = Follower::new();
        follower.append(2, 13);
        let tail = vec![command(14), command(15), entry(16, &behind), command(17)];
        follower.append_entries(13, tail, 13);
        follower.settle();
        follower.switch_to_file(&snapshot(15, &membership("first")));
        follower.settle();
        assert_eq!(follower.opened.replica.node().membership(), &behind, "{kind}");
        assert_eq!(named(&mut follower.opened), (LogId::new(2, 15), membership("first")), "{kind}");
    }
}

/// The log is cut at the entry of its membership, before it, or behind it. From then on the log's base names the
/// membership that was in force there.
#[test]
fn a_log_that_is_cut_across_a_membership_starts_with_it() {
    for (kind, first) in kinds() {
        for (cut, as_of) in [(2, &membership("first")), (3, &first), (4, &first)] {
            let disk = SimulatedDisk::new(1);
            drop(open(&disk, |store| {
                let append = vec![command(2), entry(3, &first), command(4), command(5)];
                let hard_state =
                    Some(HardState { term: Term(2), commit: LogIndex(5), ..HardState::default() });
                store.queue(Write { append: append.into(), hard_state, ..Write::default() });
                store.queue(Write { compact_to: Some(LogIndex(cut)), ..Write::default() });
                store.flush().unwrap();
                let mut machine = Machine::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap();
                let noop = |index| Applied { id: LogId::new(2, index), command: None };
                machine.apply(&(2..=5).map(noop).collect::<Vec<_>>()).unwrap();
                machine.persist().unwrap();
            }));
            let mut base = None;
            let mut opened = try_open(&disk, |store| base = Some(store.restored().base)).unwrap();
            let expected = Base { id: LogId::new(2, cut), membership: as_of.clone() };
            assert_eq!(base, Some(expected), "{kind}, cut at {cut}");
            assert_eq!(named(&mut opened), (LogId::new(2, 5), first.clone()), "{kind}, cut at {cut}");
        }
    }
}
