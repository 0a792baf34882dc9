//! Gives unused space back to the file system: decides when copying the state's file is worthwhile, and makes the copy step
//! by step.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, Slack};
use raftkit_replica::{MachineError, Progress};
use redb::{Database, ReadableDatabase, ReadableTableMetadata};

use crate::copy::{Copy, Left, STEP_BYTES, remove_left_over};
use crate::fault::{Fault, guard};
use crate::notes::{Live, Notes};
use crate::store::{Health, Store};
use crate::tables::{ENTRIES, TOMBSTONES};
use crate::view::Base;

/// Approximate size of a tombstone with its grave in a file, in bytes.
const TOMBSTONE_BYTES: u64 = 128;

/// The state's file, and the copy of it that is being made, if any.
#[derive(Debug)]
pub(crate) struct GiveBack {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) slack: Slack,
    pub(crate) copy: Option<Copy>,
    /// Length of the file that the last copy resulted in, and the live bytes counted at that time. Their ratio predicts the
    /// length of the next copy.
    pub(crate) last: Option<(u64, u64)>,
}

impl GiveBack {
    /// Whether copying a file of this length is worthwhile, and whether there is enough free space for the copy.
    fn is_worth_a_copy(&self, file_bytes: u64, live: u64) -> io::Result<bool> {
        // The file must be at least half as long again as the predicted copy; otherwise the copy would gain too little and
        // be made again and again.
        let gains = self.last.is_none_or(|(file, then)| {
            let comes_to = u128::from(file) * u128::from(live) / u128::from(then.max(1));
            u128::from(file_bytes) * 2 > comes_to * 3
        });
        Ok(self.slack.is_much(file_bytes, live)
            && gains
            && self.slack.has_room(self.disk.free_bytes(&self.dir)?, live))
    }
}

impl Store {
    /// Makes one bounded step; see [`StateMachine::give_back`](raftkit_replica::StateMachine::give_back). Returns the tables of
    /// the new file, if the step has switched to one.
    pub(crate) fn step_back(&mut self) -> Result<(Progress, Option<Base>), MachineError> {
        let result = guard(|| self.try_to_step_back());
        if result.is_err() {
            self.notes.touched = None;
        }
        match result {
            // Only the copy was written, so the state is sound: try again when there is more space.
            Err(error) if is_full(&error) && self.health == Health::Sound => {
                guard(|| remove_left_over(&*self.give_back.disk, &self.give_back.dir))?;
                Ok((Progress::Postponed, None))
            }
            Err(error) => {
                self.health = Health::Unknown;
                Err(error)
            }
            Ok(done) => Ok(done),
        }
    }

    fn try_to_step_back(&mut self) -> Result<(Progress, Option<Base>), Fault> {
        if let Some(copy) = self.give_back.copy.take() {
            return self.go_on(copy);
        }
        let file_bytes = self.give_back.file.len()?;
        if !self.give_back.slack.may_be_much(file_bytes) {
            return Ok((Progress::Nothing, None));
        }
        let Some(entries) = self.notes.live.bytes() else {
            count_some(&mut self.notes.live, &self.database)?;
            return Ok((Progress::More, None));
        };
        let tombstones = self.database.begin_read()?.open_table(TOMBSTONES)?.len()?;
        let live = entries + tombstones * TOMBSTONE_BYTES;
        if !self.give_back.is_worth_a_copy(file_bytes, live)? {
            return Ok((Progress::Nothing, None));
        }
        self.give_back.copy = Some(Copy::begin(&*self.give_back.disk, &self.give_back.dir)?);
        self.notes.touched = Some(Vec::new());
        Ok((Progress::More, None))
    }

    fn go_on(&mut self, mut copy: Copy) -> Result<(Progress, Option<Base>), Fault> {
        let Some(touched) = self.notes.touched.as_mut().map(std::mem::take) else {
            drop(copy);
            remove_left_over(&*self.give_back.disk, &self.give_back.dir)?;
            return Ok((Progress::Postponed, None));
        };
        if copy.step(&self.database, &touched)? == Left::Some {
            self.give_back.copy = Some(copy);
            return Ok((Progress::More, None));
        }
        let health = &mut self.health;
        let GiveBack { disk, dir, .. } = &self.give_back;
        // After an error from the renaming on, the next opening may find either file. Both hold the state, but this machine
        // must not go on: its changes could go to the file that is not found.
        let (database, file) = copy.finish(&**disk, dir, &self.meta, || *health = Health::Unknown)?;
        self.health = Health::Sound;
        self.notes.touched = None;
        // Reads that have begun go on with the old database, which is closed after the last of them.
        self.database = Arc::new(database);
        self.give_back.last = self.notes.live.bytes().map(|live| (file.len().unwrap_or(0), live));
        self.give_back.file = file;
        Ok((Progress::Done, Some(self.base()?)))
    }
}

/// Counts the next [`STEP_BYTES`] of live entries.
fn count_some(live: &mut Live, database: &Database) -> Result<(), Fault> {
    let Some(from) = live.counted_to().map(str::to_owned) else { return Ok(()) };
    let mut room = STEP_BYTES;
    let entries = database.begin_read()?.open_table(ENTRIES)?;
    // No key is empty, so an excluded empty key leaves none out.
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
    /// The notes for a state without entries, into which a snapshot is about to be read.
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
