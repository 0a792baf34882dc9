//! The Raft paper, rule by rule (Ongaro and Ousterhout 2014, "In Search of an Understandable Consensus Algorithm",
//! extended version): a test for each rule of Figure 2, each property of Figure 3, and what the core decides of
//! Figure 13. Each quotes its rule; where the core does more or otherwise than the paper, its comment says so.
//!
//! In quotes the paper's words stand for these: `prevLogIndex` and `prevLogTerm` are `AppendEntries::prev`,
//! `lastLogIndex` and `lastLogTerm` are `RequestVote::last`; "reply false" is a `Conflict`, a refused vote, or the
//! later term. Every cluster starts with entry 1 of term 1 in its log, as if compacted away, so first elections are
//! of term 2.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

mod append_entries;
mod candidates;
mod cluster;
#[path = "../common/disk.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod disk;
#[path = "../common/driven.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod driven;
mod install_snapshot;
mod leaders;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
#[path = "../common/messages.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod messages;
mod request_vote;
mod safety;
mod servers;
mod state;

const MS: u64 = 1000;

/// Node 1 of three that are founded and have heard nothing yet.
fn one_of_three() -> driven::Driven {
    driven::Driven::founded(members::voters(&[1, 2, 3]))
}
