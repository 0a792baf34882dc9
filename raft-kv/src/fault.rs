//! Errors and panics of redb, turned into [`MachineError`].

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

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
