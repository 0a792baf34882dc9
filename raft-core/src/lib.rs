//! Raft consensus as a pure, deterministic state machine: data in, data out (Ongaro and Ousterhout 2014, "the paper";
//! Ongaro's dissertation, "the thesis").
//!
//! There is one type with one entry point: [`Node::handle`] takes the current time and one [`Input`], and
//! appends what the driver has to do to [`Effects`]. It never blocks, never fails half-way and never reads a
//! clock; [`Node::next_deadline`] says by when the driver must call it again. There are no callbacks, no
//! traits to implement, no threads and no I/O; the crate is `no_std` with `alloc`.
//!
//! ```text
//!    messages, proposals, reads,           +--------+   writes ----> log ------> Persisted --+
//!    changes, Tick, Persisted, ...  -----> | handle | - messages --> peers                   |
//!              ^                           +--------+   apply -----> state machine, Applied -+
//!              |                                        done ------> the caller              |
//!              +-----------------------------------------------------------------------------+
//! ```
//!
//! # Three nodes on one page
//!
//! Everything that a driver has to do, with disks and network in memory (`examples/three_nodes.rs`):
//!
//! ```
#![doc = include_str!("../examples/three_nodes.rs")]
//! ```
//!
//! # The parts of Raft, and the types that do them
//!
//! | part | paper, thesis | inputs | effects |
//! | --- | --- | --- | --- |
//! | a log of [`Entry`], each with a [`LogId`] | 5.3 | [`Restored`] at a start | [`Write`], in order, each atomic |
//! | terms and votes that survive a crash | 5.1, 5.2 | [`HardState`] | in the same [`Write`] |
//! | elections | 5.2, 5.4.1; thesis 9.6 | [`Input::Tick`], [`PreVote`], [`RequestVote`] | [`RoleChange`] |
//! | replication | 5.3; thesis 10.2.1 | [`Input::Propose`], [`AppendEntries`] | messages, in parallel with the write |
//! | commit | 5.3, 5.4.2 | [`Input::Persisted`], [`AppendEntriesResponse`] | [`Apply`], [`Outcome::Committed`] |
//! | snapshots | 7; thesis 5 | [`Input::Compact`], [`Input::SnapshotInstalled`] | [`SnapshotEffect`], [`Fetch`]; [`Node::compactable`] |
//! | membership | 6; thesis 4 | [`MembershipChange`] to a [`Membership`] | [`Outcome::Committed`] at its end |
//! | reads without entries | 8; thesis 6.4 | [`Input::Read`] with a [`ReadMode`] | [`Outcome::ReadAt`] |
//! | leadership transfer | thesis 3.10 | [`Input::Transfer`] | [`TimeoutNow`], [`Outcome::Transferred`] |
//! | a disk that is stuck, fails or rots | - | [`Input::WriteFailed`], [`Health`] | [`Fatal`] |
//!
//! [`paper`] lists where each rule of the paper's Figure 2 is implemented. [`Status`] is the operator's view
//! of a node, [`what_if`] predicts whether a membership change would survive failures, and [`invariants`]
//! checks a node's state.
//!
//! # Roles
//!
//! [`RoleName`] has the diagram of the roles and of what moves a node from one to another. How a leader
//! replicates to each peer is a state machine of its own: [`PeerState`].
//!
//! # Time-outs, promises and leases
//!
//! A follower that has not heard from a leader for 1.0 to 1.5 times [`Config::leader_timeout`] asks for
//! pre-votes, which change no state on either side. An election that is still undecided after 1.0 to 1.5
//! times [`Config::election_timeout`] is restarted.
//!
//! For a whole `leader_timeout` after it heard from its leader, or was started, a node grants no vote, except
//! in a leadership transfer. This is its *promise*, and every acknowledgement carries it. The leader counts
//! each promise from the time it *sent* the message that is acknowledged, subtracts [`Config::clock_error`],
//! and so has its *lease*: until then no other node can have been elected.
//!
//! The longest promise given is stored in the [`HardState`], so that a restart with a shorter
//! `leader_timeout` still honours it. A leader relies on at most its own `leader_timeout` of a peer's
//! promise. Both together make it safe to change the time-outs of a running cluster one node at a time, in
//! any order.
//!
//! | [`ReadMode`] | cost | assumption |
//! | --- | --- | --- |
//! | `Lease` | no message while the lease holds, else as `Quorum` | clocks drift apart by at most `clock_error` in one `leader_timeout` |
//! | `Quorum` | a heartbeat round to a quorum, shared by all waiting reads | none |
//! | `Stale` | no message, on any node, with or without a leader | none; the state may be old, but never goes backwards |
//!
//! # What a driver can rely on
//!
//! - Messages may be sent at once, before or after the writes of the same call. The core itself withholds
//!   each vote and acknowledgement that must not leave before a write is durable, until [`Input::Persisted`]
//!   arrives for that write.
//! - Every ticket gets exactly one [`Outcome`], even if leadership is lost or the node ends, and the outcome
//!   is true: where nobody can know, it is [`Outcome::Unknown`].
//! - A leader counts its own copy of an entry only once it is durable, and commits by counting only entries
//!   of its own term.
//! - Two nodes that are fed the same inputs emit the same effects, bit for bit; [`Node`] is `Clone` so that a
//!   test can branch it.
//! - Mistakes of the driver do no harm. A [`WriteSeq`] that was never handed out, an unexpected answer to a
//!   fetch, a clock that goes back and a message for another node are ignored, as documented at each
//!   [`Input`]. Settings and logs that contradict themselves are refused at the start ([`ConfigError`],
//!   [`RestoreError`]).
//!
//! # What a driver must do
//!
//! - Apply the writes in order, and answer `Persisted` only when they are durable.
//! - Read the clock *after* taking the input that the time is passed with. If the process is stopped between
//!   an earlier reading and the call, another node may be elected meanwhile, and the old time would make the
//!   lease look valid.
//! - Raise [`Incarnation`] durably at each start.
//! - After [`Fatal`], restart the node, and retry nothing.

#![no_std]

extern crate alloc;

mod assertions;
mod backlog;
mod commit;
mod common;
mod config;
mod effects;
mod election;
mod entries;
mod entry;
mod error;
mod follow;
mod heal;
mod hearing;
mod inflights;
mod input;
pub mod invariants;
mod lease;
mod log;
mod membership;
mod membership_change;
mod message;
pub mod pace;
pub mod paper;
mod persist;
mod priority;
mod progress;
mod promise;
mod promotion;
pub mod quorum;
mod raft;
mod read_index;
mod replication;
mod restore;
mod rng;
mod role;
mod sender;
mod snapshot;
mod standstill;
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
    Apply, Base, ChangeRefused, Done, Effects, Fatal, Fetch, Outcome, RoleChange, SnapshotEffect, Write,
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
pub use raft::Node;
pub use role::RoleName;
pub use status::{PeerState, PeerStatus, Status};
pub use types::{
    ClusterId, FetchId, Incarnation, LogId, LogIndex, NodeId, RequestNumber, Round, StoreId, Term, Ticket,
    Time, WriteSeq,
};
pub use what_if::{Loss, Stage, Survival, what_if};
