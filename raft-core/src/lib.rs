//! Raft consensus as a pure, deterministic state machine: data in, data out (Ongaro and Ousterhout 2014, "the paper";
//! Ongaro's dissertation, "the thesis").
//!
//! One type, one entry point: [`Node::handle`] takes a moment, one [`Input`], and appends [`Effects`]. It never blocks,
//! never fails half-way and never looks at a clock; [`Node::next_deadline`] says when to call it again at the latest. No
//! callback, no trait to implement, no thread, no I/O; `no_std` with `alloc`.
//!
//! ```text
//!    messages, proposals, reads,           +--------+   writes ----> log ------> Persisted --+
//!    changes, Tick, Persisted, ...  -----> | handle | - messages --> peers                   |
//!              ^                           +--------+   apply -----> state machine, Applied -+
//!              |                                        done ------> whoever asked           |
//!              +-----------------------------------------------------------------------------+
//! ```
//!
//! # Three nodes on one page
//!
//! All that a driver does, in memory (`examples/three_nodes.rs`):
//!
//! ```
#![doc = include_str!("../examples/three_nodes.rs")]
//! ```
//!
//! # The parts of Raft, and the types that do them
//!
//! | part | in the paper, thesis | goes in | comes out |
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
//! [`paper`] says for each rule of the paper's Figure 2 where it stands. [`Status`] is what an operator wants to see,
//! [`what_if`] what to ask before a change, and [`invariants`] what must always hold.
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
//!    +---- higher term, no quorum heard, disk stuck, removed -------- Leader
//! ```
//!
//! A node that does not vote is a follower that never campaigns ([`RoleName::Learner`]). How a leader serves a peer is a
//! small machine of its own: [`PeerState`].
//!
//! # Two time-outs, and promises
//!
//! A follower that heard no leader for 1.0 to 1.5 of [`Config::leader_timeout`] asks for pre-votes, which change nothing
//! on either side; an election that has not ended by 1.0 to 1.5 of [`Config::election_timeout`] starts again. A node
//! grants no vote for a whole `leader_timeout` after it heard its leader or started, whoever asks, but for a transfer:
//! that promise, sent along with each acknowledgement and counted from the *sending* of what it answers, less
//! [`Config::clock_error`], is the leader's lease. The longest such promise stands in the [`HardState`], so it also holds
//! over a restart with a shorter `leader_timeout`; of a peer's promise that is longer than its own `leader_timeout` a
//! leader relies on that much. Members may therefore be given other time-outs one after the other, in any order.
//!
//! | [`ReadMode`] | what it costs | what it relies on |
//! | --- | --- | --- |
//! | `Lease` | nothing while the lease holds, else as `Quorum` | clocks drift by at most `clock_error` a `leader_timeout` |
//! | `Quorum` | a round to a quorum, shared by all reads that wait | nothing |
//! | `Stale` | nothing, on any node, with or without a leader | nothing, and may be old, but never older than before |
//!
//! # Rules that a driver can rely on
//!
//! - Messages may be sent at once, before or after the writes of the same call. Vote grants and acknowledgements that
//!   must wait for the disk are withheld until its [`Input::Persisted`] arrives.
//! - Every ticket gets exactly one [`Outcome`], also across a loss of leadership and the end of the node, and a true one:
//!   [`Outcome::Unknown`] where nobody can know.
//! - A leader counts itself only once its own disk has an entry, and commits by counting only in its own term.
//! - Two nodes that are fed the same inputs emit the same effects, bit for bit; [`Node`] is `Clone` to branch it.
//! - What a driver gets wrong does no harm: a [`WriteSeq`] that was never handed out, an answer to a fetch that nobody
//!   waits for, a clock that goes back, a message for someone else are ignored, as each [`Input`] says. Settings and
//!   logs that contradict themselves are refused at the start ([`ConfigError`], [`RestoreError`]).
//!
//! And what it must do: apply writes in order and answer `Persisted` only when they are durable; read the clock *after*
//! taking the input that it goes with, as a process that was stopped in between would otherwise answer reads on a lease
//! that ran out meanwhile; raise [`Incarnation`] durably at each start; after [`Fatal`], restart the node and retry
//! nothing.

#![no_std]

extern crate alloc;

mod backlog;
mod commit;
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
pub use raft::Node;
pub use status::{PeerState, PeerStatus, Status};
pub use types::{ClusterId, Incarnation, LogId, LogIndex, NodeId, StoreId, Term, Ticket, Time, WriteSeq};
pub use what_if::{Loss, Stage, Survival, what_if};
