//! Errors and panics of redb, turned into [`MachineError`].

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use raftkit_replica::MachineError;

/// What `?` collects on its way to a [`MachineError`].
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

/// A fault of the data rather than of the storage.
pub(crate) fn damaged(what: impl Into<String>) -> Fault {
    Fault(MachineError::Damaged { what: what.into() })
}

/// Runs `work`, in which some rot makes redb panic.
///
/// The closure's state is not looked at after a panic: the machine takes no further writes then.
pub(crate) fn guard<T>(work: impl FnOnce() -> Result<T, Fault>) -> Result<T, MachineError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(Fault(error))) => Err(error),
        Err(panic) => Err(MachineError::Damaged { what: format!("redb panicked: {}", message(&*panic)) }),
    }
}

/// An error of the storage with the file's name: "permission denied" alone does not say of what.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
struct InFile {
    path: PathBuf,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The same error, which says which file it is about.
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
        // No state was ever in another of redb's formats.
        let what = format!("redb reads file format {format} in it, in which no state ever was");
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
