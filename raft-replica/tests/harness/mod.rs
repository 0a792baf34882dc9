//! Whole nodes in one thread: the shipped replicas and workers over simulated disks, in virtual time, step by step.
//!
//! The work of each worker waits in its inbox until a step is taken, so a test decides when a sync returns, and a
//! disk that freezes at its k-th call does so between any two steps.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "shared by several tests")]

mod damage;
mod node;
mod subject;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{
    LogId, LogIndex, Member, Membership, MembershipChange, Message, NodeId, Proposal, StoreId, Ticket, Time,
};
use raftkit_replica::{
    Action, Answer, BulkId, CompactionOptions, Event, MachineWork, Output, Replica, ReplicaOptions,
    StateMachine, TransportReport,
};
use raftkit_snapshot::SnapshotMessage;

#[allow(unused_imports, reason = "shared by several tests")]
pub use damage::{Lost, damage};
pub use node::{DIR, OpenMachine, TestNode};
#[allow(unused_imports, reason = "shared by several tests")]
pub use subject::{Acknowledged, Subject};

/// Nodes, the network between them, and the answers that came.
pub struct Cluster<M: StateMachine> {
    pub nodes: BTreeMap<NodeId, TestNode<M>>,
    pub now: Time,
    pub answers: BTreeMap<Ticket, Answer>,
    /// Links that lose all messages: (from, to).
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// If set, one bulk frame arrives in this many rounds, and no more.
    pub bulk_slowness: Option<u64>,
    /// All snapshots that were offered, with the node that each was offered to.
    pub offered: Vec<(NodeId, LogId)>,
    messages: VecDeque<Message>,
    bulk: VecDeque<(NodeId, NodeId, Bytes, Option<BulkId>)>,
    next_ticket: u64,
    rounds: u64,
}

/// Options by which little is kept, so that compaction and snapshots happen all the time.
pub fn small_options() -> ReplicaOptions {
    ReplicaOptions {
        compaction: CompactionOptions { trailing_logs: 4, ..CompactionOptions::default() },
        persist_interval: Duration::from_millis(200),
        unapplied_bytes_max: 5_000,
    }
}

impl<M: StateMachine> Cluster<M> {
    /// A founded cluster of `count` running nodes.
    pub fn new(count: u64, open: OpenMachine<M>, options: ReplicaOptions) -> Self {
        let ids: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let member = |id: &NodeId| Member::new(StoreId(u128::from(id.0) + 100), format!("node-{id}"));
        let membership = Membership::founding(ids.iter().map(|id| (*id, member(id))).collect());
        let nodes =
            ids.iter().map(|id| (*id, TestNode::new(*id, open, options, membership.clone()))).collect();
        let mut cluster = Self {
            nodes,
            now: Time(1_000_000),
            answers: BTreeMap::new(),
            cut: BTreeSet::new(),
            bulk_slowness: None,
            offered: Vec::new(),
            messages: VecDeque::new(),
            bulk: VecDeque::new(),
            next_ticket: 0,
            rounds: 0,
        };
        for node in cluster.nodes.values_mut() {
            node.start(cluster.now).expect("an empty disk makes a node");
        }
        cluster
    }

    pub fn replica(&self, id: NodeId) -> &Replica {
        &self.nodes[&id].running.as_ref().expect("the node runs").replica
    }

    pub fn reader(&self, id: NodeId) -> M::Reader {
        self.nodes[&id].running.as_ref().expect("the node runs").applier.reader()
    }

    /// True while a node's state machine has a snapshot to switch to.
    pub fn is_installing(&self, id: NodeId) -> bool {
        let machine = &self.nodes[&id].running.as_ref().expect("the node runs").machine;
        machine.iter().any(|work| matches!(work, MachineWork::Restore(_)))
    }

    /// The running node that leads in the highest term.
    pub fn leader(&self) -> Option<NodeId> {
        let leading = self.nodes.values().filter_map(|node| {
            let replica = &node.running.as_ref()?.replica;
            replica.node().is_leader().then(|| (replica.node().term(), node.id))
        });
        leading.max().map(|(_, id)| id)
    }

    fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }

    pub fn propose(&mut self, id: NodeId, command: Bytes) -> Ticket {
        let ticket = self.ticket();
        self.drive(id, |replica, now, out| replica.propose(now, vec![Proposal { ticket, command }], out));
        ticket
    }

    /// Asks a node to change the membership that it knows to `target`.
    pub fn change(&mut self, id: NodeId, target: Membership) -> Ticket {
        let ticket = self.ticket();
        let seen = self.replica(id).node().membership().id();
        let change = MembershipChange { ticket, seen, target };
        self.drive(id, |replica, now, out| replica.change(now, change, out));
        ticket
    }

    /// The entry that the proposal under a ticket was committed as.
    pub fn committed(&self, ticket: Ticket) -> Option<LogId> {
        if let Answer::Committed(committed) = self.answers.get(&ticket)? { Some(committed.id) } else { None }
    }

    fn give(&mut self, id: NodeId, event: Event) {
        self.drive(id, |replica, now, out| replica.handle(now, event, out));
    }

    /// Calls a node's replica, if the node runs, and hands its actions to the workers and the network.
    fn drive(&mut self, id: NodeId, act: impl FnOnce(&mut Replica, Time, &mut Vec<Output>)) {
        let node = self.nodes.get_mut(&id).expect("there is such a node");
        let Some(running) = node.running.as_mut() else { return };
        let mut actions = Vec::new();
        act(&mut running.replica, self.now, &mut actions);
        for action in actions {
            match action {
                Output::Do(Action::Send(message)) => {
                    damage::check_sent(running.replica.node(), &message);
                    self.messages.push_back(message);
                }
                Output::Do(Action::SendBulk { to, body, id: name }) => {
                    self.bulk.push_back((id, to, body, name))
                }
                Output::Do(Action::Log(write)) => running.writes.push(write),
                Output::Do(Action::Fetch(work)) => running.fetches.push(work),
                Output::Do(Action::Machine(work)) => {
                    node.views += u64::from(matches!(work, MachineWork::View));
                    running.machine.push(work);
                }
                Output::Do(Action::Snapshot(work)) => running.snapshot.push_back(work),
                Output::Answer { ticket, answer } => {
                    let twice = self.answers.insert(ticket, answer);
                    assert_eq!(twice, None, "ticket {ticket} was answered twice");
                }
                Output::Do(Action::Role(_)) => {}
                Output::Do(Action::Ended(why)) => node.ended = Some(why),
            }
        }
    }

    /// Runs one round: all frames under way arrive, and every worker that is not frozen does its work.
    pub fn round(&mut self) {
        self.rounds += 1;
        for message in std::mem::take(&mut self.messages) {
            if !self.cut.contains(&(message.from, message.to)) {
                self.give(message.to, Event::Transport(TransportReport::Message(message)));
            }
        }
        let arriving = match self.bulk_slowness {
            None => self.bulk.len(),
            Some(rounds) => self.bulk.len().min(usize::from(self.rounds.is_multiple_of(rounds))),
        };
        for (from, to, body, name) in self.bulk.drain(..arriving).collect::<Vec<_>>() {
            if let Some(name) = name {
                self.give(from, Event::Transport(TransportReport::BulkLeft(name)));
            }
            if !self.cut.contains(&(from, to)) {
                if let Ok(SnapshotMessage::Offer(manifest)) = SnapshotMessage::decode(body.clone()) {
                    self.offered.push((to, manifest.id));
                }
                self.give(to, Event::Transport(TransportReport::Bulk { from, body }));
            }
        }
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            for event in self.work(id) {
                self.give(id, event);
            }
            if self.nodes[&id].disk.is_frozen() && self.nodes[&id].running.is_some() {
                // The power was cut in one of these steps.
                self.nodes.get_mut(&id).unwrap().crash(false);
            }
        }
    }

    /// The events of a node's workers in one round. In a server they are threads, so their order changes from round
    /// to round here, and the log rests in every third round.
    fn work(&mut self, id: NodeId) -> Vec<Event> {
        let turn = self.rounds + id.0;
        let node = self.nodes.get_mut(&id).unwrap();
        let (log_rests, machine_rests) = (node.log_frozen || turn.is_multiple_of(3), node.machine_frozen);
        let Some(running) = node.running.as_mut() else { return Vec::new() };
        let mut events = Vec::new();
        for worker in (0..3).map(|worker| (worker + turn / 2) % 3) {
            match worker {
                0 if log_rests => {}
                0 => running.work_on_log(&mut events),
                1 if machine_rests => {}
                1 => running.work_on_machine(&mut events),
                _ => running.work_on_snapshots(&mut events),
            }
        }
        events
    }

    /// Lets time pass in steps, with a round in each.
    pub fn run(&mut self, span: Duration) {
        let end = self.now.after(span);
        while self.now < end {
            self.now = self.now.after(Duration::from_millis(5));
            let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
            for id in ids {
                let due = self.nodes[&id]
                    .running
                    .as_ref()
                    .is_some_and(|running| running.replica.next_deadline() <= self.now);
                if due {
                    self.drive(id, |replica, now, out| replica.tick(now, out));
                }
            }
            self.round();
        }
    }

    /// Runs until `condition` holds; panics if that takes too long.
    pub fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let end = self.now.after(Duration::from_secs(30));
        while !condition(self) {
            assert!(self.now < end, "within 30 s of virtual time: {what}");
            self.run(Duration::from_millis(5));
        }
    }

    pub fn until_leader(&mut self) -> NodeId {
        self.until("a leader is elected", |cluster| {
            cluster.leader().is_some_and(|leader| {
                cluster
                    .nodes
                    .values()
                    .filter(|node| node.running.is_some())
                    .all(|node| node.running.as_ref().unwrap().replica.node().leader() == Some(leader))
            })
        });
        self.leader().unwrap()
    }

    /// Proposes a command on the leader until it is committed; none if the cluster cannot do that within some
    /// seconds.
    pub fn commit(&mut self, command: &Bytes) -> Option<LogId> {
        let end = self.now.after(Duration::from_secs(20));
        while self.now < end {
            if let Some(leader) = self.leader() {
                let ticket = self.propose(leader, command.clone());
                while !self.answers.contains_key(&ticket)
                    && self.now < end
                    && self.nodes[&leader].running.is_some()
                {
                    self.run(Duration::from_millis(5));
                }
                if let Some(id) = self.committed(ticket) {
                    return Some(id);
                }
            }
            self.run(Duration::from_millis(50));
        }
        None
    }

    /// Starts every node that is down.
    pub fn start_all(&mut self) {
        let now = self.now;
        for node in self.nodes.values_mut().filter(|node| node.running.is_none()) {
            if node.disk.is_frozen() {
                node.disk.crash();
            }
            node.start(now).expect("a node starts on what a crash left");
        }
    }

    /// Runs until every node has applied the leader's whole log. A new leader knows what is committed only once an
    /// entry of its own term is.
    pub fn settle(&mut self) {
        self.until_leader();
        self.until("all nodes have applied all that there is", |cluster| {
            let Some(leader) = cluster.leader() else { return false };
            let last = cluster.replica(leader).status().last.index;
            cluster.nodes.keys().all(|id| cluster.replica(*id).node().applied() >= last)
        });
    }

    pub fn bases(&self) -> BTreeMap<NodeId, LogIndex> {
        self.nodes.keys().map(|id| (*id, self.replica(*id).status().base.index)).collect()
    }
}
