//! The linearizability checker against deliberately dumb twins, the classics of what it has to find, and long histories.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod agreement;
mod classics;
mod long;
mod machine;
mod odd;
mod random;
mod ranges;
mod register;
mod store;
mod told;
mod twins;
mod widened;

use raftkit_sim::linearizable::{
    Budget, History, KvCall, KvInput, KvModel, KvOutput, Operation, Verdict, check,
};

/// An operation on the key-value store.
pub(crate) type KvOperation = Operation<KvInput, KvOutput>;

/// The verdict, with a budget that is not the point.
pub(crate) fn verdict(history: &[KvOperation]) -> Verdict<KvModel> {
    check(history, Budget::default())
}

pub(crate) fn put(key: u64, value: u64) -> KvInput {
    KvInput { key, call: KvCall::Put { value, cas: None } }
}

pub(crate) fn put_if(key: u64, value: u64, index: u64) -> KvInput {
    KvInput { key, call: KvCall::Put { value, cas: Some(index) } }
}

pub(crate) fn delete(key: u64) -> KvInput {
    KvInput { key, call: KvCall::Delete { cas: None } }
}

pub(crate) fn get(key: u64) -> KvInput {
    KvInput { key, call: KvCall::Get }
}

/// A write that took effect as this entry.
pub(crate) fn done(index: u64) -> Option<KvOutput> {
    Some(KvOutput::Written { done: true, index })
}

/// A write whose condition did not hold.
pub(crate) fn refused(index: u64) -> Option<KvOutput> {
    Some(KvOutput::Written { done: false, index })
}

/// A read of a value with its modify and create index.
pub(crate) fn shows(value: u64, modified: u64, created: u64) -> Option<KvOutput> {
    Some(KvOutput::Read { value: Some((value, modified, created)) })
}

/// A read of a key that is not there.
pub(crate) fn absent() -> Option<KvOutput> {
    Some(KvOutput::Read { value: None })
}

/// An operation in the interval `called..=returned`.
pub(crate) fn operation(
    client: u64,
    (called, returned): (u64, u64),
    input: KvInput,
    output: Option<KvOutput>,
) -> KvOperation {
    Operation { client, input, output, called, returned: Some(returned) }
}

/// An operation that was called and never answered.
pub(crate) fn unanswered(client: u64, called: u64, input: KvInput) -> KvOperation {
    Operation { client, input, output: None, called, returned: None }
}

/// A history, so that its own interface is used as well.
pub(crate) fn history(operations: &[KvOperation]) -> History<KvModel> {
    let mut history = History::new();
    operations.iter().cloned().for_each(|operation| history.push(operation));
    history
}
