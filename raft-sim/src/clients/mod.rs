//! Clients: their requests to nodes, and the ends of these requests.

mod answers;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, Membership, NodeId};
use raftkit_replica::{CallerId, ClientRequestId, Consistency, ServiceEvent};

use crate::checks::explained::Calm;
use crate::rng::Rng;
use crate::run::trace::kind;
use crate::subject::{self, Ended, Outcome, Subject};
use crate::world::{Happening, MS, World};
use crate::{Mark, Settings};

/// Mean interval between two stale reads by the client that follows one node.
const WATCH_MS: u64 = 100;

/// A request without an answer yet.
pub(crate) struct Open<S: Subject> {
    /// The client whose next request waits for the answer; none for a request of the operator or of a check.
    client: Option<u64>,
    what: What<S>,
    /// Time of the request.
    called: u64,
    /// Highest index that any client knew to be committed at the time of the request. A fresh read must see it.
    known: LogIndex,
    /// Highest index that a stale read on this node had shown at the time of the request.
    shown: LogIndex,
    /// Set for a read or write that was sent in a calm cluster, where doubt needs an explanation.
    calm: Option<Calm>,
}

/// The contents of a request.
enum What<S: Subject> {
    Write { ask: S::Ask, command: Bytes, once: bool },
    Read { ask: S::Ask, consistency: Consistency, found: Option<(S::Found, LogId)> },
    Transfer,
    Change,
}

/// All clients of a run.
pub(crate) struct Clients<S: Subject> {
    pub(crate) rng: Rng,
    /// Requests without an answer yet.
    pub(crate) open: BTreeMap<ClientRequestId, Open<S>>,
    /// Commands that equal no other.
    once: BTreeSet<Bytes>,
    /// Commands whose outcome a client does not know.
    unknown: BTreeSet<Bytes>,
    /// Last number that was given out.
    next: u64,
    /// True once no client sends requests any more.
    pub(crate) resting: bool,
    /// Number of reads and writes that succeeded.
    pub(crate) answered: u64,
}

impl<S: Subject> Clients<S> {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed, "clients"),
            open: BTreeMap::new(),
            once: BTreeSet::new(),
            unknown: BTreeSet::new(),
            next: 0,
            resting: false,
            answered: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn next_caller(&mut self) -> CallerId {
        CallerId(self.number())
    }

    pub(crate) fn is_once(&self, command: &Bytes) -> bool {
        self.once.contains(command)
    }

    pub(crate) fn is_unknown(&self, command: &Bytes) -> bool {
        self.unknown.contains(command)
    }
}

impl<S: Subject> World<S> {
    /// Sends the next request of a client, to a random running node.
    pub(crate) fn client_asks(&mut self, client: u64) {
        if self.clients.resting {
            return;
        }
        let running = self.running();
        if running.is_empty() {
            return self.next_turn(Some(client));
        }
        let node = self.clients.rng.pick(&running);
        let number = self.clients.number();
        let (ask, request) = self.subject.ask(&mut self.clients.rng, &self.settings, number);
        self.ask_subject(node, Some(client), ask, request);
    }

    /// Sends a request of the subject to a node.
    pub(crate) fn ask_subject(
        &mut self,
        node: NodeId,
        client: Option<u64>,
        ask: S::Ask,
        request: subject::Request,
    ) -> ClientRequestId {
        let name = self.name();
        let (what, event) = match request {
            subject::Request::Once(command) => {
                self.clients.once.insert(command.clone());
                let what = What::Write { ask, command: command.clone(), once: true };
                (what, ServiceEvent::Propose { request: name, command })
            }
            subject::Request::Write(command) => {
                let what = What::Write { ask, command: command.clone(), once: false };
                (what, ServiceEvent::Propose { request: name, command })
            }
            subject::Request::Read => {
                let settings = &self.settings;
                let consistency = if self.clients.rng.permille(settings.stale) {
                    Consistency::Stale
                } else if self.clients.rng.permille(settings.consistent) {
                    Consistency::Consistent
                } else {
                    Consistency::Default
                };
                let what = What::Read { ask, consistency, found: None };
                (what, ServiceEvent::Read { request: name, consistency })
            }
        };
        self.ask(node, client, name, what, event);
        name
    }

    /// Sends the next stale read of the client that follows a node, as long as the node's process of this `life` runs. The first
    /// read comes at the start, before the node has applied the entries of its log. The node must let the read wait for that:
    /// before the restart it may have shown a newer state than its state machine has kept.
    pub(crate) fn watch(&mut self, node: NodeId, life: u64) {
        if self.clients.resting || self.process(node, life).is_none() {
            return;
        }
        let settings = Settings { reads: 1000, ..self.settings.clone() };
        let number = self.clients.number();
        let (ask, _) = self.subject.ask(&mut self.clients.rng, &settings, number);
        let what = What::Read { ask, consistency: Consistency::Stale, found: None };
        let request = self.name();
        let event = ServiceEvent::Read { request, consistency: Consistency::Stale };
        self.ask(node, None, request, what, event);
        let wait = self.clients.rng.around(WATCH_MS * MS);
        self.at(self.now + wait, Happening::Watch(node, life));
    }

    /// Sends a read of each consistency to a node.
    pub(crate) fn probe_reads(&mut self, node: NodeId, ask: &S::Ask) {
        for consistency in [Consistency::Default, Consistency::Consistent, Consistency::Stale] {
            let request = self.name();
            let what = What::Read { ask: ask.clone(), consistency, found: None };
            self.ask(node, None, request, what, ServiceEvent::Read { request, consistency });
        }
    }

    pub(crate) fn ask_transfer(&mut self, node: NodeId, to: Option<NodeId>) {
        self.tell(|| format!("{node} is asked to hand leadership to {to:?}"));
        let request = self.name();
        self.ask(node, None, request, What::Transfer, ServiceEvent::Transfer { request, to });
    }

    pub(crate) fn ask_change(&mut self, node: NodeId, seen: LogId, target: Membership) {
        self.tell(|| {
            format!("{node} is asked for the members {:?}", target.members().keys().collect::<Vec<_>>())
        });
        let request = self.name();
        let event = ServiceEvent::Change { request, seen, target: target.clone() };
        self.ask(node, None, request, What::Change, event);
        self.truth.note_asked(request, seen.index, target);
    }

    fn name(&mut self) -> ClientRequestId {
        ClientRequestId(self.clients.number())
    }

    fn ask(
        &mut self,
        node: NodeId,
        client: Option<u64>,
        request: ClientRequestId,
        what: What<S>,
        event: ServiceEvent,
    ) {
        let (called, known, shown) = (self.now, self.truth.known, self.hosts[&node].shown);
        self.note(kind::CLIENT, node, &[request.0, client.unwrap_or(u64::MAX)]);
        if self.trace.wants_lines() {
            let words = match &what {
                What::Write { ask, .. } => format!("{ask:?}"),
                What::Read { ask, consistency, .. } => format!("{ask:?}, {consistency:?}"),
                What::Transfer => "a transfer".to_owned(),
                What::Change => "a change".to_owned(),
            };
            self.tell(|| format!("client asks {node} ({}): {words}", request.0));
        }
        let is_of_client = matches!(what, What::Write { .. } | What::Read { .. });
        let gives_up = is_of_client && client.is_some() && self.clients.rng.permille(15);
        let calm = if is_of_client { self.is_calm(node) } else { None };
        self.clients.open.insert(request, Open { client, what, called, known, shown, calm });
        let life = self.hosts[&node].life;
        if let Some(process) = self.host(node).process.as_mut() {
            process.open.insert(request, called);
        }
        self.give(node, event);
        if gives_up {
            let at = self.now + self.clients.rng.below(1500 * MS);
            self.at(at, Happening::GiveUp(node, life, request));
        }
    }

    pub(crate) fn client_gives_up(&mut self, node: NodeId, life: u64, request: ClientRequestId) {
        let Some(process) = self.process(node, life) else { return };
        if process.open.remove(&request).is_some() {
            // An answer that is on its way already is ignored.
            process.forgotten.insert(request);
            self.give(node, ServiceEvent::Forget(request));
            self.lost(request);
        }
    }

    /// Ends the requests to a process that has ended.
    pub(crate) fn orphan(&mut self, requests: Vec<ClientRequestId>) {
        for request in requests {
            self.lost(request);
        }
    }

    /// Ends a request that will have no answer. The outcome of a write stays unknown.
    fn lost(&mut self, request: ClientRequestId) {
        let Some(open) = self.clients.open.remove(&request) else { return };
        let Open { client, what, called, .. } = open;
        if let What::Write { ask, command, .. } = what {
            self.hit(Mark::WriteUnknown);
            self.clients.unknown.insert(command);
            let outcome = Outcome::Unknown;
            let client = client.unwrap_or(1000 + request.0);
            self.subject.ended(Ended { client, ask, called, returned: None, outcome, stale: false });
        }
        self.next_turn(client);
    }

    fn next_turn(&mut self, client: Option<u64>) {
        let Some(client) = client else { return };
        let wait = self.clients.rng.around(self.settings.gap_ms * MS);
        self.at(self.now + wait, Happening::Client(client));
    }
}
