//! The database, shared by the store and its readers; and a wall around it, because redb panics on some damage.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use raftkit_disk::DirLock;
use redb::Database;

use crate::error::{Damage, Trouble};

/// The open database.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The file's name, for errors.
    pub(crate) path: PathBuf,
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
    pub(crate) fn new(path: PathBuf, database: Database, lock: Option<Box<dyn DirLock>>) -> Self {
        Self { path, open: RwLock::new(Some(Open { database, _lock: lock })) }
    }

    /// Works on the database.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&Database) -> Result<T, Trouble>) -> Result<T, Trouble> {
        // Nobody panics while it holds the lock for writing, and nothing but `close` changes what is in it.
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or(Trouble::Closed)?;
        contain(|| act(&open.database))
    }

    /// Closes the database once the reads that are under way have ended.
    pub(crate) fn close(&self) {
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
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
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        Err(Trouble::Damaged(Damage::Panicked { message }))
    })
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
