//! A log that lost entries which the state machine holds: the entries that are passed over, and what is unknown
//! meanwhile.

use std::path::Path;
use std::sync::Arc;

use raftkit_core::{
    Apply, Entry, HardState, Health, LogId, LogIndex, Membership, Payload, Term, Time, Write,
};
use raftkit_disk::SimulatedDisk;
use raftkit_replica::{
    Action, Answers, Event, MachineReport, MachineWork, OpenReplicaError, Opened, Output, Repair,
    StateMachine,
};
use raftkit_snapshot::SnapshotDir;

use super::{DIR, Machine, command, flush, membership, try_open};

/// A state that holds entries up to 2.8, and a log that ends with 2.3.
fn behind(disk: &SimulatedDisk, health: Health) -> Result<Opened<Machine>, OpenReplicaError> {
    try_open(disk, |store| {
        let hard_state =
            Some(HardState { term: Term(2), commit: LogIndex(8), health, ..HardState::default() });
        store.queue(Write { append: vec![command(2), command(3)].into(), hard_state, ..Write::default() });
        store.flush().unwrap();
        let mut machine = Machine::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap();
        let one = Machine::encode(&1).unwrap();
        let applied =
            |index| raftkit_replica::Applied { id: LogId::new(2, index), command: Some(one.clone()) };
        machine.apply(&(2..=8).map(applied).collect::<Vec<_>>()).unwrap();
        machine.persist().unwrap();
    })
}

fn damaged() -> Opened<Machine> {
    behind(&SimulatedDisk::new(1), Health::Damaged).unwrap()
}

fn apply(first: u64, entries: Vec<Entry>) -> MachineWork {
    let last = LogIndex(first + entries.len() as u64 - 1);
    let apply = Apply { first: LogIndex(first), last, entries: Some(entries.into()) };
    MachineWork::Apply { apply, answers: Answers::Wanted }
}

fn moved(term: u64, index: u64, address: &str) -> Entry {
    let payload = Payload::Membership(Arc::new(membership(address)));
    Entry { id: LogId::new(term, index), payload }
}

fn run(opened: &mut Opened<Machine>, works: Vec<MachineWork>) -> Vec<Event> {
    let mut events = Vec::new();
    opened.applier.run(works, &mut |event| events.push(event));
    events
}

fn through(events: &[Event]) -> Vec<u64> {
    let applied = |event: &Event| {
        if let Event::Machine(MachineReport::Applied(batch)) = event { Some(batch.through.0) } else { None }
    };
    events.iter().filter_map(applied).collect()
}

/// The membership that a snapshot made now would name; the reason if none can be made.
fn named(opened: &mut Opened<Machine>) -> Result<(LogId, Membership), String> {
    match run(opened, vec![MachineWork::View]).pop() {
        Some(Event::Machine(MachineReport::View { view, membership })) => Ok((view.id(), membership)),
        Some(Event::Machine(MachineReport::NoView(reason))) => Err(reason),
        _ => panic!("a view is answered"),
    }
}

#[test]
fn a_sound_log_that_ends_before_the_state_is_refused_and_a_damaged_one_is_not() {
    let refused = behind(&SimulatedDisk::new(1), Health::Sound).unwrap_err();
    assert!(matches!(refused, OpenReplicaError::StateAheadOfLog { last: LogIndex(3), .. }), "{refused:?}");
    let opened = damaged();
    let state = LogId::new(2, 8);
    assert_eq!(opened.repaired, Some(Repair::LogBehindState { agreed: LogIndex(3), state }));
    let status = opened.replica.status();
    assert_eq!((status.applied, status.commit), (LogIndex(3), LogIndex(3)), "the core goes by the log");
    assert_eq!((opened.replica.applied(), opened.replica.durable()), (LogIndex(8), LogIndex(8)));
}

fn open_with(entries: Vec<Entry>, commit: u64) -> Result<Opened<Machine>, OpenReplicaError> {
    let disk = SimulatedDisk::new(1);
    drop(behind(&disk, Health::Damaged).unwrap());
    try_open(&disk, |store| {
        let (commit, health) = (LogIndex(commit), Health::Damaged);
        let hard_state = Some(HardState { term: Term(4), commit, health, ..HardState::default() });
        let truncate_from = entries.first().map(|first| first.id.index);
        store.queue(Write { truncate_from, append: entries.into(), hard_state, ..Write::default() });
        store.flush().unwrap();
    })
}

#[test]
fn a_damaged_log_that_knows_another_entry_to_be_committed_where_the_state_ends_is_refused() {
    let other = |index| Entry { id: LogId::new(3, index), payload: Payload::Noop };
    for commit in [8, 9] {
        let refused = open_with((4..=9).map(other).collect(), commit).unwrap_err();
        assert!(matches!(refused, OpenReplicaError::StateAheadOfLog { .. }), "{refused:?}");
    }
}

/// The applied index, the commit index and the membership of a node that starts with a damaged log, which holds these
/// entries and knows its commit index to be `commit`, and a state that holds entries up to 2.8.
fn agreed_with(entries: Vec<Entry>, commit: u64) -> (LogIndex, LogIndex, Membership) {
    let mut opened = open_with(entries, commit).unwrap();
    let status = opened.replica.status();
    assert_eq!(opened.replica.applied(), LogIndex(8), "what the state holds is shown");
    let state = LogId::new(2, 8);
    assert_eq!(opened.repaired, Some(Repair::LogBehindState { agreed: status.applied, state }));
    let named = named(&mut opened);
    assert!(named.is_err(), "the membership as of the state is not known");
    // The state applies nothing twice: the same entries are passed over from there on.
    let first = status.applied.next().0;
    let held = (first..=8).map(command).collect();
    assert_eq!(through(&run(&mut opened, vec![apply(first, held)])), [8]);
    let (_, membership) = self::named(&mut opened).unwrap();
    (status.applied, status.commit, membership)
}

/// Before an entry of the state's term came into the log, the log may have held other entries, which were truncated
/// then. If the record of the truncation is lost, they are in the log again.
#[test]
fn entries_that_may_have_been_replaced_in_what_is_lost_are_not_taken_for_applied() {
    let old = |index| Entry { id: LogId::new(1, index), payload: Payload::Noop };
    let (applied, commit, _) = agreed_with(vec![old(2), old(3), old(4)], 2);
    assert_eq!((applied, commit), (LogIndex(2), LogIndex(2)));
    let (_, _, membership) = agreed_with(vec![old(2), moved(1, 3, "never committed"), old(4)], 2);
    assert_eq!(membership, self::membership("first"));
}

#[test]
fn a_log_that_goes_on_in_another_term_than_the_state_is_not_taken_for_applied_behind_that() {
    let other = |index| Entry { id: LogId::new(3, index), payload: Payload::Noop };
    let (applied, commit, _) = agreed_with((4..=9).map(other).collect(), 3);
    assert_eq!((applied, commit), (LogIndex(3), LogIndex(3)));
    // 2.3 is in the state as well, whether the log knows that or not, because both entries are of one term.
    let (applied, commit, _) = agreed_with((4..=9).map(other).collect(), 0);
    assert_eq!((applied, commit), (LogIndex(3), LogIndex(3)));
}

#[test]
fn what_the_state_holds_is_passed_over_and_no_snapshot_is_made_before_its_memberships_are_known() {
    let mut opened = damaged();
    let reason = named(&mut opened).unwrap_err();
    assert!(reason.contains("2.8"), "{reason}");
    let events = run(&mut opened, vec![apply(4, vec![command(4), moved(2, 5, "second")])]);
    assert_eq!(through(&events), [5], "reported, so that the core goes on");
    assert!(named(&mut opened).is_err());
    let rest = (6..=10).map(command).collect();
    assert_eq!(through(&run(&mut opened, vec![apply(6, rest)])), [10]);
    assert_eq!(opened.applier.reader().read(|state| state.sum).0, 9, "each of 2 to 10 once");
    assert_eq!(named(&mut opened), Ok((LogId::new(2, 10), membership("second"))));
}

#[test]
fn what_the_state_holds_is_passed_over_also_where_it_is_read_from_the_log() {
    let mut opened = damaged();
    let append = vec![command(4), moved(2, 5, "second"), command(6), command(7), command(8), command(9)];
    flush(&mut opened.log, vec![Write { append: append.into(), ..Write::default() }]);
    let apply = |first, last| MachineWork::Apply {
        apply: Apply { first: LogIndex(first), last: LogIndex(last), entries: None },
        answers: Answers::Wanted,
    };
    assert_eq!(through(&run(&mut opened, vec![apply(4, 7)])), [7]);
    assert_eq!(through(&run(&mut opened, vec![apply(8, 8), apply(9, 9)])), [8, 9]);
    assert_eq!(opened.applier.reader().read(|state| state.sum).0, 8);
    assert_eq!(named(&mut opened), Ok((LogId::new(2, 9), membership("second"))));
}

#[test]
fn entries_that_cannot_be_those_of_the_state_end_the_node() {
    let others = [
        // Another entry at the state's last index; an entry of a later term before that.
        vec![command(4), command(5), command(6), command(7), moved(3, 8, "first")],
        vec![command(4), moved(3, 5, "first")],
    ];
    for entries in others {
        let mut opened = damaged();
        let events = run(&mut opened, vec![apply(4, entries)]);
        let [Event::Machine(MachineReport::Failed(reason))] = events.as_slice() else { panic!("it goes on") };
        assert!(reason.contains("do not belong together"), "{reason}");
    }
}

fn snapshot(of: LogId) -> MachineWork {
    let disk = Arc::new(SimulatedDisk::new(2));
    let dir = SnapshotDir::new(disk, Path::new(DIR).to_owned()).unwrap();
    MachineWork::Restore(dir.create(membership("third")).unwrap().finish(of).unwrap())
}

#[test]
fn a_snapshot_that_the_state_holds_is_reported_and_changes_only_what_is_known_of_the_membership() {
    let mut opened = damaged();
    let events = run(&mut opened, vec![snapshot(LogId::new(2, 6))]);
    let [Event::Machine(MachineReport::Restored { id, membership: named_there })] = events.as_slice() else {
        panic!("not reported")
    };
    assert_eq!((*id, named_there), (LogId::new(2, 6), &membership("third")));
    assert_eq!(opened.applier.reader().read(|state| state.sum), (7, LogId::new(2, 8)), "it does not go back");
    assert!(named(&mut opened).is_err(), "what is between 6 and 8 is not known");
    run(&mut opened, vec![apply(7, vec![command(7), command(8)])]);
    assert_eq!(named(&mut opened), Ok((LogId::new(2, 8), membership("third"))));

    let mut opened = damaged();
    run(&mut opened, vec![snapshot(LogId::new(2, 8))]);
    assert_eq!(named(&mut opened), Ok((LogId::new(2, 8), membership("third"))));

    for other in [LogId::new(3, 8), LogId::new(3, 6)] {
        let events = run(&mut damaged(), vec![snapshot(other)]);
        assert!(
            matches!(events.as_slice(), [Event::Machine(MachineReport::Failed(_))]),
            "{other} is not of this state"
        );
    }
}

#[test]
fn of_a_log_behind_the_state_the_trailing_entries_are_kept() {
    let mut opened = damaged();
    let mut actions = Vec::new();
    opened.replica.handle(Time(1), Event::Machine(MachineReport::Durable(LogId::new(2, 8))), &mut actions);
    let cut =
        |action: &Output| if let Output::Do(Action::Log(write)) = action { write.compact_to } else { None };
    let cuts: Vec<LogIndex> = actions.iter().filter_map(cut).collect();
    assert_eq!(cuts, [LogIndex(2)], "one entry less than what is left, not than what the state holds");
}
