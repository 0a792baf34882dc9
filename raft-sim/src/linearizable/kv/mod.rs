//! What the key-value store of raftkit-kv does to one key, as a [`Model`].
//!
//! Reads show the index of the entry that wrote the value, so a state holds indexes, too. Those that no answer has told yet
//! are ranges, which get narrower with what is learned: a put of unknown outcome leaves an index above all that
//! were applied before, a later write with a known index bounds it from above, a read tells it, and so does a check-and-set
//! that was done. One that was not done rules out one index; that is kept where the index is the first or
//! last of the range, and forgotten in its midst. A forgotten fact can let a violation pass, never make one up.

mod unknown;
mod version;

use std::collections::BTreeMap;

use self::version::{change, if_fails, if_holds};
use super::{Inferred, Model, Operation};

/// A key-value store with versions, as raftkit-kv has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvModel {}

/// A call on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvInput {
    /// Which key.
    pub key: u64,
    /// What to do.
    pub call: KvCall,
}

/// What to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KvCall {
    /// Store a value. What is there already, with the same value, keeps its indexes.
    Put {
        /// The value. Different values show more than equal ones.
        value: u64,
        /// Only while the modify index is this; 0: only while the key is not there.
        cas: Option<u64>,
    },
    /// Store a value that no read shows and that no other call puts: then it makes no difference which. The checker itself
    /// makes this of a `Put` of unknown outcome; a history can have it, too.
    PutUnseen {
        /// As for `Put`.
        cas: Option<u64>,
    },
    /// Remove the key. Where it is not there this is done, whatever the condition.
    Delete {
        /// Only while the modify index is this; 0: never.
        cas: Option<u64>,
    },
    /// Read it, with the promise of linearizability.
    Get,
}

/// What the store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KvOutput {
    /// To a put or delete.
    Written {
        /// Whether the condition held.
        done: bool,
        /// The index of the log entry, also where it changed nothing. If the call was proposed more than once: of the
        /// entry that counted.
        index: u64,
    },
    /// To a put or delete, over a protocol that does not tell the index: HTTP.
    Acknowledged {
        /// Whether the condition held.
        done: bool,
    },
    /// To a read.
    Read {
        /// The value, its modify index, and its create index; none if the key is not there.
        value: Option<(u64, u64, u64)>,
    },
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvState {
    /// At least everything up to this index is applied.
    pub applied: u64,
    /// What is stored under the key.
    pub version: Option<KvVersion>,
}

/// A value with its indexes, each as the lowest and the highest that it can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvVersion {
    /// The value; none if it is one that no read shows.
    pub value: Option<u64>,
    /// The modify index.
    pub modified: (u64, u64),
    /// The create index; none if it is the modify index.
    pub created: Option<(u64, u64)>,
}

fn read(state: &KvState, shown: Option<(u64, u64, u64)>) -> Option<KvState> {
    match (state.version, shown) {
        (None, None) => Some(*state),
        (Some(version), Some(shown)) => {
            let version = version.shown(shown)?;
            Some(KvState { applied: state.applied.max(shown.1), version: Some(version) })
        }
        (None, Some(_)) | (Some(_), None) => None,
    }
}

fn written(state: &KvState, call: KvCall, done: bool, index: u64) -> Option<KvState> {
    if index <= state.applied {
        return None;
    }
    // All that was written before has a lower index, also where nobody told which.
    let version = match state.version {
        Some(version) => Some(version.modified_in((0, index - 1))?),
        None => None,
    };
    let version =
        if done { change(if_holds(version, call)?, call, (index, index)) } else { if_fails(version, call)? };
    Some(KvState { applied: index, version })
}

/// The state after a call that was answered without its index.
fn acknowledged(state: &KvState, call: KvCall, done: bool) -> Option<KvState> {
    if done {
        if_holds(state.version, call)?;
        perhaps_written(state, call)
    } else {
        Some(KvState { version: if_fails(state.version, call)?, ..*state })
    }
}

/// The state after a call of unknown outcome that took effect; without an effect the state is what it was.
fn perhaps_written(state: &KvState, call: KvCall) -> Option<KvState> {
    let Some(before) = if_holds(state.version, call) else {
        return Some(*state);
    };
    // A condition that held tells the index of an earlier write, perhaps as the first.
    let known = before.filter(|before| before.modified.0 == before.modified.1);
    let applied = state.applied.max(known.map_or(0, |before| before.modified.0));
    // Not above the one of an earlier write of unknown outcome, though that would be true: this way the state after a
    // put is the same whether or not others of unknown outcome went before it, and those need not be tried.
    let index = (applied.checked_add(1)?, u64::MAX);
    let version = change(before, call, index);
    Some(if version == before { *state } else { KvState { applied, version } })
}

impl Model for KvModel {
    type Input = KvInput;
    type Output = KvOutput;
    type State = KvState;
    type Key = u64;

    fn key(input: &KvInput) -> u64 {
        input.key
    }

    fn initial() -> KvState {
        KvState::default()
    }

    fn step(state: &KvState, input: &KvInput, output: Option<&KvOutput>) -> Option<KvState> {
        match (input.call, output) {
            (KvCall::Get, None) => Some(*state),
            (KvCall::Get, Some(KvOutput::Read { value })) => read(state, *value),
            (call @ (KvCall::Put { .. } | KvCall::PutUnseen { .. } | KvCall::Delete { .. }), None) => {
                perhaps_written(state, call)
            }
            (
                call @ (KvCall::Put { .. } | KvCall::PutUnseen { .. } | KvCall::Delete { .. }),
                Some(KvOutput::Written { done, index }),
            ) => written(state, call, *done, *index),
            (
                call @ (KvCall::Put { .. } | KvCall::PutUnseen { .. } | KvCall::Delete { .. }),
                Some(KvOutput::Acknowledged { done }),
            ) => acknowledged(state, call, *done),
            (KvCall::Get, Some(KvOutput::Written { .. } | KvOutput::Acknowledged { .. }))
            | (
                KvCall::Put { .. } | KvCall::PutUnseen { .. } | KvCall::Delete { .. },
                Some(KvOutput::Read { .. }),
            ) => None,
        }
    }

    fn is_read(input: &KvInput) -> bool {
        input.call == KvCall::Get
    }

    fn position(output: &KvOutput) -> Option<u64> {
        match output {
            KvOutput::Written { index, .. } => Some(*index),
            KvOutput::Acknowledged { .. } | KvOutput::Read { .. } => None,
        }
    }

    fn inferred(
        operations: &[&Operation<KvInput, KvOutput>],
    ) -> BTreeMap<usize, Inferred<KvInput, KvOutput>> {
        unknown::inferred(operations)
    }

    fn describe(input: &KvInput, output: Option<&KvOutput>) -> String {
        let condition = |cas: Option<u64>| cas.map_or_else(String::new, |index| format!(" if at {index}"));
        let asked = match input.call {
            KvCall::Put { value, cas } => format!("put {value}{}", condition(cas)),
            KvCall::PutUnseen { cas } => format!("put an unseen value{}", condition(cas)),
            KvCall::Delete { cas } => format!("delete{}", condition(cas)),
            KvCall::Get => "get".to_owned(),
        };
        let answered = match output {
            None => "unknown".to_owned(),
            Some(KvOutput::Written { done: true, index }) => format!("done at {index}"),
            Some(KvOutput::Written { done: false, index }) => format!("refused at {index}"),
            Some(KvOutput::Acknowledged { done: true }) => "done".to_owned(),
            Some(KvOutput::Acknowledged { done: false }) => "refused".to_owned(),
            Some(KvOutput::Read { value: None }) => "none".to_owned(),
            Some(KvOutput::Read { value: Some((value, modified, created)) }) => {
                format!("{value}, modified {modified}, created {created}")
            }
        };
        format!("{asked} -> {answered}")
    }

    fn describe_state(state: &KvState) -> String {
        let range = |(low, high): (u64, u64)| match high {
            _ if low == high => low.to_string(),
            u64::MAX => format!("{low} or later"),
            high => format!("{low} to {high}"),
        };
        match state.version {
            None => "none".to_owned(),
            Some(KvVersion { value, modified, created }) => {
                let created = created.unwrap_or(modified);
                let value = value.map_or_else(|| "an unseen value".to_owned(), |value| value.to_string());
                format!("{value}, modified {}, created {}", range(modified), range(created))
            }
        }
    }
}
