//! The verdict: the history as raft-sim's checker takes it, and the minimum counts without which a verdict means nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use raftkit_sim::linearizable::{
    Budget, History, KvCall, KvInput, KvModel, KvOutput, Operation, Verdict, Violation,
};

use super::states::States;
use super::{Ask, Event, KEYS, Mode, Told, keys_of};

type Calls = Vec<Operation<KvInput, KvOutput>>;

/// Checks a whole history: linearizable, and each node's reads by the rules of [`States`].
///
/// # Errors
/// What of it cannot be true, for a reader.
pub fn judge(events: &[Event]) -> Result<(), String> {
    let states = States::of(events)?;
    let mut history = History::<KvModel>::new();
    events.iter().flat_map(|event| operations(event, &states)).for_each(|call| history.push(call));
    match history.check(Budget::default()) {
        Verdict::Linearizable => {}
        Verdict::Violation(violation) => return Err(explained(&violation, events)),
        unfinished @ Verdict::OutOfBudget { .. } => return Err(unfinished.to_string()),
    }
    states.check_each_node(events)
}

/// A request as the checker takes it: one operation for each of its keys. What certainly did nothing is left out, so an
/// effect of it is one that no order explains. A tree delete and a list are checked key by key here, their common index by
/// [`States`]; so are stale reads, which need no place in the order.
fn operations(event: &Event, states: &States) -> Calls {
    let Event { client, called, returned, .. } = *event;
    let operation = |key: usize, call: KvCall, output: Option<KvOutput>| {
        let returned = output.is_some().then_some(returned);
        Operation { client, input: KvInput { key: key as u64, call }, output, called, returned }
    };
    let written = match &event.told {
        Told::Done(done) => Some(KvOutput::Acknowledged { done: *done }),
        Told::Unknown(_) => None,
        Told::NotDone(_) => return Vec::new(),
        Told::Found { .. } | Told::Names { .. } => return read(event, operation),
    };
    match event.ask {
        Ask::Put { key, value, cas } => {
            let call = KvCall::Put { value, cas };
            match (written, states.index_of(key, value)) {
                // The answer has no index, but a read had.
                (Some(KvOutput::Acknowledged { done: true }), Some(index)) => {
                    vec![operation(key, call, Some(KvOutput::Written { done: true, index }))]
                }
                (Some(output), None) => vec![operation(key, KvCall::PutUnseen { cas }, Some(output))],
                (output, _) => vec![operation(key, call, output)],
            }
        }
        Ask::Delete { key, cas } => vec![operation(key, KvCall::Delete { cas }, written)],
        // Each key's history must have an order with it.
        Ask::DeleteTree { tree } => {
            keys_of(tree).map(|key| operation(key, KvCall::Delete { cas: None }, written)).collect()
        }
        Ask::Get { .. } | Ask::List { .. } | Ask::Names { .. } => Vec::new(),
    }
}

fn read(
    event: &Event,
    operation: impl Fn(usize, KvCall, Option<KvOutput>) -> Operation<KvInput, KvOutput>,
) -> Calls {
    let get = |key, value| operation(key, KvCall::Get, Some(KvOutput::Read { value }));
    let keys: Vec<usize> = match event.ask {
        Ask::Get { mode: Mode::Stale, .. }
        | Ask::List { mode: Mode::Stale, .. }
        | Ask::Names { mode: Mode::Stale, .. } => return Vec::new(),
        Ask::Get { key, .. } => vec![key],
        Ask::List { tree, .. } | Ask::Names { tree, .. } => keys_of(tree).collect(),
        Ask::Put { .. } | Ask::Delete { .. } | Ask::DeleteTree { .. } => return Vec::new(),
    };
    match &event.told {
        Told::Found { shown, .. } => keys
            .into_iter()
            .map(|key| {
                let shown = shown.iter().find(|shown| shown.key == key);
                get(key, shown.map(|shown| (shown.value, shown.modified, shown.created)))
            })
            .collect(),
        // Of the keys that are there it says nothing that the model knows.
        Told::Names { keys: names, .. } => {
            keys.into_iter().filter(|key| !names.contains(key)).map(|key| get(key, None)).collect()
        }
        Told::Done(_) | Told::NotDone(_) | Told::Unknown(_) => Vec::new(),
    }
}

/// The violation, and what else was asked about its key at that time.
fn explained(violation: &Violation<KvModel>, events: &[Event]) -> String {
    let key = usize::try_from(violation.key).unwrap();
    let at = violation.misfits.first().map_or(0, |misfit| misfit.called);
    let mut of_key: Vec<&Event> = events.iter().filter(|event| concerns(event, key)).collect();
    of_key.sort_by_key(|event| event.called);
    let first = of_key.partition_point(|event| event.called < at).saturating_sub(60);
    let mut text = format!("{}\n{violation}\nthe requests about it at that time:\n", KEYS[key]);
    for event in of_key.iter().skip(first).take(100) {
        let _ = writeln!(text, "{}", line(event));
    }
    text
}

fn concerns(event: &Event, key: usize) -> bool {
    match event.ask {
        Ask::Put { key: own, .. } | Ask::Delete { key: own, .. } | Ask::Get { key: own, .. } => own == key,
        Ask::DeleteTree { tree } | Ask::List { tree, .. } | Ask::Names { tree, .. } => {
            keys_of(tree).any(|own| own == key)
        }
    }
}

/// An event for a reader.
pub fn line(event: &Event) -> String {
    let Event { client, node, life, called, returned, ask, told } = event;
    let life = life.map_or_else(|| "?".to_owned(), |life| (life / 2).to_string());
    let node = node + 1;
    format!("{called:>12} to {returned:>12} client {client} at node {node}, life {life}: {ask:?} -> {told:?}")
}

/// How often each kind of request got each kind of answer.
#[derive(Debug, Default)]
pub struct Counts(BTreeMap<&'static str, usize>);

impl Counts {
    pub fn of(events: &[Event]) -> Self {
        let mut counts = Self::default();
        for event in events {
            counts.count(event);
        }
        counts
    }

    fn count(&mut self, event: &Event) {
        let mut hit = |what| *self.0.entry(what).or_default() += 1;
        match (&event.ask, &event.told) {
            (Ask::Put { .. } | Ask::Delete { .. } | Ask::DeleteTree { .. }, Told::Unknown(_)) => {
                hit("unknown");
            }
            (Ask::Put { .. } | Ask::Delete { .. } | Ask::DeleteTree { .. }, Told::NotDone(why)) => {
                hit(if why == "no connection" { "not reached" } else { "refused by a node" });
            }
            (Ask::Put { .. } | Ask::Delete { .. } | Ask::DeleteTree { .. }, _) => hit("written"),
            (_, Told::Unknown(_) | Told::NotDone(_)) => hit("reads without an answer"),
            _ => {}
        }
        match (&event.ask, &event.told) {
            (Ask::Put { cas: None, .. }, Told::Done(true)) => hit("put"),
            (Ask::Put { cas: Some(0), .. }, Told::Done(true)) => hit("put cas=0 done"),
            (Ask::Put { cas: Some(0), .. }, Told::Done(false)) => hit("put cas=0 not done"),
            (Ask::Put { cas: Some(_), .. }, Told::Done(true)) => hit("put cas done"),
            (Ask::Put { cas: Some(_), .. }, Told::Done(false)) => hit("put cas not done"),
            (Ask::Delete { cas: None, .. }, Told::Done(true)) => hit("delete"),
            (Ask::Delete { cas: Some(_), .. }, Told::Done(true)) => hit("delete cas done"),
            (Ask::Delete { cas: Some(_), .. }, Told::Done(false)) => hit("delete cas not done"),
            (Ask::DeleteTree { .. }, Told::Done(true)) => hit("delete tree"),
            (Ask::Get { mode, index, .. }, Told::Found { .. }) => {
                hit(match mode {
                    Mode::Default => "get default",
                    Mode::Consistent => "get consistent",
                    Mode::Stale => "get stale",
                });
                if index.is_some() {
                    hit("get blocking");
                }
            }
            (Ask::List { mode, .. }, Told::Found { .. }) => hit(match mode {
                Mode::Default => "list default",
                Mode::Consistent => "list consistent",
                Mode::Stale => "list stale",
            }),
            (Ask::Names { mode, .. }, Told::Names { .. }) => hit(match mode {
                Mode::Default => "names default",
                Mode::Consistent => "names consistent",
                Mode::Stale => "names stale",
            }),
            _ => {}
        }
    }

    pub fn get(&self, what: &str) -> usize {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Asserts the minimum counts.
    pub fn check(&self) {
        let least = [
            ("written", 1500),
            ("put", 200),
            ("put cas=0 done", 20),
            ("put cas=0 not done", 20),
            ("put cas done", 150),
            ("put cas not done", 150),
            ("delete", 30),
            ("delete cas done", 30),
            ("delete cas not done", 20),
            ("delete tree", 10),
            ("get default", 300),
            ("get consistent", 300),
            ("get stale", 150),
            ("get blocking", 60),
            ("list default", 20),
            ("list consistent", 20),
            ("list stale", 20),
            ("names default", 15),
            ("names consistent", 15),
            ("names stale", 15),
            ("refused by a node", 1),
        ];
        for (what, least) in least {
            assert!(
                self.get(what) >= least,
                "only {} of \"{what}\", {least} are needed: {self:?}",
                self.get(what)
            );
        }
        assert!(self.get("unknown") * 4 < self.get("written"), "too much is unknown: {self:?}");
    }
}
