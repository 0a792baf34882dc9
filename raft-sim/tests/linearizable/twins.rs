//! Two checkers that only enumerate: no partition, no bits, no order of trying, no classes.

use std::collections::{BTreeMap, BTreeSet};

use raftkit_sim::linearizable::{KvCall, KvOutput, Model, Operation};

use crate::KvOperation;
use crate::store::Store;

/// Whether this one may come next: nothing that has to be done returned before it was called.
fn may_be_next<I, O>(history: &[Operation<I, O>], done: u32, next: usize) -> bool {
    let called = history[next].called;
    let before = |other: &Operation<I, O>| other.returned.is_some_and(|r| r.max(other.called) < called);
    done & (1 << next) == 0
        && (0..history.len()).all(|other| {
            done & (1 << other) != 0 || history[other].output.is_none() || !before(&history[other])
        })
}

/// Whether all that has to be done is.
fn is_complete<I, O>(history: &[Operation<I, O>], done: u32) -> bool {
    (0..history.len()).all(|number| done & (1 << number) != 0 || history[number].output.is_none())
}

/// Tries every order that time allows, with and without each operation of unknown outcome, on the model itself.
pub(crate) fn by_all_orders<M: Model>(history: &[Operation<M::Input, M::Output>]) -> bool {
    fn rest<M: Model>(
        history: &[Operation<M::Input, M::Output>],
        done: u32,
        states: &BTreeMap<M::Key, M::State>,
    ) -> bool {
        is_complete(history, done)
            || (0..history.len()).filter(|&next| may_be_next(history, done, next)).any(|next| {
                let Operation { input, output, .. } = &history[next];
                let key = M::key(input);
                let state = states.get(&key).cloned().unwrap_or_else(M::initial);
                M::step(&state, input, output.as_ref()).is_some_and(|after| {
                    let mut states = states.clone();
                    states.insert(key, after);
                    rest::<M>(history, done | (1 << next), &states)
                })
            })
    }
    rest::<M>(history, 0, &BTreeMap::new())
}

/// Tries every order on stores in which each write has an index, also those that nobody was told: any that is left.
pub(crate) fn by_all_indexes(history: &[KvOperation]) -> bool {
    let told = history.iter().flat_map(|operation| match (operation.output, operation.input.call) {
        (Some(KvOutput::Written { index, .. }), _) => vec![index],
        (Some(KvOutput::Read { value: Some((_, modified, created)) }), _) => vec![modified, created],
        (_, KvCall::Put { cas: Some(index), .. } | KvCall::Delete { cas: Some(index) }) => vec![index],
        (Some(KvOutput::Read { value: None } | KvOutput::Acknowledged { .. }) | None, _) => Vec::new(),
    });
    let index_max = told.max().unwrap_or(0) + history.len() as u64;
    rest(history, index_max, 0, &BTreeMap::new(), &mut BTreeSet::new())
}

type Stores = BTreeMap<u64, Store>;

fn rest(
    history: &[KvOperation],
    index_max: u64,
    done: u32,
    stores: &Stores,
    seen: &mut BTreeSet<(u32, Stores)>,
) -> bool {
    if is_complete(history, done) {
        return true;
    }
    if !seen.insert((done, stores.clone())) {
        return false;
    }
    for next in (0..history.len()).filter(|&next| may_be_next(history, done, next)) {
        let operation = &history[next];
        let store = stores.get(&operation.input.key).copied().unwrap_or_default();
        let indexes = match operation.output {
            Some(KvOutput::Written { index, .. }) if index > store.last => index..=index,
            #[expect(clippy::reversed_empty_ranges, reason = "none is possible")]
            Some(KvOutput::Written { .. }) => 1..=0,
            Some(KvOutput::Read { .. }) => 0..=0,
            Some(KvOutput::Acknowledged { .. }) | None => store.last + 1..=index_max,
        };
        for index in indexes {
            let mut after = store;
            let output = after.apply(operation.input.call, index);
            let told = match (operation.output, output) {
                (None, _) => true,
                (Some(KvOutput::Acknowledged { done }), KvOutput::Written { done: really, .. }) => {
                    done == really
                }
                (Some(told), output) => told == output,
            };
            if told {
                let mut stores = stores.clone();
                stores.insert(operation.input.key, after);
                if rest(history, index_max, done | (1 << next), &stores, seen) {
                    return true;
                }
            }
        }
    }
    false
}
