//! What the store's halves and its readers share; and a wall around redb, because it panics on some damage.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use raftkit_core::Write;

use raftkit_disk::DirLock;
use redb::Database;

use crate::error::{Damage, StoreError, Trouble};
use crate::journal::Mark;
use crate::tables::Identity;
use crate::view::View;

/// A flush that is durable in the journal and not yet in redb.
#[derive(Debug)]
pub(crate) struct Unsettled {
    /// Up to where the journal is with it.
    pub(crate) mark: Mark,
    pub(crate) writes: Vec<Write>,
    /// The identity, where it changed.
    pub(crate) identity: Option<Identity>,
    /// What it took in the ring, in bytes.
    pub(crate) bytes: u64,
}

impl Unsettled {
    /// What is to be written into the tables.
    pub(crate) fn parts(&self) -> (&[Write], Option<&Identity>) {
        (&self.writes, self.identity.as_ref())
    }
}

/// What the halves of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The database's name, for errors.
    pub(crate) path: PathBuf,
    /// The journal's name, for errors.
    pub(crate) journal_path: PathBuf,
    view: Mutex<View>,
    unsettled: Mutex<VecDeque<Arc<Unsettled>>>,
    /// What is unsettled, in bytes of the ring.
    unsettled_bytes: AtomicU64,
    /// Where the stretch of the ring starts that is still needed.
    floor: AtomicU64,
    /// Set by the first error; nothing is written any more.
    ended: AtomicBool,
    /// None once the store is dropped: readers that outlive it must not keep the file open under a successor.
    open: RwLock<Option<Open>>,
}

/// The order of the fields matters: the lock goes after the database.
#[derive(Debug)]
struct Open {
    database: Database,
    _lock: Option<Box<dyn DirLock>>,
}

impl Shared {
    pub(crate) fn new(
        (path, journal_path): (PathBuf, PathBuf),
        database: Database,
        lock: Option<Box<dyn DirLock>>,
        view: View,
        floor: u64,
    ) -> Self {
        Self {
            path,
            journal_path,
            view: Mutex::new(view),
            unsettled: Mutex::default(),
            unsettled_bytes: AtomicU64::new(0),
            floor: AtomicU64::new(floor),
            ended: AtomicBool::new(false),
            open: RwLock::new(Some(Open { database, _lock: lock })),
        }
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        // Nothing but a bug panics while it holds it, and then the store is dropped.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unsettled(&self) -> MutexGuard<'_, VecDeque<Arc<Unsettled>>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the journal has made durable: from now on it is read, and to be settled. Answers what was unsettled right
    /// before, in bytes of the ring.
    pub(crate) fn flushed(&self, flush: Unsettled) -> u64 {
        self.show(&flush);
        let before = self.unsettled_bytes.fetch_add(flush.bytes, Ordering::Relaxed);
        self.unsettled().push_back(Arc::new(flush));
        before
    }

    /// Lets readers see a flush.
    pub(crate) fn show(&self, flush: &Unsettled) {
        let mut view = self.view();
        flush.writes.iter().for_each(|write| view.apply(flush.mark.seq, write));
    }

    /// Forgets the oldest unsettled flushes, up to record `seq`, which are in redb now.
    pub(crate) fn forget(&self, seq: u64) {
        let mut unsettled = self.unsettled();
        while let Some(flush) = unsettled.pop_front_if(|flush| flush.mark.seq <= seq) {
            self.unsettled_bytes.fetch_sub(flush.bytes, Ordering::Relaxed);
        }
    }

    pub(crate) fn unsettled_bytes(&self) -> u64 {
        self.unsettled_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    pub(crate) fn raise_floor(&self, at: u64) {
        self.floor.store(at, Ordering::Release);
    }

    pub(crate) fn alive(&self) -> Result<(), StoreError> {
        if self.has_ended() { Err(StoreError::Ended) } else { Ok(()) }
    }

    /// Ends the store.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Passes a result on; an error ends the store.
    pub(crate) fn end_on_error<T>(&self, result: Result<T, Trouble>) -> Result<T, StoreError> {
        result.map_err(|trouble| {
            self.ended.store(true, Ordering::Release);
            trouble.into_store_error(&self.path)
        })
    }

    /// Works on the database.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, Trouble>) -> Result<T, Trouble> {
        // Nobody panics while it holds the lock for writing, and nothing but `close` changes what is in it.
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(Trouble::Closed)?;
        contain(|| act(&open.database))
    }

    /// Puts a copy in the database's place, once the reads that are under way have ended.
    pub(crate) fn replace(&self, database: Database) {
        let mut guard = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = guard.as_mut() else { return };
        let old = std::mem::replace(&mut open.database, database);
        drop(guard);
        // Its file has no name any more: what closing in order writes would be for nobody, and might fail.
        close_unwritten(Some(old));
    }

    /// True once the store was dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Closes the database once the reads that are under way have ended.
    pub(crate) fn close(&self) {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if self.has_ended() {
            // What it ended with may be rot. The next opening repairs it, as after a process that was killed.
            return close_unwritten(open);
        }
        // What closing writes serves the next opening only; everything acknowledged is durable already.
        let _ = contain(|| {
            drop(open);
            Ok(())
        });
    }
}

/// Runs work on redb; a panic becomes an error.
pub(crate) fn contain<T>(act: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    // What the work leaves half-done is never looked at again: the caller ends the store on any error, and a redb
    // transaction that a panic went through cannot be committed.
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(Trouble::Damaged(Damage::Panicked { message: panic_message(&*panic) })))
}

/// What a panic said; empty if it said nothing.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
}

/// Closes a database that may be rotten, without writing to it. What redb writes on closing takes it through pages whose
/// checksums it does not look at; one that leads it astray makes it panic, and once more while that panic unwinds, which
/// would end the process. While a thread unwinds it writes nothing.
pub(crate) fn close_unwritten<T>(database: Option<T>) {
    // No panic hook is told of it: nothing is wrong here.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let _dropped_while_unwinding = database;
        resume_unwind(Box::new(()));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let number = 7;
        let trouble = contain::<()>(|| panic!("page {number} is odd")).expect_err("it panicked");
        assert!(
            matches!(trouble, Trouble::Damaged(Damage::Panicked { message }) if message == "page 7 is odd")
        );
    }
}
