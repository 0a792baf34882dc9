//! Raft consensus as a pure, deterministic state machine (Ongaro and Ousterhout 2014, "the paper"; Ongaro's
//! dissertation, "the thesis").
//!
//! One type, one entry point: [`Node::handle`] takes a moment, one [`Input`], and appends [`Effects`]. It never blocks,
//! never fails half-way and never looks at a clock; [`Node::next_deadline`] says when to call it again at the latest.
//!
//! ```text
//!    messages, proposals, reads,           +--------+   writes ----> log ------> Persisted --+
//!    Tick, Persisted, Applied, ...  -----> | handle | - messages --> peers                   |
//!              ^                           +--------+   apply -----> state machine, Applied -+
//!              |                                        done ------> whoever asked           |
//!              +-----------------------------------------------------------------------------+
//! ```
//!
//! # Roles
//!
//! ```text
//!                 heard no leader               a quorum would vote
//!   Follower -----------------------> PreCandidate ----------------> Candidate
//!    ^ ^ |                                |    ^                       |  |
//!    | | +---- handed leadership ---------|----|---------------------->|  | a quorum voted,
//!    | |                                  |    +------- time-out ------+  | all of it durable
//!    | +-- leader heard, refused, higher term -------------------------+  v
//!    +---- higher term, no quorum heard, disk stuck ---------------- Leader
//! ```
//!
//! A node that does not vote is a follower that never campaigns ([`RoleName::Learner`]).
//!
//! # Rules that a driver can rely on
//!
//! - Messages may be sent at once, before or after the writes of the same call. Vote grants and acknowledgements that
//!   must wait for the disk are withheld until its [`Input::Persisted`] arrives.
//! - Every ticket gets exactly one [`Outcome`], also across a loss of leadership and the end of the node.
//! - A leader counts itself only once its own disk has an entry, and commits by counting only in its own term.
//! - Two nodes that are fed the same inputs emit the same effects, bit for bit; [`Node`] is `Clone` to branch it.
//! - Read the clock *after* taking the input that it goes with: otherwise a process that was stopped in between would
//!   answer reads on a lease that ran out meanwhile.

#![no_std]

extern crate alloc;
#[cfg(mutants)]
extern crate std;

#[macro_use]
mod mutants;

mod commit;
mod config;
mod effects;
mod election;
mod entries;
mod entry;
mod error;
mod follow;
mod heal;
mod inflights;
mod input;
pub mod invariants;
mod lease;
mod log;
mod membership;
mod membership_change;
mod message;
mod priority;
mod progress;
mod promotion;
pub mod quorum;
mod raft;
mod read_index;
mod replication;
mod restore;
mod rng;
mod role;
mod snapshot;
mod status;
mod tail;
mod term_runs;
mod transfer;
mod types;
mod view;
mod what_if;
mod writes;

pub use config::{Config, ConfigError, Restored, TermRun};
pub use effects::{
    Apply, Base, ChangeRefused, Done, Effects, Fatal, Fetch, Outcome, RoleChange, RoleName, SnapshotEffect,
    Write,
};
pub use entries::Entries;
pub use entry::{Entry, HardState, Health, Payload};
pub use error::RestoreError;
pub use input::{Fetched, Input, MembershipChange, Proposal, ReadMode, SnapshotSent};
pub use membership::{DecodeError, Member, Membership, Suffrage};
pub use message::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, CampaignReason, Message, PreVote,
    PreVoteResponse, ReadIndex, ReadIndexResponse, RequestId, RequestVote, RequestVoteResponse, TimeoutNow,
    Vote,
};
#[cfg(mutants)]
pub use mutants::Mutant;
pub use raft::Node;
pub use status::{PeerState, PeerStatus, Status};
pub use types::{ClusterId, Incarnation, LogId, LogIndex, NodeId, StoreId, Term, Ticket, Time, WriteSeq};
pub use what_if::{Loss, Stage, Survival, what_if};
