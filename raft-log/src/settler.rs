//! The half of a store that owns redb: it moves what is flushed there, and frees what is compacted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raftkit_core::Write;
use redb::Durability;

use crate::batch::Batch;
use crate::compaction::{self, Compaction};
use crate::error::{StoreError, Trouble};
use crate::journal::Mark;
use crate::mutants;
use crate::shared::{Shared, Unsettled};
use crate::state::LogState;
use crate::tables::{Identity, META, encode_identity, encode_mark, put_meta, record};

/// One transaction takes about so many bytes. The disk is one: while it writes a transaction's pages it keeps the journal
/// waiting. At 4 MiB the slowest hundredth of flushes under full load took twice as long as at this.
const TRANSACTION_BYTES: u64 = 256 << 10;

/// Moves flushed writes from the journal into redb, beside a [`Flusher`](crate::Flusher) on another thread.
#[derive(Debug)]
pub struct Settler {
    core: SharedCore,
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
    pub(crate) fn new(core: SharedCore) -> Self {
        Self { core }
    }

    /// Moves the oldest of what is flushed into redb, in one transaction and one sync of a file of its own.
    ///
    /// # Errors
    /// Any error ends the store: both halves of it.
    pub fn settle(&mut self) -> Result<Settled, StoreError> {
        self.core.lock().settle()
    }

    /// Frees the space of some entries that are compacted; call it until it is done. It costs no sync of its own: it
    /// becomes durable with the next settling, and is done again if a crash comes before.
    ///
    /// # Errors
    /// Any error ends the store: both halves of it.
    pub fn compact_step(&mut self) -> Result<Compaction, StoreError> {
        self.core.lock().compact_step()
    }

    /// What is flushed and not settled, in bytes of the journal.
    #[must_use]
    pub fn unsettled_bytes(&self) -> u64 {
        self.core.shared.unsettled_bytes()
    }
}

/// The core, from either half: the flusher takes it when the journal is full.
#[derive(Clone, Debug)]
pub(crate) struct SharedCore {
    core: Arc<Mutex<SettleCore>>,
    shared: Arc<Shared>,
}

impl SharedCore {
    pub(crate) fn new(core: SettleCore) -> Self {
        let shared = core.shared.clone();
        Self { core: Arc::new(Mutex::new(core)), shared }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, SettleCore> {
        // After a panic in it the store is ended by the next error; its state is never looked at again.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
}

impl SettleCore {
    pub(crate) fn settle(&mut self) -> Result<Settled, StoreError> {
        self.shared.alive()?;
        let (flushes, more) = self.oldest();
        let Some(mark) = flushes.last().map(|flush| flush.mark) else { return Ok(Settled::All) };
        self.commit(flushes.iter().map(|flush| flush.parts()), mark)?;
        self.shared.forget(mark.seq);
        Ok(if more { Settled::More } else { Settled::All })
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
    pub(crate) fn advance(&mut self) -> Result<(), StoreError> {
        self.shared.alive()?;
        self.commit(std::iter::empty(), self.settled)
    }

    /// Puts a flush that the journal does not hold into redb, after all that came before it.
    pub(crate) fn settle_at_once(&mut self, flush: &Unsettled) -> Result<(), StoreError> {
        self.shared.alive()?;
        self.commit(std::iter::once(flush.parts()), flush.mark)
    }

    fn commit<'a>(
        &mut self,
        flushes: impl Iterator<Item = (&'a [Write], Option<&'a Identity>)>,
        mark: Mark,
    ) -> Result<(), StoreError> {
        let (state, settled) = (&mut self.state, self.settled);
        let result = self.shared.with(|database| {
            if mutant!(SettledMarkFirst) {
                mutants::mark_apart(database, state, mark)?;
            }
            let mut txn = database.begin_write()?;
            txn.set_durability(mutant!(NoneTakenForDurable, Durability::None, Durability::Immediate))?;
            write_flushes(&txn, state, flushes, mutant!(SettledMarkLast, settled, mark))?;
            mutant!(CommitErrorSwallowed, txn.commit().or(Ok(())), txn.commit())?;
            if mutant!(SettledMarkLast) { mutants::mark_apart(database, state, mark) } else { Ok(()) }
        });
        self.shared.end_on_error(mutant!(SettleErrorSwallowed, result.or(Ok(())), result))?;
        self.before = self.settled;
        self.settled = mark;
        self.shared.view().settled(mark.seq, self.state.last.index);
        self.shared.raise_floor(mutant!(RingReusedTooEarly, self.settled.at, self.before.at));
        Ok(())
    }

    pub(crate) fn compact_step(&mut self) -> Result<Compaction, StoreError> {
        self.shared.alive()?;
        let base = mutant!(CompactsUnsettledBase, self.shared.view().base(), self.state.base.id.index);
        let result = self.shared.with(|database| compaction::step(database, base));
        self.shared.end_on_error(result)
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
        while matches!(self.settle(), Ok(Settled::More)) {}
        // Readers may live on; the file and the folder's lock must not.
        self.shared.close();
    }
}
