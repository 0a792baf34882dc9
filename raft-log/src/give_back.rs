//! Gives space back: copies the database into a new file, step by step, which then takes the old one's name.
//!
//! redb uses freed pages again, but its file gets shorter only where its end happens to be free. A copy is made aside, so a
//! crash at any moment leaves the old file or the whole new one, and so that a disk without space for it only puts it off:
//!
//! ```text
//!   log.redb.new: runs, a step at a time ---> the small tables ---> a second commit ---> closed, synced ---> renamed ---> a third
//!   log.redb:     settled on meanwhile; what is appended is copied in later steps, a cut gives the copy up
//! ```
//!
//! redb falls back by one commit where the newest is rotten, silently, and that commit must hold all of the log. Before the
//! second commit it would be one from before the last step. After the closing it would be one that misses the pages at the
//! file's end which the closing cut off; the third commit, once the file is open again, leaves the closing's own to fall back to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use raftkit_disk::{Disk, DiskFile, OpenMode, RedbFile, Slack};
use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value};

use crate::error::Trouble;
use crate::recovery::{FILE, FILE_IN_THE_MAKING, database};
use crate::shared::close_unwritten;
use crate::tables::{MEMBERSHIPS, META, RUNS, TERMS};

/// One step copies about this many bytes, and syncs them. Syncs of the journal wait behind it.
const STEP_BYTES: usize = 1 << 20;

/// Where a log's database is, and how its copies are opened.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) cache_bytes: usize,
    pub(crate) slack: Slack,
}

/// What a step has come to.
pub(crate) enum Copied {
    /// There is more.
    Some,
    /// The copy has taken the old file's name and is open.
    All(Database, Arc<dyn DiskFile>),
    /// There is no space for it, or it cannot keep up with what comes.
    GivenUp,
}

/// A copy in the making.
#[derive(Debug)]
pub(crate) struct Copy {
    database: Database,
    file: Arc<dyn DiskFile>,
    /// Runs with a lower key are copied.
    next: u64,
    /// What may be copied yet, in bytes: a copy that becomes as long as the file gains nothing. Under a load that compacts more in
    /// the time of a step than the step copies it would go on for ever.
    left: u64,
}

impl Home {
    /// Whether the database of this file's length is worth a copy, and whether there is space for one.
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

    /// Begins a copy; none where there is no space for it.
    pub(crate) fn begin(&self, file_bytes: u64) -> Result<Option<Copy>, Trouble> {
        none_if_full(self.try_to_begin(file_bytes))
    }

    fn try_to_begin(&self, file_bytes: u64) -> Result<Copy, Trouble> {
        self.remove_left_over()?;
        let file = self.disk.open(&self.dir.join(FILE_IN_THE_MAKING), OpenMode::New)?;
        let database = database(RedbFile::new(file.clone()), self.cache_bytes, false)?;
        Ok(Copy { database, file, next: 0, left: file_bytes })
    }

    /// Removes a copy that was not finished, if there is one.
    pub(crate) fn remove_left_over(&self) -> io::Result<()> {
        self.disk.remove_if_there(&self.dir.join(FILE_IN_THE_MAKING))
    }

    /// Copies some more from `old`, which must not change meanwhile.
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
            file.sync()?;
            Ok(self.disk.rename(&from, &to)?)
        });
        if none_if_full(finished)?.is_none() {
            self.remove_left_over()?;
            return Ok(Copied::GivenUp);
        }
        // From here on the copy is the log: an error leaves it unknown which file the next opening finds, and ends the
        // store. Both hold the same, so either will do.
        self.disk.sync_dir(&self.dir)?;
        let database = database(RedbFile::new(file.clone()), self.cache_bytes, false)?;
        // The third commit: see the top of this file.
        database.begin_write()?.commit()?;
        Ok(Copied::All(database, file))
    }

    /// Drops a copy and removes its file.
    pub(crate) fn give_up(&self, copy: Copy) -> io::Result<()> {
        // Nobody reads it again: closing it in order would only write.
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

/// Copies all but the runs, commits twice, and closes the copy, which cuts off what is free at its end.
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

/// None where the disk has no space.
fn none_if_full<T>(result: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match result {
        Ok(done) => Ok(Some(done)),
        Err(Trouble::Database(error)) if is_full(&error) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

fn is_full(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if raftkit_disk::is_full(error.kind()))
}
