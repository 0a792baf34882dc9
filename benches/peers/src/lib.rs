//! Other implementations under the drivers that `raftkit_benches` has for ours: the same cluster, the same work.

#[path = "../../src/in_flight.rs"]
pub mod in_flight;
#[path = "../../src/log.rs"]
pub mod log;
#[path = "../../src/memory.rs"]
pub mod memory;
pub mod raft_engine;
pub mod raft_rs;
#[path = "../../src/raw.rs"]
pub mod raw;
#[path = "../../src/turns.rs"]
pub mod turns;
