//! Gives space back to the file system: copies the database step by step into a new file, which then replaces the old
//! one.
//!
//! redb reuses freed pages, but shortens its file only if pages at the end happen to be free. The copy is a separate
//! file. A crash at any moment therefore leaves either the old file or the complete new one, and a disk without space
//! for the copy only postpones it:
//!
//! ```text
//!   log.redb.new: runs, a step at a time ---> the small tables ---> a second commit ---> closed, synced ---> renamed ---> a third
//!   log.redb:     settling continues; appended entries are copied in later steps, a truncation gives the copy up
//! ```
//!
//! If redb's newest commit is rotten, redb silently falls back to the commit before, which must therefore hold the
//! complete log too. It does not fall back behind a commit of two phases, as closing makes one: it refuses the file, and
//! the log is rebuilt from what is left. Hence the third commit, of one phase, after reopening: if that one is rotten, redb
//! falls back to the closing's, which is complete. Until then, rot in the closing's commit is damage, as after any orderly
//! close. The second commit makes the one before the closing's complete as well. redb 4 never falls back to it, since
//! nobody reads the copy before its closing; it is there in case a later version closes in one phase.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, FinalName, RedbFile, Slack, create_aside, replace_durably};
use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value};

use crate::error::Trouble;
use crate::recovery::{FILE, FILE_IN_THE_MAKING, database};
use crate::shared::close_unwritten;
use crate::tables::{MEMBERSHIPS, META, RUNS, TERMS};

/// Approximate size of one copy step, in bytes. The step syncs what it copied, and syncs of the journal wait behind
/// that.
const STEP_BYTES: usize = 1 << 20;

/// Location of a log's database, and the settings for opening copies of it.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) cache_bytes: usize,
    pub(crate) slack: Slack,
}

/// Result of a copy step.
pub(crate) enum Copied {
    /// The step is done, and more steps follow.
    Some,
    /// The copy has replaced the old file and is open.
    All(Database, Arc<dyn DiskFile>),
    /// The disk has no space for the copy, or the copy cannot keep up with new writes.
    GivenUp,
}

/// A copy under way.
#[derive(Debug)]
pub(crate) struct Copy {
    database: Database,
    file: Arc<dyn DiskFile>,
    /// Key of the next run to copy; all runs with lower keys are copied.
    next: u64,
    /// Bytes that may still be copied. A copy as long as the old file gains nothing, and under a load that compacts
    /// faster than a step copies it would never end.
    left: u64,
}

impl Home {
    /// Returns whether a copy would save enough of this file's length, and the disk has space for it.
    pub(crate) fn is_worth_a_copy(&self, file_bytes: u64, database: &Database) -> Result<bool, Trouble> {
        if !self.slack.may_be_much(file_bytes) {
            return Ok(false);
        }
        let txn = database.begin_write()?;
        let stats = txn.stats()?;
        txn.abort()?;
        let live = stats.allocated_pages() * stats.page_size() as u64;
        Ok(self.slack.is_much(file_bytes, live)
            && self.slack.has_room(self.disk.free_bytes(&self.dir)?, live))
    }

    /// Begins a copy; returns `None` if the disk has no space for it.
    pub(crate) fn begin(&self, file_bytes: u64) -> Result<Option<Copy>, Trouble> {
        none_if_full(self.try_to_begin(file_bytes))
    }

    fn try_to_begin(&self, file_bytes: u64) -> Result<Copy, Trouble> {
        let file = create_aside(&*self.disk, &self.dir.join(FILE_IN_THE_MAKING))?;
        let database = database(RedbFile::new(file.clone()), self.cache_bytes, false)?;
        Ok(Copy { database, file, next: 0, left: file_bytes })
    }

    /// Removes an unfinished copy, if there is one.
    pub(crate) fn remove_left_over(&self) -> io::Result<()> {
        self.disk.remove_if_there(&self.dir.join(FILE_IN_THE_MAKING))
    }

    /// Copies some more of `old`, which must not change meanwhile.
    pub(crate) fn step(&self, copy: &mut Option<Copy>, old: &Database) -> Result<Copied, Trouble> {
        let Some(mut current) = copy.take() else { return Ok(Copied::GivenUp) };
        let txn = old.begin_read()?;
        match none_if_full(current.copy_runs(&txn))? {
            Some(Step::More) if current.left > 0 => {
                *copy = Some(current);
                Ok(Copied::Some)
            }
            Some(Step::Last) => self.finish(current, &txn),
            Some(Step::More) | None => {
                self.give_up(current)?;
                Ok(Copied::GivenUp)
            }
        }
    }

    fn finish(&self, copy: Copy, old: &ReadTransaction) -> Result<Copied, Trouble> {
        let Copy { database: new, file, .. } = copy;
        let (from, to) = (self.dir.join(FILE_IN_THE_MAKING), self.dir.join(FILE));
        let finished = copy_the_rest(old, new).and_then(|()| {
            match replace_durably(&*self.disk, &*file, &from, &to) {
                Err(error) if error.name == FinalName::Old => Err(error.source.into()),
                // The copy is now the log. An error after that ends the store, even on a full disk, because it is
                // unknown which file the next opening will find. Both hold the same log, so either is fine.
                replaced => Ok(replaced),
            }
        });
        match none_if_full(finished)? {
            Some(replaced) => replaced.map_err(io::Error::from)?,
            None => {
                self.remove_left_over()?;
                return Ok(Copied::GivenUp);
            }
        }
        let database = database(RedbFile::new(file.clone()), self.cache_bytes, false)?;
        // The third commit; see the module documentation.
        database.begin_write()?.commit()?;
        Ok(Copied::All(database, file))
    }

    /// Drops a copy and removes its file.
    pub(crate) fn give_up(&self, copy: Copy) -> io::Result<()> {
        // Nobody reads the copy again, so an orderly close would only cost writes.
        close_unwritten(Some(copy.database));
        self.remove_left_over()
    }
}

enum Step {
    More,
    Last,
}

impl Copy {
    fn copy_runs(&mut self, old: &ReadTransaction) -> Result<Step, Trouble> {
        let txn = self.database.begin_write()?;
        let mut bytes = 0;
        let mut step = Step::Last;
        let mut runs = txn.open_table(RUNS)?;
        for row in old.open_table(RUNS)?.range(self.next..)? {
            if bytes >= STEP_BYTES {
                step = Step::More;
                break;
            }
            let (key, run) = row?;
            runs.insert(key.value(), run.value())?;
            bytes += run.value().len();
            self.left = self.left.saturating_sub(run.value().len() as u64);
            self.next = key.value() + 1;
        }
        drop(runs);
        txn.commit()?;
        Ok(step)
    }
}

/// Copies everything except the runs, commits twice, and closes the copy, which cuts off free pages at its end.
fn copy_the_rest(old: &ReadTransaction, new: Database) -> Result<(), Trouble> {
    let txn = new.begin_write()?;
    copy_table(old, &txn, TERMS)?;
    copy_table(old, &txn, MEMBERSHIPS)?;
    copy_table(old, &txn, META)?;
    txn.commit()?;
    new.begin_write()?.commit()?;
    Ok(new.close()?)
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    old: &ReadTransaction,
    txn: &redb::WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<(), Trouble> {
    let mut to = txn.open_table(table)?;
    for row in old.open_table(table)?.iter()? {
        let (key, value) = row?;
        to.insert(key.value(), value.value())?;
    }
    Ok(())
}

/// Turns "disk full" into `None`.
fn none_if_full<T>(result: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(Trouble::Database(error)) if error.is_full_disk() => Ok(None),
        Err(trouble) => Err(trouble),
    }
}
