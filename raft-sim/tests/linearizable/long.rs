//! Histories as long as those of a simulation.

use std::collections::BTreeMap;

use raftkit_sim::linearizable::{Budget, KvCall, KvInput, KvModel, KvOutput, Verdict, check};

use crate::KvOperation;
use crate::store::Store;

/// SplitMix64: small, and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// How a long history comes about.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) operations: usize,
    pub(crate) keys: u64,
    pub(crate) clients: usize,
    pub(crate) unknown_percent: u64,
    /// Values below this are written; none: each put has its own.
    pub(crate) values: Option<u64>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { seed: 1, operations: 10_000, keys: 3, clients: 5, unknown_percent: 3, values: None }
    }
}

/// Clients that call, wait, and call again; half of the operations read, a third of the others is conditional on what
/// was last read, some delete. A write of unknown outcome takes effect at once, late or never.
pub(crate) fn long(shape: Shape) -> Vec<KvOperation> {
    let mut random = Random(shape.seed);
    let mut clocks = vec![0; shape.clients];
    let mut effects: BTreeMap<(u64, usize), bool> = BTreeMap::new();
    let mut history: Vec<KvOperation> = Vec::new();
    let mut stores: BTreeMap<u64, Store> = BTreeMap::new();
    let mut index = 0;
    let mut apply =
        |history: &mut Vec<KvOperation>, stores: &mut BTreeMap<u64, Store>, number: usize, lost: bool| {
            let input = history[number].input;
            index += 1;
            let output = stores.entry(input.key).or_default().apply(input.call, index);
            history[number].output = Some(output).filter(|_| !lost);
        };
    let mut now = 0;
    for number in 0..shape.operations {
        // Who is free first calls next.
        let (client, clock) = clocks.iter_mut().enumerate().min_by_key(|(_, clock)| **clock).unwrap();
        let called = now.max(*clock + 1 + random.below(5));
        now = called;
        while let Some(entry) = effects.first_entry().filter(|entry| entry.key().0 < called) {
            let ((_, number), lost) = entry.remove_entry();
            apply(&mut history, &mut stores, number, lost);
        }
        let key = random.below(shape.keys);
        let seen = stores.get(&key).and_then(|store| store.version).map_or(0, |version| version.1);
        let cas = (random.below(3) == 0).then_some(seen);
        let call = match random.below(20) {
            0..10 => KvCall::Get,
            10..19 => {
                let value = shape.values.map_or(number as u64 + 1000, |values| random.below(values));
                KvCall::Put { value, cas }
            }
            _ => KvCall::Delete { cas },
        };
        let effect = called + random.below(20);
        let returned = effect + random.below(20);
        *clock = returned;
        let unknown = random.below(100) < shape.unknown_percent;
        match (unknown, random.below(3)) {
            (false, _) => drop(effects.insert((effect, number), false)),
            (true, 0) => drop(effects.insert((effect, number), true)),
            (true, 1) => drop(effects.insert((effect + random.below(500), number), true)),
            (true, _) => {}
        }
        history.push(KvOperation {
            client: client as u64,
            input: KvInput { key, call },
            output: None,
            called,
            returned: Some(returned),
        });
    }
    for ((_, number), lost) in effects {
        apply(&mut history, &mut stores, number, lost);
    }
    history
}

/// Lies that can be told about a history, each by one read: its number, and what the twentieth read of its key
/// before it showed, which was overwritten since.
pub(crate) fn flips(history: &[KvOperation]) -> Vec<(usize, KvOutput)> {
    let shown = |operation: &KvOperation| match operation.output {
        Some(KvOutput::Read { value: Some(value) }) => Some(value),
        _ => None,
    };
    let mut shown_before: BTreeMap<u64, Vec<(u64, u64, u64)>> = BTreeMap::new();
    let mut flips = Vec::new();
    for (number, read) in history.iter().enumerate() {
        let Some(now) = shown(read) else { continue };
        let before = shown_before.entry(read.input.key).or_default();
        if let Some(older) = before.iter().rev().nth(20)
            && before[before.len() - 10..].iter().all(|between| between.1 != older.1)
        {
            flips.push((number, KvOutput::Read { value: Some(*older) }));
        }
        before.push(now);
    }
    flips
}

#[test]
fn long_history_is_accepted_in_few_steps() {
    for seed in 0..10 {
        let verdict =
            check::<KvModel>(&long(Shape { seed, ..Shape::default() }), Budget { steps_max: 30_000 });
        assert!(verdict.is_linearizable(), "seed {seed}: {verdict}");
    }
}

#[test]
fn one_flipped_read_is_found_in_a_long_history() {
    for seed in 0..4 {
        let history = long(Shape { seed, ..Shape::default() });
        let flips = flips(&history);
        assert!(flips.len() > 1_000);
        // From the beginning to the end, where the whole history is searched.
        for (number, lie) in flips.iter().step_by(flips.len() / 5).chain(flips.last()) {
            let mut history = history.clone();
            history[*number].output = Some(*lie);
            let verdict = check::<KvModel>(&history, Budget::default());
            assert!(matches!(verdict, Verdict::Violation(_)), "seed {seed}, read {number}: {verdict}");
        }
    }
}

#[test]
fn many_unknown_outcomes_and_few_values_stay_cheap() {
    for seed in 0..4 {
        let shape = Shape { seed, operations: 3_000, unknown_percent: 20, ..Shape::default() };
        for shape in [shape, Shape { values: Some(4), ..shape }, Shape { clients: 20, keys: 2, ..shape }] {
            let verdict = check::<KvModel>(&long(shape), Budget { steps_max: 2_000_000 });
            assert!(verdict.is_linearizable(), "seed {seed}: {verdict}");
        }
    }
}
