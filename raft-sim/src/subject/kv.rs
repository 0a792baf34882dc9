//! The key-value store of raft-kv as a subject. Clients contend for few keys, some of their writes are conditional, and the
//! history of each key must be linearizable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::{Disk, Slack};
use raftkit_kv::{Command, Condition, KvMachine, KvReader, Response};
use raftkit_replica::MachineError;
use xxhash_rust::xxh3::Xxh3;

use crate::Settings;
use crate::linearizable::{Budget, History, KvCall, KvInput, KvModel, KvOutput, Operation, Verdict};
use crate::rng::Rng;
use crate::subject::{Ended, Outcome, Reader, Request, Subject};

/// A client's request to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvAsk {
    /// Stores a number under a key.
    Put {
        /// The key.
        key: u64,
        /// The number.
        value: u64,
        /// The `ModifyIndex` that the key must have, 0 for an absent key; none for an unconditional put.
        cas: Option<u64>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: u64,
        /// The `ModifyIndex` that the key must have; none for an unconditional removal.
        cas: Option<u64>,
    },
    /// Removes all keys with one command, unless the command's limit on keys is exceeded.
    DeleteAll {
        /// Number of keys that the clients use: keys 0 to `keys - 1`.
        keys: u64,
    },
    /// Reads a key.
    Get {
        /// The key.
        key: u64,
    },
}

/// The entry of a key, as a read found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvFound {
    /// The stored number.
    pub value: u64,
    /// The key's `ModifyIndex`.
    pub modify_index: u64,
    /// The key's `CreateIndex`.
    pub create_index: u64,
}

/// The key-value store as a subject. It records the history of its clients.
#[derive(Debug, Default)]
pub struct Kv {
    /// Last `ModifyIndex` that any client has seen of each key. Conditions use it, so that many of them hold.
    seen: BTreeMap<u64, u64>,
    history: Vec<Ended<Kv>>,
}

/// Prefix of every key.
const PREFIX: &str = "key-";

fn name(key: u64) -> String {
    format!("{PREFIX}{key}")
}

/// A value of `len` bytes, at least 8, which begins with the number.
fn value(number: u64, len: u64) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(usize::try_from(len.max(8)).unwrap_or(8), 0x5a);
    bytes.into()
}

fn condition(cas: Option<u64>) -> Condition {
    cas.map_or(Condition::Always, Condition::Cas)
}

impl Kv {
    /// Requests of all clients with their outcomes, in the order in which they ended. Stale reads are not among them.
    #[must_use]
    pub fn history(&self) -> &[Ended<Self>] {
        &self.history
    }
}

impl Subject for Kv {
    type Machine = KvMachine;
    type Ask = KvAsk;
    type Found = Option<KvFound>;

    fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<KvMachine, MachineError> {
        KvMachine::open_with_slack(disk, dir, Slack::new(64 << 10))
    }

    fn ask(&mut self, rng: &mut Rng, settings: &Settings, number: u64) -> (KvAsk, Request) {
        let key = rng.below(settings.keys);
        if rng.permille(settings.reads) {
            return (KvAsk::Get { key }, Request::Read);
        }
        let seen = self.seen.get(&key).copied().unwrap_or(0);
        let cas = rng.permille(settings.conditional).then(|| if rng.permille(200) { 0 } else { seen });
        if rng.permille(120) {
            // Chosen by the request's number, not drawn: a draw here would change every later draw in every known seed.
            if cas.is_none() && number.is_multiple_of(8) {
                let keys_max = Some(if number.is_multiple_of(16) { 1 } else { u32::MAX });
                let command = Command::DeleteTree { prefix: PREFIX.to_owned(), keys_max };
                return (KvAsk::DeleteAll { keys: settings.keys }, Request::Write(command.encode()));
            }
            let command = Command::Delete { key: name(key), condition: condition(cas) };
            return (KvAsk::Delete { key, cas }, Request::Write(command.encode()));
        }
        let len = rng.range(8, settings.value_bytes.max(8));
        let command = Command::Put {
            key: name(key),
            value: value(number, len),
            flags: number,
            condition: condition(cas),
        };
        (KvAsk::Put { key, value: number, cas }, Request::Once(command.encode()))
    }

    fn ask_big(&mut self, number: u64, bytes: u64) -> Option<(KvAsk, Request)> {
        let command = Command::Put {
            key: name(0),
            value: value(number, bytes),
            flags: number,
            condition: Condition::Always,
        };
        Some((KvAsk::Put { key: 0, value: number, cas: None }, Request::Once(command.encode())))
    }

    fn find(reader: &KvReader, ask: &KvAsk) -> Result<(Self::Found, LogId), MachineError> {
        let key = match ask {
            KvAsk::Get { key } | KvAsk::Put { key, .. } | KvAsk::Delete { key, .. } => *key,
            KvAsk::DeleteAll { .. } => 0,
        };
        let read = reader.get(&name(key))?;
        let found = read.value.map(|entry| KvFound {
            value: entry.flags,
            modify_index: entry.modify_index,
            create_index: entry.create_index,
        });
        Ok((found, read.applied))
    }

    fn look(reader: &Reader<Self>) -> Result<(u64, LogId), MachineError> {
        let read = reader.list("")?;
        let mut hasher = Xxh3::new();
        for entry in &read.value {
            hasher.update(entry.key.as_bytes());
            for number in [entry.flags, entry.create_index, entry.modify_index, entry.value.len() as u64] {
                hasher.update(&number.to_le_bytes());
            }
            hasher.update(&entry.value);
        }
        // The index that a blocking query would be given. It depends on tombstones too, which the list does not show.
        hasher.update(&read.index.to_le_bytes());
        Ok((hasher.digest(), read.applied))
    }

    fn check(reader: &Reader<Self>) -> Result<(), String> {
        let read = reader.list("").map_err(|error| error.to_string())?;
        for entry in &read.value {
            let number = entry.value.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            if number != Some(entry.flags) {
                return Err(format!("{} holds flags {} beside another value", entry.key, entry.flags));
            }
            if entry.create_index > entry.modify_index || entry.modify_index > read.applied.index.0 {
                return Err(format!(
                    "{} was made at {}, changed at {}, and the state is of {}",
                    entry.key, entry.create_index, entry.modify_index, read.applied
                ));
            }
        }
        Ok(())
    }

    fn ended(&mut self, ended: Ended<Self>) {
        match (&ended.ask, &ended.outcome) {
            (KvAsk::Get { key }, Outcome::Found(found)) => {
                let index = found.map_or(0, |found| found.modify_index);
                let seen = self.seen.entry(*key).or_insert(0);
                *seen = if ended.stale { *seen } else { index };
            }
            (KvAsk::Put { key, .. }, Outcome::Written(id, response)) => {
                if Response::decode(response.clone()) == Ok(Response::Done(true)) {
                    self.seen.insert(*key, id.index.0);
                }
            }
            (KvAsk::Put { .. } | KvAsk::Delete { .. } | KvAsk::DeleteAll { .. } | KvAsk::Get { .. }, _) => {}
        }
        if !ended.stale {
            self.history.push(ended);
        }
    }

    fn judge(&self) -> Result<(), String> {
        let mut history = History::<KvModel>::new();
        self.history.iter().flat_map(operations).for_each(|operation| history.push(operation));
        match history.check(Budget::default()) {
            Verdict::Linearizable => Ok(()),
            Verdict::Violation(violation) => Err(violation.to_string()),
            // The search has neither found an order nor shown that there is none, so the history counts as kept. The promises
            // that are checked event by event hold all the same.
            Verdict::OutOfBudget { .. } => Ok(()),
        }
    }
}

/// Converts a request to operations of the checker, one for each key that it concerns; none where the store has refused it.
fn operations(ended: &Ended<Kv>) -> Vec<Operation<KvInput, KvOutput>> {
    let found = matches!(ended.outcome, Outcome::Found(_));
    let calls = match ended.ask {
        // A request that was answered as a read is a read, although its type names a write.
        KvAsk::Put { key, .. } | KvAsk::Delete { key, .. } if found => vec![(key, KvCall::Get)],
        KvAsk::DeleteAll { .. } if found => vec![(0, KvCall::Get)],
        KvAsk::Put { key, value, cas } => vec![(key, KvCall::Put { value, cas })],
        KvAsk::Delete { key, cas } => vec![(key, KvCall::Delete { cas })],
        // All keys are removed at one index. Keys are checked one by one, so the history of each key gets a removal.
        KvAsk::DeleteAll { keys } => (0..keys).map(|key| (key, KvCall::Delete { cas: None })).collect(),
        KvAsk::Get { key } => vec![(key, KvCall::Get)],
    };
    let output = match &ended.outcome {
        Outcome::Written(id, response) => match Response::decode(response.clone()) {
            Ok(Response::Done(done)) => Some(KvOutput::Written { done, index: id.index.0 }),
            Ok(Response::Malformed | Response::TooManyKeys) | Err(_) => return Vec::new(),
        },
        Outcome::Found(found) => Some(KvOutput::Read {
            value: found.map(|found| (found.value, found.modify_index, found.create_index)),
        }),
        Outcome::Unknown => None,
    };
    let (client, called, returned) = (ended.client, ended.called, ended.returned);
    let operation =
        |(key, call)| Operation { client, input: KvInput { key, call }, output, called, returned };
    calls.into_iter().map(operation).collect()
}
