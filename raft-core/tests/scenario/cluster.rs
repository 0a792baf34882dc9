//! A cluster driven by hand: its hosts, how it is founded, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::invariants::check_state;
use raftkit_core::{
    Base, Config, Entry, HardState, Health, Incarnation, Input, LogId, LogIndex, Membership, Message, Node,
    NodeId, Payload, StoreId, Suffrage, Term, Ticket, Time, Write,
};

use crate::backing::Backing;
use crate::members::member;

/// A machine: its node while it runs, its disk, and what its driver has not answered yet.
pub struct Host<B> {
    pub config: Config,
    pub node: Option<Node>,
    pub disk: B,
    pub applied: LogIndex,
    pub inputs: Vec<Input>,
    /// True when the log can be written but not read.
    pub rotten: bool,
    /// Rate of its clock, in percent of real time.
    pub clock: u64,
}

impl<B: Backing> Host<B> {
    fn new(config: Config, base: Base, clock: u64) -> Self {
        let (applied, disk) = (base.id.index, B::new(&config, base));
        Self { config, node: None, disk, applied, inputs: Vec::new(), rotten: false, clock }
    }

    /// The time on its own clock.
    pub fn clock(&self, now: Time) -> Time {
        Time(now.0 * self.clock / 100)
    }

    /// Its node's deadline, on the scenario's clock.
    pub fn deadline(&self) -> Option<Time> {
        self.node.as_ref().map(|node| Time(node.next_deadline().0.saturating_mul(100).div_ceil(self.clock)))
    }
}

/// The parameters of a new cluster.
pub struct Founding {
    pub count: u64,
    pub learners: BTreeSet<NodeId>,
    pub staging: BTreeSet<NodeId>,
    pub priorities: BTreeMap<NodeId, u64>,
    pub clocks: BTreeMap<NodeId, u64>,
    pub config: Config,
}

pub struct Cluster<B> {
    pub hosts: BTreeMap<NodeId, Host<B>>,
    pub wire: Vec<Message>,
    pub told: Vec<String>,
    /// Number of messages sent since the last count, by sender and kind.
    pub sent: BTreeMap<NodeId, BTreeMap<&'static str, usize>>,
    pub now: Time,
    /// Links on which no message gets from the first node to the second.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub tickets: BTreeMap<Ticket, String>,
}

impl<B> Default for Cluster<B> {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            wire: Vec::new(),
            told: Vec::new(),
            sent: BTreeMap::new(),
            now: Time(0),
            cut: BTreeSet::new(),
            tickets: BTreeMap::new(),
        }
    }
}

impl<B: Backing> Cluster<B> {
    pub fn config() -> Config {
        Config::new(NodeId(0), StoreId(0), Incarnation(0), 1)
    }

    pub fn found(&mut self, founding: &Founding) -> Result<(), String> {
        let mut membership = Membership::default();
        for id in (1..=founding.count).map(NodeId) {
            let mut member = member(id.0);
            if let Some(priority) = founding.priorities.get(&id) {
                member.priority = u8::try_from(*priority).map_err(|_| "a priority is at most 255")?;
            }
            let suffrage = match (founding.learners.contains(&id), founding.staging.contains(&id)) {
                (true, _) => Suffrage::NonVoter,
                (false, true) => Suffrage::Staging,
                (false, false) => Suffrage::Voter,
            };
            membership = membership.with(id, member, suffrage);
        }
        for id in (1..=founding.count).map(NodeId) {
            let config = Config { node: id, store: member(id.0).store, ..founding.config.clone() };
            let clock = founding.clocks.get(&id).copied().unwrap_or(100);
            self.hosts.insert(id, Host::new(config, Base::founding(membership.clone()), clock));
        }
        Ok(())
    }

    /// Adds and starts a machine with an empty data folder, which belongs to no cluster yet.
    pub fn add_host(&mut self, id: NodeId) {
        let template = self.hosts.values().next().unwrap().config.clone();
        let (store, incarnation) = (member(id.0).store, Incarnation(0));
        let config = Config { node: id, store, incarnation, ..template };
        self.hosts.insert(id, Host::new(config, Base::default(), 100));
        self.restart(id);
    }

    /// Gives a node a log whose entries, from index 2 on, are of these terms.
    pub fn write_log(&mut self, id: NodeId, terms: &[u64], term: Option<u64>) {
        let host = self.hosts.get_mut(&id).unwrap();
        let mut write = Write::default();
        let entry = |(at, term): (u64, &u64)| {
            let payload = Payload::Command(Bytes::from(format!("{at}.{term}")));
            Entry { id: LogId::new(*term, at), payload }
        };
        write.append = (2..).zip(terms).map(entry).collect();
        let term = term.or(terms.last().copied()).unwrap_or(1);
        write.hard_state = Some(HardState { term: Term(term), ..Default::default() });
        host.disk.queue(write);
        host.disk.flush();
    }

    pub fn start_all(&mut self) {
        let ids: Vec<_> = self.hosts.keys().copied().collect();
        ids.into_iter().for_each(|id| self.restart(id));
    }

    pub fn restart(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.config.incarnation.0 += 1;
        let restored = host.disk.restored(host.applied);
        let node = Node::restore(host.config.clone(), restored, host.clock(self.now)).unwrap();
        check_state(&node).unwrap();
        host.node = Some(node);
    }

    /// Sets the leader time-out, and the settings derived from it, for the node's next start.
    pub fn set_timeout(&mut self, id: NodeId, timeout: Duration) {
        let config = &mut self.hosts.get_mut(&id).unwrap().config;
        config.leader_timeout = timeout;
        config.election_timeout = timeout * 2;
        config.heartbeat_interval = timeout / 5;
        config.clock_error = timeout / 10;
    }

    pub fn crash(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.node = None;
        host.inputs.clear();
        host.disk.crash();
        let durable = host.disk.durable();
        host.applied = durable.hard.commit.min(host.applied).max(durable.base.id.index);
    }

    /// Crashes the node and drops its log from an index on. `health` says whether it detects the loss.
    pub fn lose(&mut self, id: NodeId, from: LogIndex, health: Health) {
        self.crash(id);
        let host = self.hosts.get_mut(&id).unwrap();
        host.disk.lose(from, health);
        host.applied = host.applied.min(host.disk.durable().last().index);
        self.restart(id);
    }

    /// Gives the machine an empty data folder with a new store id.
    pub fn wipe(&mut self, id: NodeId) {
        self.crash(id);
        let host = self.hosts.get_mut(&id).unwrap();
        let config = Config {
            store: StoreId(host.config.store.0 + 1000),
            incarnation: Incarnation(0),
            ..host.config.clone()
        };
        *host = Host::new(config, Base::default(), host.clock);
        self.restart(id);
    }

    /// Makes the log unreadable from now on.
    pub fn rot(&mut self, id: NodeId) {
        self.hosts.get_mut(&id).unwrap().rotten = true;
    }
}
