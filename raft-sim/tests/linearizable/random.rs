//! Random histories: clients that overlap on real stores, and then a few lies.

use std::collections::BTreeMap;

use proptest::prelude::*;
use raftkit_sim::linearizable::{KvCall, KvInput, KvOutput};

use crate::KvOperation;
use crate::store::Store;

/// What a client does next, before it is known what it meets.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    client: u64,
    key: u64,
    wish: Wish,
    /// From the last return of the client to the call, from there to the effect, from there to the return.
    waits: [u64; 3],
    /// So many indexes are used for other keys before.
    gap: u64,
    fate: Fate,
}

#[derive(Clone, Debug)]
enum Wish {
    Get,
    Put(u64, Cas),
    Delete(Cas),
}

#[derive(Clone, Debug)]
enum Cas {
    Always,
    /// The modify index at the time of the call; 0 where the key is not there.
    Seen,
    Index(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It takes effect, but the answer is lost.
    Lost,
    /// It takes effect long after its client gave up.
    Late(u64),
    Never,
}

/// A lie about the operation with a number, modulo how many there are.
#[derive(Clone, Debug)]
pub(crate) enum Lie {
    Value(usize, u64),
    Modified(usize, i64),
    Created(usize, i64),
    Absent(usize),
    Index(usize, i64),
    Done(usize),
    SwappedOutputs(usize, usize),
    Forgotten(usize),
    Called(usize, u64),
    Returned(usize, u64),
}

fn cas() -> impl Strategy<Value = Cas> {
    prop_oneof![4 => Just(Cas::Always), 3 => Just(Cas::Seen), 1 => (0_u64..8).prop_map(Cas::Index)]
}

pub(crate) fn step(clients: u64, keys: u64, values: u64) -> impl Strategy<Value = Step> {
    let wish = prop_oneof![
        4 => Just(Wish::Get),
        4 => (0..values, cas()).prop_map(|(value, cas)| Wish::Put(value, cas)),
        1 => cas().prop_map(Wish::Delete),
    ];
    let fate = prop_oneof![
        7 => Just(Fate::Answered),
        1 => Just(Fate::Lost),
        1 => (0_u64..20).prop_map(Fate::Late),
        1 => Just(Fate::Never),
    ];
    let waits = [0_u64..3, 0_u64..6, 0_u64..6];
    (0..clients, 0..keys, wish, waits, 0_u64..2, fate)
        .prop_map(|(client, key, wish, waits, gap, fate)| Step { client, key, wish, waits, gap, fate })
}

pub(crate) fn lie() -> impl Strategy<Value = Lie> {
    let one = 0_usize..8;
    prop_oneof![
        3 => (one.clone(), 0_u64..4).prop_map(|(one, value)| Lie::Value(one, value)),
        1 => (one.clone(), -2_i64..3).prop_map(|(one, by)| Lie::Modified(one, by)),
        1 => (one.clone(), -2_i64..3).prop_map(|(one, by)| Lie::Created(one, by)),
        1 => one.clone().prop_map(Lie::Absent),
        1 => (one.clone(), -2_i64..3).prop_map(|(one, by)| Lie::Index(one, by)),
        1 => one.clone().prop_map(Lie::Done),
        2 => (one.clone(), one.clone()).prop_map(|(one, other)| Lie::SwappedOutputs(one, other)),
        1 => one.clone().prop_map(Lie::Forgotten),
        1 => (one.clone(), 0_u64..40).prop_map(|(one, time)| Lie::Called(one, time)),
        1 => (one, 0_u64..40).prop_map(|(one, time)| Lie::Returned(one, time)),
    ]
}

/// Lets the clients do their steps. The history is linearizable: each effect is at one instant between call and return.
pub(crate) fn run(steps: &[Step]) -> Vec<KvOperation> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Moment {
        Call,
        Effect,
    }
    let mut clocks: BTreeMap<u64, u64> = BTreeMap::new();
    let mut moments = Vec::new();
    let mut history = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let clock = clocks.entry(step.client).or_default();
        let called = *clock + step.waits[0];
        let effect = called + step.waits[1];
        let returned = effect + step.waits[2];
        *clock = returned + 1;
        moments.push((called, Moment::Call, number));
        match step.fate {
            Fate::Answered | Fate::Lost => moments.push((effect, Moment::Effect, number)),
            Fate::Late(by) => moments.push((returned + by, Moment::Effect, number)),
            Fate::Never => {}
        }
        let input = KvInput { key: step.key, call: KvCall::Get };
        history.push(crate::operation(step.client, (called, returned), input, None));
    }
    moments.sort_unstable();

    let mut stores: BTreeMap<u64, Store> = BTreeMap::new();
    let mut index = 0;
    for (_, moment, number) in moments {
        let step = &steps[number];
        let store = stores.entry(step.key).or_default();
        if moment == Moment::Call {
            let resolve = |cas: &Cas| match cas {
                Cas::Always => None,
                Cas::Seen => Some(store.version.map_or(0, |(_, modified, _)| modified)),
                Cas::Index(index) => Some(*index),
            };
            history[number].input.call = match &step.wish {
                Wish::Get => KvCall::Get,
                Wish::Put(value, cas) => KvCall::Put { value: *value, cas: resolve(cas) },
                Wish::Delete(cas) => KvCall::Delete { cas: resolve(cas) },
            };
            continue;
        }
        let call = history[number].input.call;
        index += if call == KvCall::Get { 0 } else { 1 + step.gap };
        let output = store.apply(call, index);
        if step.fate == Fate::Answered {
            history[number].output = Some(output);
        }
    }
    // Whether a caller gave up or waits for ever makes no difference.
    for (operation, step) in history.iter_mut().zip(steps) {
        if step.fate != Fate::Answered && step.gap == 0 {
            operation.returned = None;
        }
    }
    history
}

/// Tells a lie; many of them can be found out, but not all.
pub(crate) fn tell(history: &mut Vec<KvOperation>, lie: &Lie) {
    let length = history.len();
    if length == 0 {
        return;
    }
    match *lie {
        Lie::Value(one, new) => edit_read(history, one, |(value, _, _)| *value = new),
        Lie::Modified(one, by) => {
            edit_read(history, one, |(_, modified, _)| *modified = modified.saturating_add_signed(by));
        }
        Lie::Created(one, by) => {
            edit_read(history, one, |(_, _, created)| *created = created.saturating_add_signed(by));
        }
        Lie::Absent(one) => {
            if let Some(KvOutput::Read { value }) = &mut history[one % length].output {
                *value = None;
            }
        }
        Lie::Index(one, by) => {
            if let Some(KvOutput::Written { index, .. }) = &mut history[one % length].output {
                *index = index.saturating_add_signed(by);
            }
        }
        Lie::Done(one) => {
            if let Some(KvOutput::Written { done, .. }) = &mut history[one % length].output {
                *done = !*done;
            }
        }
        Lie::SwappedOutputs(one, other) => {
            let (one, other) = (one % length, other % length);
            let swapped = history[one].output;
            history[one].output = history[other].output;
            history[other].output = swapped;
        }
        Lie::Forgotten(one) => drop(history.remove(one % length)),
        Lie::Called(one, time) => history[one % length].called = time,
        Lie::Returned(one, time) => history[one % length].returned = Some(time),
    }
}

/// Edits the next read of something from here on.
fn edit_read(history: &mut [KvOperation], one: usize, edit: impl FnOnce(&mut (u64, u64, u64))) {
    let length = history.len();
    for number in (0..length).map(|step| (one + step) % length) {
        if let Some(KvOutput::Read { value: Some(value) }) = &mut history[number].output {
            return edit(value);
        }
    }
}
