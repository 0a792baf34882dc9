//! A cluster in memory: hosts, links and clocks, stepped one input at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raftkit_core::invariants::{Before, check_since, check_state};
use raftkit_core::{
    Base, Config, Effects, Fatal, Fetch, Fetched, Incarnation, Input, LogIndex, Membership, Node, NodeId,
    SnapshotEffect, StoreId,
};

use crate::chance::Chance;
use crate::disk::{Disk, Image};
use crate::events::Event;
use crate::faults::Faults;
use crate::hosts::Host;
use crate::injected::{Fault, Injected};
use crate::marks::{Mark, Marks};
use crate::members::members;
use crate::observe::Seen;
use crate::queue::Queue;
use crate::tickets::Tickets;
use crate::trace;
use crate::truth::Truth;

pub const MS: u64 = 1000;

pub struct World {
    pub now: u64,
    pub hosts: BTreeMap<NodeId, Host>,
    pub truth: Truth,
    pub tickets: Tickets,
    pub marks: Marks,
    pub injected: Injected,
    pub steps: u64,
    pub chance: Chance,
    pub faults: Faults,
    /// Share of membership changes among the requests, in thousandths.
    pub changes: u64,
    pub queue: Queue,
    pub next_ticket: u64,
    pub last_store: u128,
    /// What data folders that are down, damaged or lost held durably when they last counted. A leader that
    /// has heard of it may still count it.
    pub ghosts: BTreeMap<(NodeId, StoreId), Image>,
    /// The nodes that the operator adds once the faults have ended.
    pub returning: BTreeSet<NodeId>,
    pub healed: bool,
    /// The settings of all nodes once the faults have ended.
    pub usual: Config,
    /// True when the limits are small.
    pub small: bool,
    effects: Effects,
    /// Kept only to reuse its allocations.
    before: Option<Before>,
}

/// The initial parameters of a world.
pub struct Plan {
    /// Number of hosts.
    pub hosts: u64,
    /// Number of hosts that are members, counted from the first, and how many of those are learners, counted
    /// from the last.
    pub members: u64,
    pub learners: u64,
    pub faults: Faults,
    /// Share of membership changes among the requests, in thousandths; none for a world without random
    /// requests.
    pub changes: Option<u64>,
    /// True for small limits, so that small runs reach them.
    pub small: bool,
}

impl World {
    /// Draws all parameters, except for the number of members if it is given.
    pub fn draw(seed: u64, nodes: Option<u64>) -> Self {
        let mut chance = Chance::new(seed);
        let faults = Faults::draw(&mut chance);
        let drawn = chance.range(1, 6);
        let members = nodes.unwrap_or(drawn);
        let learners = u64::from(members > 2 && chance.happens(200));
        let changing = chance.happens(700);
        let hosts = if changing { chance.range(members, 8) } else { members };
        let changes = Some(if changing { chance.pick(&[10, 40, 150]) } else { 0 });
        let small = chance.happens(700);
        Self::new(seed, chance, Plan { hosts, members, learners, faults, changes, small })
    }

    pub fn new(seed: u64, mut chance: Chance, plan: Plan) -> Self {
        let members = members(1..=plan.members);
        let voters: BTreeSet<_> = (1..=plan.members - plan.learners).map(NodeId).collect();
        let membership = Membership::new(members, voters).expect("voters are members");
        let base = Base::founding(membership);
        let template = draw_config(&mut chance, plan.small);
        let mut world = Self {
            now: 0,
            hosts: BTreeMap::new(),
            truth: Truth::new(base.membership.clone()),
            tickets: Tickets::default(),
            marks: Marks::default(),
            injected: Injected::default(),
            steps: 0,
            chance,
            faults: plan.faults,
            changes: plan.changes.unwrap_or(0),
            queue: Queue::default(),
            next_ticket: 0,
            last_store: 100,
            ghosts: BTreeMap::new(),
            returning: BTreeSet::new(),
            healed: false,
            usual: template.clone(),
            small: plan.small,
            effects: Effects::default(),
            before: None,
        };
        for id in 1..=plan.hosts {
            let drift = world.faults.drift;
            let config =
                Config { node: NodeId(id), store: StoreId(u128::from(id)), seed, ..template.clone() };
            let disk = if id <= plan.members { Disk::founded(base.clone()) } else { Disk::default() };
            let rate = world.chance.range(1000 - drift, 1001 + drift);
            let offset = world.chance.range(0, 10_000 * MS);
            if rate != 1000 {
                world.inject(Fault::Drift, format_args!("{id} has a clock that runs by {rate} to 1000"));
            }
            world.hosts.insert(NodeId(id), Host::new(config, disk, rate, offset));
            let at = world.chance.range(0, 200 * MS);
            world.schedule(at, Event::Restart(NodeId(id)));
        }
        if plan.changes.is_some() {
            world.schedule(0, Event::Client);
            world.schedule(0, Event::Chaos);
        }
        world
    }

    /// Ends all faults, and starts all hosts that are down.
    pub fn heal(&mut self) {
        trace::event(self.now, format_args!("faults end: all are started and hear each other"));
        self.healed = true;
        self.faults = Faults { reckless: self.faults.reckless, ..Faults::none(self.faults.drift) };
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for id in ids {
            let host = self.host(id);
            host.blocked.clear();
            host.paused_until = 0;
            host.stuck_until = 0;
            if self.has_other_settings(id) {
                self.crash(id); // It was given settings of its own; the operator gives it the usual ones again.
            }
            let host = self.host(id);
            let (down, boot) = (host.node.is_none(), host.boot);
            // A flush that would be stuck for longer ends now.
            self.schedule(MS, if down { Event::Restart(id) } else { Event::Flush(id, boot) });
            if self.chance.happens(200) {
                self.returning.insert(id);
            }
        }
        self.schedule(0, Event::Operator);
    }

    /// The leader with the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |host: &&Host| host.node.as_ref().is_some_and(Node::is_leader);
        self.hosts
            .values()
            .filter(leads)
            .max_by_key(|host| host.node.as_ref().map(Node::term))
            .map(|host| host.config.node)
    }

    /// Gives one input to one node, runs all checks, and carries out the effects.
    pub fn step(&mut self, id: NodeId, input: Input) {
        self.steps += 1;
        let host = self.hosts.get_mut(&id).expect("known");
        let now = host.local(self.now);
        let node = host.node.as_mut().expect("only who runs is given inputs");
        let before = match self.before.take() {
            Some(mut before) => {
                before.retake(node);
                before
            }
            None => Before::of(node),
        };
        let seen = Seen::of(&input);
        let mut effects = std::mem::take(&mut self.effects);
        trace::input(self.now, id, &input);
        node.handle(now, input, &mut effects);
        trace::effects(&effects);
        let sound = check_state(node).and_then(|()| check_since(&before, node));
        sound.unwrap_or_else(|violation| panic!("{id}: {violation}: {:?}", node.status()));
        let rotten = matches!(effects.fatal, Some(Fatal::LogDamaged { .. }));
        assert!(rotten || matches!(effects.fatal, None | Some(Fatal::WriteFailed)), "{id}: {effects:?}");
        self.observe_promise(id, &before, &effects);
        self.write(id, &before, &mut effects);
        self.check(id, &before);
        self.observe(id, &before, &seen, &effects);
        self.act(id, &before, &mut effects);
        effects.role = None;
        effects.fatal = None;
        self.effects = effects;
        self.before = Some(before);
        if rotten {
            self.end_rotten(id);
        }
        self.arm(id);
    }

    fn act(&mut self, id: NodeId, before: &Before, effects: &mut Effects) {
        let boot = self.hosts[&id].boot;
        self.check_answers(id, before, effects);
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
            self.schedule(delay, Event::Input(id, boot, Input::Applied(apply.last)));
        }
        for fetch in effects.fetches.drain(..) {
            let slow = self.chance.happens(self.faults.slow);
            if slow {
                self.inject(Fault::SlowRead, format_args!("{id} is slow to read its log"));
            }
            let delay = self.chance.range(0, if slow { 300 * MS } else { 3 * MS });
            self.schedule(delay, Event::Fetch(id, boot, fetch));
        }
        for snapshot in effects.snapshots.drain(..) {
            if let SnapshotEffect::Send { to, at_least } = snapshot {
                self.send_snapshot(id, to, at_least);
            }
        }
    }

    /// Reads the log, which may be compacted by now.
    pub fn fetch(&mut self, id: NodeId, fetch: Fetch) {
        let disk = &self.hosts[&id].disk;
        let entries: Vec<_> = (fetch.first.0..=fetch.last.0.min(fetch.first.0 + 5))
            .map_while(|index| disk.view.entry(LogIndex(index)).cloned())
            .collect();
        let result = if self.chance.happens(self.faults.rot) && self.may_harm(id) {
            self.injected.hit(Fault::Unreadable);
            Fetched::Damaged
        } else if entries.is_empty() {
            self.marks.hit(Mark::FetchCompacted);
            Fetched::Compacted
        } else {
            self.marks.hit(Mark::Fetched);
            Fetched::Entries(entries)
        };
        self.step(id, Input::Fetched { id: fetch.id, result });
    }

    /// Restarts a node that could not read its log, as damaged.
    fn end_rotten(&mut self, id: NodeId) {
        self.marks.hit(Mark::RotFound);
        self.crash(id);
        let durable = &self.hosts[&id].disk.durable;
        let kept = LogIndex(self.chance.range(durable.base.id.index.0, durable.last().index.0 + 1));
        self.damage(id, kept);
        let delay = self.chance.range(1, 500) * MS;
        self.schedule(delay, Event::Restart(id));
    }
}

/// Draws the settings. Small limits make small runs reach them.
pub fn draw_config(chance: &mut Chance, small: bool) -> Config {
    let mut config = Config::new(NodeId(0), StoreId(0), Incarnation(0), 0);
    if small {
        config.batch_bytes_max = chance.pick(&[1, 100, 500]);
        config.inflight_bytes_max = chance.pick(&[1, 200, 1000]);
        config.inflight_messages_max = chance.pick(&[1, 2, 8]);
        config.uncommitted_bytes_max = chance.pick(&[100, 400, 2000]);
        config.tail_bytes_max = chance.pick(&[0, 100, 500]);
    }
    config.write_stall = Duration::from_millis(chance.range(300, 2000));
    config
}
