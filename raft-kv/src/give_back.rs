//! Gives space back: decides when the state's file is worth a copy, and makes it step by step.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, Slack};
use raftkit_replica::{MachineError, Progress};
use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use crate::copy::{Copy, Left, STEP_BYTES, remove_left_over};
use crate::fault::{Fault, guard};
use crate::machine::{Health, KvMachine};
use crate::notes::{Live, Notes};
use crate::tables::{ENTRIES, TOMBSTONES};

/// A tombstone and its grave take about this much in a file, in bytes.
const TOMBSTONE_BYTES: u64 = 128;

/// Where the state's file is, and how far a copy of it is.
#[derive(Debug)]
pub(crate) struct GiveBack {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) slack: Slack,
    pub(crate) copy: Option<Copy>,
    /// What the last copy came to: its file's length, and what was counted as live then. It shows what a copy can come to.
    pub(crate) last: Option<(u64, u64)>,
}

impl GiveBack {
    /// Whether a file of this length is worth a copy, and whether there is space for one.
    fn is_worth_a_copy(&self, file_bytes: u64, live: u64) -> io::Result<bool> {
        // Half of a gain again must be left beside what the last copy came to, or the next one gains nothing.
        let gains = self.last.is_none_or(|(file, then)| {
            let comes_to = u128::from(file) * u128::from(live) / u128::from(then.max(1));
            u128::from(file_bytes) * 2 > comes_to * 3
        });
        Ok(self.slack.is_much(file_bytes, live)
            && gains
            && self.slack.has_room(self.disk.free_bytes(&self.dir)?, live))
    }
}

impl KvMachine {
    /// One bounded step; see [`StateMachine::give_back`](raftkit_replica::StateMachine::give_back).
    pub(crate) fn step_back(&mut self) -> Result<Progress, MachineError> {
        self.sound()?;
        let result = guard(|| self.try_to_step_back());
        if result.is_err() {
            self.notes.touched = None;
        }
        match result {
            // Nothing but the copy was written.
            Err(error) if is_full(&error) && self.health == Health::Sound => {
                guard(|| remove_left_over(&*self.give_back.disk, &self.give_back.dir))?;
                Ok(Progress::Postponed)
            }
            Err(error) => {
                self.health = Health::Unknown;
                Err(error)
            }
            Ok(progress) => Ok(progress),
        }
    }

    fn try_to_step_back(&mut self) -> Result<Progress, Fault> {
        let database = self.database.get();
        if let Some(copy) = self.give_back.copy.take() {
            return self.go_on(copy, &database);
        }
        let file_bytes = self.give_back.file.len()?;
        if !self.give_back.slack.may_be_much(file_bytes) {
            return Ok(Progress::Nothing);
        }
        let Some(entries) = self.notes.live.bytes() else {
            count_some(&mut self.notes.live, &database)?;
            return Ok(Progress::More);
        };
        let tombstones = database.begin_read()?.open_table(TOMBSTONES)?.len()?;
        let live = entries + tombstones * TOMBSTONE_BYTES;
        if !self.give_back.is_worth_a_copy(file_bytes, live)? {
            return Ok(Progress::Nothing);
        }
        self.give_back.copy = Some(Copy::begin(&*self.give_back.disk, &self.give_back.dir)?);
        self.notes.touched = Some(BTreeSet::new());
        Ok(Progress::More)
    }

    fn go_on(&mut self, mut copy: Copy, database: &Database) -> Result<Progress, Fault> {
        let Some(touched) = self.notes.touched.as_mut().map(std::mem::take) else {
            drop(copy);
            remove_left_over(&*self.give_back.disk, &self.give_back.dir)?;
            return Ok(Progress::Postponed);
        };
        if copy.step(database, touched)? == Left::Some {
            self.give_back.copy = Some(copy);
            return Ok(Progress::More);
        }
        let health = &mut self.health;
        let GiveBack { disk, dir, .. } = &self.give_back;
        // From the renaming on an error leaves it unknown which file the next opening finds: both are the state, but this
        // machine must not go on with either.
        let (database, file) = copy.finish(&**disk, dir, &self.meta, || *health = Health::Unknown)?;
        self.health = Health::Sound;
        self.durable = self.meta.applied;
        self.notes.touched = None;
        self.database.replace(database);
        self.give_back.last = self.notes.live.bytes().map(|live| (file.len().unwrap_or(0), live));
        self.give_back.file = file;
        Ok(Progress::Done)
    }
}

/// Counts some more of what is live.
fn count_some(live: &mut Live, database: &Database) -> Result<(), Fault> {
    let Some(from) = live.counted_to().map(str::to_owned) else { return Ok(()) };
    let mut room = STEP_BYTES;
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    // No key is empty.
    for row in
        entries.range::<&str>((std::ops::Bound::Excluded(from.as_str()), std::ops::Bound::Unbounded))?
    {
        let (key, stored) = row?;
        live.count(key.value(), stored.value().len());
        room = room.saturating_sub(key.value().len() + stored.value().len());
        if room == 0 {
            return Ok(());
        }
    }
    live.counted_all();
    Ok(())
}

impl Notes {
    /// What is noted of a state that is about to be read in, from nothing.
    pub(crate) fn of_nothing() -> Self {
        Self { live: Live::empty(), touched: None }
    }
}

fn is_full(error: &MachineError) -> bool {
    let MachineError::Storage(source) = error else { return false };
    let kind = match (source.downcast_ref::<redb::Error>(), source.downcast_ref::<io::Error>()) {
        (Some(redb::Error::Io(error)), _) | (_, Some(error)) => error.kind(),
        (Some(_) | None, None) => return false,
    };
    raftkit_disk::is_full(kind)
}
