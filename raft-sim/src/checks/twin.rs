//! The twin: a state machine that never fails, with which the state of every node is compared.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::{Entry, Payload};
use raftkit_disk::SimulatedDisk;
use raftkit_replica::{Applied, MachineError, StateMachine};

use crate::subject::Subject;

/// The machine, fed one committed entry after the other.
pub(crate) struct Twin<S: Subject> {
    machine: S::Machine,
}

impl<S: Subject> Twin<S> {
    pub(crate) fn new() -> Result<Self, MachineError> {
        Ok(Self { machine: S::open(Arc::new(SimulatedDisk::new(0)), Path::new("/twin"))? })
    }

    /// Applies an entry, and returns the machine's answer and the digest of the state after it.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<(Bytes, u64), MachineError> {
        let command = match &entry.payload {
            Payload::Command(command) => Some(command.clone()),
            Payload::Noop | Payload::Membership(_) => None,
        };
        let answers = self.machine.apply(&[Applied { id: entry.id, command }])?;
        let answer = answers.into_iter().next().unwrap_or_default();
        Ok((answer, S::look(&self.machine.reader())?.0))
    }

    /// Returns the state after these entries, in the subject's words.
    pub(crate) fn show_after<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<String> {
        let mut twin = Self::new().ok()?;
        for entry in entries {
            twin.apply(entry).ok()?;
        }
        S::show(&twin.machine.reader())
    }

    /// Runs the subject's own check on the state.
    pub(crate) fn check(&self) -> Result<(), String> {
        S::check(&self.machine.reader())
    }
}
