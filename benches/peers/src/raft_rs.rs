//! Three nodes of raft-rs in one thread: disk, network and state machine are memory, the clock is a number.
//!
//! The twin of `raftkit_benches::memory`: the same order of turns, entries stored and durable at once, messages moved from
//! one queue to another, every node applies, and logs are compacted at the same length to the same length.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use crate::memory::{COMMAND_BYTES, LOG_ENTRIES_KEPT, LOG_ENTRIES_MAX, NODES, TURN_MICROS};

/// raft-rs counts time in ticks. With a heartbeat each tick this is the interval that ours has.
const TICK_MICROS: u64 = 100_000;
/// As many bytes in one append, on their way and uncommitted as ours has by default.
const BATCH_BYTES_MAX: u64 = 10 << 20;
const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;
const INFLIGHT_MESSAGES_MAX: usize = 256;

/// How commands are handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handing {
    /// `RawNode::propose`, once for each: what its users do.
    OneByOne,
    /// All in one `MsgPropose`, past the documented interface: the least that raft-rs can do.
    Together,
}

struct Server {
    node: RawNode<MemStorage>,
    storage: MemStorage,
    inbox: VecDeque<Message>,
    applied: u64,
    applied_bytes: usize,
    applied_commands: usize,
}

/// The cluster. The first node leads.
pub struct Cluster {
    servers: Vec<Server>,
    now: u64,
    next_tick: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Self::start()
    }
}

impl Cluster {
    /// Founds a cluster and waits for its leader.
    #[must_use]
    pub fn start() -> Self {
        let servers = (1..=NODES as u64).map(Server::new).collect();
        let mut cluster = Self { servers, now: 0, next_tick: TICK_MICROS };
        cluster.servers[0].node.campaign().expect("it may");
        cluster.settle(0);
        cluster.run();
        assert_eq!(cluster.servers[0].node.raft.state, StateRole::Leader);
        cluster.commit(1, Handing::OneByOne);
        cluster
    }

    /// Proposes `count` commands at once and returns when every node has applied them.
    pub fn commit(&mut self, count: usize, handing: Handing) {
        let before = self.servers[0].applied_commands;
        let leader = &mut self.servers[0].node;
        match handing {
            Handing::OneByOne => {
                for _ in 0..count {
                    leader.propose(Vec::new(), vec![7; COMMAND_BYTES]).expect("it leads");
                }
            }
            Handing::Together => {
                let command = |_| Entry { data: vec![7; COMMAND_BYTES].into(), ..Entry::default() };
                let mut message =
                    Message { msg_type: MessageType::MsgPropose, from: 1, ..Message::default() };
                message.set_entries((0..count).map(command).collect::<Vec<_>>().into());
                leader.step(message).expect("it leads");
            }
        }
        self.settle(0);
        self.run();
        let leader = &self.servers[0];
        assert_eq!(leader.applied_commands - before, count, "the leader reports every proposal as committed");
        let applied = leader.applied;
        assert!(self.servers.iter().all(|server| server.applied == applied), "every node applies");
        self.look_at_clock();
        for server in &mut self.servers {
            server.compact();
        }
    }

    /// How many bytes of commands each node has applied.
    #[must_use]
    pub fn applied_bytes(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.applied_bytes).collect()
    }

    /// How many entries each node's storage holds.
    #[must_use]
    pub fn log_lengths(&self) -> Vec<u64> {
        let length = |storage: &MemStorage| {
            use raft::Storage as _;
            storage.last_index().expect("memory") + 1 - storage.first_index().expect("memory")
        };
        self.servers.iter().map(|server| length(&server.storage)).collect()
    }

    fn run(&mut self) {
        while self.servers.iter().any(|server| !server.inbox.is_empty()) {
            for at in (0..NODES).rev() {
                if self.servers[at].inbox.is_empty() {
                    continue;
                }
                self.now += TURN_MICROS;
                while let Some(message) = self.servers[at].inbox.pop_front() {
                    self.servers[at].node.step(message).expect("it belongs here");
                }
                self.settle(at);
            }
        }
    }

    fn look_at_clock(&mut self) {
        while self.next_tick <= self.now {
            self.next_tick += TICK_MICROS;
            for at in 0..NODES {
                self.servers[at].node.tick();
                self.settle(at);
                self.run();
            }
        }
    }

    /// Does what the node asks for, until it asks for no more.
    fn settle(&mut self, at: usize) {
        while self.servers[at].node.has_ready() {
            let mut ready = self.servers[at].node.ready();
            self.send(ready.take_messages());
            let server = &mut self.servers[at];
            server.apply(ready.take_committed_entries());
            if !ready.entries().is_empty() {
                server.storage.wl().append(ready.entries()).expect("it follows");
            }
            if let Some(hard_state) = ready.hs() {
                server.storage.wl().set_hardstate(hard_state.clone());
            }
            self.send(ready.take_persisted_messages());
            let server = &mut self.servers[at];
            let mut light = server.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                server.storage.wl().mut_hard_state().set_commit(commit);
            }
            self.send(light.take_messages());
            let server = &mut self.servers[at];
            server.apply(light.take_committed_entries());
            server.node.advance_apply();
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = usize::try_from(message.to - 1).expect("few nodes");
            self.servers[to].inbox.push_back(message);
        }
    }
}

impl Server {
    fn new(id: u64) -> Self {
        let config = Config {
            id,
            election_tick: 10,
            heartbeat_tick: 1,
            max_size_per_msg: BATCH_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MESSAGES_MAX,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            check_quorum: true,
            pre_vote: true,
            batch_append: true,
            ..Config::default()
        };
        let storage = MemStorage::new_with_conf_state(((1..=NODES as u64).collect::<Vec<_>>(), vec![]));
        let logger = Logger::root(Discard, o!());
        Self {
            node: RawNode::new(&config, storage.clone(), &logger).expect("a sound start"),
            storage,
            inbox: VecDeque::new(),
            applied: 0,
            applied_bytes: 0,
            applied_commands: 0,
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.applied = entry.index;
            self.applied_commands += usize::from(!entry.data.is_empty());
            self.applied_bytes += entry.data.len();
        }
    }

    fn compact(&mut self) {
        use raft::Storage as _;
        let first = self.storage.first_index().expect("memory");
        let length = usize::try_from(self.applied + 1 - first).expect("it is in memory");
        if length > LOG_ENTRIES_MAX {
            let keep_from = self.applied + 1 - LOG_ENTRIES_KEPT as u64;
            self.storage.wl().compact(keep_from).expect("it is there");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_stores_and_applies_every_command_and_logs_stay_short() {
        for handing in [Handing::OneByOne, Handing::Together] {
            let mut cluster = Cluster::start();
            for count in [1, 64, 1024].into_iter().cycle().take(300) {
                cluster.commit(count, handing);
            }
            let expected = (1 + 100 * (1 + 64 + 1024)) * COMMAND_BYTES;
            assert_eq!(cluster.applied_bytes(), [expected; NODES]);
            let lengths = cluster.log_lengths();
            assert!(lengths.iter().all(|length| *length <= LOG_ENTRIES_MAX as u64), "{lengths:?}");
        }
    }
}
