//! A cluster in memory: hosts, links, clocks, and the events that move them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::invariants::{check_delta, check_state};
use raftkit_core::{
    Base, Config, Effects, Fetched, Incarnation, Input, LogId, LogIndex, Membership, Message, Node, NodeId,
    Proposal, ReadMode, SnapshotEffect, SnapshotSent, StoreId, Ticket, Time,
};

use crate::chance::Chance;
use crate::disk::Disk;
use crate::members::members;
use crate::truth::{Asked, Truth};

const MS: u64 = 1000;

/// How strong each kind of fault is in this seed; many are off.
pub struct Faults {
    loss: u64,
    duplication: u64,
    slow: u64,
    crash: u64,
    partition: u64,
    stall: u64,
    pause: u64,
    write_failure: u64,
    pub drift: u64,
}

impl Faults {
    fn draw(chance: &mut Chance) -> Self {
        let mut some = |most: u64| if chance.happens(500) { chance.range(1, most) } else { 0 };
        Self {
            loss: some(200),
            duplication: some(200),
            slow: some(200),
            crash: some(60),
            partition: some(60),
            stall: some(40),
            pause: some(30),
            write_failure: some(15),
            drift: some(46),
        }
    }

    fn none(drift: u64) -> Self {
        Self {
            loss: 0,
            duplication: 0,
            slow: 0,
            crash: 0,
            partition: 0,
            stall: 0,
            pause: 0,
            write_failure: 0,
            drift,
        }
    }
}

pub struct Host {
    config: Config,
    pub node: Option<Node>,
    pub disk: Disk,
    rate: u64,
    offset: u64,
    /// Applied, and of that durable in the state machine.
    pub applied: LogIndex,
    durable_applied: LogIndex,
    /// The last snapshot installed.
    snapshot: Base,
    tick_at: u64,
    flushing: bool,
    paused_until: u64,
    blocked: BTreeSet<NodeId>,
}

impl Host {
    fn local(&self, now: u64) -> Time {
        Time(self.offset + now * self.rate / 1000)
    }

    fn global(&self, local: Time) -> u64 {
        let since = local.0.saturating_sub(self.offset);
        since.saturating_mul(1000).div_ceil(self.rate).min(u64::MAX / 2)
    }
}

#[derive(Debug)]
enum Event {
    Deliver(Message),
    Tick(NodeId, Incarnation),
    Flush(NodeId, Incarnation),
    Input(NodeId, Incarnation, Input),
    Snapshot { from: NodeId, life: Incarnation, to: NodeId, id: LogId, membership: Membership },
    Restart(NodeId),
    Chaos,
    Client,
}

pub struct World {
    pub now: u64,
    pub hosts: BTreeMap<NodeId, Host>,
    pub truth: Truth,
    pub steps: u64,
    pub trace: u64,
    chance: Chance,
    pub faults: Faults,
    events: BinaryHeap<Reverse<(u64, u64)>>,
    bodies: BTreeMap<u64, Event>,
    next_event: u64,
    next_ticket: u64,
    voters: BTreeSet<NodeId>,
    healed: bool,
    effects: Effects,
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

    /// Runs until `end` or until so many steps were taken.
    pub fn run(&mut self, end: u64, steps: u64) {
        let limit = self.steps.saturating_add(steps);
        while self.steps < limit {
            let Some(Reverse((at, key))) = self.events.pop() else { return };
            if at > end {
                self.events.push(Reverse((at, key)));
                self.now = end;
                return;
            }
            self.now = self.now.max(at);
            let event = self.bodies.remove(&key).expect("every key has its event");
            self.on_event(event);
        }
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

    pub fn propose(&mut self, to: NodeId, count: u64) {
        let proposals = (0..count)
            .map(|_| self.ticket(to, Asked::Proposal))
            .map(|ticket| Proposal { ticket, command: Bytes::from(ticket.0.to_le_bytes().to_vec()) });
        let proposals = proposals.collect();
        self.step(to, Input::Propose(proposals));
    }

    pub fn read(&mut self, to: NodeId, mode: ReadMode) {
        let asked = Asked::Read(self.truth.known);
        let ticket = self.ticket(to, asked);
        self.step(to, Input::Read { ticket, mode });
    }

    fn ticket(&mut self, node: NodeId, asked: Asked) -> Ticket {
        self.next_ticket += 1;
        self.truth.ask(node, Ticket(self.next_ticket), asked);
        Ticket(self.next_ticket)
    }

    fn schedule(&mut self, delay: u64, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((self.now + delay, self.next_event)));
        self.bodies.insert(self.next_event, event);
    }

    fn is_live(&self, id: NodeId, life: Incarnation) -> bool {
        self.hosts[&id].node.is_some() && self.hosts[&id].config.incarnation == life
    }

    fn on_event(&mut self, event: Event) {
        // A process that is stopped takes its inputs later, and reads the clock only then.
        let target = match &event {
            Event::Deliver(message) => Some(message.to),
            Event::Tick(id, _) | Event::Flush(id, _) | Event::Input(id, _, _) => Some(*id),
            Event::Snapshot { .. } | Event::Restart(_) | Event::Chaos | Event::Client => None,
        };
        if let Some(until) = target.map(|id| self.hosts[&id].paused_until).filter(|until| *until > self.now) {
            return self.schedule(until - self.now, event);
        }
        match event {
            Event::Deliver(message) => {
                if self.hosts[&message.to].node.is_some()
                    && !self.hosts[&message.to].blocked.contains(&message.from)
                {
                    self.step(message.to, Input::Message(message));
                }
            }
            Event::Tick(id, life) => {
                if self.is_live(id, life) && self.hosts[&id].tick_at <= self.now {
                    self.hosts.get_mut(&id).expect("known").tick_at = u64::MAX;
                    self.step(id, Input::Tick);
                }
            }
            Event::Flush(id, life) => {
                if self.is_live(id, life) {
                    self.flush(id);
                }
            }
            Event::Input(id, life, input) => {
                if self.is_live(id, life) {
                    if let Input::Applied(index) = &input {
                        let host = self.hosts.get_mut(&id).expect("known");
                        host.applied = host.applied.max(*index);
                    }
                    self.step(id, input);
                }
            }
            Event::Snapshot { from, life, to, id, membership } => {
                self.install(from, life, to, id, membership)
            }
            Event::Restart(id) => self.restart(id),
            Event::Chaos => self.chaos(),
            Event::Client => self.client(),
        }
    }

    fn flush(&mut self, id: NodeId) {
        let fails = self.chance.happens(self.faults.write_failure);
        let host = self.hosts.get_mut(&id).expect("known");
        host.flushing = false;
        if fails {
            self.step(id, Input::WriteFailed);
            let delay = self.chance.range(1, 500) * MS;
            self.crash(id);
            return self.schedule(delay, Event::Restart(id));
        }
        let count = self.chance.range(1, host.disk.queued() as u64 + 1);
        let host = self.hosts.get_mut(&id).expect("known");
        let count = usize::try_from(count).expect("small").min(host.disk.queued());
        if let Some(seq) = host.disk.flush(count) {
            self.step(id, Input::Persisted(seq));
        }
    }

    fn restart(&mut self, id: NodeId) {
        let now = self.now;
        let host = self.hosts.get_mut(&id).expect("known");
        if host.node.is_some() {
            return;
        }
        host.config.incarnation.0 += 1;
        host.disk.finish_install(&host.snapshot.clone());
        host.applied = host.durable_applied;
        let restored = host.disk.durable.restored(host.durable_applied);
        let node = Node::restore(host.config.clone(), restored, host.local(now)).expect("the disk is sound");
        check_state(&node).expect("a restored node is sound");
        host.node = Some(node);
        host.flushing = false;
        self.truth.open.remove(&id);
        self.step(id, Input::Tick);
    }

    fn crash(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).expect("known");
        host.node = None;
        let kept = self.chance.range(0, host.disk.queued() as u64 + 1);
        host.disk.crash(usize::try_from(kept).expect("small"));
        host.paused_until = 0;
        self.truth.open.remove(&id);
    }

    fn install(&mut self, from: NodeId, life: Incarnation, to: NodeId, id: LogId, membership: Membership) {
        let lost = self.hosts[&to].node.is_none() || self.chance.happens(self.faults.loss);
        if !lost {
            let host = self.hosts.get_mut(&to).expect("known");
            if host.applied < id.index {
                host.applied = id.index;
                host.durable_applied = id.index;
                host.snapshot = Base { id, membership: membership.clone() };
                self.step(to, Input::SnapshotInstalled { base: id, membership: membership.into() });
            }
        }
        let result = if lost { SnapshotSent::Failed } else { SnapshotSent::Installed(id) };
        let delay = self.chance.range(1, 20) * MS;
        self.schedule(delay, Event::Input(from, life, Input::SnapshotSent { to, result }));
    }

    fn chaos(&mut self) {
        if self.healed {
            return;
        }
        self.schedule(50 * MS, Event::Chaos);
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for id in ids.iter().copied() {
            if self.hosts[&id].node.is_none() {
                continue;
            }
            if self.chance.happens(self.faults.crash) {
                self.crash(id);
                let delay = self.chance.range(1, 1500) * MS;
                self.schedule(delay, Event::Restart(id));
                continue;
            }
            if self.chance.happens(self.faults.pause) {
                let until = self.now + self.chance.range(1, 1500) * MS;
                self.hosts.get_mut(&id).expect("known").paused_until = until;
            }
            if self.chance.happens(self.faults.partition) {
                let others = ids.iter().filter(|_| self.chance.happens(600)).copied().collect();
                self.hosts.get_mut(&id).expect("known").blocked = others;
            } else if self.chance.happens(100) {
                self.hosts.get_mut(&id).expect("known").blocked.clear();
            }
            if self.chance.happens(5) {
                let peer = self.chance.pick(&ids);
                self.step(id, Input::Unreachable(peer));
            }
            self.maintain(id);
        }
    }

    /// The state machine makes its state durable and lets the log be cut.
    fn maintain(&mut self, id: NodeId) {
        if self.hosts[&id].node.is_none() {
            return;
        }
        if self.chance.happens(100) {
            let host = self.hosts.get_mut(&id).expect("known");
            host.durable_applied = host.applied;
        }
        if self.chance.happens(60) {
            let to = self.hosts[&id].durable_applied;
            self.step(id, Input::Compact(to));
        }
        if self.chance.happens(10) {
            self.step(id, Input::PersistCommit);
        }
    }

    fn client(&mut self) {
        if self.healed {
            return;
        }
        let delay = self.chance.range(1, 30) * MS;
        self.schedule(delay, Event::Client);
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let anyone = self.chance.pick(&ids);
        let to = if self.chance.happens(700) { self.leader().unwrap_or(anyone) } else { anyone };
        if self.hosts[&to].node.is_none() || self.hosts[&to].paused_until > self.now {
            return;
        }
        match self.chance.range(0, 100) {
            0..60 => {
                let count = self.chance.range(1, 4);
                self.propose(to, count);
            }
            60..78 => self.read(to, ReadMode::Lease),
            78..96 => self.read(to, ReadMode::Quorum),
            _ => {
                let target = self.chance.happens(500).then(|| self.chance.pick(&ids));
                let ticket = self.ticket(to, Asked::Transfer);
                self.step(to, Input::Transfer { ticket, to: target });
            }
        }
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

    fn check(&mut self, id: NodeId, before: &Node) {
        let host = &self.hosts[&id];
        let node = host.node.as_ref().expect("it was given an input");
        let voters = self.hosts.iter().filter(|(id, _)| self.voters.contains(id)).map(|(_, host)| &host.disk);
        self.truth.check_commit(node, before.commit(), &host.disk, voters);
        if !node.is_leader() {
            return;
        }
        if !before.is_leader() || before.term() != node.term() {
            self.truth.check_leader(id, node, &host.disk);
        }
        // While a lease holds on its holder's clock, no other node leads a later term.
        for (other, peer) in self.hosts.iter().filter(|(other, _)| **other != id) {
            let Some(other_node) = peer.node.as_ref().filter(|node| node.is_leader()) else { continue };
            let (holder, of) =
                if other_node.term() < node.term() { (other_node, peer) } else { (node, host) };
            let valid = holder.lease_until().is_some_and(|until| of.local(self.now) < until);
            assert!(!valid, "{id} and {other} both lead, and the older one still has a lease");
        }
    }

    fn act(&mut self, id: NodeId, effects: &mut Effects) {
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

    fn send_snapshot(&mut self, from: NodeId, life: Incarnation, to: NodeId, at_least: LogIndex) {
        let host = &self.hosts[&from];
        let delay = self.chance.range(1, 100) * MS;
        if host.applied < at_least {
            let input = Input::SnapshotSent { to, result: SnapshotSent::Failed };
            return self.schedule(delay, Event::Input(from, life, input));
        }
        let id = self.truth.id(host.applied).expect("applied, so committed");
        let membership = host.node.as_ref().expect("it runs").membership_as_of(id.index).clone();
        self.schedule(delay, Event::Snapshot { from, life, to, id, membership });
    }

    fn send(&mut self, message: Message) {
        self.trace = self.trace.rotate_left(5) ^ self.now ^ (message.from.0 << 8 | message.to.0);
        if self.chance.happens(self.faults.loss) {
            return;
        }
        let copies = if self.chance.happens(self.faults.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = self.chance.happens(self.faults.slow);
            let delay = if slow { self.chance.range(1, 1500) * MS } else { self.chance.range(100, 3 * MS) };
            self.schedule(delay, Event::Deliver(message.clone()));
        }
    }

    /// Wakes the node at its deadline, and its disk when there is something to write.
    fn arm(&mut self, id: NodeId) {
        let stalls = self.chance.happens(self.faults.stall);
        let delay = if stalls { self.chance.range(1, 4000) * MS } else { self.chance.range(50, 2 * MS) };
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(node) = &host.node else { return };
        let life = host.config.incarnation;
        let deadline = host.global(node.next_deadline());
        let flush = !host.flushing && !host.disk.is_idle();
        host.flushing |= flush;
        let moved = deadline != host.tick_at && deadline < u64::MAX / 2;
        host.tick_at = deadline;
        if moved {
            self.schedule(deadline.saturating_sub(self.now), Event::Tick(id, life));
        }
        if flush {
            self.schedule(delay, Event::Flush(id, life));
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
