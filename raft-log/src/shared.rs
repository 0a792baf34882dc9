//! State shared by the store's halves and its readers, and containment of redb's panics on damaged files.

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
use crate::layout::Identity;
use crate::layout::Mark;
use crate::view::View;

/// A flush that is durable in the journal but not yet in redb.
#[derive(Debug)]
pub(crate) struct Unsettled {
    /// Journal position after this flush.
    pub(crate) mark: Mark,
    pub(crate) writes: Vec<Write>,
    /// The new identity, if this flush changes it.
    pub(crate) identity: Option<Identity>,
    /// Size in the ring, in bytes.
    pub(crate) bytes: u64,
}

impl Unsettled {
    /// Returns the writes and the identity to store in the tables.
    pub(crate) fn parts(&self) -> (&[Write], Option<&Identity>) {
        (&self.writes, self.identity.as_ref())
    }
}

/// State shared by the halves of a store and its readers.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Path of the database, for error messages.
    pub(crate) path: PathBuf,
    /// Path of the journal, for error messages.
    pub(crate) journal_path: PathBuf,
    view: Mutex<View>,
    unsettled: Mutex<VecDeque<Arc<Unsettled>>>,
    /// Size of all unsettled flushes, in bytes of the ring.
    unsettled_bytes: AtomicU64,
    /// Start of the stretch of the ring that is still needed.
    floor: AtomicU64,
    /// Set by the first error. Nothing is written afterwards.
    ended: AtomicBool,
    /// `None` once the store is dropped: readers that outlive it must not keep the file open while a new store opens
    /// it.
    open: RwLock<Option<Open>>,
}

/// The open database and the folder's lock. Field order matters: the database closes before the lock is released.
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
        // Poisoning can be ignored: a panic under this lock is a bug, and the store is dropped because of it.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unsettled(&self) -> MutexGuard<'_, VecDeque<Arc<Unsettled>>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a flush that is durable in the journal, so that it is read and later settled. Returns the number of
    /// unsettled bytes right before.
    pub(crate) fn flushed(&self, flush: Unsettled) -> u64 {
        self.show(&flush);
        let before = self.unsettled_bytes.fetch_add(flush.bytes, Ordering::Relaxed);
        let mut unsettled = self.unsettled();
        let newest = unsettled.back().map_or(0, |newest| newest.mark.seq);
        assert!(newest < flush.mark.seq, "record {} is flushed after record {newest}", flush.mark.seq);
        unsettled.push_back(Arc::new(flush));
        before
    }

    /// Makes a flush visible to readers.
    pub(crate) fn show(&self, flush: &Unsettled) {
        let mut view = self.view();
        flush.writes.iter().for_each(|write| view.apply(flush.mark.seq, write));
    }

    /// Removes the oldest unsettled flushes, up to record `seq`: redb holds them now.
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

    /// Ends the store: nothing is written afterwards.
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

    /// Runs `act` on the database.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, Trouble>) -> Result<T, Trouble> {
        // Poisoning can be ignored: nothing panics while holding the write lock, and only `replace` and `close` take
        // it.
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(Trouble::Closed)?;
        contain(|| act(&open.database))
    }

    /// Replaces the database by its copy, once the reads under way have ended.
    pub(crate) fn replace(&self, database: Database) {
        let mut guard = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = guard.as_mut() else { return };
        let old = std::mem::replace(&mut open.database, database);
        drop(guard);
        // The old file has been replaced: an orderly close would write for nobody, and might fail.
        close_unwritten(Some(old));
    }

    /// Returns true once the store is dropped.
    pub(crate) fn is_closed(&self) -> bool {
        self.open.read().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Closes the database once the reads under way have ended.
    pub(crate) fn close(&self) {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if self.has_ended() {
            // The store may have ended because of rot, so write nothing. The next opening repairs the file as after a
            // killed process.
            return close_unwritten(open);
        }
        // Ignore errors: an orderly close only helps the next opening, and everything acknowledged is already durable.
        let _ = contain(|| {
            drop(open);
            Ok(())
        });
    }
}

/// Runs work on redb and turns a panic into an error.
pub(crate) fn contain<T>(act: impl FnOnce() -> Result<T, Trouble>) -> Result<T, Trouble> {
    // Unwind safety: half-done work is never looked at again, because the caller ends the store on any error, and redb
    // does not commit a transaction that a panic went through.
    catch_unwind(AssertUnwindSafe(act))
        .unwrap_or_else(|panic| Err(Trouble::Damaged(Damage::Panicked { message: panic_message(&*panic) })))
}

/// Returns the message of a panic, or an empty string if it has none.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned()
}

/// Closes a possibly rotten database without writing to it. An orderly close makes redb follow pages without checking
/// their checksums. A rotten page could make it panic, and panic again while unwinding, which would abort the process.
/// redb writes nothing if it is dropped while the thread unwinds, so this function drops it during a panic of its own.
pub(crate) fn close_unwritten<T>(database: Option<T>) {
    // This runs no panic hook, because nothing is wrong here.
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
