//! Raft consensus as a pure, deterministic state machine.

#![no_std]

extern crate alloc;

mod commit;
mod config;
mod effects;
mod election;
mod entry;
mod error;
mod follow;
mod inflights;
mod input;
pub mod invariants;
mod lease;
mod log;
mod membership;
mod membership_history;
mod message;
mod progress;
pub mod quorum;
mod raft;
mod read_index;
mod replication;
mod rng;
mod role;
mod snapshot;
mod status;
mod term_runs;
mod transfer;
mod types;
mod writes;

pub use config::{Config, ConfigError, Restored, TermRun};
pub use effects::{
    Apply, Base, Done, Effects, Fatal, Fetch, Outcome, RoleChange, RoleName, SnapshotEffect, Write,
};
pub use entry::{Entry, HardState, Payload};
pub use error::RestoreError;
pub use input::{Fetched, Input, Proposal, ReadMode, SnapshotSent};
pub use membership::{DecodeError, Member, Membership};
pub use message::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, CampaignReason, Message, PreVote,
    PreVoteResponse, ReadIndex, ReadIndexResponse, RequestId, RequestVote, RequestVoteResponse, TimeoutNow,
    Vote,
};
pub use raft::Node;
pub use status::{PeerState, PeerStatus, Status};
pub use types::{ClusterId, Incarnation, LogId, LogIndex, NodeId, StoreId, Term, Ticket, Time, WriteSeq};
