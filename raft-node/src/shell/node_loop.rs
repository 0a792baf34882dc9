//! The loop around a service. In each round it takes in events, reads the clock, lets the service decide, and carries
//! out the actions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{Health, LogId, LogIndex, Member, Membership, NodeId};
use raftkit_net::{Inbound, Inbox, PeerStats, RemoteIdentity};
use raftkit_replica::{
    Action, CallFailed, CallId, CallerId, ChangeError, ClientRequestId, Committed, Consistency, Contacts,
    Ended, Event, Freshness, MachineWork, ProposeError, ReadRefused, Service, ServiceAction, ServiceEvent,
    Source, StateMachine, TransferError, TransportReport, is_for_service,
};
use tokio::sync::mpsc;

use super::calls::Calls;
use super::intake::{BATCH_MAX, Intake, Taken};
use super::replies::{Replies, ReplyTo};
use super::workers::{WorkerGone, Workers};
use super::{Shared, Stopped, clock, requests};

/// An event of the loop's own process.
pub(crate) enum LoopEvent {
    /// A worker has sent a report.
    Worker(Event),
    /// A handle proposes a command.
    Propose { request: ClientRequestId, command: Bytes, reply: ReplyTo<Result<Committed, ProposeError>> },
    /// A handle reads.
    Read {
        request: ClientRequestId,
        consistency: Consistency,
        reply: ReplyTo<Result<Freshness, ReadRefused>>,
    },
    /// A stale read has found a value, at this index.
    Seen { request: ClientRequestId, at: LogIndex, reply: ReplyTo<Result<Freshness, ReadRefused>> },
    /// A handle wants leadership handed over.
    Transfer { request: ClientRequestId, to: Option<NodeId>, reply: ReplyTo<Result<NodeId, TransferError>> },
    /// A handle changes the membership.
    Change {
        request: ClientRequestId,
        seen: LogId,
        target: Membership,
        reply: ReplyTo<Result<LogId, ChangeError>>,
    },
    /// A handle does not wait any more.
    Forget(ClientRequestId),
    /// A member was found at an address in `join`.
    Found(Box<RemoteIdentity>),
    /// A call to a peer was answered, or has failed.
    Answered { call: CallId, result: Result<Bytes, CallFailed> },
    /// Stop: answer the requests that were taken, make the state durable, and end.
    Stop,
    /// The node has ended by itself. This only wakes the loop, which then checks for that.
    HasEnded,
}

/// The loop's own state.
pub(crate) struct NodeLoop<M: StateMachine> {
    shared: Arc<Shared<M>>,
    workers: Workers,
    intake: Intake<LoopEvent, Inbox>,
    /// Events taken in this round; the vector is kept for its memory.
    taken: Vec<ServiceEvent>,
    /// Handles that wait for a request which the service has on its list.
    replies: Replies,
    /// Peers that wait for a request which the service has on its list.
    callers: HashMap<CallerId, raftkit_net::Reply>,
    next_caller: u64,
    calls: Calls,
    actions: Vec<ServiceAction>,
    /// The nodes that the transport keeps connections to.
    contacts: Contacts,
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
        inbound: Inbox,
    ) -> Self {
        let calls = Calls::new(shared.transport.clone(), shared.events.clone(), shared.tasks.clone());
        let health = shared.service().replica().node().health();
        Self {
            shared,
            workers,
            intake: Intake::new(events, inbound),
            taken: Vec::new(),
            replies: Replies::default(),
            callers: HashMap::new(),
            next_caller: 0,
            calls,
            actions: Vec::new(),
            contacts: Contacts::default(),
            health,
        }
    }

    /// Runs until the node is stopped or the replica ends, then lets the workers finish.
    pub(crate) async fn run(mut self) {
        let mut events = Vec::with_capacity(BATCH_MAX);
        let mut inbound = Vec::with_capacity(BATCH_MAX);
        self.introduce_itself();
        self.publish();
        loop {
            let wait = self.shared.service().idle_for(clock::now()).min(Duration::from_secs(3600));
            let alarm = tokio::time::sleep(wait);
            match self.intake.next(alarm, &mut events, &mut inbound).await {
                Taken::Round => {}
                Taken::Closed => break,
            }
            if self.round(&mut events, &mut inbound) == Next::Stop {
                break;
            }
        }
        self.finish().await;
    }

    /// Tells the service this node's own address: the node may have moved.
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
        let mut taken = std::mem::take(&mut self.taken);
        taken.extend(inbound.drain(..).filter_map(|event| self.take_inbound(&mut service, event)));
        taken.extend(events.drain(..).filter_map(|event| self.take(&mut service, event)));
        Service::order(&mut taken);
        service.round(taken.drain(..), clock::now, &mut self.actions);
        drop(service);
        self.taken = taken;
        let removed = self.publish();
        let next = self.act().unwrap_or_else(|WorkerGone| {
            self.ended(Ended::Machine("a worker thread is gone".into()));
            Next::Stop
        });
        // Only after the actions, as the last message to a removed node is among them.
        for node in removed {
            self.shared.transport.remove_peer(node);
        }
        if self.shared.tasks.has_ended() { Next::Stop } else { next }
    }

    /// The event that the service gets for an event of the transport; none if the service has no part in it.
    fn take_inbound(&mut self, service: &mut Service, event: Inbound) -> Option<ServiceEvent> {
        match event {
            Inbound::Message(message) => {
                Some(ServiceEvent::Replica(TransportReport::Message(message).into()))
            }
            Inbound::Bulk { from, body } => {
                Some(ServiceEvent::Replica(TransportReport::Bulk { from, body }.into()))
            }
            Inbound::Unreachable(node) => {
                if self.contacts.unreachable(node) {
                    self.shared.transport.remove_peer(node);
                }
                Some(ServiceEvent::Replica(TransportReport::Unreachable(node).into()))
            }
            Inbound::Connected(identity) => {
                self.connected(service, &identity);
                None
            }
            Inbound::Request { from: _, body, reply } if is_for_service(&body) => {
                self.next_caller += 1;
                let caller = CallerId(self.next_caller);
                self.callers.insert(caller, reply);
                Some(ServiceEvent::Asked { caller, body })
            }
            Inbound::Request { from: _, body, reply } => {
                let shared = Arc::clone(&self.shared);
                // The answer needs the service, which this loop has locked now.
                let answer = async move { reply.send(requests::serve(&shared, &body)) };
                self.shared.tasks.start("an answer to a peer", answer);
                None
            }
        }
    }

    /// A node has connected. A member may have moved: its certificate and store id prove that it is the same. Any
    /// other node of this cluster is answered if it asks, as this node's membership may be old or lost.
    fn connected(&mut self, service: &mut Service, identity: &RemoteIdentity) {
        let RemoteIdentity { node, store, address, .. } = identity;
        let reached = |peer: &PeerStats| peer.node == *node && peer.connected && peer.address == *address;
        let reached = self.shared.transport.stats().iter().any(reached);
        let source = if reached { Source::Reached } else { Source::Named };
        let event = ServiceEvent::Greeted { node: *node, store: *store, address: address.clone(), source };
        self.give(service, event);
        match service.replica().node().membership().members().get(node) {
            Some(member) if member.store == *store => {
                self.shared.transport.set_peer(*node, *store, service.address_of(*node, member));
            }
            Some(_) | None if identity.cluster.is_some() => self.contacts.called(*node, *store, address),
            Some(_) | None => {}
        }
    }

    fn take(&mut self, service: &mut Service, event: LoopEvent) -> Option<ServiceEvent> {
        Some(match event {
            LoopEvent::Worker(event) => {
                self.shared.hear(&event);
                ServiceEvent::Replica(event)
            }
            LoopEvent::Propose { request, command, reply } => {
                self.replies.proposals.insert(request, reply);
                ServiceEvent::Propose { request, command }
            }
            LoopEvent::Read { request, consistency, reply } => {
                self.replies.reads.insert(request, reply);
                ServiceEvent::Read { request, consistency }
            }
            LoopEvent::Seen { request, at, reply } => {
                self.replies.reads.insert(request, reply);
                ServiceEvent::Seen { request, at }
            }
            LoopEvent::Transfer { request, to, reply } => {
                self.replies.transfers.insert(request, reply);
                ServiceEvent::Transfer { request, to }
            }
            LoopEvent::Change { request, seen, target, reply } => {
                self.replies.changes.insert(request, reply);
                ServiceEvent::Change { request, seen, target }
            }
            LoopEvent::Forget(request) => {
                self.replies.forget(request);
                ServiceEvent::Forget(request)
            }
            LoopEvent::Found(identity) => {
                self.connected(service, &identity);
                return None;
            }
            LoopEvent::Answered { call, result } => {
                self.calls.over(call);
                ServiceEvent::Answered { call, result }
            }
            LoopEvent::Stop => ServiceEvent::Stop,
            // The round checks at its end whether the node has ended.
            LoopEvent::HasEnded => return None,
        })
    }

    /// Gives the service an event that no client or peer waits for.
    fn give(&mut self, service: &mut Service, event: ServiceEvent) {
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
                ServiceAction::Reply { request, reply } => self.replies.give(request, reply),
                ServiceAction::Stopped => next = Next::Stop,
            }
        }
        self.actions = actions;
        Ok(next)
    }

    fn act_for_replica(&mut self, action: Action) -> Result<(), WorkerGone> {
        match action {
            Action::Send(message) => {
                if let Some(Member { store, address, .. }) = self.contacts.tells(message.to) {
                    self.shared.transport.set_peer(message.to, store, &address);
                }
                self.shared.transport.send(message);
            }
            Action::SendBulk { to, body, id } => {
                let (transport, events) = (self.shared.transport.clone(), self.shared.events.clone());
                // The frame waits for its turn outside the loop. If it is lost, the peer asks again; the replica
                // sends the next chunk when it hears that one has left.
                let sending = async move {
                    drop(transport.send_bulk(to, body).await);
                    if let Some(id) = id {
                        // If the loop has ended, nobody needs to know.
                        let _ = events.send(LoopEvent::Worker(TransportReport::BulkLeft(id).into()));
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
        }
        Ok(())
    }

    fn ended(&self, why: Ended) {
        tracing::error!("the node has ended: {why}");
        self.shared.tasks.end(Stopped::Failed(why.to_string()));
    }

    /// Publishes the state to readers, and the contacts to the transport. Returns the nodes whose connection shall
    /// end.
    fn publish(&mut self) -> Vec<NodeId> {
        let shared = Arc::clone(&self.shared);
        let service = shared.service();
        let replica = service.replica();
        self.shared.show_applied(replica.applied());
        let node = replica.node();
        let health = node.health();
        if self.health == Health::Damaged && health == Health::Sound {
            tracing::info!("the node has healed: it holds everything that is committed, and votes again");
        }
        self.health = health;
        let change = self.contacts.update(node).unwrap_or_default();
        for (node, member) in &change.keep {
            self.shared.transport.set_peer(*node, member.store, service.address_of(*node, member));
        }
        change.let_go
    }

    async fn finish(self) {
        let Self { shared, workers, intake, replies, callers, calls, .. } = self;
        // No more requests can come, and a handle that waits sees by the end of its channel that the node is
        // stopping.
        drop((intake, replies, callers, calls));
        shared.tasks.end(Stopped::OnRequest);
        let _ = workers.machine(MachineWork::Persist);
        let _ = tokio::task::spawn_blocking(move || workers.finish()).await;
    }
}
