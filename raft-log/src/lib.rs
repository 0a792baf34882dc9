#![doc = include_str!("../README.md")]

mod batch;
mod codec;
mod compaction;
mod core_slot;
mod database_error;
mod error;
mod fields;
mod flusher;
mod flushing;
#[cfg(test)]
mod fuzz;
mod give_back;
mod journal;
mod layout;
mod reader;
mod recovery;
mod schedule;
mod settler;
mod settling;
mod shared;
mod state;
mod store;
mod tables;
mod verify;
mod view;
mod writer;

pub use compaction::Compaction;
pub use database_error::DatabaseError;
pub use error::{Damage, FormError, OpenError, ReadError, StoreError};
pub use flusher::Flusher;
pub use flushing::{FlushEnd, Flushing};
pub use layout::Identity;
#[doc(hidden)]
pub use reader::{ReadResult, Reader};
pub use recovery::{FolderLock, LogDamage, Lost, OpenOptions, OpenReport, Replayed};
pub use schedule::{Chore, FlushChore, FlushSchedule, GiveBackPace, Next, Nudge, Progress, SettleSchedule};
pub use settler::{Settled, Settler};
pub use settling::Settling;
pub use store::Store;
pub use verify::{Contents, FoundDamage, InspectError, Inspection, Unsettled, Verdict, inspect};
pub use writer::{Writer, WriterGone, Written};
