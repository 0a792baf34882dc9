//! What the answers of others tell about calls of unknown outcome.

use std::collections::BTreeMap;

use super::super::{Inferred, Operation};
use super::{KvCall, KvInput, KvOutput};

/// What is known of a value in the history of one key.
#[derive(Default)]
struct Value {
    /// So many calls put it.
    puts: usize,
    /// Of the read that returned first of those that show it: when it did, and the modify index it shows.
    shown: Option<(Option<u64>, u64)>,
}

/// When an operation returned; not before it was called.
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

/// What is known of the calls of unknown outcome on one key.
///
/// A put of a value that no other put has:
/// - If a read shows it, it was done before the read, and changed the key as the entry that the read names, since nothing
///   else can have brought the value there.
/// - If none does, it makes no difference which value it is: it is another one than that which is there, and than all
///   that follow.
///
/// A call on the condition of a modify index changes nothing any more once the key has a higher one, as they only
/// grow. So, if at all, it was done before what first shows that.
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

/// By which time a key had a modify index as high as this or higher, or was deleted as such an entry.
fn passed(operations: &[&Operation<KvInput, KvOutput>], values: &BTreeMap<u64, Value>) -> BTreeMap<u64, u64> {
    let mut passed: BTreeMap<u64, u64> = BTreeMap::new();
    for operation in operations {
        let index = match (operation.input.call, operation.output) {
            (KvCall::Get, Some(KvOutput::Read { value: Some((_, modified, _)) })) => modified,
            (KvCall::Delete { .. }, Some(KvOutput::Written { done: true, index })) => index,
            (KvCall::PutUnseen { .. }, Some(KvOutput::Written { done: true, index })) => index,
            // What may have been there already keeps its index.
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
