//! The loop around a replica: takes what came in, reads the clock, lets the replica decide, does what it asks for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{Membership, NodeId, Proposal, ReadMode, Ticket};
use raftkit_net::{Inbound, RemoteIdentity};
use raftkit_replica::{Action, Answer, Ended, Event, MachineWork, StateMachine};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::workers::{WorkerGone, Workers};
use super::{Shared, clock, requests};

/// What the loop takes from its own process.
pub(crate) enum LoopEvent {
    /// A worker reports.
    Worker(Event),
    /// Propose a command.
    Propose { command: Bytes, reply: oneshot::Sender<Answer> },
    /// From which index can be read?
    Read { mode: ReadMode, reply: oneshot::Sender<Answer> },
    /// Hand leadership over.
    Transfer { to: Option<NodeId>, reply: oneshot::Sender<Answer> },
    /// Make the commit index durable.
    PersistCommit,
    /// Make the state durable and end.
    Stop,
}

/// At most so many requests wait for their answer at once; more are refused as `Overloaded`.
const WAITERS_MAX: usize = 65_536;
/// At most so many events are taken in before the actions that they led to are done.
const BATCH_MAX: usize = 1_024;

/// The loop's own state.
pub(crate) struct NodeLoop<M: StateMachine> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) workers: Workers,
    pub(crate) events: mpsc::UnboundedReceiver<LoopEvent>,
    pub(crate) inbound: mpsc::Receiver<Inbound>,
    waiters: HashMap<Ticket, oneshot::Sender<Answer>>,
    next_ticket: u64,
    actions: Vec<Action>,
    /// Consecutive proposals are given to the replica as one.
    proposals: Vec<Proposal>,
    /// The membership that the transport knows.
    membership: Option<Membership>,
    /// Set once the node is to stop: until when open requests may still be answered.
    drain_until: Option<Instant>,
}

/// A node that stops answers what it has taken, for at most so long.
const DRAIN: Duration = Duration::from_secs(1);

/// Whether the loop goes on.
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
        Self {
            shared,
            workers,
            events,
            inbound,
            waiters: HashMap::new(),
            next_ticket: 0,
            actions: Vec::new(),
            proposals: Vec::new(),
            membership: None,
            drain_until: None,
        }
    }

    /// Runs until it is stopped or the replica ends; then lets the workers finish.
    pub(crate) async fn run(mut self) {
        let mut events = Vec::with_capacity(BATCH_MAX);
        let mut inbound = Vec::with_capacity(BATCH_MAX);
        let timer = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(timer);
        loop {
            let wait = self.shared.with_replica(|replica| replica.next_deadline()).since(clock::now());
            let wake = Instant::now() + wait.min(Duration::from_secs(3600));
            timer.as_mut().reset(self.drain_until.map_or(wake, |until| wake.min(until)));
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
            if matches!(self.round(&mut events, &mut inbound), Next::Stop) {
                break;
            }
        }
        self.finish().await;
    }

    fn round(&mut self, events: &mut Vec<LoopEvent>, inbound: &mut Vec<Inbound>) -> Next {
        for event in inbound.drain(..) {
            self.take_inbound(event);
        }
        for event in events.drain(..) {
            self.take(event);
        }
        self.propose_collected();
        let now = clock::now();
        if self.shared.with_replica(|replica| replica.next_deadline()) <= now {
            self.give(Event::Tick);
        }
        self.publish();
        if self.act().is_err() {
            self.ended(Ended::Machine("a worker thread is gone".into()));
        }
        let drained =
            self.drain_until.is_some_and(|until| self.waiters.is_empty() || until <= Instant::now());
        if drained || self.shared.has_ended() { Next::Stop } else { Next::GoOn }
    }

    fn take_inbound(&mut self, event: Inbound) {
        match event {
            Inbound::Message(message) => self.give(Event::Message(message)),
            Inbound::Bulk { from, body } => self.give(Event::Bulk { from, body }),
            Inbound::Unreachable(node) => self.give(Event::Unreachable(node)),
            Inbound::Connected(identity) => self.connected(&identity),
            Inbound::Request { from: _, body, reply } => {
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move { reply.send(requests::serve(&shared, body).await) });
            }
        }
    }

    /// A member may have moved: its certificate and store say that it is the same. And a node that lost all that it knew of
    /// the membership answers whoever belongs to its cluster: the leader among them tells it.
    fn connected(&self, identity: &RemoteIdentity) {
        let unknown = self.shared.with_replica(|replica| {
            let members = replica.node().membership().members();
            match members.get(&identity.node) {
                Some(member) => member.store == identity.store && member.address != identity.address,
                None => members.is_empty(),
            }
        });
        if unknown {
            self.shared.transport.set_peer(identity.node, identity.store, &identity.address);
        }
    }

    fn take(&mut self, event: LoopEvent) {
        match event {
            LoopEvent::Worker(event) => self.give(event),
            LoopEvent::Propose { command, reply } => {
                if let Some(ticket) = self.ticket(reply) {
                    self.proposals.push(Proposal { ticket, command });
                }
            }
            LoopEvent::Read { mode, reply } => {
                if let Some(ticket) = self.ticket(reply) {
                    self.give(Event::Read { ticket, mode });
                }
            }
            LoopEvent::Transfer { to, reply } => {
                if let Some(ticket) = self.ticket(reply) {
                    self.give(Event::Transfer { ticket, to });
                }
            }
            LoopEvent::PersistCommit => self.give(Event::PersistCommit),
            LoopEvent::Stop => self.drain_until = Some(Instant::now() + DRAIN),
        }
    }

    fn ticket(&mut self, reply: oneshot::Sender<Answer>) -> Option<Ticket> {
        if self.drain_until.is_some() {
            let _ = reply.send(Answer::Stopped);
            return None;
        }
        if self.waiters.len() >= WAITERS_MAX {
            let _ = reply.send(Answer::Overloaded);
            return None;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiters.insert(ticket, reply);
        Some(ticket)
    }

    fn give(&mut self, event: Event) {
        self.propose_collected();
        self.hand(event);
    }

    fn propose_collected(&mut self) {
        if !self.proposals.is_empty() {
            let proposals = std::mem::take(&mut self.proposals);
            self.hand(Event::Propose(proposals));
        }
    }

    fn hand(&mut self, event: Event) {
        // Read here, after the event was taken in: a process that was stopped in between must not answer by an old lease.
        let now = clock::now();
        let actions = &mut self.actions;
        self.shared.with_replica(|replica| replica.handle(now, event, actions));
    }

    fn act(&mut self) -> Result<(), WorkerGone> {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(message) => self.shared.transport.send(message),
                Action::SendBulk { to, body } => {
                    let transport = self.shared.transport.clone();
                    // Waits for its turn beside the loop. What is lost is asked for again; how much is on its way at
                    // once is bounded by the receiver, which asks for a few chunks at a time.
                    tokio::spawn(async move { drop(transport.send_bulk(to, body).await) });
                }
                Action::Log(write) => self.workers.log(write)?,
                Action::Fetch(fetch) => self.workers.fetch(fetch)?,
                Action::Machine(work) => self.workers.machine(work)?,
                Action::Snapshot(work) => self.workers.snapshot(work)?,
                Action::Answer { ticket, answer } => {
                    if let Some(reply) = self.waiters.remove(&ticket) {
                        // Whoever asked may have stopped waiting.
                        let _ = reply.send(answer);
                    }
                }
                Action::Role(role) => {
                    let leader = role.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
                    tracing::info!(role = ?role.role, term = role.term.0, leader, "role changed");
                }
                Action::Ended(why) => self.ended(why),
            }
        }
        self.actions = actions;
        Ok(())
    }

    fn ended(&self, why: Ended) {
        tracing::error!("the node has ended: {why}");
        self.shared.end(Some(why));
    }

    /// Shows what has changed to readers, and the transport its peers.
    fn publish(&mut self) {
        let shared = Arc::clone(&self.shared);
        shared.publish();
        shared.with_replica(|replica| {
            let membership = replica.node().membership();
            // Not by its entry's index: a log of which nothing was left starts with a membership of nobody, which
            // claims the same index as the founding one.
            if self.membership.as_ref() == Some(membership) {
                return;
            }
            for (node, member) in membership.members() {
                if *node != shared.config.node {
                    shared.transport.set_peer(*node, member.store, &member.address);
                }
            }
            self.membership = Some(membership.clone());
        });
    }

    async fn finish(self) {
        let Self { shared, workers, events, waiters, .. } = self;
        // Nobody can ask any more, and whoever waits is told by the reply's end that the node is stopping.
        drop((events, waiters));
        shared.end(None);
        let _ = workers.machine(MachineWork::Persist);
        let _ = tokio::task::spawn_blocking(move || workers.finish()).await;
    }
}
