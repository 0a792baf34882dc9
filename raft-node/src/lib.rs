//! The tokio shell around a replica, and `raft-node`, the key-value server that is built with it.
//!
//! To replicate a state machine of your own, use this crate without default features. [`Server::start`] opens the data
//! folder, starts the transport and runs the node, and its [`Handle`] proposes commands and reads the state.
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

pub use handle::{
    ChangeError, Committed, Consistency, Fresh, Handle, ProposeError, ReadError, ReadRefused, TransferError,
};
pub use shell::{Formation, Server, ServerConfig, StartError, Stopped};
pub use status::{ClusterName, MemberStatus, NodeStatus};
