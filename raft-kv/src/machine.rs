//! The state machine: applies entries in memory, and makes them durable in a file behind that.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use raftkit_core::LogId;
use raftkit_disk::{Disk, Slack};
use raftkit_replica::{
    Applied, Background, Begun, MachineError, Progress, SnapshotView, StateMachine, TakeOver,
};

use crate::command::{Command, Response};
use crate::fault::{Fault, damaged, guard, in_file};
use crate::reader::KvReader;
use crate::snapshot::FrozenState;
use crate::state::{Changed, State, TOMBSTONES_MAX};
use crate::store::{FILE, Health, Store};
use crate::view::{Base, Published, View};
use crate::watch::{Change, Watches};

/// The key-value state machine.
///
/// Entries are applied in memory, in front of the file. Persisting writes what was applied into the file, in one durable
/// step, while more is applied:
///
/// ```text
///              apply                      persist
///   durable ----------> durable | applied ---------> durable
///      ^                      |                         |
///      +------ crash ---------+      restore(id): applied and durable are id
/// ```
///
/// After a failed commit, or a panic inside redb, nobody knows what the file holds: the machine refuses every further
/// change until it is opened again.
pub struct KvMachine {
    view: View,
    published: Published,
    /// The file; none while background work has it.
    store: Option<Store>,
    durable: LogId,
    tombstones_max: u64,
    watches: Arc<Watches>,
}

impl KvMachine {
    /// Opens the state in a folder, or creates an empty one. Opening checks every page against its checksum, so it reads
    /// the whole file.
    ///
    /// # Errors
    /// The disk fails, or the file is damaged or has a newer format.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, MachineError> {
        Self::open_with_slack(disk, dir, Slack::default())
    }

    /// Opens the state like [`open`](Self::open), with a bound of the caller's own on how much larger than its content the
    /// state's file may stay.
    ///
    /// # Errors
    /// The same as for [`open`](Self::open).
    pub fn open_with_slack(disk: Arc<dyn Disk>, dir: &Path, slack: Slack) -> Result<Self, MachineError> {
        Self::open_with(disk, dir, TOMBSTONES_MAX, slack)
    }

    /// Opens the state like [`open_with_slack`](Self::open_with_slack), with another limit of tombstones. Every node must
    /// use the same limit, because the tombstones are part of the state.
    pub(crate) fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        tombstones_max: u64,
        slack: Slack,
    ) -> Result<Self, MachineError> {
        let opened = guard(|| {
            let store = Store::open(disk, dir, slack)?;
            let view = View::of(store.base()?);
            let watches = Arc::new(Watches::new(view.meta.applied.index));
            let (published, durable) = (Published::new(view.clone()), view.meta.applied);
            Ok(Self { view, published, store: Some(store), durable, tombstones_max, watches })
        });
        opened.map_err(|error| in_file(&dir.join(FILE), error))
    }

    /// Refuses further changes while nobody knows what the file holds.
    fn sound(&self) -> Result<(), MachineError> {
        // Background work that fails says so when its store comes back.
        if self.store.as_ref().is_some_and(|store| store.health == Health::Unknown) {
            let error = std::io::Error::other(
                "an earlier change failed: the state is unknown until it is opened again",
            );
            return Err(error.into());
        }
        Ok(())
    }

    /// Shows readers the present state.
    fn publish(&self) {
        self.published.replace(self.view.clone());
    }

    /// Takes the store for work that changes the file.
    fn take_store(&mut self) -> Store {
        self.store.take().expect("one work on the file at a time is under way, as StateMachine says")
    }

    /// Takes the store back after work on the file. If the work resulted in other tables, `show` makes the state continue on
    /// them. The store says whether an error leaves the state known.
    fn take_back(
        &mut self,
        store: Store,
        result: Result<Option<Base>, MachineError>,
        show: impl FnOnce(&mut View, Base),
    ) -> Result<(), MachineError> {
        let durable = store.meta.applied;
        self.store = Some(store);
        if let Some(base) = result? {
            show(&mut self.view, base);
            self.durable = durable;
            self.publish();
        }
        Ok(())
    }
}

impl StateMachine for KvMachine {
    type Reader = KvReader;

    fn reader(&self) -> KvReader {
        KvReader::new(self.published.clone(), Arc::clone(&self.watches))
    }

    fn applied(&self) -> LogId {
        self.view.meta.applied
    }

    fn durable(&self) -> LogId {
        self.durable
    }

    fn apply(&mut self, entries: &[Applied]) -> Result<Vec<Bytes>, MachineError> {
        self.sound()?;
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let mut state = State::new(self.view.clone(), self.tombstones_max);
        let (mut answers, mut changes) = (Vec::with_capacity(entries.len()), Vec::new());
        guard(|| {
            for entry in entries {
                check_follows(state.view.meta.applied, entry.id)?;
                let (answer, change) = answer(&mut state, entry)?;
                answers.push(answer);
                changes.extend(change);
                state.view.meta.applied = entry.id;
            }
            Ok(())
        })?;
        // Nothing is taken over before the last entry has succeeded: a reader sees all of the batch or nothing.
        self.view = state.view;
        self.publish();
        // Wake watchers after the state is shown: a watcher that is woken before readers see the change would look at the
        // old state, wait again, and never be woken for this change.
        self.watches.publish(self.view.meta.applied.index, &changes);
        Ok(answers)
    }

    fn persist(&mut self) -> Result<LogId, MachineError> {
        match self.begin_persist()? {
            Begun::Done(durable) => Ok(durable),
            Begun::Background(work) => work.run().by(self),
        }
    }

    fn begin_persist(&mut self) -> Result<Begun<Self, LogId>, MachineError> {
        self.sound()?;
        let meta = self.view.meta;
        if self.durable == meta.applied {
            return Ok(Begun::Done(self.durable));
        }
        let mut store = self.take_store();
        let layer = self.view.begin_flush();
        self.publish();
        Ok(Begun::Background(Background::new(move || {
            let flushed = store.flush(&layer, meta).map(Some);
            TakeOver::new(move |machine: &mut Self| {
                machine.take_back(store, flushed, View::end_flush)?;
                Ok(machine.durable)
            })
        })))
    }

    fn unpersisted_bytes(&self) -> u64 {
        self.view.recent.bytes()
    }

    fn snapshot(&mut self) -> Result<Box<dyn SnapshotView>, MachineError> {
        Ok(Box::new(FrozenState::new(self.view.clone())))
    }

    fn restore(&mut self, id: LogId, source: &mut dyn Read) -> Result<(), MachineError> {
        self.sound()?;
        let mut store = self.take_store();
        let restored = store.restore(id, source).map(Some);
        self.take_back(store, restored, |view, base| *view = View::of(base))?;
        self.watches.publish(self.view.meta.applied.index, &[Change::Everything]);
        Ok(())
    }

    fn give_back(&mut self) -> Result<Progress, MachineError> {
        match self.begin_give_back()? {
            Begun::Done(progress) => Ok(progress),
            Begun::Background(work) => work.run().by(self),
        }
    }

    fn begin_give_back(&mut self) -> Result<Begun<Self, Progress>, MachineError> {
        self.sound()?;
        let mut store = self.take_store();
        Ok(Begun::Background(Background::new(move || {
            let stepped = store.step_back();
            TakeOver::new(move |machine: &mut Self| {
                let progress = stepped.as_ref().map_or(Progress::Nothing, |(progress, _)| *progress);
                machine.take_back(store, stepped.map(|(_, copied)| copied), View::rebase)?;
                Ok(progress)
            })
        })))
    }
}

/// Applies one entry; the keys that it changes get the entry's index. Returns the answer, which is empty for an entry
/// without a command, and the change that watches must hear of.
fn answer(state: &mut State, entry: &Applied) -> Result<(Bytes, Option<Change>), Fault> {
    let Some(command) = &entry.command else {
        return Ok((Bytes::new(), None));
    };
    let Ok(command) = Command::decode(command.clone()) else {
        return Ok((Response::Malformed.encode(), None));
    };
    let (response, changed) = state.apply(entry.id, &command)?;
    let change = match changed {
        Changed::Nothing => None,
        Changed::Something => Some(match command {
            Command::Put { key, .. } | Command::Delete { key, .. } => Change::Key(key),
            Command::DeleteTree { prefix, .. } => Change::Tree(prefix),
        }),
    };
    Ok((response.encode(), change))
}

/// Checks that an entry directly follows the last applied one. Behind a gap this node alone would lack a command, and its
/// state would differ from the others' for good: stopping is better.
///
/// A new machine may begin with the second entry, because the first one is the founding membership (`LogId::GENESIS`).
fn check_follows(applied: LogId, id: LogId) -> Result<(), Fault> {
    let follows = id.index == applied.index.next()
        || (applied == LogId::ZERO && id.index == LogId::GENESIS.index.next());
    if follows && id.term >= applied.term {
        Ok(())
    } else {
        Err(damaged(format!("entry {id} does not follow {applied}, the last one applied")))
    }
}

impl fmt::Debug for KvMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KvMachine")
            .field("applied", &self.view.meta.applied)
            .field("durable", &self.durable)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests;
