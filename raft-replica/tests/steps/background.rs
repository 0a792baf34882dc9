//! A state machine that persists in the background: the applier goes on meanwhile, within a bound, and forgets nothing.

use std::io::Read;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{Apply, LogId, LogIndex, Membership};
use raftkit_disk::SimulatedDisk;
use raftkit_replica::{
    Answers, Applied, Applier, Background, BackgroundEnd, Begun, Event, MachineError, MachineReport,
    MachineWork, Opened, Progress, SnapshotView, StateMachine, TakeOver,
};

use super::{command, membership, open};

const MIB: u64 = 1 << 20;

/// What the disk of a [`Slow`] does next, and how much memory it says that its changes take up.
#[derive(Debug, Default)]
struct Behaviour {
    fails: bool,
    memory: u64,
}

/// A state machine that counts, and persists and gives space back in the background.
#[derive(Debug, Default)]
struct Slow {
    applied: LogId,
    durable: LogId,
    behaviour: Arc<Mutex<Behaviour>>,
    busy: bool,
}

impl Slow {
    fn begin(&mut self) {
        assert!(!std::mem::replace(&mut self.busy, true), "one background work at a time");
    }
}

impl StateMachine for Slow {
    type Reader = ();

    fn reader(&self) {}

    fn applied(&self) -> LogId {
        self.applied
    }

    fn durable(&self) -> LogId {
        self.durable
    }

    fn apply(&mut self, entries: &[Applied]) -> Result<Vec<Bytes>, MachineError> {
        self.applied = entries.last().map_or(self.applied, |entry| entry.id);
        Ok(vec![Bytes::new(); entries.len()])
    }

    fn persist(&mut self) -> Result<LogId, MachineError> {
        assert!(!self.busy);
        self.durable = self.applied;
        Ok(self.durable)
    }

    fn begin_persist(&mut self) -> Result<Begun<Self, LogId>, MachineError> {
        self.begin();
        let (to, behaviour) = (self.applied, Arc::clone(&self.behaviour));
        Ok(Begun::Background(Background::new(move || {
            let fails = behaviour.lock().unwrap().fails;
            TakeOver::new(move |machine: &mut Self| {
                machine.busy = false;
                if fails {
                    return Err(std::io::Error::other("the disk is gone").into());
                }
                machine.durable = to;
                Ok(to)
            })
        })))
    }

    fn unpersisted_bytes(&self) -> u64 {
        self.behaviour.lock().unwrap().memory
    }

    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineError> {
        Err(std::io::Error::other("no test asks for it").into())
    }

    fn begin_give_back(&mut self) -> Result<Begun<Self, Progress>, MachineError> {
        self.begin();
        Ok(Begun::Background(Background::new(|| {
            TakeOver::new(|machine: &mut Self| {
                machine.busy = false;
                Ok(Progress::Done)
            })
        })))
    }

    fn restore(&mut self, id: LogId, _: &mut dyn Read) -> Result<(), MachineError> {
        assert!(!self.busy, "the files are written in the background");
        (self.applied, self.durable) = (id, id);
        Ok(())
    }
}

/// An applier of a slow machine, beside what it needs of an opened folder.
fn applier() -> (Opened<super::Machine>, Applier<Slow>, Arc<Mutex<Behaviour>>) {
    let opened = open(&SimulatedDisk::new(1), |_| {});
    let machine = Slow { applied: LogId::new(1, 1), durable: LogId::new(1, 1), ..Slow::default() };
    let behaviour = Arc::clone(&machine.behaviour);
    let members: Membership = membership("first");
    let applier = Applier::new(machine, opened.log.reader(), LogIndex(1), members);
    (opened, applier, behaviour)
}

fn apply(index: u64) -> MachineWork {
    let entries = Some(vec![command(index)].into());
    let apply = Apply { first: LogIndex(index), last: LogIndex(index), entries };
    MachineWork::Apply { apply, answers: Answers::Unwanted }
}

/// What a report says: `a2` for applied up to 2, `d2` for durable up to 2.
fn words(event: &Event) -> String {
    match event {
        Event::Machine(MachineReport::Applied(batch)) => format!("a{}", batch.through.0),
        Event::Machine(MachineReport::Durable(id)) => format!("d{}", id.index.0),
        Event::Machine(MachineReport::Failed(why)) => format!("failed: {why}"),
        Event::Machine(_) | Event::Log(_) | Event::Snapshot(_) | Event::Transport(_) => {
            panic!("no other report is due")
        }
    }
}

fn advance(applier: &mut Applier<Slow>) -> Vec<String> {
    std::iter::from_fn(|| applier.advance()).map(|event| words(&event)).collect()
}

fn end(applier: &mut Applier<Slow>) -> Option<String> {
    let work = applier.background().expect("work has begun");
    applier.end_background(Duration::ZERO, work.run()).report().map(|event| words(&event))
}

#[test]
fn applying_goes_on_while_the_state_is_made_durable() {
    let (_opened, mut applier, _) = applier();
    applier.take(vec![apply(2), MachineWork::Persist]);
    assert_eq!(advance(&mut applier), ["a2"]);
    let work = applier.background().expect("persisting has begun");
    applier.take(vec![apply(3), apply(4)]);
    assert_eq!(advance(&mut applier), ["a4"]);
    assert!(!applier.is_idle(), "the background work is under way");
    let ended = applier.end_background(Duration::ZERO, work.run()).report().map(|event| words(&event));
    assert_eq!(ended.as_deref(), Some("d2"), "what came later is not durable");
    assert_eq!(advance(&mut applier), [""; 0]);
    assert!(applier.is_idle());
}

#[test]
fn persisting_that_is_asked_for_meanwhile_comes_afterwards() {
    let (_opened, mut applier, _) = applier();
    applier.take(vec![apply(2), MachineWork::Persist]);
    assert_eq!(advance(&mut applier), ["a2"]);
    let first = applier.background().expect("persisting has begun");
    applier.take(vec![apply(3), MachineWork::Persist, apply(4)]);
    assert_eq!(advance(&mut applier), ["a3", "a4"]);
    assert!(applier.background().is_none(), "one at a time");
    let ended = applier.end_background(Duration::ZERO, first.run()).report().map(|event| words(&event));
    assert_eq!(ended.as_deref(), Some("d2"));
    assert_eq!(advance(&mut applier), [""; 0]);
    assert_eq!(end(&mut applier).as_deref(), Some("d4"), "all that was applied when it began");
}

#[test]
fn applying_waits_once_changes_take_up_too_much_memory() {
    let (_opened, mut applier, behaviour) = applier();
    behaviour.lock().unwrap().memory = 16 * MIB;
    applier.take(vec![apply(2)]);
    assert_eq!(advance(&mut applier), ["a2"], "persisting begins by itself");
    let work = applier.background().expect("persisting has begun");
    behaviour.lock().unwrap().memory = 31 * MIB;
    applier.take(vec![apply(3)]);
    assert_eq!(advance(&mut applier), ["a3"]);
    behaviour.lock().unwrap().memory = 32 * MIB;
    applier.take(vec![apply(4)]);
    assert_eq!(advance(&mut applier), [""; 0], "memory is full");
    assert!(!applier.is_idle());
    let ended = applier.end_background(Duration::ZERO, work.run()).report();
    assert_eq!(ended.map(|event| words(&event)).as_deref(), Some("d1"), "it began before 2 was applied");
    behaviour.lock().unwrap().memory = 0;
    assert_eq!(advance(&mut applier), ["a4"]);
}

#[test]
fn work_in_the_background_that_fails_is_reported() {
    let (_opened, mut applier, behaviour) = applier();
    behaviour.lock().unwrap().fails = true;
    applier.take(vec![apply(2), MachineWork::Persist]);
    assert_eq!(advance(&mut applier), ["a2"]);
    let said = end(&mut applier).expect("a report");
    assert!(said.contains("failed") && said.contains("the disk is gone"), "{said}");
}

#[test]
fn space_is_given_back_in_turn_with_persisting() {
    let (_opened, mut applier, _) = applier();
    applier.take(vec![apply(2), MachineWork::Persist]);
    assert_eq!(advance(&mut applier), ["a2"]);
    assert_eq!(applier.next(Duration::from_secs(60)), None, "persisting is under way");
    assert!(applier.give_back(Duration::from_secs(60)).is_none());
    assert_eq!(end(&mut applier).as_deref(), Some("d2"));
    assert!(applier.next(Duration::from_secs(60)).is_some());
    assert!(applier.give_back(Duration::from_secs(60)).is_none(), "it goes on in the background");
    let work = applier.background().expect("a step has begun");
    applier.take(vec![apply(3), MachineWork::Persist]);
    assert_eq!(advance(&mut applier), ["a3"], "persisting waits for the step");
    let ended = applier.end_background(Duration::from_secs(61), work.run());
    assert!(matches!(ended, BackgroundEnd::GaveBack(Progress::Done)));
    assert_eq!(advance(&mut applier), [""; 0]);
    assert_eq!(end(&mut applier).as_deref(), Some("d3"));
}

#[test]
fn a_snapshot_is_installed_once_the_files_are_not_written_any_more() {
    let (_opened, mut applier, _) = applier();
    applier.take(vec![apply(2), MachineWork::Persist]);
    assert_eq!(advance(&mut applier), ["a2"]);
    let work = applier.background().expect("persisting has begun");
    applier.take(vec![MachineWork::Restore(super::follower::snapshot(9))]);
    assert!(applier.advance().is_none(), "the snapshot waits");
    assert!(!applier.is_idle());
    let _ = applier.end_background(Duration::ZERO, work.run());
    let restored = applier.advance();
    assert!(
        matches!(restored, Some(Event::Machine(MachineReport::Restored { id, .. })) if id.index == LogIndex(9))
    );
}
