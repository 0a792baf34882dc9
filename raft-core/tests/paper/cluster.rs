//! A small cluster driven by hand: nothing happens unless a test says so, and the five properties of Figure 3
//! are checked after every step.

use std::collections::BTreeMap;
use std::time::Duration;

use raftkit_core::{
    Body, Config, Effects, Entry, Fetch, Fetched, HardState, Incarnation, Input, LogId, LogIndex, Message,
    Node, NodeId, Proposal, RoleName, StoreId, Term, Ticket, Time, Write,
};

use crate::disk::Disk;
use crate::members::members;
use crate::messages::entry;

pub struct Host {
    pub node: Option<Node>,
    pub disk: Disk,
    config: Config,
    applied: LogIndex,
}

pub struct Cluster {
    pub hosts: BTreeMap<u64, Host>,
    pub wire: Vec<Message>,
    /// The answers to fetches.
    fetched: Vec<(u64, Input)>,
    now: Time,
    /// The leader of each term.
    pub leaders: BTreeMap<Term, u64>,
    /// The committed entries, each with the term in which its commit became known.
    pub committed: BTreeMap<LogIndex, (Entry, Term)>,
    /// The entries handed to state machines.
    pub applied: BTreeMap<LogIndex, Entry>,
}

impl Cluster {
    /// A cluster with one voter for each of `logs`, which are the terms of its entries from index 2 on; all
    /// are in `term`.
    pub fn new(logs: &[&[u64]], term: u64) -> Self {
        let base =
            raftkit_core::Base::founding(raftkit_core::Membership::founding(members(1..=logs.len() as u64)));
        let mut hosts = BTreeMap::new();
        for (id, log) in (1..).zip(logs) {
            let mut disk = Disk::founded(base.clone());
            let hard_state = HardState { term: Term(term), ..HardState::default() };
            let append = (2..).zip(*log).map(|(index, term)| entry(*term, index)).collect();
            disk.queue(Write { append, hard_state: Some(hard_state), ..Write::default() });
            disk.flush(1);
            let config = Config::new(NodeId(id), StoreId(u128::from(id)), Incarnation(0), 1);
            hosts.insert(id, Host { node: None, disk, config, applied: LogIndex(1) });
        }
        let (leaders, committed, applied) = Default::default();
        let (wire, fetched) = Default::default();
        let mut cluster = Self { hosts, wire, fetched, now: Time(0), leaders, committed, applied };
        (1..=logs.len() as u64).for_each(|id| cluster.restart(id));
        cluster
    }

    pub fn node(&self, id: u64) -> &Node {
        self.hosts[&id].node.as_ref().expect("it runs")
    }

    /// The terms of a node's entries from index 2 on.
    pub fn log(&self, id: u64) -> Vec<u64> {
        self.hosts[&id].disk.view.entries.iter().map(|entry| entry.id.term.0).collect()
    }

    pub fn restart(&mut self, id: u64) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.config.incarnation.0 += 1;
        let restored = host.disk.durable.restored(host.applied);
        host.node = Some(Node::restore(host.config.clone(), restored, self.now).unwrap());
    }

    /// Crashes and restarts a node, which loses what is not durable.
    pub fn crash(&mut self, id: u64) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.node = None;
        host.disk.crash(0);
    }

    pub fn wait(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Advances time to a node's deadline; no other node acts.
    pub fn tick(&mut self, id: u64) {
        self.now = self.now.max(self.node(id).next_deadline());
        self.give(id, Input::Tick);
    }

    /// Lets a node campaign: `granting` answer its pre-vote, and nothing else is delivered. Its vote requests
    /// are on the wire.
    pub fn campaign(&mut self, id: u64, granting: &[u64]) {
        self.tick(id);
        // A node that is called too late concludes that it stood still, and waits once more.
        if self.node(id).role() == RoleName::Follower {
            self.tick(id);
        }
        granting.iter().for_each(|to| self.deliver(id, *to));
        self.wire.retain(|message| matches!(message.body, Body::PreVoteResponse(_)) || message.from.0 != id);
        granting.iter().for_each(|from| self.deliver(*from, id));
        assert_eq!(self.node(id).role(), RoleName::Candidate);
    }

    /// Lets a node be elected among the nodes that it can reach, and processes everything that follows there.
    pub fn elect(&mut self, id: u64, among: &[u64]) {
        self.wait(Duration::from_millis(500)); // Until all promises to an earlier leader have ended.
        for _ in 0..3 {
            self.tick(id); // It may learn of a later term first.
            self.settle(among);
            if self.node(id).is_leader() {
                return;
            }
        }
        assert_eq!(self.node(id).role(), RoleName::Leader);
    }

    pub fn propose(&mut self, id: u64, command: &'static str) {
        let command = command.as_bytes().into();
        self.give(id, Input::Propose(vec![Proposal { ticket: Ticket(1), command }]));
    }

    pub fn persist(&mut self, id: u64) {
        let disk = &mut self.hosts.get_mut(&id).unwrap().disk;
        if let Some(seq) = disk.flush(disk.queued()) {
            self.give(id, Input::Persisted(seq));
        }
    }

    /// Delivers the messages on the wire between two nodes now, in order.
    pub fn deliver(&mut self, from: u64, to: u64) {
        let (there, rest) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|message| (message.from, message.to) == (NodeId(from), NodeId(to)));
        self.wire = rest;
        for message in there {
            if self.hosts[&to].node.is_some() {
                self.give(to, Input::Message(message));
            }
        }
    }

    /// Processes messages and disks of these nodes until nothing is left; everything else on the wire is
    /// lost.
    pub fn settle(&mut self, among: &[u64]) {
        for _ in 0..1000 {
            among.iter().for_each(|id| self.persist(*id));
            self.wire.retain(|message| among.contains(&message.from.0) && among.contains(&message.to.0));
            for (id, input) in std::mem::take(&mut self.fetched) {
                self.give(id, input);
            }
            if self.wire.is_empty() && among.iter().all(|id| self.hosts[id].disk.is_idle()) {
                return;
            }
            for message in std::mem::take(&mut self.wire) {
                self.give(message.to.0, Input::Message(message));
            }
        }
        panic!("it never settles");
    }

    pub fn give(&mut self, id: u64, input: Input) {
        let host = self.hosts.get_mut(&id).unwrap();
        let node = host.node.as_mut().expect("it runs");
        let led = node.is_leader().then(|| (node.term(), host.disk.view.entries.clone()));
        let commit = node.commit();
        let mut effects = Effects::default();
        node.handle(self.now, input, &mut effects);
        effects.writes.drain(..).for_each(|write| host.disk.queue(write));
        for apply in &effects.apply {
            for index in apply.first.0..=apply.last.0 {
                let entry =
                    host.disk.durable.entry(LogIndex(index)).expect("what is applied is durable here");
                let first = self.applied.entry(LogIndex(index)).or_insert_with(|| entry.clone());
                assert_eq!(first, entry, "State Machine Safety: index {index}");
            }
            host.applied = apply.last;
        }
        for Fetch { id: fetch, first, last, .. } in effects.fetches {
            let entry = |index| host.disk.view.entry(LogIndex(index)).cloned();
            let entries = (first.0..=last.0).map_while(entry).collect();
            self.fetched.push((id, Input::Fetched { id: fetch, result: Fetched::Entries(entries) }));
        }
        self.wire.append(&mut effects.messages);
        self.check_leader(id, led);
        self.note_committed(id, commit);
        self.check_logs();
    }

    /// Checks Election Safety, Leader Append-Only and Leader Completeness for a node that just acted.
    fn check_leader(&mut self, id: u64, led: Option<(Term, Vec<Entry>)>) {
        let host = &self.hosts[&id];
        let node = host.node.as_ref().unwrap();
        if !node.is_leader() {
            return;
        }
        let leader = *self.leaders.entry(node.term()).or_insert(id);
        assert_eq!(leader, id, "Election Safety: two leaders of term {}", node.term());
        if let Some((_, before)) = led.filter(|(term, _)| *term == node.term()) {
            assert!(host.disk.view.entries.starts_with(&before), "Leader Append-Only: {}", node.term());
        }
        for (entry, _) in self.committed.values().filter(|(_, term)| *term < node.term()) {
            assert!(host.disk.view.holds(entry.id), "Leader Completeness: {} lacks {}", id, entry.id);
        }
    }

    fn note_committed(&mut self, id: u64, before: LogIndex) {
        let host = &self.hosts[&id];
        let node = host.node.as_ref().unwrap();
        for index in before.0 + 1..=node.commit().0 {
            let entry = host.disk.view.entry(LogIndex(index)).unwrap().clone();
            self.committed.entry(LogIndex(index)).or_insert((entry, node.term()));
        }
    }

    /// Checks Log Matching: two logs that share an entry are the same up to it.
    fn check_logs(&self) {
        for one in self.hosts.values() {
            for other in self.hosts.values() {
                let (one, other) = (&one.disk.view.entries, &other.disk.view.entries);
                let shared = one.iter().zip(other).rposition(|(one, other)| one.id == other.id);
                let shared = shared.map_or(0, |last| last + 1);
                assert_eq!(one[..shared], other[..shared], "Log Matching");
            }
        }
    }
}

/// The id of the entry that the leader of `term` appended at `index`.
pub fn id(term: u64, index: u64) -> LogId {
    LogId::new(term, index)
}
