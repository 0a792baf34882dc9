//! Errors and panics of redb, turned into [`MachineError`].

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use raftkit_replica::MachineError;

/// Wraps [`MachineError`] so that `?` converts redb's errors.
pub(crate) struct Fault(pub(crate) MachineError);

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self(storage(error.into()))
            }
        })*
    };
}

from_redb!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError,
    redb::SetDurabilityError
);

impl From<MachineError> for Fault {
    fn from(error: MachineError) -> Self {
        Self(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(error.into())
    }
}

/// The error for data that is damaged, as opposed to storage that fails.
pub(crate) fn damaged(what: impl Into<String>) -> Fault {
    Fault(MachineError::Damaged { what: what.into() })
}

/// Runs `work` and turns a panic into an error: some kinds of rot make redb panic.
///
/// Nobody looks at the closure's state after a panic, because the machine then refuses further writes.
pub(crate) fn guard<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, MachineError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Fault(error))) => Err(error),
        Err(panic) => Err(MachineError::Damaged { what: format!("redb panicked: {}", message(&*panic)) }),
    }
}

/// An error of the storage with the name of the file: "permission denied" alone does not say where.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct InFile {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Adds the file's name to an error.
pub(crate) fn in_file(path: &Path, error: MachineError) -> MachineError {
    match error {
        MachineError::Storage(source) => {
            MachineError::Storage(Box::new(InFile { path: path.to_owned(), source }))
        }
        error @ (MachineError::Damaged { .. } | MachineError::NewerFormat { .. }) => error,
    }
}

fn storage(error: redb::Error) -> MachineError {
    if let redb::Error::Corrupted(what) = error {
        return MachineError::Damaged { what };
    }
    if let redb::Error::UpgradeRequired(format) = error {
        // No version of this crate has written another of redb's formats, so the format's number is rotten.
        let what = format!("redb finds file format {format}, which no version has ever written");
        return MachineError::Damaged { what };
    }
    MachineError::Storage(Box::new(error))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}
