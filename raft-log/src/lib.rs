#![doc = include_str!("../README.md")]

#[macro_use]
extern crate raftkit_mutants;

mod batch;
mod codec;
mod compaction;
mod error;
mod fields;
mod flusher;
#[cfg(test)]
mod fuzz;
mod give_back;
mod journal;
mod mutants;
mod reader;
mod recovery;
mod schedule;
mod settler;
mod shared;
mod state;
mod store;
mod tables;
mod verify;
mod view;
mod writer;

pub use compaction::Compaction;
pub use error::{Damage, FormError, OpenError, ReadError, StoreError};
pub use flusher::Flusher;
#[doc(hidden)]
pub use mutants::Mutant;
pub use reader::{ReadResult, Reader};
pub use recovery::{FolderLock, LogDamage, Lost, OpenOptions, OpenReport, Replayed};
pub use schedule::{Chore, GiveBackPace, Next, Progress, Schedule};
pub use settler::{Settled, Settler};
pub use store::Store;
pub use tables::Identity;
pub use verify::{Contents, FoundDamage, InspectError, Inspection, Unsettled, Verdict, inspect};
pub use writer::{Writer, WriterGone, Written};
