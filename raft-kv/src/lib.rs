#![doc = include_str!("../README.md")]
//!
//! ## Map
//!
//! [`KvMachine`] is the [`StateMachine`](raftkit_replica::StateMachine): it applies [`Command`]s that come out of the
//! log and answers each of them with a [`Response`]. [`KvReader`] reads beside it; each read sees exactly one state.
//!
//! | file | duty |
//! | --- | --- |
//! | `command.rs` | commands and answers as bytes |
//! | `entry.rs` | the entry of one key: what readers see, and how it is stored |
//! | `tables.rs` | the tables and the meta record |
//! | `layer.rs` | changes in memory, which are not in the file yet |
//! | `view.rs` | one state: the file's tables and the changes in memory in front of them |
//! | `state.rs` | what commands do to the state |
//! | `machine.rs` | applying in memory; persisting, in the background; restoring |
//! | `store.rs` | the file: opening, and the transactions that change it |
//! | `give_back.rs` | when unused space is given back to the file system |
//! | `notes.rs` | how much of the file is live, and what changes while a copy is made |
//! | `copy.rs` | a copy of the state in a new file, made step by step |
//! | `reader.rs` | get, list, keys |
//! | `listing.rs` | the entries under a prefix, read step by step |
//! | `watch/` | which waiting tasks a change wakes |
//! | `snapshot.rs` | the state as a stream of bytes |
//! | `fault.rs` | redb's errors and panics as errors of the state machine |

mod command;
mod copy;
mod entry;
mod fault;
mod give_back;
mod layer;
mod listing;
mod machine;
mod notes;
mod reader;
mod snapshot;
mod state;
mod store;
mod tables;
mod view;
mod watch;

pub use command::{CodecError, Command, Condition, KEY_BYTES_MAX, Response, VALUE_BYTES_MAX};
pub use entry::{KvEntry, KvEntryRef};
pub use listing::{Listing, Step};
pub use machine::KvMachine;
pub use reader::{KvReader, Read};
pub use watch::{Watch, Watched};
