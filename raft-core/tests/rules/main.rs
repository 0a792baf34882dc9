//! One node against hand-made messages: rules beyond the paper's, and rules that only a forged or unlikely
//! message shows. Each file has the rules of one duty. `tests/paper` has the paper's own rules.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

mod commit_index;
mod damaged;
#[path = "../common/driven.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod driven;
mod elections;
mod identity;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod membership;
#[path = "../common/messages.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod messages;
mod reads;
mod replication;
mod snapshots;
mod starting;

const MS: u64 = 1000;
