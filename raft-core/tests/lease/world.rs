//! One small run: nodes with clocks of different rates, a network with delays, and drivers that pause.
//!
//! Real time is in microseconds, and no node sees it. Disks are instant.

use std::collections::BTreeMap;

use raftkit_core::{
    Body, CampaignReason, Effects, Incarnation, Input, Message, Node, NodeId, Term, Ticket, Time,
};

use crate::grid::{Delays, Fault, PauseAt, Plan};
use crate::host::Host;
use crate::members::voters;

const SECOND: u64 = 1_000_000;

/// The first leader.
const FIRST: u64 = 1;
const FIRST_TERM: Term = Term(2);

/// A violation: a valid lease while another node leads a later term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When, in real time.
    pub at: u64,
    /// The node whose lease is valid on its own clock.
    pub holder: u64,
    /// The leader of the later term.
    pub leader: u64,
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Seen {
    pub violation: Option<Violation>,
    /// Time between the end of the first leader's lease and the first sight of a later leader, in
    /// microseconds of the first leader's clock.
    pub margin: Option<u64>,
    /// True when a later term had a leader.
    pub is_replaced: bool,
    /// True when the first leader had a lease at the time of the fault.
    pub had_lease: bool,
}

#[derive(Clone)]
enum Event {
    /// An input arrives at a driver.
    Arrives(u64, Input),
    /// An input is given to the core, with the time read from the clock.
    Given(u64, Incarnation, Time, Input),
    Fault,
    Starts(u64),
    /// This node's promise ends, unless it was renewed.
    Free(u64),
}

pub struct World {
    plan: Plan,
    delays: Delays,
    hosts: BTreeMap<u64, Host>,
    /// By time, then in the order in which they were made.
    events: BTreeMap<(u64, u64), Event>,
    last_event: u64,
    now: u64,
    fault_at: u64,
    /// True once the fault has happened.
    is_faulty: bool,
    /// The newest vote request held back, by sender and receiver.
    held: BTreeMap<(u64, u64), Message>,
    seen: Seen,
}

/// Runs to the end, or to the first violation.
pub fn run(plan: &Plan) -> Seen {
    let mut world = World::new(plan.clone());
    world.elect_first();
    let end = world.fault_at + plan.fault.span(plan.timeouts);
    while let Some(((at, _), event)) = world.events.pop_first() {
        if at > end || world.is_settled() {
            break;
        }
        world.now = at;
        world.on_event(event);
    }
    world.seen
}

impl World {
    fn new(plan: Plan) -> Self {
        let ids: Vec<u64> = (1..).zip(&plan.rates).map(|(id, _)| id).collect();
        let base = raftkit_core::Base::founding(voters(&ids));
        let host = |(id, rate): (&u64, &u64)| {
            let pause = plan.pause.filter(|pause| pause.of == *id);
            let timeout = match *id {
                FIRST => plan.timeouts.leader,
                2 => plan.timeouts.voter,
                _ => 500,
            };
            (*id, Host::new(*id, *rate, timeout, pause, base.clone()))
        };
        Self {
            delays: Delays { to_leader: 0, to_others: 0 },
            hosts: ids.iter().zip(&plan.rates).map(host).collect(),
            events: BTreeMap::new(),
            last_event: 0,
            now: 3 * SECOND, // Promises from before the start have ended.
            fault_at: u64::MAX,
            is_faulty: false,
            held: BTreeMap::new(),
            seen: Seen::default(),
            plan,
        }
    }

    /// Elects the first leader over a perfect network, then lets the delays of the plan begin.
    fn elect_first(&mut self) {
        self.arrive(FIRST, Input::Tick);
        while let Some(((at, key), event)) = self.events.pop_first() {
            if at > self.now {
                self.events.insert((at, key), event);
                break;
            }
            self.on_event(event);
        }
        assert!(self.lease(FIRST).is_some(), "it leads, and has a lease");
        self.delays = self.plan.delays;
        self.fault_at = self.now + self.plan.fault_at;
        self.schedule(self.fault_at, Event::Fault);
    }

    fn schedule(&mut self, at: u64, event: Event) {
        self.last_event += 1;
        self.events.insert((at, self.last_event), event);
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Arrives(id, input) => self.arrive(id, input),
            Event::Given(id, life, clock, input) => {
                if self.hosts[&id].config.incarnation == life {
                    self.give(id, clock, input);
                }
            }
            Event::Fault => self.on_fault(),
            Event::Starts(id) => self.start(id),
            Event::Free(id) => {
                let host = &self.hosts[&id];
                if host.free_at <= host.local(self.now) {
                    self.ask(id);
                }
            }
        }
    }

    /// Delivers the vote requests that were held back.
    fn ask(&mut self, id: u64) {
        for (_, question) in self.held.extract_if(.., |(_, to), _| *to == id).collect::<Vec<_>>() {
            self.arrive(id, Input::Message(question));
        }
    }

    /// The driver takes an input and reads its clock; it may pause before or after that.
    fn arrive(&mut self, id: u64, input: Input) {
        let (now, fault_at) = (self.now, self.fault_at);
        let Some(host) = self.hosts.get_mut(&id).filter(|host| host.node.is_some()) else { return };
        if now < host.busy_until {
            let until = host.busy_until;
            return self.schedule(until, Event::Arrives(id, input));
        }
        let clock = host.read_early.filter(|_| now == host.busy_until).unwrap_or(host.local(now));
        let Some(pause) = host.pause.take_if(|pause| fault_at <= now + pause.lead) else {
            return self.give(id, clock, input);
        };
        host.busy_until = now + pause.length;
        let clock = match pause.at {
            PauseAt::BeforeClock => host.local(host.busy_until),
            PauseAt::AfterClock => clock,
            PauseAt::ClockFirst => *host.read_early.insert(clock),
        };
        let (until, life) = (host.busy_until, host.config.incarnation);
        self.schedule(until, Event::Given(id, life, clock, input));
    }

    /// Gives an input to the core and carries out its effects; disk and state machine answer at once.
    fn give(&mut self, id: u64, clock: Time, input: Input) {
        let host = self.hosts.get_mut(&id).expect("it is one of them");
        let Some(node) = &mut host.node else { return };
        let mut inputs = vec![input];
        let mut messages = Vec::new();
        while let Some(input) = inputs.pop() {
            let mut effects = Effects::default();
            node.handle(clock, input, &mut effects);
            messages.append(&mut effects.messages);
            effects.writes.drain(..).for_each(|write| host.disk.queue(write));
            inputs.extend(effects.apply.iter().map(|apply| Input::Applied(apply.last)));
            inputs.extend(host.disk.flush(host.disk.queued()).map(Input::Persisted));
        }
        host.applied = node.commit();
        messages.into_iter().for_each(|message| self.send(message));
        self.check();
        self.arm(id);
    }

    fn send(&mut self, message: Message) {
        let (from, to) = (message.from.0, message.to.0);
        if self.is_cut(from, to) {
            return;
        }
        let is_question = match &message.body {
            Body::PreVote(_) => true,
            Body::RequestVote(ask) => ask.reason == CampaignReason::LeaderTimeout,
            _ => false,
        };
        let is_bound = self.hosts[&to].local(self.now) < self.hosts[&to].free_at;
        if self.plan.holds_questions && is_question && is_bound {
            self.held.insert((from, to), message);
            return;
        }
        let late = match (&message.body, self.plan.fault) {
            (Body::TimeoutNow(_), Fault::Transfer { late, .. }) => late,
            _ => 0,
        };
        let delay = if to == FIRST { self.delays.to_leader } else { self.delays.to_others };
        self.schedule(self.now + delay + late, Event::Arrives(to, Input::Message(message)));
    }

    fn is_cut(&self, from: u64, to: u64) -> bool {
        let is_lonely = self.plan.fault.is_lonely() && self.fault_at < u64::MAX;
        let links_leader = from == FIRST || to == FIRST;
        let cut = match self.plan.fault {
            Fault::CutLeader | Fault::CutLast | Fault::RestartVoter { .. } => links_leader,
            Fault::RestartLeader { .. } | Fault::Transfer { is_deaf: false, .. } => false,
            Fault::Transfer { is_deaf: true, .. } => to == FIRST,
        };
        (is_lonely && links_leader && from + to == FIRST + 3) || (self.is_faulty && cut)
    }

    fn on_fault(&mut self) {
        self.is_faulty = true;
        self.seen.had_lease = self.holds_lease(FIRST);
        match self.plan.fault {
            Fault::CutLeader | Fault::CutLast => {}
            Fault::RestartVoter { down } => self.stop(2, down),
            Fault::RestartLeader { down } => self.stop(FIRST, down),
            Fault::Transfer { .. } => {
                self.arrive(FIRST, Input::Transfer { ticket: Ticket(1), to: Some(NodeId(2)) });
            }
        }
    }

    fn stop(&mut self, id: u64, down: u64) {
        let host = self.hosts.get_mut(&id).expect("it is one of them");
        host.node = None;
        if let Some(timeout) = self.plan.timeouts.restarted {
            host.set_timeout(timeout);
        }
        self.schedule(self.now + down, Event::Starts(id));
    }

    fn start(&mut self, id: u64) {
        let now = self.now;
        let host = self.hosts.get_mut(&id).expect("it is one of them");
        host.start(now);
        let free = host.real(host.free_at);
        self.schedule(free, Event::Free(id));
        self.ask(id);
        self.arm(id);
    }

    /// Schedules a node's deadline, and the moment when its promise ends.
    fn arm(&mut self, id: u64) {
        let host = self.hosts.get_mut(&id).expect("it is one of them");
        let Some(node) = &host.node else { return };
        let deadline = node.next_deadline();
        let bound = node.promised_until();
        let mut events = Vec::new();
        if deadline != host.armed && deadline < Time(u64::MAX) {
            host.armed = deadline;
            events.push((host.real(deadline), Event::Arrives(id, Input::Tick)));
        }
        if bound != host.free_at {
            host.free_at = bound;
            events.push((host.real(bound), Event::Free(id)));
        }
        for (at, event) in events {
            self.schedule(at.max(self.now), event);
        }
    }

    /// True when nothing more can happen: the first leader knows that it no longer leads.
    fn is_settled(&self) -> bool {
        let leads = self.node(FIRST).is_some_and(|node| node.term() == FIRST_TERM && node.is_leader());
        self.seen.violation.is_some() || (self.seen.is_replaced && !leads)
    }

    fn node(&self, id: u64) -> Option<&Node> {
        self.hosts[&id].node.as_ref()
    }

    /// The lease as known to the driver of `id`.
    fn lease(&self, id: u64) -> Option<Time> {
        self.node(id).and_then(Node::lease_until)
    }

    fn holds_lease(&self, id: u64) -> bool {
        self.lease(id).is_some_and(|until| self.hosts[&id].local(self.now) < until)
    }

    /// Checks that no other node leads a later term while a lease is valid on its holder's clock.
    fn check(&mut self) {
        let led = |id: &u64| self.node(*id).filter(|node| node.is_leader()).map(Node::term);
        let leaders: Vec<(u64, Term)> =
            self.hosts.keys().filter_map(|id| led(id).map(|term| (*id, term))).collect();
        self.seen.is_replaced |= leaders.iter().any(|(_, term)| *term > FIRST_TERM);
        for (holder, term) in &leaders {
            let Some((leader, _)) = leaders.iter().find(|(_, other)| other > term) else { continue };
            if self.holds_lease(*holder) {
                self.seen.violation = Some(Violation { at: self.now, holder: *holder, leader: *leader });
            } else if let Some(until) = self.lease(*holder)
                && self.seen.margin.is_none()
            {
                self.seen.margin = Some(self.hosts[holder].local(self.now).0 - until.0);
            }
        }
    }
}
