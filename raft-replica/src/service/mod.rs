//! The service: the requests around a replica. Requests in, answers out. It knows no clock, thread or socket.
//!
//! ```text
//!   client -- Propose -> +---------+ --- Do -------> as the replica says
//!   client <-- Reply --- | Service | --- Call -----> the leader's service   --- Asked ---> +---------+
//!                        | Replica | <-- Answered -- the leader's service   <-- Respond -- | Service |
//!   time --- end_round > +---------+                                                       +---------+
//! ```
//!
//! A request is held while no leader is known, forwarded if another node leads, and sent again if certainly nothing
//! was done. All of that is decided here, and a driver only moves bytes. `waiters.rs` knows what each request waits
//! for. Events change states in `handle`; the requests that those changes wake are looked up once a round.

mod error;
mod forwarding;
mod interface;
mod moving;
mod options;
mod outcomes;
mod reads;
mod round;
mod routing;
mod stopping;
mod waiters;
mod waking;
mod wire;

use raftkit_core::{LogIndex, NodeId, Proposal, Ticket, Time};

pub use error::{ChangeError, ProposeError, ReadRefused, TransferError};
pub use interface::{
    CallFailed, CallId, CallerId, ClientRequestId, Consistency, Freshness, Reply, ServiceAction, ServiceEvent,
};
pub use options::ServiceOptions;
pub use wire::is_for_service;

use crate::addresses::Addresses;
use crate::{Action, Output, Replica};
use forwarding::Forwarding;
use stopping::Phase;
use waiters::Waiters;

/// The requests of one node, and the replica that they are for.
pub struct Service {
    replica: Replica,
    node: NodeId,
    options: ServiceOptions,
    waiters: Waiters,
    forwarding: Forwarding,
    /// Consecutive proposals, which the replica gets in one call.
    proposals: Vec<Proposal>,
    /// The lowest index that a stale read may show: the commit index known when the node started, or when it had
    /// healed. None while the node is damaged, because what it showed before may be among what it lost.
    stale_from: Option<LogIndex>,
    phase: Phase,
    /// The addresses that members name for themselves.
    addresses: Addresses,
    look_at_addresses: Time,
    /// Deadlines of requests are not checked before this time, because the node stood still.
    expires_from: Time,
    next_ticket: u64,
    next_call: u64,
    /// The output of the replica; empty between two calls, and kept for its memory.
    outputs: Vec<Output>,
}

impl Service {
    /// A service around a replica that was just opened.
    #[must_use]
    pub fn new(replica: Replica, options: ServiceOptions) -> Self {
        let mut service = Self {
            node: replica.status().node,
            replica,
            options,
            waiters: Waiters::default(),
            forwarding: Forwarding::new(options.commit_timeout),
            expires_from: Time(0),
            proposals: Vec::new(),
            stale_from: None,
            phase: Phase::Running,
            addresses: Addresses::default(),
            look_at_addresses: Time::default(),
            next_ticket: 0,
            next_call: 0,
            outputs: Vec::new(),
        };
        service.note_health();
        service
    }

    /// The replica, for reading its state.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Number of requests that are not answered.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// The time at which [`end_round`](Self::end_round) is due, if no event comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let waiters = self.waiters.first_deadline().map(|at| at.max(self.expires_from));
        let own = waiters.into_iter().chain(self.phase.deadline()).min();
        own.map_or_else(|| self.replica.next_deadline(), |at| at.min(self.replica.next_deadline()))
    }

    /// Takes one event and appends the actions that follow. Consecutive proposals are collected. `now` is read after
    /// the event was taken in, never before.
    ///
    /// # Panics
    /// One name is used for two requests at once.
    pub fn handle(&mut self, now: Time, event: ServiceEvent, out: &mut Vec<ServiceAction>) {
        match event {
            ServiceEvent::Replica(event) => {
                self.with_replica(now, out, |replica, out| replica.handle(now, event, out));
            }
            ServiceEvent::Propose { request, command } => self.client_proposes(now, request, command, out),
            ServiceEvent::Read { request, consistency } => self.client_reads(now, request, consistency, out),
            ServiceEvent::Transfer { request, to } => self.client_transfers(now, request, to, out),
            ServiceEvent::Change { request, seen, target } => {
                self.client_changes(now, request, (seen, target), out);
            }
            ServiceEvent::Forget(request) => self.forget(request, out),
            ServiceEvent::Seen { request, at } => self.seen(now, request, at, out),
            ServiceEvent::Asked { caller, body } => self.asked(now, caller, body, out),
            ServiceEvent::Answered { call, result } => self.call_answered(now, call, result, out),
            ServiceEvent::Greeted { node, store, address, source } => {
                self.learn_address(node, store, &address, source);
            }
            ServiceEvent::Stop => self.stop(now, out),
        }
    }

    /// Ends a round of the driver: proposes what was collected, and does what is due. Call it after each batch of
    /// events, and when [`next_deadline`](Self::next_deadline) has come.
    pub fn end_round(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        self.propose(now, out);
        if self.replica.next_deadline() <= now {
            self.with_replica(now, out, |replica, out| replica.tick(now, out));
        }
        // A request whose condition is met in time is answered before time-outs are checked.
        self.wake(now, out);
        self.expire(now, out);
        self.correct_addresses(now, out);
        self.propose(now, out);
        self.wind_up(now, out);
    }

    /// Has the replica do something, after it was given the proposals collected so far.
    fn with_replica(
        &mut self,
        now: Time,
        out: &mut Vec<ServiceAction>,
        act: impl FnOnce(&mut Replica, &mut Vec<Output>),
    ) {
        self.propose(now, out);
        self.act(now, out, act);
    }

    /// Proposes what was collected.
    fn propose(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        if !self.proposals.is_empty() {
            let proposals = std::mem::take(&mut self.proposals);
            self.act(now, out, |replica, out| replica.propose(now, proposals, out));
        }
    }

    /// Has the replica do something. Its answers are handled here, and only change who waits for what: the replica is not
    /// called again from within, so that its other actions stay in order.
    fn act(
        &mut self,
        now: Time,
        out: &mut Vec<ServiceAction>,
        act: impl FnOnce(&mut Replica, &mut Vec<Output>),
    ) {
        let mut outputs = std::mem::take(&mut self.outputs);
        act(&mut self.replica, &mut outputs);
        let mut ended = false;
        for output in outputs.drain(..) {
            match output {
                Output::Answer { ticket, answer } => self.ticket_answered(now, ticket, answer, out),
                Output::Do(action) => {
                    ended |= matches!(action, Action::Ended(_));
                    out.push(ServiceAction::Do(action));
                }
            }
        }
        self.outputs = outputs;
        if ended {
            self.end(out);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    /// The leader that this node knows, itself included.
    fn leader(&self) -> Option<NodeId> {
        self.replica.node().leader()
    }
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Service");
        shown.field("replica", &self.replica).field("waiters", &self.waiters).field("phase", &self.phase);
        shown.finish_non_exhaustive()
    }
}
