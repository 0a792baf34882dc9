//! Raft consensus as a pure, deterministic state machine.

#![no_std]

extern crate alloc;

mod config;
mod effects;
mod entry;
mod input;
mod membership;
mod message;
mod status;
mod types;

pub use config::{Config, ConfigError, Restored, TermRun};
pub use effects::{
    Apply, Base, Done, Effects, Fatal, Fetch, Outcome, RoleChange, RoleName, SnapshotEffect, Write,
};
pub use entry::{Entry, HardState, Payload};
pub use input::{Fetched, Input, Proposal, ReadMode, SnapshotSent};
pub use membership::{DecodeError, Member, Membership};
pub use message::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, CampaignReason, Message, PreVote, PreVoteResponse,
    ReadIndex, ReadIndexResponse, RequestId, RequestVote, RequestVoteResponse, TimeoutNow, Vote,
};
pub use status::{PeerState, PeerStatus, Status};
pub use types::{ClusterId, Incarnation, LogId, LogIndex, NodeId, StoreId, Term, Ticket, Time, WriteSeq};
