//! The machine compared with a deliberately simple model, over random commands, crashes and batch boundaries.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod common;

use std::ops::ControlFlow;

use common::{Twin, delete, delete_tree, delete_tree_up_to, fresh, open, put_if, state_bytes};
use proptest::prelude::*;
use raftkit_core::LogId;
use raftkit_disk::SimulatedDisk;
use raftkit_kv::{Command, Condition, KvMachine, Response, Step};
use raftkit_replica::{Applied, Background, Begun, StateMachine, TakeOver};

#[derive(Clone, Debug)]
enum Op {
    Apply(Vec<Option<Command>>),
    Persist,
    /// Persisting begins; the work in the background is not run yet.
    Begin,
    /// The work in the background is run; the machine has not taken over its result yet.
    Run,
    /// The machine takes over the result of the work in the background.
    End,
    /// The power is cut at the call with this number, counted from here, that changes the disk, or at the end of the next steps.
    CrashAt(u64),
    Crash,
    /// The process ends cleanly.
    Reopen,
    /// A snapshot is taken and restored.
    Restore,
}

fn key() -> impl Strategy<Value = String> {
    proptest::sample::select(vec!["a", "a/", "a/b", "a/b/c", "a/c", "b", "b/x", "ü/1", "ü/2"])
        .prop_map(str::to_owned)
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        3 => Just(Condition::Always),
        1 => Just(Condition::Cas(0)),
        2 => (1_u64..60).prop_map(Condition::Cas),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let value = prop_oneof![4 => "[xy]{0,2}", 1 => "[a-z]{5000}"];
    prop_oneof![
        6 => (key(), value, 0_u64..2, condition()).prop_map(|(key, value, flags, when)| put_if(&key, &value, flags, when)),
        3 => (key(), condition()).prop_map(|(key, when)| delete(&key, when)),
        1 => prop_oneof![Just(""), Just("a/"), Just("b"), Just("ü")].prop_map(delete_tree),
        1 => (prop_oneof![Just(""), Just("a/"), Just("b")], 0_u32..4).prop_map(|(prefix, max)| delete_tree_up_to(prefix, max)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let batch = proptest::collection::vec(prop_oneof![9 => command().prop_map(Some), 1 => Just(None)], 1..6);
    prop_oneof![
        10 => batch.prop_map(Op::Apply),
        2 => Just(Op::Persist),
        3 => Just(Op::Begin),
        2 => Just(Op::Run),
        2 => Just(Op::End),
        1 => (0_u64..20).prop_map(Op::CrashAt),
        1 => Just(Op::Crash),
        1 => Just(Op::Reopen),
        1 => Just(Op::Restore),
    ]
}

/// The log, and the state after each entry.
struct Log {
    entries: Vec<Applied>,
    states: Vec<Twin>,
    answers: Vec<Option<Response>>,
}

impl Log {
    fn new() -> Self {
        Self { entries: Vec::new(), states: vec![Twin::default()], answers: Vec::new() }
    }

    fn append(&mut self, command: Option<Command>) {
        let index = self.entries.len() as u64 + 1;
        let mut state = self.states.last().unwrap().clone();
        self.answers.push(command.as_ref().map(|command| state.answer(index, command)));
        self.states.push(state);
        let id = LogId::new(1 + index / 10, index);
        self.entries.push(Applied { id, command: command.map(|command| command.encode()) });
    }

    /// The entries after `applied`.
    fn after(&self, applied: LogId) -> &[Applied] {
        &self.entries[usize::try_from(applied.index.0).unwrap()..]
    }

    fn state(&self, applied: LogId) -> &Twin {
        &self.states[usize::try_from(applied.index.0).unwrap()]
    }

    fn check_answers(&self, first: LogId, answers: &[bytes::Bytes]) {
        let expected = &self.answers[usize::try_from(first.index.0).unwrap()..];
        for (answer, expected) in answers.iter().zip(expected) {
            let answer = (!answer.is_empty()).then(|| Response::decode(answer.clone()).unwrap());
            assert_eq!(answer, *expected);
        }
    }
}

fn check(machine: &KvMachine, log: &Log) {
    let (applied, reader) = (machine.applied(), machine.reader());
    let twin = log.state(applied);
    assert_eq!(reader.applied().unwrap(), applied);
    for prefix in ["", "a", "a/", "a/b/", "b", "ü", "none"] {
        let list = reader.list(prefix).unwrap();
        assert_eq!(list.value, twin.under(prefix), "list {prefix}");
        assert_eq!((list.index, list.applied), (twin.index(prefix), applied), "list {prefix}");
        let (mut listing, mut found) = (reader.listing(prefix).unwrap(), Vec::new());
        // Apply two entries per step.
        let index = loop {
            let step = listing.step(|entry| {
                found.push(entry.to_entry());
                if found.len() % 2 == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if let Step::End { index } = step.unwrap() {
                break index;
            }
        };
        assert_eq!(
            (found, index, listing.applied()),
            (list.value, list.index, list.applied),
            "steps {prefix}"
        );
        let keys = reader.keys(prefix, Some("/")).unwrap();
        assert_eq!((keys.value, keys.index), (twin.keys(prefix, "/"), twin.index(prefix)), "keys {prefix}");
    }
    for key in ["a", "a/b", "none"] {
        let read = reader.get(key).unwrap();
        assert_eq!(read.value.as_ref(), twin.entries.get(key), "get {key}");
        let expected = twin.entries.get(key).map_or(twin.changed.max(1), |entry| entry.modify_index);
        assert_eq!(read.index, expected, "get {key}");
    }
}

/// Cuts the power and opens the machine again. Its state must lie between the durable one and the applied one.
fn crash(disk: &SimulatedDisk, machine: KvMachine, log: &Log) -> KvMachine {
    let (durable, applied) = (machine.durable(), machine.applied());
    disk.freeze();
    drop(machine);
    disk.crash();
    let machine = open(disk).unwrap();
    let found = machine.applied();
    assert!(
        durable <= found && found <= log.entries.last().map_or(applied, |last| last.id),
        "{durable} {found}"
    );
    assert_eq!(machine.durable(), found);
    assert!(found == LogId::ZERO || log.after(LogId::ZERO).iter().any(|entry| entry.id == found));
    check(&machine, log);
    machine
}

/// Applies the entries that the machine does not have. An error can only be the crash point; then the machine is opened again.
fn catch_up(disk: &SimulatedDisk, mut machine: KvMachine, log: &Log) -> KvMachine {
    loop {
        let first = machine.applied();
        match machine.apply(log.after(first)) {
            Ok(answers) => {
                log.check_answers(first, &answers);
                return machine;
            }
            Err(error) => {
                assert!(disk.is_frozen(), "{error}");
                machine = crash(disk, machine, log);
            }
        }
    }
}

/// Persisting that goes on in the background.
enum UnderWay {
    Nothing,
    Begun(Background<KvMachine, LogId>),
    Ran(TakeOver<KvMachine, LogId>),
}

impl UnderWay {
    fn begin(self, machine: &mut KvMachine) -> Self {
        match self {
            Self::Nothing => match machine.begin_persist() {
                Ok(Begun::Done(_)) | Err(_) => Self::Nothing,
                Ok(Begun::Background(work)) => Self::Begun(work),
            },
            Self::Begun(_) | Self::Ran(_) => self,
        }
    }

    fn run(self) -> Self {
        match self {
            Self::Begun(work) => Self::Ran(work.run()),
            Self::Nothing | Self::Ran(_) => self,
        }
    }

    fn end(self, machine: &mut KvMachine, disk: &SimulatedDisk) {
        let before = machine.durable();
        if let Self::Ran(ran) = self.run() {
            match ran.by(machine) {
                Ok(durable) => assert_eq!((durable, before < durable), (machine.durable(), true)),
                Err(error) => assert!(disk.is_frozen(), "{error}"),
            }
        }
    }
}

fn run(seed: u64, ops: &[Op]) {
    let (disk, mut machine) = fresh(seed);
    let mut under_way = UnderWay::Nothing;
    let mut log = Log::new();
    for op in ops {
        under_way = match op {
            Op::Begin => under_way.begin(&mut machine),
            Op::Run => under_way.run(),
            Op::End | Op::Persist | Op::Restore => {
                under_way.end(&mut machine, &disk);
                UnderWay::Nothing
            }
            Op::Crash | Op::Reopen => UnderWay::Nothing,
            Op::Apply(_) | Op::CrashAt(_) => under_way,
        };
        match op {
            Op::Begin | Op::Run | Op::End => {}
            Op::Apply(commands) => {
                for command in commands {
                    log.append(command.clone());
                }
            }
            Op::Persist => match machine.persist() {
                Ok(durable) => assert_eq!((durable, machine.durable()), (machine.applied(), durable)),
                Err(error) => assert!(disk.is_frozen(), "{error}"),
            },
            Op::CrashAt(call) => disk.crash_at_call(*call),
            Op::Crash => machine = crash(&disk, machine, &log),
            Op::Reopen => {
                disk.clear_faults();
                machine = reopen(&disk, machine, &log);
            }
            Op::Restore if disk.is_frozen() => {}
            Op::Restore => {
                let bytes = state_bytes(&mut machine);
                let id = machine.applied();
                if let Err(error) = machine.restore(id, &mut bytes.as_slice()) {
                    assert!(disk.is_frozen(), "{error}");
                }
            }
        }
        if disk.is_frozen() {
            under_way = UnderWay::Nothing;
            machine = crash(&disk, machine, &log);
        }
        machine = catch_up(&disk, machine, &log);
        check(&machine, &log);
    }
}

fn reopen(disk: &SimulatedDisk, machine: KvMachine, log: &Log) -> KvMachine {
    if disk.is_frozen() {
        return crash(disk, machine, log);
    }
    let durable = machine.durable();
    drop(machine);
    let machine = open(disk).unwrap();
    assert!(durable <= machine.applied());
    machine
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn machine_is_its_twin_over_crashes(seed in any::<u64>(), ops in proptest::collection::vec(op(), 1..25)) {
        run(seed, &ops);
    }

    #[test]
    fn batches_and_restarts_leave_no_trace_in_the_state(
        commands in proptest::collection::vec(command(), 1..60),
        splits in proptest::collection::vec((1_usize..9, any::<bool>()), 60),
    ) {
        let mut log = Log::new();
        for command in commands {
            log.append(Some(command));
        }
        let (_, mut one) = fresh(1);
        one.apply(&log.entries).unwrap();
        let (disk, mut other) = fresh(2);
        for (size, again) in splits {
            let rest = log.after(other.applied());
            other.apply(&rest[..size.min(rest.len())]).unwrap();
            if again {
                other.persist().unwrap();
                drop(other);
                other = open(&disk).unwrap();
            }
        }
        let left = log.after(other.applied());
        other.apply(left).unwrap();
        prop_assert_eq!(state_bytes(&mut one), state_bytes(&mut other));
    }
}
