//! Other implementations under the driver that `raftkit_benches::memory` is for ours: the same cluster, the same work.

#[path = "../../src/memory.rs"]
pub mod memory;
pub mod raft_rs;
