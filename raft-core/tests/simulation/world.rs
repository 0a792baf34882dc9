//! A cluster in memory: hosts, links, clocks, and one input after the other.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use raftkit_core::invariants::{check_delta, check_state};
use raftkit_core::{
    Base, Config, Effects, Fetched, Incarnation, Input, LogId, LogIndex, Membership, Node, NodeId,
    SnapshotEffect, StoreId,
};

use crate::chance::Chance;
use crate::disk::Disk;
use crate::events::Event;
use crate::faults::Faults;
use crate::hosts::Host;
use crate::members::members;
use crate::truth::Truth;

pub const MS: u64 = 1000;

pub struct World {
    pub now: u64,
    pub hosts: BTreeMap<NodeId, Host>,
    pub truth: Truth,
    pub steps: u64,
    pub trace: u64,
    pub chance: Chance,
    pub faults: Faults,
    pub events: BinaryHeap<Reverse<(u64, u64)>>,
    pub bodies: BTreeMap<u64, Event>,
    pub next_event: u64,
    pub next_ticket: u64,
    pub voters: BTreeSet<NodeId>,
    pub healed: bool,
    pub effects: Effects,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let faults = Faults::draw(&mut chance);
        let count = chance.range(1, 6);
        let learners = u64::from(count > 2 && chance.happens(200));
        let members = members(1..=count);
        let voters: BTreeSet<_> = (1..=count - learners).map(NodeId).collect();
        let membership = Membership::new(members, voters.clone()).expect("voters are members");
        let base = Base { id: LogId::GENESIS, membership };
        let template = draw_config(&mut chance);
        let mut world = Self {
            now: 0,
            hosts: BTreeMap::new(),
            truth: Truth::new(),
            steps: 0,
            trace: 0,
            chance,
            faults,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            next_event: 0,
            next_ticket: 0,
            voters,
            healed: false,
            effects: Effects::default(),
        };
        for id in 1..=count {
            let drift = world.faults.drift;
            let config =
                Config { node: NodeId(id), store: StoreId(u128::from(id)), seed, ..template.clone() };
            let host = Host {
                config,
                node: None,
                disk: Disk::founded(base.clone()),
                rate: world.chance.range(1000 - drift, 1001 + drift),
                offset: world.chance.range(0, 10_000 * MS),
                applied: LogIndex(1),
                durable_applied: LogIndex(1),
                snapshot: base.clone(),
                tick_at: u64::MAX,
                flushing: false,
                paused_until: 0,
                blocked: BTreeSet::new(),
            };
            world.hosts.insert(NodeId(id), host);
            let at = world.chance.range(0, 200 * MS);
            world.schedule(at, Event::Restart(NodeId(id)));
        }
        world.schedule(0, Event::Client);
        world.schedule(0, Event::Chaos);
        world
    }

    /// Ends all faults, and starts whoever is down.
    pub fn heal(&mut self) {
        self.healed = true;
        self.faults = Faults::none(self.faults.drift);
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for id in ids {
            let host = self.hosts.get_mut(&id).expect("known");
            host.blocked.clear();
            host.paused_until = 0;
            if host.node.is_none() {
                self.schedule(0, Event::Restart(id));
            }
        }
    }

    /// Every node's state, for a failure's message.
    pub fn describe(&self) -> String {
        let states = self.hosts.iter().map(|(id, host)| match &host.node {
            None => format!("{id}: down\n"),
            Some(node) => {
                let status = node.status();
                let peers: Vec<_> = status.peers.iter().map(|(id, peer)| format!("{id}: {peer:?}")).collect();
                format!(
                    "{id}: {:?} term {} base {} last {} commit {} durable {} applied {} writes {}\n  {}\n",
                    status.role,
                    status.term,
                    status.base,
                    status.last,
                    status.commit,
                    host.disk.durable.last(),
                    status.applied,
                    host.disk.queued(),
                    peers.join("\n  ")
                )
            }
        });
        states.collect()
    }

    pub fn leader(&self) -> Option<NodeId> {
        let leads = |host: &&Host| host.node.as_ref().is_some_and(Node::is_leader);
        self.hosts
            .values()
            .filter(leads)
            .max_by_key(|host| host.node.as_ref().map(Node::term))
            .map(|h| h.config.node)
    }

    /// One input to one node, all checks, and what came of it.
    pub fn step(&mut self, id: NodeId, input: Input) {
        self.steps += 1;
        let host = self.hosts.get_mut(&id).expect("known");
        let now = host.local(self.now);
        let node = host.node.as_mut().expect("only who runs is given inputs");
        let before = node.clone();
        let mut effects = std::mem::take(&mut self.effects);
        node.handle(now, input, &mut effects);
        check_state(node).expect("state is sound");
        check_delta(&before, node).expect("the step is sound");
        assert!(
            effects.fatal.is_none() || effects.fatal == Some(raftkit_core::Fatal::WriteFailed),
            "{effects:?}"
        );
        for write in effects.writes.drain(..) {
            host.disk.queue(write);
        }
        self.check(id, &before);
        self.act(id, &mut effects);
        effects.role = None;
        effects.fatal = None;
        self.effects = effects;
        self.arm(id);
    }

    pub fn act(&mut self, id: NodeId, effects: &mut Effects) {
        let life = self.hosts[&id].config.incarnation;
        for done in effects.done.drain(..) {
            self.truth.check_done(id, done.ticket, done.outcome);
        }
        for message in effects.messages.drain(..) {
            self.truth.check_message(&message, &self.hosts[&id].disk);
            self.send(message);
        }
        for apply in effects.apply.drain(..) {
            let disk = &self.hosts[&id].disk;
            assert!(apply.last <= disk.durable.last().index, "applies what is not durable here");
            for entry in apply.entries.iter().flatten() {
                assert_eq!(self.truth.entry(entry.id.index), Some(entry), "applies what is not committed");
            }
            let delay = self.chance.range(0, 3 * MS);
            self.schedule(delay, Event::Input(id, life, Input::Applied(apply.last)));
        }
        for fetch in effects.fetches.drain(..) {
            let disk = &self.hosts[&id].disk;
            let entries: Vec<_> = (fetch.first.0..=fetch.last.0.min(fetch.first.0 + 5))
                .map_while(|index| disk.view.entry(LogIndex(index)).cloned())
                .collect();
            let result = if entries.is_empty() { Fetched::Compacted } else { Fetched::Entries(entries) };
            let delay = self.chance.range(0, 3 * MS);
            self.schedule(delay, Event::Input(id, life, Input::Fetched { request: fetch.request, result }));
        }
        for snapshot in effects.snapshots.drain(..) {
            if let SnapshotEffect::Send { to, at_least } = snapshot {
                self.send_snapshot(id, life, to, at_least);
            }
        }
    }
}

/// Small limits, so that small runs reach them.
fn draw_config(chance: &mut Chance) -> Config {
    let mut config = Config::new(NodeId(0), StoreId(0), Incarnation(0), 0);
    if chance.happens(700) {
        config.batch_bytes_max = chance.pick(&[1, 100, 500]);
        config.inflight_bytes_max = chance.pick(&[1, 200, 1000]);
        config.inflight_messages_max = chance.pick(&[1, 2, 8]);
        config.uncommitted_bytes_max = chance.pick(&[100, 400, 2000]);
        config.tail_bytes_max = chance.pick(&[0, 100, 500]);
    }
    config.write_stall = Duration::from_millis(chance.range(300, 2000));
    config
}
