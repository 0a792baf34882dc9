//! The loop around a service: takes what came in, reads the clock, lets the service decide, does what it asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{Health, LogIndex, Membership};
use raftkit_net::{Inbound, PeerStats, RemoteIdentity};
use raftkit_replica::{
    Action, CallFailed, CallId, CallerId, Ended, Event, MachineWork, Reply, Request, RequestId, Service,
    ServiceAction, ServiceEvent, Source, StateMachine, is_for_service,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::calls::Calls;
use super::workers::{WorkerGone, Workers};
use super::{Shared, Stopped, clock, requests};

/// What the loop takes from its own process.
pub(crate) enum LoopEvent {
    /// A worker reports.
    Worker(Event),
    /// A handle asks.
    Ask { request: RequestId, what: Request, reply: oneshot::Sender<Reply> },
    /// A stale read has found something.
    Seen { request: RequestId, at: LogIndex, reply: oneshot::Sender<Reply> },
    /// A handle does not wait any more.
    Forget(RequestId),
    /// A member was found at an address in `join`.
    Found(Box<RemoteIdentity>),
    /// A peer was asked.
    Answered { call: CallId, result: Result<Bytes, CallFailed> },
    /// Answer what was taken, make the state durable and end.
    Stop,
    /// The node has ended by itself: look.
    HasEnded,
}

/// At most so many events are taken in before the actions that they led to are done.
const BATCH_MAX: usize = 1_024;

/// The loop's own state.
pub(crate) struct NodeLoop<M: StateMachine> {
    shared: Arc<Shared<M>>,
    workers: Workers,
    events: mpsc::UnboundedReceiver<LoopEvent>,
    inbound: mpsc::Receiver<Inbound>,
    /// Handles that wait: as many as the service has on its list.
    replies: HashMap<RequestId, oneshot::Sender<Reply>>,
    /// Peers that wait, likewise.
    callers: HashMap<CallerId, raftkit_net::Reply>,
    next_caller: u64,
    calls: Calls,
    actions: Vec<ServiceAction>,
    /// The membership that the transport knows.
    membership: Option<Membership>,
    health: Health,
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl<M: StateMachine> NodeLoop<M> {
    pub(crate) fn new(
        shared: Arc<Shared<M>>,
        workers: Workers,
        events: mpsc::UnboundedReceiver<LoopEvent>,
        inbound: mpsc::Receiver<Inbound>,
    ) -> Self {
        let calls = Calls::new(shared.transport.clone(), shared.events.clone(), shared.tasks.clone());
        let health = shared.service().replica().node().health();
        Self {
            shared,
            workers,
            events,
            inbound,
            replies: HashMap::new(),
            callers: HashMap::new(),
            next_caller: 0,
            calls,
            actions: Vec::new(),
            membership: None,
            health,
        }
    }

    /// Runs until it is stopped or the replica ends; then lets the workers finish.
    pub(crate) async fn run(mut self) {
        let mut events = Vec::with_capacity(BATCH_MAX);
        let mut inbound = Vec::with_capacity(BATCH_MAX);
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        self.introduce_itself();
        self.publish();
        loop {
            let wait = self.shared.service().next_deadline().since(clock::now());
            timer.as_mut().reset(Instant::now() + wait.min(Duration::from_secs(3600)));
            tokio::select! {
                count = self.events.recv_many(&mut events, BATCH_MAX) => if count == 0 { break },
                count = self.inbound.recv_many(&mut inbound, BATCH_MAX) => if count == 0 { break },
                () = &mut timer => {}
            }
            // Whatever else is there already goes into the same round: one write, one send.
            while events.len() < BATCH_MAX
                && let Ok(event) = self.events.try_recv()
            {
                events.push(event);
            }
            while inbound.len() < BATCH_MAX
                && let Ok(event) = self.inbound.try_recv()
            {
                inbound.push(event);
            }
            if self.round(&mut events, &mut inbound) == Next::Stop {
                break;
            }
        }
        self.finish().await;
    }

    /// This node may have moved itself.
    fn introduce_itself(&mut self) {
        let shared = Arc::clone(&self.shared);
        let (node, member) = shared.as_member();
        let (store, address) = (member.store, member.address);
        let source = Source::Reached;
        self.give(&mut shared.service(), ServiceEvent::Greeted { node, store, address, source });
    }

    fn round(&mut self, events: &mut Vec<LoopEvent>, inbound: &mut Vec<Inbound>) -> Next {
        let shared = Arc::clone(&self.shared);
        let mut service = shared.service();
        for event in inbound.drain(..) {
            self.take_inbound(&mut service, event);
        }
        for event in events.drain(..) {
            self.take(&mut service, event);
        }
        service.end_round(clock::now(), &mut self.actions);
        drop(service);
        self.publish();
        let next = self.act().unwrap_or_else(|WorkerGone| {
            self.ended(Ended::Machine("a worker thread is gone".into()));
            Next::Stop
        });
        if self.shared.tasks.has_ended() { Next::Stop } else { next }
    }

    fn take_inbound(&mut self, service: &mut Service, event: Inbound) {
        match event {
            Inbound::Message(message) => self.give_replica(service, Event::Message(message)),
            Inbound::Bulk { from, body } => self.give_replica(service, Event::Bulk { from, body }),
            Inbound::Unreachable(node) => self.give_replica(service, Event::Unreachable(node)),
            Inbound::Connected(identity) => self.connected(service, &identity),
            Inbound::Request { from: _, body, reply } if is_for_service(&body) => {
                self.next_caller += 1;
                let caller = CallerId(self.next_caller);
                self.callers.insert(caller, reply);
                self.give(service, ServiceEvent::Asked { caller, body });
            }
            Inbound::Request { from: _, body, reply } => {
                let shared = Arc::clone(&self.shared);
                // It looks at the service, which this loop holds now.
                let answer = async move { reply.send(requests::serve(&shared, &body)) };
                self.shared.tasks.start("an answer to a peer", answer);
            }
        }
    }

    /// A member may have moved: its certificate and store say that it is the same. And a node that lost all that it knew of
    /// the membership answers whoever belongs to its cluster: the leader among them tells it.
    fn connected(&mut self, service: &mut Service, identity: &RemoteIdentity) {
        let RemoteIdentity { node, store, address, .. } = identity;
        let reached = |peer: &PeerStats| peer.node == *node && peer.connected && peer.address == *address;
        let reached = self.shared.transport.stats().iter().any(reached);
        let source = if reached { Source::Reached } else { Source::Named };
        let event = ServiceEvent::Greeted { node: *node, store: *store, address: address.clone(), source };
        self.give(service, event);
        let members = service.replica().node().membership().members();
        let place = match members.get(node) {
            Some(member) if member.store == *store => Some(service.address_of(*node, member)),
            Some(_) => None,
            None => members.is_empty().then_some(address.as_str()),
        };
        if let Some(place) = place {
            self.shared.transport.set_peer(*node, *store, place);
        }
    }

    fn take(&mut self, service: &mut Service, event: LoopEvent) {
        let event = match event {
            LoopEvent::Worker(event) => {
                self.shared.hear(&event);
                ServiceEvent::Replica(event)
            }
            LoopEvent::Ask { request, what, reply } => {
                self.replies.insert(request, reply);
                ServiceEvent::Ask { request, what }
            }
            LoopEvent::Seen { request, at, reply } => {
                self.replies.insert(request, reply);
                ServiceEvent::Seen { request, at }
            }
            LoopEvent::Forget(request) => {
                self.replies.remove(&request);
                ServiceEvent::Forget(request)
            }
            LoopEvent::Found(identity) => return self.connected(service, &identity),
            LoopEvent::Answered { call, result } => {
                self.calls.over(call);
                ServiceEvent::Answered { call, result }
            }
            LoopEvent::Stop => ServiceEvent::Stop,
            // The round ends with a look at it.
            LoopEvent::HasEnded => return,
        };
        self.give(service, event);
    }

    fn give_replica(&mut self, service: &mut Service, event: Event) {
        self.give(service, ServiceEvent::Replica(event));
    }

    fn give(&mut self, service: &mut Service, event: ServiceEvent) {
        // Read here, after the event was taken in: a process that was stopped in between must not answer by an old lease.
        service.handle(clock::now(), event, &mut self.actions);
    }

    fn act(&mut self) -> Result<Next, WorkerGone> {
        let mut next = Next::GoOn;
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                ServiceAction::Do(action) => self.act_for_replica(action)?,
                ServiceAction::Call { call, to, body } => self.calls.make(call, to, body),
                ServiceAction::HangUp(call) => self.calls.over(call),
                ServiceAction::Respond { caller, body } => {
                    if let Some(reply) = self.callers.remove(&caller) {
                        reply.send(body);
                    }
                }
                ServiceAction::Reply { request, reply } => {
                    if let Some(waiting) = self.replies.remove(&request) {
                        // Whoever asked may have stopped waiting.
                        let _ = waiting.send(reply);
                    }
                }
                ServiceAction::Stopped => next = Next::Stop,
            }
        }
        self.actions = actions;
        Ok(next)
    }

    fn act_for_replica(&self, action: Action) -> Result<(), WorkerGone> {
        match action {
            Action::Send(message) => self.shared.transport.send(message),
            Action::SendBulk { to, body, id } => {
                let (transport, events) = (self.shared.transport.clone(), self.shared.events.clone());
                // Waits for its turn beside the loop. What is lost is asked for again; the replica hands out the next
                // chunk when it hears that one has left.
                let sending = async move {
                    drop(transport.send_bulk(to, body).await);
                    if let Some(id) = id {
                        // The loop has ended: nobody wants to know any more.
                        let _ = events.send(LoopEvent::Worker(Event::BulkLeft(id)));
                    }
                };
                self.shared.tasks.start("the sending of a chunk", sending);
            }
            Action::Log(write) => self.workers.log(write)?,
            Action::Fetch(fetch) => self.workers.fetch(fetch)?,
            Action::Machine(work) => self.workers.machine(work)?,
            Action::Snapshot(work) => self.workers.snapshot(work)?,
            Action::Role(role) => {
                let leader = role.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
                tracing::info!(role = ?role.role, term = role.term.0, leader, "role changed");
            }
            Action::Ended(why) => self.ended(why),
            Action::Answer { ticket, .. } => unreachable!("the service hears the answer to {ticket}"),
        }
        Ok(())
    }

    fn ended(&self, why: Ended) {
        tracing::error!("the node has ended: {why}");
        self.shared.tasks.end(Stopped::Failed(why.to_string()));
    }

    /// Shows what has changed to readers, and the transport its peers.
    fn publish(&mut self) {
        let shared = Arc::clone(&self.shared);
        let service = shared.service();
        let replica = service.replica();
        self.shared.show_applied(replica.applied());
        let health = replica.node().health();
        if self.health == Health::Damaged && health == Health::Sound {
            tracing::info!("the node has healed: it holds everything that is committed, and votes again");
        }
        self.health = health;
        let membership = replica.node().membership();
        // Not by its entry's index: a log of which nothing was left starts with a membership of nobody, which claims the
        // same index as the founding one.
        if self.membership.as_ref() == Some(membership) {
            return;
        }
        for (node, member) in membership.members() {
            if *node != self.shared.config.node {
                let address = service.address_of(*node, member);
                self.shared.transport.set_peer(*node, member.store, address);
            }
        }
        self.membership = Some(membership.clone());
    }

    async fn finish(self) {
        let Self { shared, workers, events, replies, callers, calls, .. } = self;
        // Nobody can ask any more, and whoever waits is told by the reply's end that the node is stopping.
        drop((events, replies, callers, calls));
        shared.tasks.end(Stopped::OnRequest);
        let _ = workers.machine(MachineWork::Persist);
        let _ = tokio::task::spawn_blocking(move || workers.finish()).await;
    }
}
