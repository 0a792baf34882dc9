//! The half of a store that owns redb: it moves what is flushed there, and frees what is compacted.

use std::sync::Arc;

use raftkit_core::{LogIndex, Write};
use raftkit_disk::DiskFile;
use redb::Durability;

use crate::batch::Batch;
use crate::compaction::{self, Compaction, Limit};
use crate::core_slot::{Held, SharedCore};
use crate::error::{StoreError, Trouble};
use crate::give_back::{Copied, Copy, Home};
use crate::journal::Mark;
use crate::schedule::{Chore, Progress};
use crate::shared::{Shared, Unsettled, contain};
use crate::state::LogState;
use crate::tables::{Identity, META, RUNS, encode_identity, encode_mark, put_meta, record};

/// One transaction takes about so many bytes. The disk is one: while it writes a transaction's pages it keeps the journal
/// waiting. At 4 MiB the slowest hundredth of flushes under full load took twice as long as at this.
const TRANSACTION_BYTES: u64 = 256 << 10;

/// Moves flushed writes from the journal into redb, beside a [`Flusher`](crate::Flusher) on another thread.
#[derive(Debug)]
pub struct Settler {
    core: SharedCore,
    shared: Arc<Shared>,
}

/// How far a settling has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything that was flushed is in redb.
    All,
    /// Call again.
    More,
}

impl Settler {
    pub(crate) fn new(core: SharedCore, shared: Arc<Shared>) -> Self {
        Self { core, shared }
    }

    /// Moves the oldest of what is flushed into redb, in one transaction and one sync of a file of its own. It frees some of
    /// what is compacted, too, and more than it adds.
    ///
    /// # Errors
    /// Any error ends the store: both halves of it.
    pub fn settle(&mut self) -> Result<Settled, StoreError> {
        let mut held = self.core.take_out();
        let result = held.settle();
        held.put_back(result)
    }

    /// Frees the space of some entries that are compacted; call it until it is done. It costs no sync of its own: it
    /// becomes durable with the next settling, and is done again if a crash comes before.
    ///
    /// # Errors
    /// Any error ends the store: both halves of it.
    pub fn compact_step(&mut self) -> Result<Compaction, StoreError> {
        let mut held = self.core.take_out();
        let result = held.compact_step();
        held.put_back(result)
    }

    /// Looks whether the database's file is [much](crate::OpenOptions::slack) larger than what is in it, and if so copies some of it
    /// into a new file, which takes the old one's name in the end; call it until there is [no more](Progress::More). Flushes
    /// and reads go on meanwhile.
    ///
    /// A disk without space for a copy [postpones](Progress::Postponed) it. A log that is cut meanwhile begins it anew.
    ///
    /// # Errors
    /// Any error but that of a full disk ends the store: both halves of it.
    pub fn give_back(&mut self) -> Result<Progress, StoreError> {
        let mut held = self.core.take_out();
        let result = held.give_back();
        held.put_back(result)
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.core.take_out().file.len().unwrap_or(0)
    }

    /// Does the disk's part of a chore. The store is the same as before to the other half until it [ends](Self::end).
    pub(crate) fn begin(&mut self, chore: Chore) -> Begun {
        let mut held = self.core.take_out();
        let result = match chore {
            Chore::Settle => held.settle().map(|settled| match settled {
                Settled::All => Progress::Done,
                Settled::More => Progress::More,
            }),
            Chore::Compact => held.compact_step().map(|compacted| match compacted {
                Compaction::Done => Progress::Done,
                Compaction::More => Progress::More,
            }),
            Chore::GiveBack => held.give_back(),
        };
        Begun { held, result }
    }

    /// Ends what was [begun](Self::begin), once all that it has synced is durable.
    pub(crate) fn end(begun: Begun) -> Result<Progress, StoreError> {
        begun.held.put_back(begun.result)
    }

    /// True while the other half has the database: who begins a chore now waits for it.
    pub(crate) fn would_wait(&self) -> bool {
        self.core.is_out()
    }

    /// What is flushed and not settled, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.shared.unsettled_bytes()
    }
}

/// A chore that was begun: all that it asks of the disk is asked.
#[derive(Debug)]
pub(crate) struct Begun {
    held: Held,
    result: Result<Progress, Trouble>,
}

/// What was done to the database and is shown to nobody yet: what flushes, and who reads, takes it for durable.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Up to this record of the journal, and this entry, the database holds the log.
    settled: Option<(u64, LogIndex)>,
    /// Where the stretch of the ring starts that is still needed.
    floor: Option<u64>,
}

/// Owns redb.
#[derive(Debug)]
pub(crate) struct SettleCore {
    pub(crate) shared: Arc<Shared>,
    /// As of the last commit.
    pub(crate) state: LogState,
    /// Up to where the journal is in the last durable commit but one: redb may fall back to it.
    pub(crate) before: Mark,
    /// Up to where the journal is in the last durable commit.
    pub(crate) settled: Mark,
    pub(crate) home: Home,
    /// The database's file.
    pub(crate) file: Arc<dyn DiskFile>,
    /// The copy in the making.
    pub(crate) copy: Option<Copy>,
    /// So many durable commits are missing until what compaction steps freed is free: until then it counts as in use.
    pub(crate) loose: u8,
    pub(crate) outcome: Outcome,
}

impl SettleCore {
    /// Shows the flusher and the readers what was done: only once it is durable. A flush beside it would otherwise write over
    /// records of the journal that an opening after a crash needs.
    pub(crate) fn show(&mut self) {
        let Outcome { settled, floor } = std::mem::take(&mut self.outcome);
        if let Some((seq, last)) = settled {
            self.shared.view().settled(seq, last);
            self.shared.forget(seq);
        }
        floor.into_iter().for_each(|at| self.shared.raise_floor(at));
    }

    /// True where something was done and is not shown.
    pub(crate) fn has_more_to_show(&self) -> bool {
        self.outcome.settled.is_some() || self.outcome.floor.is_some()
    }

    pub(crate) fn settle(&mut self) -> Result<Settled, Trouble> {
        self.shared.alive()?;
        let (flushes, more) = self.oldest();
        let Some(mark) = flushes.last().map(|flush| flush.mark) else { return Ok(Settled::All) };
        let bytes = flushes.iter().map(|flush| flush.bytes).sum();
        self.commit(flushes.iter().map(|flush| flush.parts()), mark, bytes)?;
        Ok(if more { Settled::More } else { Settled::All })
    }

    /// Frees some of the ring: settles, and where nothing is left to be settled commits once more.
    pub(crate) fn make_room(&mut self) -> Result<(), Trouble> {
        match self.settle()? {
            Settled::More => Ok(()),
            Settled::All => self.advance(),
        }
    }

    /// Settles all that is flushed.
    pub(crate) fn settle_all(&mut self) -> Result<(), Trouble> {
        while self.settle()? == Settled::More {
            self.show();
        }
        self.show();
        Ok(())
    }

    /// Puts a flush that the journal does not hold into redb, after all that came before it.
    pub(crate) fn settle_around(&mut self, flush: &Unsettled, bytes: u64) -> Result<(), Trouble> {
        self.commit(std::iter::once(flush.parts()), flush.mark, bytes)
    }

    /// The oldest unsettled flushes, as many as one transaction takes, and whether there are more. They stay where they
    /// are until they are durable in redb.
    fn oldest(&self) -> (Vec<Arc<Unsettled>>, bool) {
        let unsettled = self.shared.unsettled();
        let mut bytes = 0;
        let mut taken = Vec::new();
        for flush in unsettled.iter() {
            if bytes > 0 && bytes + flush.bytes > TRANSACTION_BYTES {
                break;
            }
            bytes += flush.bytes;
            taken.push(flush.clone());
        }
        let more = taken.len() < unsettled.len();
        (taken, more)
    }

    /// Commits durably, also when there is nothing to settle: what was settled before is safe from one rotten commit
    /// then, and its stretch of the ring is free.
    fn advance(&mut self) -> Result<(), Trouble> {
        self.shared.alive()?;
        self.commit(std::iter::empty(), self.settled, 0)
    }

    fn commit<'a>(
        &mut self,
        flushes: impl Iterator<Item = (&'a [Write], Option<&'a Identity>)> + Clone,
        mark: Mark,
        bytes: u64,
    ) -> Result<(), Trouble> {
        let cuts = |write: &Write| write.truncate_from.is_some() || write.reset_to.is_some();
        // What was copied may be cut off by it, in the middle of a run: that is rare, and the copy begins anew.
        if flushes.clone().any(|(writes, _)| writes.iter().any(cuts)) {
            self.give_up_copy()?;
        }
        let state = &mut self.state;
        let result = self.shared.with(|database| {
            let mut txn = database.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            write_flushes(&txn, state, flushes, mark)?;
            // In the same transaction, so that no load adds more than is freed.
            compaction::remove(&mut txn.open_table(RUNS)?, state.base.id.index, Limit::beside(bytes))?;
            Ok(txn.commit()?)
        });
        result?;
        self.loose = self.loose.saturating_sub(1);
        self.before = self.settled;
        self.settled = mark;
        self.outcome.settled = Some((mark.seq, self.state.last.index));
        self.outcome.floor = Some(self.before.at);
        Ok(())
    }

    pub(crate) fn compact_step(&mut self) -> Result<Compaction, Trouble> {
        self.shared.alive()?;
        let base = self.state.base.id.index;
        self.loose = 2;
        self.shared.with(|database| compaction::step(database, base))
    }

    pub(crate) fn give_back(&mut self) -> Result<Progress, Trouble> {
        self.shared.alive()?;
        if self.copy.is_none() {
            while self.loose > 0 && self.home.slack.may_be_much(self.file.len()?) {
                self.advance()?;
            }
            let file_bytes = self.file.len()?;
            if !self.shared.with(|database| self.home.is_worth_a_copy(file_bytes, database))? {
                return Ok(Progress::Nothing);
            }
            self.copy = contain(|| self.home.begin(file_bytes))?;
        }
        let Self { shared, home, copy, .. } = self;
        match shared.with(|database| home.step(copy, database))? {
            Copied::Some => Ok(Progress::More),
            Copied::GivenUp => Ok(Progress::Postponed),
            Copied::All(database, file) => {
                self.shared.replace(database);
                self.file = file;
                // Its two last commits both hold what is settled.
                self.before = self.settled;
                self.outcome.floor = Some(self.before.at);
                Ok(Progress::Done)
            }
        }
    }

    fn give_up_copy(&mut self) -> Result<(), Trouble> {
        Ok(self.copy.take().map_or(Ok(()), |copy| self.home.give_up(copy))?)
    }
}

/// Writes flushes into the tables, and up to where the journal is with them.
pub(crate) fn write_flushes<'a>(
    txn: &redb::WriteTransaction,
    state: &mut LogState,
    flushes: impl Iterator<Item = (&'a [Write], Option<&'a Identity>)>,
    mark: Mark,
) -> Result<(), Trouble> {
    let mut batch = Batch::new(txn, state)?;
    let mut newest = None;
    for (writes, identity) in flushes {
        for write in writes {
            batch.apply(write)?;
        }
        newest = identity.or(newest);
    }
    batch.finish()?;
    let mut meta = txn.open_table(META)?;
    if let Some(identity) = newest {
        put_meta(&mut meta, record::IDENTITY, &encode_identity(identity))?;
    }
    put_meta(&mut meta, record::SETTLED, &encode_mark(&mark))
}

impl Drop for SettleCore {
    fn drop(&mut self) {
        // A clean end leaves nothing to be replayed. What cannot be settled now is in the journal.
        while matches!(self.settle(), Ok(Settled::More)) {
            self.show();
        }
        // What cannot be removed now is removed by the next opening.
        let _ = self.give_up_copy();
        // Readers may live on; the file and the folder's lock must not.
        self.shared.close();
    }
}
