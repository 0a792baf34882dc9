//! A key-value state machine on redb, with the semantics of the Consul KV store.
//!
//! [`KvMachine`] is the [`StateMachine`](raftkit_replica::StateMachine): it applies [`Command`]s that come out of the
//! log and answers each with a [`Response`]. [`KvReader`] reads beside it, each time one state, whole.
//!
//! Indexes are those of the log: `CreateIndex` and `ModifyIndex` of a key name the entries that made and last changed
//! it, so the state's version and the log's are one number. Deleted keys leave tombstones, of which the newest 65,536
//! are kept; they let the index of a prefix count deletions.
//!
//! The file `state.redb` is changed in memory by each [`apply`](raftkit_replica::StateMachine::apply) and made durable
//! by [`persist`](raftkit_replica::StateMachine::persist): the log is its journal.
//!
//! | file | duty |
//! | --- | --- |
//! | `command.rs` | commands and answers as bytes |
//! | `entry.rs` | one key's entry, as seen and as stored |
//! | `tables.rs` | the tables and the meta record |
//! | `state.rs` | what commands do to the tables |
//! | `machine.rs` | open, apply, persist, restore |
//! | `reader.rs` | get, list, keys |
//! | `snapshot.rs` | the state as a stream |
//! | `fault.rs` | redb's errors and panics |

mod command;
mod entry;
mod fault;
mod machine;
mod reader;
mod snapshot;
mod state;
mod tables;

pub use command::{CodecError, Command, Condition, KEY_BYTES_MAX, Response};
pub use entry::KvEntry;
pub use machine::KvMachine;
pub use reader::{KvReader, Read};
