#![doc = include_str!("../README.md")]

mod batch;
mod codec;
mod compaction;
mod error;
mod reader;
mod recovery;
mod shared;
mod state;
mod store;
mod tables;

pub use compaction::Compaction;
pub use error::{Damage, FormError, OpenError, ReadError, StoreError};
pub use reader::{ReadResult, Reader};
pub use recovery::{FolderLock, OpenOptions};
pub use store::Store;
pub use tables::Identity;
