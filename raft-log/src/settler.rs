//! The half of a store that owns redb: it settles flushed writes into the database and frees compacted entries.

use std::sync::Arc;

use raftkit_core::{LogIndex, Write};
use raftkit_disk::DiskFile;
use redb::Durability;

use crate::batch::Batch;
use crate::compaction::{self, Compaction, Limit};
use crate::core_slot::{Held, SharedCore};
use crate::error::{StoreError, Trouble};
use crate::give_back::{Copied, Copy, Home};
use crate::layout::Mark;
use crate::layout::{Identity, encode_identity, encode_mark};
use crate::schedule::{Chore, Progress};
use crate::shared::{Shared, Unsettled, contain};
use crate::state::LogState;
use crate::tables::{META, RUNS, put_meta, record};

/// Approximate size of one settling transaction, in bytes. Both files share a disk, and writing a transaction's pages
/// delays the journal: with 4 MiB, the slowest 1 % of flushes under full load took twice as long as with 256 KiB.
const TRANSACTION_BYTES: u64 = 256 << 10;

/// Moves flushed writes from the journal into redb, while a [`Flusher`](crate::Flusher) works on another thread.
#[derive(Debug)]
pub struct Settler {
    core: SharedCore,
    shared: Arc<Shared>,
}

/// Whether settling has more to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything flushed is in redb.
    All,
    /// There is more to settle: call again.
    More,
}

impl Settler {
    pub(crate) fn new(core: SharedCore, shared: Arc<Shared>) -> Self {
        Self { core, shared }
    }

    /// Moves the oldest flushed writes into redb, in one transaction with one sync of the database file. The same
    /// transaction frees more compacted entries than it adds new ones, if there are any.
    ///
    /// # Errors
    /// Any error ends the store, both halves of it.
    pub fn settle(&mut self) -> Result<Settled, StoreError> {
        let mut held = self.core.take_out();
        let result = held.settle();
        held.put_back(result)
    }

    /// Frees the space of some compacted entries; call it until it is done. It costs no sync: the change becomes
    /// durable with the next settling, and is repeated if a crash comes first.
    ///
    /// # Errors
    /// Any error ends the store, both halves of it.
    pub fn compact_step(&mut self) -> Result<Compaction, StoreError> {
        let mut held = self.core.take_out();
        let result = held.compact_step();
        held.put_back(result)
    }

    /// Checks whether the database file is [much](crate::OpenOptions::slack) larger than its content, and if so copies
    /// some of the content into a new file, which finally replaces the old one. Call it until there is [no
    /// more](Progress::More) to do. Flushes and reads continue meanwhile.
    ///
    /// A disk without space for the copy [postpones](Progress::Postponed) it. If the log is truncated or reset
    /// meanwhile, the copy starts over.
    ///
    /// # Errors
    /// Any error except a full disk ends the store, both halves of it.
    pub fn give_back(&mut self) -> Result<Progress, StoreError> {
        let mut held = self.core.take_out();
        let result = held.give_back();
        held.put_back(result)
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.core.take_out().file.len().unwrap_or(0)
    }

    /// Makes the disk calls of a chore. The flushing half sees its effects only after [`end`](Self::end).
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

    /// Ends a chore that was [begun](Self::begin), once everything it synced is durable.
    pub(crate) fn end(begun: Begun) -> Result<Progress, StoreError> {
        begun.held.put_back(begun.result)
    }

    /// Returns true if the flushing half holds the database, so that beginning a chore would block.
    pub(crate) fn would_wait(&self) -> bool {
        self.core.is_out()
    }

    /// Returns the size of the flushed writes that are not settled yet, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.shared.unsettled_bytes()
    }
}

/// A chore whose disk calls have all been made, but whose effects are not visible yet.
#[derive(Debug)]
pub(crate) struct Begun {
    held: Held,
    result: Result<Progress, Trouble>,
}

/// Effects of a chore that are not visible yet. The flusher and readers rely on what they see being durable.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The database holds the log up to this journal record and this log index.
    settled: Option<(u64, LogIndex)>,
    /// Start of the stretch of the ring that is still needed.
    floor: Option<u64>,
}

/// Owner of the redb database.
#[derive(Debug)]
pub(crate) struct SettleCore {
    pub(crate) shared: Arc<Shared>,
    /// State of the log in the last commit.
    pub(crate) state: LogState,
    /// Journal position in the last durable commit but one, to which redb may fall back.
    pub(crate) before: Mark,
    /// Journal position in the last durable commit.
    pub(crate) settled: Mark,
    pub(crate) home: Home,
    /// The file that the database is in, to learn its length.
    pub(crate) file: Arc<dyn DiskFile>,
    /// The copy under way, if any.
    pub(crate) copy: Option<Copy>,
    /// Number of durable commits still needed before pages freed by compaction steps are reusable; until then they
    /// count as in use.
    pub(crate) loose: u8,
    pub(crate) outcome: Outcome,
}

impl SettleCore {
    /// Makes the effects of a chore visible to the flusher and readers. They must be durable by then: a flush would
    /// otherwise overwrite journal records that the next opening needs after a crash.
    pub(crate) fn show(&mut self) {
        let Outcome { settled, floor } = std::mem::take(&mut self.outcome);
        if let Some((seq, last)) = settled {
            self.shared.view().settled(seq, last);
            self.shared.forget(seq);
        }
        if let Some(at) = floor {
            assert!(at >= self.shared.floor(), "a stretch of the ring that is free stays free");
            self.shared.raise_floor(at);
        }
    }

    /// Returns true if some effects are not visible yet.
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

    /// Frees part of the ring by settling. If nothing is left to settle, commits once more, so that redb's fallback
    /// commit holds everything too.
    pub(crate) fn make_room(&mut self) -> Result<(), Trouble> {
        match self.settle()? {
            Settled::More => Ok(()),
            Settled::All => self.advance(),
        }
    }

    /// Settles all flushed writes, however many transactions that takes.
    pub(crate) fn settle_all(&mut self) -> Result<(), Trouble> {
        while self.settle()? == Settled::More {
            self.show();
        }
        self.show();
        Ok(())
    }

    /// Writes a flush that is not in the journal into redb, after all flushes before it.
    pub(crate) fn settle_around(&mut self, flush: &Unsettled, bytes: u64) -> Result<(), Trouble> {
        self.commit(std::iter::once(flush.parts()), flush.mark, bytes)
    }

    /// Returns the oldest unsettled flushes, as many as fit into one transaction, and whether there are more. They stay
    /// listed as unsettled until they are durable in redb.
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

    /// Commits durably even if there is nothing to settle. Afterwards both of redb's last two commits hold what was
    /// settled before, so one rotten commit loses nothing and that stretch of the ring is free.
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
        // A truncation or reset may remove entries already copied, in the middle of a run. This is rare, so the copy
        // starts over.
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
        assert!(mark.seq >= self.settled.seq, "what the database covers does not go back");
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
                // Both of the last two commits now hold what was settled before.
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

/// Applies flushes to the tables, and stores the journal position reached with them.
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
        // Settle everything, so that the next opening has nothing to replay. If that fails, the journal still holds the
        // rest.
        while matches!(self.settle(), Ok(Settled::More)) {
            self.show();
        }
        // Ignore errors: the next opening removes a leftover copy.
        let _ = self.give_up_copy();
        // Close the database now: readers may outlive the store, but must not keep its file or the folder's lock.
        self.shared.close();
    }
}
