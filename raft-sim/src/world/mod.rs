//! A cluster in virtual time: hosts, network and clients, and the loop that runs one event after the other.

pub(crate) mod chaos;
pub(crate) mod clock;
pub(crate) mod counts;
pub(crate) mod happening;
pub(crate) mod operator;
pub(crate) mod rot;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use raftkit_core::{ClusterId, Member, Membership, NodeId, StoreId};
use raftkit_disk::{Injected, SimulatedDisk};

use crate::checks::explained::Seen;
use crate::checks::truth::Truth;
use crate::checks::twin::Twin;
use crate::checks::violation::{Checked, Promise, Violation};
use crate::clients::Clients;
use crate::network::narrow::Narrow;
use crate::network::{Network, Packet};
use crate::process::host::{Host, Process};
use crate::rng::Rng;
use crate::run::trace::{Trace, kind};
use crate::subject::Subject;
use crate::world::clock::Clock;
use crate::{Mark, Marks, Plan, Settings};

pub use self::counts::Counts;
pub(crate) use self::happening::Happening;

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000 * MS;
/// Id of the simulated cluster.
pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// A time in which each step of a node's settling takes longer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    pub(crate) until: u64,
    /// Time that is added to a step, in microseconds.
    pub(crate) us: u64,
}

/// A simulated cluster.
pub struct World<S: Subject> {
    pub(crate) now: u64,
    pub(crate) seed: u64,
    pub(crate) settings: Settings,
    pub(crate) script: Vec<crate::Step>,
    pub(crate) hosts: BTreeMap<NodeId, Host<S>>,
    pub(crate) founding: Membership,
    pub(crate) network: Network,
    pub(crate) narrow: Narrow,
    pub(crate) truth: Truth,
    pub(crate) twin: Twin<S>,
    pub(crate) clients: Clients<S>,
    /// The subject, with the history of its clients.
    pub subject: S,
    /// The trace of events.
    pub trace: Trace,
    /// The marks that were met.
    pub marks: Marks,
    pub(crate) counts: Counts,
    pub(crate) steady: Option<crate::checks::steady::Steady>,
    /// The events so far that may explain doubt.
    pub(crate) seen: Seen,
    /// Number of calls between nodes that the settings have lost.
    pub(crate) calls_broken: u64,
    /// Last sound contents of data folders that have since been wiped or damaged. A leader that heard from them before may
    /// still count them.
    pub(crate) ghosts: BTreeMap<(NodeId, StoreId), crate::checks::shadow::Shadow>,
    pub(crate) rng: Rng,
    pub(crate) healed: bool,
    /// Nodes that stay down or cut off after faults have ended.
    pub(crate) away: BTreeSet<NodeId>,
    /// Nodes in whose present data folder anything but records of the journal has rotted.
    pub(crate) rotten_beyond_records: BTreeSet<NodeId>,
    /// Nodes whose settling is slow.
    pub(crate) lags: BTreeMap<NodeId, Lag>,
    pub(crate) last_store: u128,
    /// Counts of the faults of disks that wiped nodes have left behind.
    pub(crate) gone: Injected,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    next: u64,
    violation: Option<Violation>,
    off: BTreeSet<Promise>,
    pub(crate) packets: Vec<(u64, Packet)>,
}

/// Returns the founding membership.
fn founders(settings: &Settings, rng: &mut Rng) -> Membership {
    let member = |id: u64| {
        let priority = if settings.priorities == 1 { rng.pick(&[50, 100, 100, 200]) } else { 100 };
        let member = Member::new(StoreId(u128::from(id)), format!("node-{id}"));
        (NodeId(id), Member { priority, ..member })
    };
    Membership::founding((1..=settings.nodes).map(member).collect())
}

impl<S: Subject> World<S> {
    /// Creates a founded cluster in which nothing has happened. The last `lines` lines of its trace are kept.
    ///
    /// # Panics
    /// If the subject cannot be opened on a disk without faults.
    #[must_use]
    pub fn new(plan: &Plan, subject: S, lines: usize, off: BTreeSet<Promise>) -> Self {
        let settings = plan.settings.clone();
        let mut rng = Rng::new(plan.seed, "world");
        let founding = founders(&settings, &mut rng);
        let mut world = Self {
            now: 0,
            seed: plan.seed,
            script: plan.script.clone(),
            hosts: BTreeMap::new(),
            network: Network::new(plan.seed),
            narrow: Narrow::default(),
            steady: None,
            seen: Seen::default(),
            calls_broken: 0,
            truth: Truth::new(founding.clone()),
            founding,
            twin: Twin::new().expect("a subject opens on a disk that works"),
            clients: Clients::new(plan.seed),
            subject,
            trace: Trace::keeping(lines),
            marks: Marks::default(),
            counts: Counts::default(),
            ghosts: BTreeMap::new(),
            rng,
            healed: false,
            away: BTreeSet::new(),
            rotten_beyond_records: BTreeSet::new(),
            lags: BTreeMap::new(),
            last_store: 100,
            gone: Injected::default(),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            next: 0,
            violation: None,
            off,
            packets: Vec::new(),
            settings,
        };
        world.plan_all();
        world
    }

    /// Creates the machines and plans the first events: starts, the script, clients, the operator.
    fn plan_all(&mut self) {
        for id in (1..=self.settings.nodes + self.settings.spares).map(NodeId) {
            let drift = self.settings.drift;
            let rate = self.rng.range(1000 - drift, 1000 + drift);
            let clock = Clock::new(self.rng.below(10 * SECOND), rate);
            let disk = self.new_disk(id, 0);
            let store = StoreId(u128::from(id.0));
            let mut host = Host::new(id, disk, clock, store, id.0 <= self.settings.nodes);
            host.leader_timeout_ms = self.settings.leader_timeout_ms;
            self.hosts.insert(id, host);
            let at = self.rng.below(200 * MS);
            self.plan_start(id, at);
        }
        let steps: Vec<u64> = self.script.iter().map(|step| step.at_ms).collect();
        for (at, step_ms) in steps.into_iter().enumerate() {
            self.at(step_ms * MS, Happening::Script(at));
        }
        for client in 0..self.settings.clients {
            let at = 300 * MS + self.rng.below(500 * MS);
            self.at(at, Happening::Client(client));
        }
        self.at(500 * MS, Happening::Operator);
        if self.settings.steady_ms > 0 {
            self.at(self.settings.steady_ms * MS, Happening::Steady);
        }
    }

    pub(crate) fn new_disk(&self, id: NodeId, generation: u64) -> SimulatedDisk {
        let mut draws = Rng::new(self.seed, "disk");
        let seed = draws.bits() ^ id.0.wrapping_mul(0x1234_5678_9abc_def1) ^ (generation << 40);
        SimulatedDisk::new(seed)
    }

    /// Plans an event for a virtual time.
    pub(crate) fn at(&mut self, at: u64, happening: Happening) {
        self.next += 1;
        self.happenings.insert(self.next, happening);
        self.queue.push(Reverse((at.max(self.now), self.next)));
    }

    pub(crate) fn plan_start(&mut self, id: NodeId, delay: u64) {
        let host = self.hosts.get_mut(&id).expect("known");
        if !host.starting {
            host.starting = true;
            self.at(self.now + delay, Happening::Start(id));
        }
    }

    /// Runs until a virtual time, or until a promise is broken.
    pub fn run_until(&mut self, end: u64) {
        while self.violation.is_none()
            && let Some(Reverse((at, _))) = self.queue.peek()
            && *at <= end
        {
            self.step();
        }
        if self.violation.is_none() {
            self.now = self.now.max(end);
        }
    }

    fn step(&mut self) {
        let Some(Reverse((at, number))) = self.queue.pop() else { return };
        self.now = at;
        let Some(happening) = self.happenings.remove(&number) else { return };
        match happening {
            Happening::Wake(id, life) => self.woken(id, life),
            Happening::GoOn(id, life) => self.go_on(id, life),
            Happening::Arrive(packet) => self.arrive(packet),
            Happening::Dialler(id, life, peer) => self.look(id, life, peer),
            Happening::Shake(shake) => self.shake(shake),
            Happening::Keep(id, life, peer, number) => self.keep(id, life, peer, number),
            Happening::Lost(id, life, peer, number) => self.lose(id, life, peer, number),
            Happening::Done(id, life, thread) => self.work_done(id, life, thread),
            Happening::Wakes(id, life, thread) => self.log_wakes(id, life, thread),
            Happening::IdleMachine(id, life) => self.idle_machine(id, life),
            Happening::Start(id) => self.start(id),
            Happening::Script(at) => self.perform(at),
            Happening::Client(client) => self.client_asks(client),
            Happening::Watch(id, life) => self.watch(id, life),
            Happening::Look(id, life, request) => self.client_looks(id, life, request),
            Happening::GiveUp(id, life, request) => self.client_gives_up(id, life, request),
            Happening::CallLost(id, life, call, sent) => self.call_lost(id, life, call, sent),
            Happening::Leaves(id, life, leaving) => self.leaves(id, life, leaving),
            Happening::Unreachable(id, life, peer) => self.unreachable(id, life, peer),
            Happening::Trapped(id, life, how, down_ms) => self.trapped(id, life, how, down_ms),
            Happening::Space(id) => self.space(id),
            Happening::Operator => self.operate(),
            Happening::Pump(from, to) => self.pump_again(from, to),
            Happening::Carried { from, life, to, lane, asked_on, frame } => {
                self.carried((from, life), to, (lane, asked_on), &frame);
            }
            Happening::Steady => self.look_after_flow(),
        }
    }

    /// Records the result of a check.
    pub(crate) fn ensure(&mut self, checked: Checked) {
        let Err((promise, what)) = checked else { return };
        if self.violation.is_none() && !self.off.contains(&promise) {
            self.trace.tell(self.now, || format!("VIOLATION of {promise}: {what}"));
            self.violation = Some(Violation { promise, what, at_us: self.now });
        }
    }

    /// The promise that was broken, if one was.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Virtual time, in microseconds.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Counts of the faults of all disks so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        let mut sum = self.gone;
        for host in self.hosts.values() {
            sum += host.disk.injected();
        }
        sum
    }

    /// Counts of all other faults, and of the requests of clients, so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts { lost: self.network.lost, split: self.network.split, ..self.counts }
    }

    /// Number of elected leaders.
    #[must_use]
    pub fn elections(&self) -> u64 {
        self.truth.elections()
    }

    pub(crate) fn host(&mut self, id: NodeId) -> &mut Host<S> {
        self.hosts.get_mut(&id).expect("known")
    }

    /// Returns the process of a node, if it is still the one with this number.
    pub(crate) fn process(&mut self, id: NodeId, life: u64) -> Option<&mut Process<S>> {
        let host = self.hosts.get_mut(&id)?;
        if host.life == life { host.process.as_mut() } else { None }
    }

    /// Returns the leader of the highest term.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let leading = self.hosts.values().filter_map(|host| {
            let node = host.process.as_ref()?.service.replica().node();
            node.is_leader().then(|| (node.term(), host.id))
        });
        leading.max().map(|(_, id)| id)
    }

    pub(crate) fn running(&self) -> Vec<NodeId> {
        self.hosts.values().filter(|host| host.process.is_some()).map(|host| host.id).collect()
    }

    /// Returns the member that a node would be added as, with its present data folder.
    pub(crate) fn member(&self, id: NodeId) -> Member {
        let host = &self.hosts[&id];
        Member::new(host.store, format!("node-{id}"))
    }

    pub(crate) fn note(&mut self, what: u8, node: NodeId, content: &[u64]) {
        self.trace.note(self.now, what, node.0, content);
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        // The violation is the last line of a trace, even if its event goes on.
        if self.violation.is_none() {
            self.trace.tell(self.now, line);
        }
    }

    /// Adds the state of every disk to the digest, at the end of a run.
    pub(crate) fn seal(&mut self) {
        let notes: Vec<_> = self
            .hosts
            .values()
            .map(|host| {
                (host.id, [host.disk.calls(), host.disk.mutations(), host.life, host.durable.last().index.0])
            })
            .collect();
        for (id, numbers) in notes {
            self.note(kind::END, id, &numbers);
        }
    }

    pub(crate) fn hit(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }
}
