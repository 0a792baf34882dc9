#![doc = include_str!("../README.md")]
//!
//! ## Map
//!
//! [`KvMachine`] is the [`StateMachine`](raftkit_replica::StateMachine): it applies [`Command`]s that come out of the
//! log and answers each with a [`Response`]. [`KvReader`] reads beside it, each time one state, whole.
//!
//! | file | duty |
//! | --- | --- |
//! | `command.rs` | commands and answers as bytes |
//! | `entry.rs` | one key's entry, as seen and as stored |
//! | `tables.rs` | the tables and the meta record |
//! | `state.rs` | what commands do to the tables |
//! | `machine.rs` | open, apply, persist, restore |
//! | `give_back.rs`, `notes.rs`, `copy.rs` | gives space back: when, how much is live, a copy into a new file |
//! | `current.rs` | the database that holds the state at present |
//! | `reader.rs` | get, list, keys |
//! | `listing.rs` | a prefix, read step by step |
//! | `watch/` | who is woken by which change |
//! | `snapshot.rs` | the state as a stream |
//! | `fault.rs` | redb's errors and panics |

mod command;
mod copy;
mod current;
mod entry;
mod fault;
mod give_back;
mod listing;
mod machine;
mod notes;
mod reader;
mod snapshot;
mod state;
mod tables;
mod watch;

pub use command::{CodecError, Command, Condition, KEY_BYTES_MAX, Response, VALUE_BYTES_MAX};
pub use entry::{KvEntry, KvEntryRef};
pub use listing::{Listing, Step};
pub use machine::KvMachine;
#[doc(hidden)]
pub use reader::{KvReader, Read};
pub use watch::{Watch, Watched};
