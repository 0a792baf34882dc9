//! Workers that cannot do their work: their reports, and the answers to requests that wait meanwhile.

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{Apply, Base, HardState, LogId, LogIndex, Proposal, Term, Ticket, Time, Write};
use raftkit_disk::{Operation, SimulatedDisk};
use raftkit_replica::{
    Action, Answer, Answers, Event, LogReport, MachineReport, MachineWork, Opened, Output, SnapshotWork,
};

use super::{Machine, command, flush, membership, open};

/// A single leader whose log is written at once and whose applier does nothing. Returns the work that waits for the
/// applier.
fn lead(opened: &mut Opened<Machine>, proposals: &[Bytes]) -> Vec<MachineWork> {
    let (mut now, mut actions, mut waiting) = (Time(0), Vec::new(), Vec::new());
    let mut tickets = (0..).map(Ticket).zip(proposals);
    for _ in 0..400 {
        now = now.after(Duration::from_millis(10));
        opened.replica.tick(now, &mut actions);
        if opened.replica.node().is_leader()
            && let Some((ticket, command)) = tickets.next()
        {
            let proposals = vec![Proposal { ticket, command: command.clone() }];
            opened.replica.propose(now, proposals, &mut actions);
        }
        for action in std::mem::take(&mut actions) {
            match action {
                Output::Do(Action::Log(write)) => {
                    let event = flush(&mut opened.log, vec![write]).unwrap();
                    opened.replica.handle(now, event, &mut actions);
                }
                Output::Do(Action::Machine(work)) => waiting.push(work),
                Output::Answer { ticket, answer } => panic!("{ticket} is answered {answer:?}"),
                Output::Do(Action::Send(_))
                | Output::Do(Action::SendBulk { .. })
                | Output::Do(Action::Fetch(_))
                | Output::Do(Action::Snapshot(_))
                | Output::Do(Action::Role(_))
                | Output::Do(Action::Ended(_)) => {}
            }
        }
    }
    waiting
}

#[test]
fn what_is_committed_and_not_applied_is_neither_shown_nor_answered_and_in_doubt_when_the_node_ends() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let adds: Vec<Bytes> = (0..3).map(|_| Machine::encode(&1).unwrap()).collect();
    assert!(!lead(&mut opened, &adds).is_empty());
    assert!(opened.replica.status().commit >= LogIndex(5), "all of them are committed");
    assert_eq!(opened.replica.applied(), LogIndex(1), "a read would not see them");
    let mut actions = Vec::new();
    opened.replica.handle(
        Time(9_000_000),
        Event::Machine(MachineReport::Failed("no space".into())),
        &mut actions,
    );
    let answered = |action: &Output| {
        if let Output::Answer { ticket, answer } = action { Some((ticket.0, answer.clone())) } else { None }
    };
    let answered: Vec<(u64, Answer)> = actions.iter().filter_map(answered).collect();
    assert_eq!(answered, [(0, Answer::InDoubt), (1, Answer::InDoubt), (2, Answer::InDoubt)]);
}

#[test]
fn entries_that_wait_to_be_applied_are_kept_in_memory_up_to_a_bound() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let large: Vec<Bytes> = (0..6).map(|_| Bytes::from(vec![7; 600])).collect();
    let kept = |work: &MachineWork| match work {
        MachineWork::Apply { apply, .. } => apply.entries.as_ref().map(|entries| entries.len()),
        MachineWork::Persist | MachineWork::View | MachineWork::Restore(_) => None,
    };
    let kept: usize = lead(&mut opened, &large).iter().filter_map(kept).sum();
    assert!((1..=3).contains(&kept), "{kept} entries of 600 bytes, the bound is 1000");
}

#[test]
fn a_state_that_cannot_be_made_durable_ends_the_node() {
    let disk = SimulatedDisk::new(1);
    let mut opened = open(&disk, |_| {});
    let entries = Some(vec![command(2)].into());
    let apply = Apply { first: LogIndex(2), last: LogIndex(2), entries };
    let works = vec![MachineWork::Apply { apply, answers: Answers::Unwanted }, MachineWork::Persist];
    disk.fail_next(Operation::Sync, 0, std::io::ErrorKind::Other);
    let mut events = Vec::new();
    opened.applier.run(works, &mut |event| events.push(event));
    assert!(matches!(
        events.as_slice(),
        [Event::Machine(MachineReport::Applied(_)), Event::Machine(MachineReport::Failed(_))]
    ));
}

#[test]
fn runs_that_are_joined_keep_the_answers_that_somebody_waits_for() {
    use Answers::{Unwanted, Wanted};
    for (wanted, kept) in [
        ([Wanted, Unwanted], true),
        ([Unwanted, Wanted], true),
        ([Wanted, Wanted], true),
        ([Unwanted, Unwanted], false),
    ] {
        let mut opened = open(&SimulatedDisk::new(1), |_| {});
        let run = |(index, answers)| {
            let entries = Some(vec![command(index)].into());
            let apply = Apply { first: LogIndex(index), last: LogIndex(index), entries };
            MachineWork::Apply { apply, answers }
        };
        let works = [2, 3].into_iter().zip(wanted).map(run).collect();
        let mut answered = Vec::new();
        opened.applier.run(works, &mut |event| {
            if let Event::Machine(MachineReport::Applied(batch)) = event {
                answered.extend(batch.responses.into_iter().map(|(id, _)| id.index.0));
            }
        });
        let expected: &[u64] = if kept { &[2, 3] } else { &[] };
        assert_eq!(answered, expected, "{wanted:?}");
    }
}

#[test]
fn committed_entries_that_are_gone_before_they_were_applied_end_the_node() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let base = Base { id: LogId::new(2, 10), membership: membership("first") };
    let hard_state = Some(HardState { term: Term(2), commit: LogIndex(10), ..HardState::default() });
    flush(&mut opened.log, vec![Write { reset_to: Some(base.into()), hard_state, ..Write::default() }]);
    let apply = Apply { first: LogIndex(2), last: LogIndex(10), entries: None };
    let mut events = Vec::new();
    let works = vec![MachineWork::Apply { apply, answers: Answers::Unwanted }];
    opened.applier.run(works, &mut |event| events.push(event));
    let [Event::Log(LogReport::Failed(why))] = events.as_slice() else { panic!("{} events", events.len()) };
    assert!(why.contains("from 2 on are gone"), "{why}");
}

#[test]
fn a_snapshot_names_the_membership_that_its_view_came_with() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let mut view = None;
    opened.applier.run(vec![MachineWork::View], &mut |event| {
        if let Event::Machine(MachineReport::View { view: frozen, .. }) = event {
            view = Some(frozen);
        }
    });
    // The protocol may know a later membership by now.
    let event =
        Event::Machine(MachineReport::View { view: view.unwrap(), membership: membership("as of then") });
    let mut actions = Vec::new();
    opened.replica.handle(Time(1), event, &mut actions);
    let [Output::Do(Action::Snapshot(SnapshotWork::Build { membership: named, .. }))] = actions.as_slice()
    else {
        panic!("a view is written out")
    };
    assert_eq!(named, &membership("as of then"));
}

#[test]
fn an_installed_snapshot_is_kept_until_the_reset_of_the_log_is_durable() {
    let mut opened = open(&SimulatedDisk::new(1), |_| {});
    let mut actions = Vec::new();
    let restored =
        Event::Machine(MachineReport::Restored { id: LogId::new(3, 50), membership: membership("first") });
    opened.replica.handle(Time(1), restored, &mut actions);
    let keeps = |action: &Output| matches!(action, Output::Do(Action::Snapshot(SnapshotWork::Keep(_))));
    assert!(!actions.iter().any(keeps), "opening needs it if the power goes now");
    let write = actions
        .into_iter()
        .find_map(|action| if let Output::Do(Action::Log(write)) = action { Some(write) } else { None });
    let write = write.expect("the log follows the state machine");
    assert!(write.reset_to.is_some());
    let durable = flush(&mut opened.log, vec![write]).unwrap();
    let mut actions = Vec::new();
    opened.replica.handle(Time(2), durable, &mut actions);
    assert!(actions.iter().any(keeps), "now it can go");
}
