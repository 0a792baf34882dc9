//! Three nodes of the protocol alone in one thread: disk, network and state machine are memory, the clock is a number.
//!
//! The driver does all of its duties as cheaply as possible: writes are stored and durable at once, messages move from one
//! queue to another, every node applies committed entries, and logs are compacted so that memory stays bounded. So the
//! benchmark measures the core.

use std::collections::VecDeque;

use bytes::Bytes;
use raftkit_core::{
    Apply, Config, Effects, Entries, Entry, Incarnation, Input, LogIndex, Member, Membership, Message, Node,
    NodeId, Outcome, Payload, Proposal, Restored, StoreId, Ticket, Time, Write, WriteSeq,
};

/// Number of nodes.
pub const NODES: usize = 3;

/// Size of a command, in bytes.
pub const COMMAND_BYTES: usize = 256;

/// Number of entries above which a log is compacted.
pub const LOG_ENTRIES_MAX: usize = 4096;

/// Number of entries that compaction leaves.
pub const LOG_ENTRIES_KEPT: usize = 64;

/// Time that one turn of a node takes on the virtual clock.
pub const TURN_MICROS: u64 = 10;

/// The part of the program that works at a moment; time and allocations are counted for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worker {
    /// The core of the leader.
    Leader,
    /// The core of a follower.
    Follower,
    /// The stand-ins for disk, network, state machine and clients.
    Driver,
}

/// A node with its "disk", its "state machine" and the messages on their way to it.
struct Server {
    node: Node,
    role: Worker,
    inbox: VecDeque<Message>,
    effects: Effects,
    /// The "disk": the entries of each write, and their number in all.
    log: VecDeque<Entries>,
    log_len: usize,
    applied: LogIndex,
    applied_bytes: usize,
}

/// The cluster. The first node leads.
pub struct Cluster {
    servers: Vec<Server>,
    now: Time,
    last_ticket: u64,
    committed: usize,
}

impl Cluster {
    /// Founds a cluster and waits for its leader.
    #[must_use]
    pub fn start() -> Self {
        let member = |id: u64| (NodeId(id), Member::new(StoreId(u128::from(id)), format!("node{id}:7000")));
        let membership = Membership::founding((1..=NODES as u64).map(member).collect());
        let servers = (1..=NODES as u64).map(|id| Server::new(id, membership.clone())).collect();
        let mut cluster = Self { servers, now: Time(0), last_ticket: 0, committed: 0 };
        while !cluster.servers[0].node.is_leader() {
            // Only the first node gets ticks, so it is the one that campaigns.
            cluster.now = cluster.now.max(cluster.servers[0].node.next_deadline());
            cluster.give(0, Input::Tick, &mut |_| ());
            cluster.settle(0, &mut |_| ());
            cluster.run(&mut |_| ());
        }
        cluster.servers[0].role = Worker::Leader;
        cluster.commit(1);
        cluster
    }

    /// Proposes `count` commands at once and returns when the leader has applied them and all nodes hold them. The others learn
    /// with the next append that they are committed, and have applied everything up to the commit before.
    pub fn commit(&mut self, count: usize) {
        self.commit_watched(count, &mut |_| ());
    }

    /// Like [`commit`](Self::commit), and calls `watch` whenever another part of the program begins to work.
    pub fn commit_watched(&mut self, count: usize, watch: &mut impl FnMut(Worker)) {
        let (before, applied_before) = (self.committed, self.servers[0].applied);
        let proposals = (0..count)
            .map(|_| {
                self.last_ticket += 1;
                Proposal { ticket: Ticket(self.last_ticket), command: Bytes::from(vec![7; COMMAND_BYTES]) }
            })
            .collect();
        self.give(0, Input::Propose(proposals), watch);
        self.settle(0, watch);
        self.run(watch);
        assert_eq!(self.committed - before, count, "the leader reports every proposal as committed");
        assert!(self.servers.iter().all(|server| server.applied >= applied_before), "every node applies");
        for at in 0..NODES {
            self.look_at_clock(at, watch);
            if self.servers[at].log_len > LOG_ENTRIES_MAX {
                let to = LogIndex(applied_before.0 - LOG_ENTRIES_KEPT as u64);
                self.give(at, Input::Compact(to), watch);
                self.settle(at, watch);
            }
        }
    }

    /// Lets time pass until every node has applied everything: the leader tells the others what no append has told them.
    pub fn catch_up(&mut self) {
        while self.servers.iter().any(|server| server.applied != self.servers[0].applied) {
            self.now = self.now.max(self.servers[0].node.next_deadline());
            self.look_at_clock(0, &mut |_| ());
        }
    }

    /// Returns how many bytes of commands each node has applied.
    #[must_use]
    pub fn applied_bytes(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.applied_bytes).collect()
    }

    /// Returns how many entries each node's "disk" holds.
    #[must_use]
    pub fn logs(&self) -> Vec<Vec<Entry>> {
        self.servers.iter().map(|server| server.log.iter().flatten().cloned().collect()).collect()
    }

    /// Delivers messages until none is on its way.
    fn run(&mut self, watch: &mut impl FnMut(Worker)) {
        while self.servers.iter().any(|server| !server.inbox.is_empty()) {
            // Followers first, so that the leader takes both answers in one turn.
            for at in (0..NODES).rev() {
                if self.servers[at].inbox.is_empty() {
                    continue;
                }
                self.now = Time(self.now.0 + TURN_MICROS);
                while let Some(message) = self.servers[at].inbox.pop_front() {
                    self.give(at, Input::Message(message), watch);
                }
                self.settle(at, watch);
            }
        }
    }

    /// Gives the node a tick if it waits for one.
    fn look_at_clock(&mut self, at: usize, watch: &mut impl FnMut(Worker)) {
        if self.servers[at].node.next_deadline() <= self.now {
            self.give(at, Input::Tick, watch);
            self.settle(at, watch);
            self.run(watch);
        }
    }

    fn give(&mut self, at: usize, input: Input, watch: &mut impl FnMut(Worker)) {
        let server = &mut self.servers[at];
        watch(server.role);
        server.node.handle(self.now, input, &mut server.effects);
        watch(Worker::Driver);
    }

    /// Carries out the node's effects until there are no more.
    fn settle(&mut self, at: usize, watch: &mut impl FnMut(Worker)) {
        loop {
            self.send(at);
            let server = &mut self.servers[at];
            let persisted = server.store();
            let applied = server.apply();
            if persisted.is_none() && applied.is_none() {
                break;
            }
            if let Some(seq) = persisted {
                self.give(at, Input::Persisted(seq), watch);
            }
            if let Some(index) = applied {
                self.give(at, Input::Applied(index), watch);
            }
        }
        let server = &mut self.servers[at];
        for done in server.effects.done.drain(..) {
            assert!(matches!(done.outcome, Outcome::Committed(_)), "nothing goes wrong here: {done:?}");
            self.committed += 1;
        }
        assert!(server.effects.fetches.is_empty() && server.effects.snapshots.is_empty(), "none is behind");
        server.effects.role = None;
    }

    fn send(&mut self, at: usize) {
        if self.servers[at].effects.messages.is_empty() {
            return;
        }
        let mut messages = std::mem::take(&mut self.servers[at].effects.messages);
        for message in messages.drain(..) {
            let to = usize::try_from(message.to.0 - 1).expect("few nodes");
            self.servers[to].inbox.push_back(message);
        }
        self.servers[at].effects.messages = messages;
    }
}

impl Server {
    fn new(id: u64, membership: Membership) -> Self {
        let config = Config::new(NodeId(id), StoreId(u128::from(id)), Incarnation(1), 42);
        let state = Restored::founded(membership);
        Self {
            node: Node::restore(config, state, Time(0)).expect("a sound start"),
            role: Worker::Follower,
            inbox: VecDeque::new(),
            effects: Effects::default(),
            log: VecDeque::new(),
            log_len: 0,
            applied: LogIndex(1),
            applied_bytes: 0,
        }
    }

    /// Stores the writes and returns the sequence number of the last one, if there was one.
    fn store(&mut self) -> Option<WriteSeq> {
        let mut last = None;
        if self.effects.writes.is_empty() {
            return last;
        }
        for Write { seq, reset_to, truncate_from, append, compact_to, hard_state: _ } in
            self.effects.writes.drain(..)
        {
            assert!(reset_to.is_none() && truncate_from.is_none(), "nothing is lost here");
            if !append.is_empty() {
                self.log_len += append.len();
                self.log.push_back(append);
            }
            if let Some(to) = compact_to {
                compact(&mut self.log, &mut self.log_len, to);
            }
            last = Some(seq);
        }
        last
    }

    /// Applies committed entries and returns the last index, if there were any.
    fn apply(&mut self) -> Option<LogIndex> {
        let mut last = None;
        if self.effects.apply.is_empty() {
            return last;
        }
        for Apply { last: to, entries, .. } in self.effects.apply.drain(..) {
            for entry in &entries.expect("the core holds what is new") {
                if let Payload::Command(command) = &entry.payload {
                    self.applied_bytes += command.len();
                }
            }
            self.applied = to;
            last = Some(to);
        }
        last
    }
}

/// Drops everything up to and including `to`.
fn compact(log: &mut VecDeque<Entries>, len: &mut usize, to: LogIndex) {
    while let Some(block) = log.front_mut() {
        let gone = block.partition_point(|entry| entry.id.index <= to);
        *len -= gone;
        if gone < block.len() {
            *block = block.slice(gone..block.len());
            return;
        }
        log.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_stores_and_applies_every_command_and_logs_stay_short() {
        let mut cluster = Cluster::start();
        for count in [1, 64, 1024].into_iter().cycle().take(300) {
            cluster.commit(count);
        }
        cluster.catch_up();
        let expected = (1 + 100 * (1 + 64 + 1024)) * COMMAND_BYTES;
        assert_eq!(cluster.applied_bytes(), [expected; NODES]);
        let logs = cluster.logs();
        assert!(logs.iter().all(|log| *log == logs[0] && log.len() <= LOG_ENTRIES_MAX));
        assert!(logs[0].iter().zip(logs[0].iter().skip(1)).all(|(a, b)| a.id.index.next() == b.id.index));
    }
}
