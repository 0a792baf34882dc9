//! A history of HTTP requests to a real cluster: who asked what of which node, when, and what was answered. `clients.rs` makes
//! it, `faults.rs` disturbs the nodes meanwhile, `judge.rs` and `states.rs` say whether it can be true.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "support of one test")]

pub mod answers;
pub mod clients;
pub mod faults;
pub mod judge;
pub mod states;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// The keys that all clients share, in two trees: few, so that calls on one key overlap.
pub const KEYS: [&str; 8] = ["h/a/0", "h/a/1", "h/a/2", "h/a/3", "h/b/0", "h/b/1", "h/b/2", "h/b/3"];
/// The prefixes that lists and tree deletes name.
pub const TREES: [&str; 3] = ["h/a/", "h/b/", "h/"];
pub const NODES: usize = 3;

/// The keys of a tree, by their numbers.
pub fn keys_of(tree: usize) -> impl Iterator<Item = usize> {
    (0..KEYS.len()).filter(move |key| KEYS[*key].starts_with(TREES[tree]))
}

/// A read mode: no parameter, `?consistent`, `?stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Default,
    Consistent,
    Stale,
}

/// A request. A read with an `index` is a blocking query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Put { key: usize, value: u64, cas: Option<u64> },
    Delete { key: usize, cas: Option<u64> },
    DeleteTree { tree: usize },
    Get { key: usize, mode: Mode, index: Option<u64> },
    List { tree: usize, mode: Mode, index: Option<u64> },
    Names { tree: usize, mode: Mode, index: Option<u64> },
}

/// A key as it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub key: usize,
    pub value: u64,
    pub modified: u64,
    pub created: u64,
}

/// An answer, reduced to what it promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A write was committed; whether its condition held.
    Done(bool),
    /// A read: what is there, and `X-Consul-Index`.
    Found { index: u64, shown: Vec<Shown> },
    /// The keys that are there.
    Names { index: u64, keys: Vec<usize> },
    /// The node promises that nothing was done, or was never reached.
    NotDone(String),
    /// Anything may have been done, now or later.
    Unknown(String),
}

/// A request and its answer. Times are nanoseconds of one clock.
#[derive(Clone, Debug)]
pub struct Event {
    pub client: u64,
    pub node: usize,
    /// Life of the node that answered: even while its process runs, odd while the test ends it. None where it changed
    /// during the call.
    pub life: Option<u64>,
    pub called: u64,
    pub returned: u64,
    pub ask: Ask,
    pub told: Told,
}

/// State shared by the clients and the thread that causes faults.
pub struct Shared {
    pub addresses: Vec<String>,
    start: Instant,
    pub stop: AtomicBool,
    /// Each node's life: rises when the test is about to end the process, and again when that has ended.
    pub lives: [AtomicU64; NODES],
    /// Count of each node's answers with a result.
    pub answered: [AtomicU64; NODES],
    /// Counts of write answers: acknowledged, certainly not done, of unknown outcome.
    pub writes: AtomicU64,
    pub not_done: AtomicU64,
    pub unknown: AtomicU64,
    /// The newest modify index that a linearizable read showed of each key; 0 where it is not there.
    pub seen: Mutex<[u64; KEYS.len()]>,
}

impl Shared {
    pub fn new(addresses: Vec<String>) -> Self {
        Self {
            addresses,
            start: Instant::now(),
            stop: AtomicBool::new(false),
            lives: Default::default(),
            answered: Default::default(),
            writes: AtomicU64::new(0),
            not_done: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            seen: Mutex::new([0; KEYS.len()]),
        }
    }

    pub fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    pub fn life(&self, node: usize) -> u64 {
        self.lives[node].load(Ordering::SeqCst)
    }
}
