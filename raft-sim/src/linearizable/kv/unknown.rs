//! Facts about calls of unknown outcome, inferred from the answers to other calls.

use std::collections::BTreeMap;

use super::super::{Inferred, Operation};
use super::{KvCall, KvInput, KvOutput};

/// Occurrences of a value in the history of one key.
#[derive(Default)]
struct Value {
    /// Number of calls that put the value.
    puts: usize,
    /// Return time, and modify index, of the read that returned first among those that show the value.
    shown: Option<(Option<u64>, u64)>,
}

/// Return time of an operation, at least the time of its call.
fn returned(operation: &Operation<KvInput, KvOutput>) -> Option<u64> {
    operation.returned.map(|returned| returned.max(operation.called))
}

fn values(operations: &[&Operation<KvInput, KvOutput>]) -> BTreeMap<u64, Value> {
    let mut values: BTreeMap<u64, Value> = BTreeMap::new();
    for operation in operations {
        if let KvCall::Put { value, .. } = operation.input.call {
            values.entry(value).or_default().puts += 1;
        }
        if let Some(KvOutput::Read { value: Some((value, modified, _)) }) = operation.output {
            let returned = returned(operation);
            let seen = values.entry(value).or_default();
            let is_first = seen.shown.is_none_or(|(first, _)| match (returned, first) {
                (Some(returned), Some(first)) => returned < first,
                (returned, first) => returned.is_some() && first.is_none(),
            });
            if is_first {
                seen.shown = Some((returned, modified));
            }
        }
    }
    values
}

/// Infers facts about the calls of unknown outcome on one key.
///
/// A put of a value that no other call puts:
/// - If a read shows the value, the put was done before the read, as the entry that the read names: nothing else can have
///   stored the value.
/// - If no read shows it, the value itself does not matter: it differs from the value before and from all later ones.
///
/// A call with a modify index as its condition can change nothing once the key has a higher one, as modify indexes only
/// grow. If it was done, it was done before the first operation that shows a higher one.
pub(super) fn inferred(
    operations: &[&Operation<KvInput, KvOutput>],
) -> BTreeMap<usize, Inferred<KvInput, KvOutput>> {
    let values = values(operations);
    let passed = passed(operations, &values);
    let mut inferred = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate().filter(|(_, call)| call.output.is_none()) {
        let mut input = operation.input;
        if let KvCall::Put { value, cas } = input.call
            && let Some(Value { puts: 1, shown }) = values.get(&value)
        {
            if let Some((done_by, index)) = *shown {
                let output = Some(KvOutput::Written { done: true, index });
                inferred.insert(number, Inferred { input, output, done_by });
                continue;
            }
            input.call = KvCall::PutUnseen { cas };
        }
        let done_by = match input.call {
            KvCall::Put { cas, .. } | KvCall::PutUnseen { cas } | KvCall::Delete { cas } => {
                let higher = cas.filter(|index| *index > 0).and_then(|index| index.checked_add(1));
                higher.and_then(|higher| passed.range(higher..).next()).map(|(_, first)| *first)
            }
            KvCall::Get => None,
        };
        inferred.insert(number, Inferred { input, output: None, done_by });
    }
    inferred
}

/// For each modify index, a time by which the key had that index or a higher one, or was deleted by such an entry.
fn passed(operations: &[&Operation<KvInput, KvOutput>], values: &BTreeMap<u64, Value>) -> BTreeMap<u64, u64> {
    let mut passed: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in operations {
        let index = match (operation.input.call, operation.output) {
            (KvCall::Get, Some(KvOutput::Read { value: Some((_, modified, _)) })) => modified,
            (KvCall::Delete { .. }, Some(KvOutput::Written { done: true, index })) => index,
            (KvCall::PutUnseen { .. }, Some(KvOutput::Written { done: true, index })) => index,
            // A value that another call may have stored before keeps its index, so that this put tells nothing.
            (KvCall::Put { value, .. }, Some(KvOutput::Written { done: true, index }))
                if values.get(&value).is_some_and(|value| value.puts == 1) =>
            {
                index
            }
            (KvCall::Get | KvCall::Put { .. } | KvCall::PutUnseen { .. } | KvCall::Delete { .. }, _) => {
                continue;
            }
        };
        if let Some(returned) = returned(operation) {
            passed.entry(index).and_modify(|first| *first = returned.min(*first)).or_insert(returned);
        }
    }
    let mut first = u64::MAX;
    for returned in passed.values_mut().rev() {
        first = first.min(*returned);
        *returned = first;
    }
    passed
}
