//! A [`Model`] of one key in the store of raftkit-kv.
//!
//! Reads show the index of the entry that wrote the value, so a state holds indexes too. An index that no answer has told yet is a
//! range, which later answers narrow: a put of unknown outcome has an index above all that were applied before, a later write
//! with a known index bounds it from above, and a read or a check-and-set that was done tells it. A check-and-set that was not
//! done rules out one index. This is kept if that index is the first or last of the range, and forgotten otherwise. A forgotten
//! fact can hide a violation, but never report a false one.

mod unknown;
mod version;

use std::collections::BTreeMap;

use self::version::{change, if_fails, if_holds};
use super::{Inferred, Model, Operation};

/// The model of raftkit-kv's key-value store, with its versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvModel {}

/// A call on one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvInput {
    /// The key.
    pub key: u64,
    /// The call.
    pub call: KvCall,
}

/// A call, without its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KvCall {
    /// Stores a value. A key that already has the value keeps its indexes.
    Put {
        /// The value. A history in which every put has another value finds the most.
        value: u64,
        /// The modify index that the key must have, 0 for an absent key; none for an unconditional put.
        cas: Option<u64>,
    },
    /// Stores a value that no read shows and that no other call stores, so that the value itself does not matter. The checker
    /// turns such puts of unknown outcome into this call; a history may contain it as well.
    PutUnseen {
        /// The condition, as for `Put`.
        cas: Option<u64>,
    },
    /// Removes the key. The removal of an absent key succeeds, whatever the condition.
    Delete {
        /// The modify index that the key must have; with 0 an existing key is never removed. None for an unconditional removal.
        cas: Option<u64>,
    },
    /// Reads the key, by a default or consistent read.
    Get,
}

/// An answer of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KvOutput {
    /// The answer to a put or delete.
    Written {
        /// True if the condition held.
        done: bool,
        /// Index of the log entry, also if it changed nothing. Of a call that was proposed more than once it is the entry
        /// that the answer is about.
        index: u64,
    },
    /// The answer to a put or delete over a protocol that does not tell the index, such as HTTP.
    Acknowledged {
        /// True if the condition held.
        done: bool,
    },
    /// The answer to a read.
    Read {
        /// The value, its modify index and its create index; none for an absent key.
        value: Option<(u64, u64, u64)>,
    },
}

/// The state of a key, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvState {
    /// Lower bound on the applied index.
    pub applied: u64,
    /// The stored version; none if the key is absent.
    pub version: Option<KvVersion>,
}

/// A value with its indexes. An index is a range: its lowest and its highest possible value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KvVersion {
    /// The value; none for one that no read shows.
    pub value: Option<u64>,
    /// The modify index.
    pub modified: (u64, u64),
    /// The create index; none if it equals the modify index.
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
    // Everything that was written before has a lower index, also if no answer has told that index.
    let version = match state.version {
        Some(version) => Some(version.modified_in((0, index - 1))?),
        None => None,
    };
    let version =
        if done { change(if_holds(version, call)?, call, (index, index)) } else { if_fails(version, call)? };
    Some(KvState { applied: index, version })
}

/// Returns the state after a call whose answer does not tell the index.
fn acknowledged(state: &KvState, call: KvCall, done: bool) -> Option<KvState> {
    if done {
        if_holds(state.version, call)?;
        perhaps_written(state, call)
    } else {
        Some(KvState { version: if_fails(state.version, call)?, ..*state })
    }
}

/// Returns the state after a call of unknown outcome that took effect, or the same state if it can have none.
fn perhaps_written(state: &KvState, call: KvCall) -> Option<KvState> {
    let Some(before) = if_holds(state.version, call) else {
        return Some(*state);
    };
    // A condition that held tells the index of the write before, which no answer may have told yet.
    let known = before.filter(|before| before.modified.0 == before.modified.1);
    let applied = state.applied.max(known.map_or(0, |before| before.modified.0));
    // The range does not start above the index of an earlier write of unknown outcome, although that would be right. Then the
    // state after a put does not depend on whether other puts of unknown outcome came before, and these need not be tried.
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
