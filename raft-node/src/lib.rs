//! The tokio shell around a replica, and `raft-node`, the key-value server that is built with it.
//!
//! To replicate a state machine of your own, use this crate without default features; it re-exports everything that such
//! a program needs. [`Server::start`] opens the data folder, starts the transport and runs the node. Its [`Handle`] takes
//! commands, typed ([`submit`](Handle::submit)) or as bytes ([`propose`](Handle::propose)), and reads the state.
//! `examples/counter.rs` is a complete program of about fifty lines.

mod handle;
mod seldom;
mod shell;
mod status;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod client;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod http;

/// The type of commands and responses as bytes.
pub use bytes::Bytes;
pub use handle::{
    ChangeError, Committed, Consistency, Fresh, Handle, ProposeError, ReadError, ReadRefused, SubmitError,
    Submitted, TransferError,
};
pub use raftkit_core::{LogId, LogIndex, Member, Membership, NodeId, StoreId, Suffrage, Term};
pub use raftkit_disk::{Disk, RealDisk};
pub use raftkit_net::{TlsFiles, certificates};
pub use raftkit_replica::{
    Application, Applied, CompactionOptions, InMemory, InMemoryReader, MachineError, Progress,
    ReplicaOptions, SnapshotView, StateMachine, Typed, TypedError,
};
/// For the types of an [`Application`]: derive with `#[serde(crate = "raftkit_node::serde")]`.
pub use serde;
pub use shell::{Formation, Server, ServerConfig, StartError, Stopped};
pub use status::{ClusterName, MemberStatus, NodeStatus};
