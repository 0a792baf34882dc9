//! What the store is, once more and on its own: one key, every index known.

use raftkit_sim::linearizable::{KvCall, KvOutput};

/// A key's value with its modify and create index, and the index of the last write of any outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Store {
    pub(crate) version: Option<(u64, u64, u64)>,
    pub(crate) last: u64,
}

impl Store {
    /// Does a call as the entry with this index; a read has none.
    pub(crate) fn apply(&mut self, call: KvCall, index: u64) -> KvOutput {
        let (cas, is_put) = match call {
            KvCall::Get => return KvOutput::Read { value: self.version },
            KvCall::Put { cas, .. } => (cas, true),
            KvCall::PutUnseen { .. } => panic!("the histories here have only what is called"),
            KvCall::Delete { cas } => (cas, false),
        };
        self.last = index;
        let done = match (cas, self.version) {
            (None, _) => true,
            (Some(wanted), None) => !is_put || wanted == 0,
            (Some(wanted), Some((_, modified, _))) => wanted != 0 && wanted == modified,
        };
        if done {
            self.version = match (call, self.version) {
                (KvCall::Get | KvCall::PutUnseen { .. } | KvCall::Delete { .. }, _) => None,
                (KvCall::Put { value, .. }, None) => Some((value, index, index)),
                (KvCall::Put { value, .. }, Some(old)) if old.0 == value => Some(old),
                (KvCall::Put { value, .. }, Some((.., created))) => Some((value, index, created)),
            };
        }
        KvOutput::Written { done, index }
    }
}
