//! The model against the store that ships.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use raftkit_core::LogId;
use raftkit_disk::SimulatedDisk;
use raftkit_kv::{Command, Condition, KvMachine, Response};
use raftkit_replica::{Applied, StateMachine};
use raftkit_sim::linearizable::{KvCall, KvInput, KvModel, KvOutput, Model};

#[derive(Clone, Debug)]
enum Cas {
    Always,
    Current,
    Index(u64),
}

fn call() -> impl Strategy<Value = (KvCall, Cas)> {
    let call = prop_oneof![
        Just(KvCall::Get),
        (0_u64..4).prop_map(|value| KvCall::Put { value, cas: None }),
        Just(KvCall::Delete { cas: None }),
    ];
    let cas = prop_oneof![Just(Cas::Always), Just(Cas::Current), (0_u64..20).prop_map(Cas::Index)];
    (call, cas)
}

fn condition(cas: Option<u64>) -> Condition {
    cas.map_or(Condition::Always, Condition::Cas)
}

/// Asks the machine; a write is the entry after the last one.
fn ask(machine: &mut KvMachine, call: KvCall) -> KvOutput {
    let key = "k".to_owned();
    let command = match call {
        KvCall::Get => {
            let entry = machine.reader().get(&key).unwrap().value;
            let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
            let value = entry.map(|entry| (number(&entry.value), entry.modify_index, entry.create_index));
            return KvOutput::Read { value };
        }
        KvCall::Put { value, cas } => {
            let value = Bytes::copy_from_slice(&value.to_le_bytes());
            Command::Put { key, value, flags: 0, condition: condition(cas) }
        }
        KvCall::PutUnseen { .. } => panic!("the machine has no such call"),
        KvCall::Delete { cas } => Command::Delete { key, condition: condition(cas) },
    };
    let index = machine.applied().index.0 + 1;
    let entry = Applied { id: LogId::new(1, index), command: Some(command.encode()) };
    let answers = machine.apply(&[entry]).unwrap();
    let Response::Done(done) = Response::decode(answers[0].clone()).unwrap() else {
        panic!("the command is well formed")
    };
    KvOutput::Written { done, index }
}

/// Other answers than this one.
fn others(output: KvOutput) -> Vec<KvOutput> {
    match output {
        KvOutput::Written { done, index } => vec![KvOutput::Written { done: !done, index }],
        KvOutput::Acknowledged { done } => vec![KvOutput::Acknowledged { done: !done }],
        KvOutput::Read { value: None } => vec![KvOutput::Read { value: Some((0, 1, 1)) }],
        KvOutput::Read { value: Some((value, modified, created)) } => {
            let read = |value, modified, created| KvOutput::Read { value: Some((value, modified, created)) };
            vec![
                KvOutput::Read { value: None },
                read(value + 1, modified, created),
                read(value, modified + 1, created),
                read(value, modified - 1, created),
                read(value, modified, created + 1),
                read(value, modified, created - 1),
            ]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn model_says_what_the_machine_says_and_nothing_else(calls in proptest::collection::vec(call(), 1..60)) {
        let disk = Arc::new(SimulatedDisk::new(1));
        let mut machine = KvMachine::open(disk, Path::new("/data/state")).unwrap();
        let mut state = KvModel::initial();
        for (call, cas) in calls {
            let cas = match cas {
                Cas::Always => None,
                Cas::Current => Some(state.version.map_or(0, |version| version.modified.0)),
                Cas::Index(index) => Some(index),
            };
            let call = match call {
                KvCall::Get => KvCall::Get,
                KvCall::Put { value, .. } => KvCall::Put { value, cas },
                KvCall::PutUnseen { .. } => KvCall::PutUnseen { cas },
                KvCall::Delete { .. } => KvCall::Delete { cas },
            };
            let input = KvInput { key: 0, call };
            let output = ask(&mut machine, call);
            for other in others(output) {
                prop_assert_eq!(KvModel::step(&state, &input, Some(&other)), None, "{:?} in {:?}", other, state);
            }
            let after = KvModel::step(&state, &input, Some(&output));
            prop_assert!(after.is_some(), "{:?} -> {:?} in {:?}", call, output, state);
            state = after.unwrap();
        }
    }
}
