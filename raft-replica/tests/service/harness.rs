//! Services in memory, in virtual time. A write is durable and a run is applied in the next step, unless a test holds
//! it back. A call arrives in the next step, or meets the fate that the test has chosen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{
    Apply, Config, HardState, Health, Incarnation, LogId, LogIndex, Member, Membership, Message, Node,
    NodeId, Restored, StoreId, Term, Time, Write,
};
use raftkit_replica::{
    Action, AppliedBatch, CallFailed, CallId, CallerId, ClientRequestId, Consistency, Event, LogReport,
    MachineReport, MachineWork, Replica, ReplicaOptions, Reply, Service, ServiceAction, ServiceEvent,
    ServiceOptions, TransportReport,
};

/// One step of virtual time.
pub(crate) const STEP: Duration = Duration::from_millis(5);

/// The fate of calls to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Arrives,
    NotSent,
    Lost,
    /// The call is never answered and never fails.
    Vanishes,
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) nodes: BTreeMap<NodeId, TestNode>,
    /// Nodes that exchange no messages with any other; calls still arrive.
    pub(crate) cut: BTreeSet<NodeId>,
    /// The fate of calls to a node; they arrive if there is none here.
    pub(crate) fates: BTreeMap<NodeId, Fate>,
    messages: VecDeque<Message>,
    calls: VecDeque<(NodeId, CallId, NodeId, Bytes)>,
    answers: VecDeque<(NodeId, CallId, Result<Bytes, CallFailed>)>,
    next_request: u64,
}

pub(crate) struct TestNode {
    pub(crate) service: Service,
    /// The log makes no progress.
    pub(crate) log_frozen: bool,
    /// The applier makes no progress.
    pub(crate) machine_frozen: bool,
    pub(crate) replies: BTreeMap<ClientRequestId, Vec<Reply>>,
    pub(crate) hung_up: Vec<CallId>,
    /// The entries of each write, in the order of the replica's actions.
    pub(crate) writes: Vec<Vec<LogId>>,
    pub(crate) stopped: bool,
    to_write: Vec<Write>,
    to_apply: Vec<Apply>,
    callers: BTreeMap<CallerId, (NodeId, CallId)>,
    next_caller: u64,
}

/// A client's request. The world gives it to a service under the next name.
#[derive(Clone)]
pub(crate) enum Request {
    Propose(Bytes),
    Read(Consistency),
    Transfer(Option<NodeId>),
    Change { seen: LogId, target: Membership },
}

impl Request {
    pub(crate) fn named(self, request: ClientRequestId) -> ServiceEvent {
        match self {
            Self::Propose(command) => ServiceEvent::Propose { request, command },
            Self::Read(consistency) => ServiceEvent::Read { request, consistency },
            Self::Transfer(to) => ServiceEvent::Transfer { request, to },
            Self::Change { seen, target } => ServiceEvent::Change { request, seen, target },
        }
    }
}

pub(crate) fn command(text: &'static str) -> Request {
    Request::Propose(Bytes::from_static(text.as_bytes()))
}

fn membership(count: u64) -> Membership {
    let member = |id| (NodeId(id), Member::new(StoreId(u128::from(id) + 100), format!("node-{id}")));
    Membership::founding((1..=count).map(member).collect())
}

fn replica(id: NodeId, count: u64, health: Health, now: Time) -> Replica {
    let config = Config::new(id, StoreId(u128::from(id.0) + 100), Incarnation(1), id.0);
    let restored = Restored {
        hard_state: HardState { term: Term(1), commit: LogId::GENESIS.index, health, ..HardState::default() },
        applied: LogId::GENESIS.index,
        ..Restored::founded(membership(count))
    };
    let node = Node::restore(config, restored, now).expect("a founding member starts");
    Replica::new(node, LogId::GENESIS.index, ReplicaOptions::default())
}

impl World {
    pub(crate) fn new(count: u64) -> Self {
        Self::with(count, ServiceOptions::default(), &[])
    }

    /// A world in which some nodes have a damaged log.
    pub(crate) fn with(count: u64, options: ServiceOptions, damaged: &[NodeId]) -> Self {
        Self::with_each(count, |_| options, damaged)
    }

    /// A world in which nodes have different settings.
    pub(crate) fn with_each(
        count: u64,
        options: impl Fn(NodeId) -> ServiceOptions,
        damaged: &[NodeId],
    ) -> Self {
        let now = Time(1_000_000);
        let node = |id: u64| {
            let id = NodeId(id);
            let health = if damaged.contains(&id) { Health::Damaged } else { Health::Sound };
            (id, TestNode::new(Service::new(replica(id, count, health, now), options(id))))
        };
        Self {
            now,
            nodes: (1..=count).map(node).collect(),
            cut: BTreeSet::new(),
            fates: BTreeMap::new(),
            messages: VecDeque::new(),
            calls: VecDeque::new(),
            answers: VecDeque::new(),
            next_request: 0,
        }
    }

    pub(crate) fn node(&mut self, id: NodeId) -> &mut TestNode {
        self.nodes.get_mut(&id).expect("there is such a node")
    }

    /// Gives an event without ending the round.
    pub(crate) fn give(&mut self, id: NodeId, event: ServiceEvent) {
        let mut out = Vec::new();
        let now = self.now;
        self.node(id).service.handle(now, event, &mut out);
        self.act(id, out);
    }

    pub(crate) fn end_round(&mut self, id: NodeId) {
        let mut out = Vec::new();
        let now = self.now;
        self.node(id).service.end_round(now, &mut out);
        self.act(id, out);
    }

    pub(crate) fn ask(&mut self, id: NodeId, what: Request) -> ClientRequestId {
        self.next_request += 1;
        let request = ClientRequestId(self.next_request);
        self.give(id, what.named(request));
        self.end_round(id);
        request
    }

    fn act(&mut self, id: NodeId, actions: Vec<ServiceAction>) {
        for action in actions {
            let node = self.nodes.get_mut(&id).expect("there is such a node");
            match action {
                ServiceAction::Do(action) => match action {
                    Action::Send(message) => self.messages.push_back(message),
                    Action::Log(write) => {
                        node.writes.push(write.append.iter().map(|entry| entry.id).collect());
                        node.to_write.push(write);
                    }
                    Action::Machine(MachineWork::Apply { apply, .. }) => node.to_apply.push(apply),
                    Action::SendBulk { .. }
                    | Action::Fetch(_)
                    | Action::Machine(_)
                    | Action::Snapshot(_)
                    | Action::Role(_)
                    | Action::Ended(_) => {}
                },
                ServiceAction::Call { call, to, body } => self.calls.push_back((id, call, to, body)),
                ServiceAction::HangUp(call) => node.hung_up.push(call),
                ServiceAction::Respond { caller, body } => {
                    let (asker, call) = node.callers.remove(&caller).expect("one answer a caller");
                    self.answers.push_back((asker, call, Ok(body)));
                }
                ServiceAction::Reply { request, reply } => {
                    node.replies.entry(request).or_default().push(reply);
                }
                ServiceAction::Stopped => {
                    assert!(!std::mem::replace(&mut node.stopped, true), "it stops once");
                    assert_eq!(node.service.waiting(), 0, "all are answered before it stops");
                }
            }
        }
    }

    fn deliver(&mut self) {
        for message in std::mem::take(&mut self.messages) {
            if !self.cut.contains(&message.from) && !self.cut.contains(&message.to) {
                self.give(
                    message.to,
                    ServiceEvent::Replica(Event::Transport(TransportReport::Message(message))),
                );
            }
        }
        for (asker, call, result) in std::mem::take(&mut self.answers) {
            self.give(asker, ServiceEvent::Answered { call, result });
        }
        for (asker, call, to, body) in std::mem::take(&mut self.calls) {
            match self.fates.get(&to).copied().unwrap_or(Fate::Arrives) {
                Fate::Arrives => {
                    let node = self.node(to);
                    node.next_caller += 1;
                    let caller = CallerId(node.next_caller);
                    node.callers.insert(caller, (asker, call));
                    self.give(to, ServiceEvent::Asked { caller, body });
                }
                Fate::NotSent => self.answers.push_back((asker, call, Err(CallFailed::NotSent))),
                Fate::Lost => self.answers.push_back((asker, call, Err(CallFailed::Lost))),
                Fate::Vanishes => {}
            }
        }
    }

    /// Lets time pass in steps. In each, frames under way arrive and the work of all nodes is done.
    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now.after(span);
        while self.now < end {
            self.now = self.now.after(STEP);
            self.deliver();
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                for event in self.node(id).work() {
                    self.give(id, ServiceEvent::Replica(event));
                }
                self.end_round(id);
            }
        }
    }

    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = self.now.after(Duration::from_secs(30));
        while !condition(self) {
            assert!(self.now < end, "within 30 s of virtual time: {what}");
            self.run(STEP);
        }
    }

    /// Runs until all nodes that are not cut off know one leader, which has committed an entry of its term.
    pub(crate) fn leader(&mut self) -> NodeId {
        self.until("a leader is known to all", |world| world.agreed().is_some());
        self.agreed().unwrap()
    }

    fn agreed(&self) -> Option<NodeId> {
        let mut connected = self.nodes.iter().filter(|(id, _)| !self.cut.contains(id));
        let leader = connected.clone().find(|(_, node)| node.service.replica().node().is_leader())?.0;
        let known = connected.all(|(_, node)| {
            let node = node.service.replica().node();
            node.leader() == Some(*leader) && node.applied() > LogId::GENESIS.index
        });
        known.then_some(*leader)
    }

    /// A node that does not lead.
    pub(crate) fn follower(&mut self) -> NodeId {
        let leader = self.leader();
        *self.nodes.keys().find(|id| **id != leader && !self.cut.contains(id)).unwrap()
    }

    pub(crate) fn replies(&self, id: NodeId, request: ClientRequestId) -> &[Reply] {
        self.nodes[&id].replies.get(&request).map_or(&[], Vec::as_slice)
    }

    /// Runs until the request has this many replies, and returns the last.
    pub(crate) fn reply(&mut self, id: NodeId, request: ClientRequestId, count: usize) -> Reply {
        self.until("a reply comes", |world| world.replies(id, request).len() >= count);
        assert_eq!(self.replies(id, request).len(), count);
        self.replies(id, request)[count - 1].clone()
    }

    pub(crate) fn applied(&self, id: NodeId) -> LogIndex {
        self.nodes[&id].service.replica().applied()
    }

    /// Stops a node. It checks by itself that its indexes are empty when no request waits.
    pub(crate) fn assert_nothing_waits(&mut self, id: NodeId) {
        assert_eq!(self.nodes[&id].service.waiting(), 0);
        self.give(id, ServiceEvent::Stop);
        self.until("it stops", |world| world.nodes[&id].stopped);
    }
}

impl TestNode {
    fn new(service: Service) -> Self {
        Self {
            service,
            log_frozen: false,
            machine_frozen: false,
            replies: BTreeMap::new(),
            hung_up: Vec::new(),
            writes: Vec::new(),
            stopped: false,
            to_write: Vec::new(),
            to_apply: Vec::new(),
            callers: BTreeMap::new(),
            next_caller: 0,
        }
    }

    /// The events of the workers. The state machine's response to a command is the command itself.
    fn work(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        if !self.log_frozen {
            events.extend(
                self.to_write.drain(..).next_back().map(|write| Event::Log(LogReport::Persisted(write.seq))),
            );
        }
        if !self.machine_frozen {
            for apply in self.to_apply.drain(..) {
                let entries = apply.entries.iter().flatten();
                let responses = entries.map(|entry| (entry.id, payload(&entry.payload))).collect();
                events.push(Event::Machine(MachineReport::Applied(AppliedBatch {
                    through: apply.last,
                    responses,
                })));
            }
        }
        events
    }
}

fn payload(payload: &raftkit_core::Payload) -> Bytes {
    match payload {
        raftkit_core::Payload::Command(command) => command.clone(),
        raftkit_core::Payload::Noop | raftkit_core::Payload::Membership(_) => Bytes::new(),
    }
}
