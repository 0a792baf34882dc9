//! Helpers that the tests share.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::{Disk, SimulatedDisk};
use raftkit_kv::{Command, Condition, KvEntry, KvMachine, Response};
use raftkit_replica::{Applied, MachineError, StateMachine};

/// The folder of the machine on a simulated disk.
pub(crate) fn folder() -> &'static Path {
    Path::new("/data/state")
}

/// Opens the machine on a simulated disk.
pub(crate) fn open(disk: &SimulatedDisk) -> Result<KvMachine, MachineError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    KvMachine::open(disk, folder())
}

/// A machine on a new simulated disk.
pub(crate) fn fresh(seed: u64) -> (SimulatedDisk, KvMachine) {
    let disk = SimulatedDisk::new(seed);
    let machine = open(&disk).expect("the disk is sound");
    (disk, machine)
}

/// A put without a condition.
pub(crate) fn put(key: &str, value: &str) -> Command {
    put_if(key, value, 0, Condition::Always)
}

/// A put.
pub(crate) fn put_if(key: &str, value: &str, flags: u64, condition: Condition) -> Command {
    Command::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), flags, condition }
}

/// A delete.
pub(crate) fn delete(key: &str, condition: Condition) -> Command {
    Command::Delete { key: key.into(), condition }
}

/// A delete of a tree.
pub(crate) fn delete_tree(prefix: &str) -> Command {
    Command::DeleteTree { prefix: prefix.into(), keys_max: None }
}

/// A delete of a tree that has no more keys than this.
pub(crate) fn delete_tree_up_to(prefix: &str, keys_max: u32) -> Command {
    Command::DeleteTree { prefix: prefix.into(), keys_max: Some(keys_max) }
}

/// The entry of term 1 with this index.
pub(crate) fn entry(index: u64, command: &Command) -> Applied {
    Applied { id: LogId::new(1, index), command: Some(command.encode()) }
}

/// Applies one command as the next entry and returns its index and answer.
pub(crate) fn apply(machine: &mut KvMachine, command: &Command) -> (u64, bool) {
    let index = machine.applied().index.0 + 1;
    let answers = machine.apply(&[entry(index, command)]).expect("the disk is sound");
    match Response::decode(answers[0].clone()).expect("the machine answers in its own code") {
        Response::Done(done) => (index, done),
        Response::Malformed | Response::TooManyKeys => panic!("the command is well formed and done"),
    }
}

/// The machine's state as a snapshot's bytes.
pub(crate) fn state_bytes(machine: &mut KvMachine) -> Vec<u8> {
    let mut bytes = Vec::new();
    machine.snapshot().expect("the disk is sound").write_to(&mut bytes).expect("a vector takes all");
    bytes
}

/// A model of the machine that is as simple as possible.
#[derive(Clone, Debug, Default)]
pub(crate) struct Twin {
    pub(crate) entries: BTreeMap<String, KvEntry>,
    /// Key and index of every deletion.
    pub(crate) graves: Vec<(String, u64)>,
    pub(crate) changed: u64,
}

impl Twin {
    /// Applies a command as the entry `index`.
    pub(crate) fn answer(&mut self, index: u64, command: &Command) -> Response {
        if let Command::DeleteTree { prefix, keys_max: Some(max) } = command
            && self.under(prefix).len() > usize::try_from(*max).expect("small")
        {
            return Response::TooManyKeys;
        }
        Response::Done(self.apply(index, command))
    }

    /// Like `answer`, for a command that must succeed.
    pub(crate) fn apply(&mut self, index: u64, command: &Command) -> bool {
        match command {
            Command::Put { key, value, flags, condition } => {
                let before = self.entries.get(key);
                let holds = match condition {
                    Condition::Always => true,
                    Condition::Cas(0) => before.is_none(),
                    Condition::Cas(wanted) => before.is_some_and(|entry| entry.modify_index == *wanted),
                };
                if holds && before.is_none_or(|entry| entry.value != *value || entry.flags != *flags) {
                    let entry = KvEntry {
                        key: key.clone(),
                        value: value.clone(),
                        flags: *flags,
                        create_index: before.map_or(index, |entry| entry.create_index),
                        modify_index: index,
                        lock_index: 0,
                        session: None,
                    };
                    self.entries.insert(key.clone(), entry);
                    self.changed = index;
                }
                holds
            }
            Command::Delete { key, condition } => match (self.entries.get(key), condition) {
                (None, _) => true,
                (Some(entry), Condition::Cas(wanted)) if entry.modify_index != *wanted => false,
                (Some(_), _) => {
                    self.bury(key.clone(), index);
                    true
                }
            },
            Command::DeleteTree { prefix, .. } => {
                let keys: Vec<_> =
                    self.entries.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
                for key in keys {
                    self.bury(key, index);
                }
                true
            }
        }
    }

    fn bury(&mut self, key: String, index: u64) {
        self.entries.remove(&key);
        self.graves.push((key, index));
        self.changed = index;
    }

    /// The entries under a prefix.
    pub(crate) fn under(&self, prefix: &str) -> Vec<KvEntry> {
        self.entries.values().filter(|entry| entry.key.starts_with(prefix)).cloned().collect()
    }

    /// The index that a read of a prefix reports.
    pub(crate) fn index(&self, prefix: &str) -> u64 {
        let live = self.under(prefix).iter().map(|entry| entry.modify_index).max();
        let dead =
            self.graves.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(_, index)| *index).max();
        live.max(dead).unwrap_or(self.changed.max(1))
    }

    /// The names under a prefix, each cut after the separator.
    pub(crate) fn keys(&self, prefix: &str, separator: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for key in self.entries.keys().filter(|key| key.starts_with(prefix)) {
            let name = match key[prefix.len()..].split_once(separator) {
                Some((head, _)) => format!("{prefix}{head}{separator}"),
                None => key.clone(),
            };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}
