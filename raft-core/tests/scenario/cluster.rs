//! A cluster driven by hand: nothing moves unless a command says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::invariants::{check_delta, check_state};
use raftkit_core::{
    Base, Config, Effects, Entry, Fetch, Fetched, Incarnation, Input, LogId, LogIndex, Membership, Message,
    Node, NodeId, Payload, Proposal, ReadMode, SnapshotEffect, SnapshotSent, StoreId, Ticket, Time, Write,
};

use crate::disk::Disk;
use crate::members::members;

/// What a command keeps from moving.
#[derive(Default)]
pub struct Limits {
    /// Messages to and from these are lost.
    pub drop: BTreeSet<NodeId>,
    /// The disks of these are stuck.
    pub stuck: BTreeSet<NodeId>,
}

pub struct Host {
    pub config: Config,
    pub node: Option<Node>,
    pub disk: Disk,
    applied: LogIndex,
    inputs: Vec<Input>,
}

#[derive(Default)]
pub struct Cluster {
    pub hosts: BTreeMap<NodeId, Host>,
    pub wire: Vec<Message>,
    pub told: Vec<String>,
    /// Messages sent since they were last counted, by sender and kind.
    pub sent: BTreeMap<NodeId, BTreeMap<&'static str, usize>>,
    now: Time,
    tickets: BTreeMap<Ticket, String>,
    next_ticket: u64,
}

impl Cluster {
    pub fn config() -> Config {
        Config::new(NodeId(0), StoreId(0), Incarnation(0), 1)
    }

    pub fn found(&mut self, count: u64, learners: &BTreeSet<NodeId>, template: &Config) {
        let members = members(1..=count);
        let voters = members.keys().filter(|id| !learners.contains(id)).copied().collect();
        let membership = Membership::new(members, voters).unwrap();
        for id in 1..=count {
            let config = Config { node: NodeId(id), store: StoreId(u128::from(id)), ..template.clone() };
            let disk = Disk::founded(Base { id: LogId::GENESIS, membership: membership.clone() });
            let host = Host { config, node: None, disk, applied: LogIndex(1), inputs: Vec::new() };
            self.hosts.insert(NodeId(id), host);
        }
    }

    /// Gives a node a log whose entries, from index 2 on, are of these terms.
    pub fn write_log(&mut self, id: NodeId, terms: &[u64], term: Option<u64>) {
        let host = self.hosts.get_mut(&id).unwrap();
        let mut write = Write::default();
        let entry = |(at, term): (u64, &u64)| {
            let payload = Payload::Command(Bytes::from(format!("{at}.{term}")));
            Entry { id: LogId::new(*term, at), payload }
        };
        write.append = (2..).zip(terms).map(entry).collect();
        let term = term.or(terms.last().copied()).unwrap_or(1);
        let hard = raftkit_core::HardState { term: raftkit_core::Term(term), ..Default::default() };
        write.hard_state = Some(hard);
        host.disk.queue(write);
        host.disk.flush(1);
    }

    pub fn start_all(&mut self) {
        let ids: Vec<_> = self.hosts.keys().copied().collect();
        ids.into_iter().for_each(|id| self.restart(id));
    }

    pub fn restart(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.config.incarnation.0 += 1;
        let restored = host.disk.durable.restored(host.applied);
        let node = Node::restore(host.config.clone(), restored, self.now).unwrap();
        check_state(&node).unwrap();
        host.node = Some(node);
    }

    pub fn crash(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        host.node = None;
        host.inputs.clear();
        host.disk.crash(0);
        host.applied = host.disk.durable.hard.commit.min(host.applied).max(host.disk.durable.base.id.index);
    }

    /// Waits for the node's own deadline, lets it campaign, and everything come of it.
    pub fn elect(&mut self, id: NodeId, limits: &Limits) {
        self.campaign(id);
        self.settle(limits);
    }

    pub fn campaign(&mut self, id: NodeId) {
        let deadline = self.hosts[&id].node.as_ref().unwrap().next_deadline();
        self.now = self.now.max(deadline);
        self.input(id, Input::Tick);
    }

    pub fn propose(&mut self, id: NodeId, commands: &[&str]) {
        let proposals = commands
            .iter()
            .map(|command| Proposal {
                ticket: self.ticket((*command).to_string()),
                command: Bytes::copy_from_slice(command.as_bytes()),
            })
            .collect();
        self.input(id, Input::Propose(proposals));
    }

    pub fn read(&mut self, id: NodeId, mode: ReadMode) {
        let ticket = self.ticket(format!("read on {id}"));
        self.input(id, Input::Read { ticket, mode });
    }

    pub fn transfer(&mut self, id: NodeId, to: Option<NodeId>) {
        let ticket = self.ticket(format!("transfer by {id}"));
        self.input(id, Input::Transfer { ticket, to });
    }

    fn ticket(&mut self, name: String) -> Ticket {
        self.next_ticket += 1;
        self.tickets.insert(Ticket(self.next_ticket), name);
        Ticket(self.next_ticket)
    }

    /// Delivers what is on the wire now, not what is sent in answer.
    pub fn deliver(&mut self, limits: &Limits) {
        for message in std::mem::take(&mut self.wire) {
            let lost = limits.drop.contains(&message.to) || limits.drop.contains(&message.from);
            if !lost && self.hosts[&message.to].node.is_some() {
                self.input(message.to, Input::Message(message));
            }
        }
    }

    pub fn drop_wire(&mut self, to: &BTreeSet<NodeId>, from: &BTreeSet<NodeId>) {
        let all = to.is_empty() && from.is_empty();
        self.wire.retain(|message| !(all || to.contains(&message.to) || from.contains(&message.from)));
    }

    /// Everything on the wire is there twice.
    pub fn repeat_wire(&mut self) {
        let again = self.wire.clone();
        self.wire.extend(again);
    }

    pub fn persist(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        if let Some(seq) = host.disk.flush(host.disk.queued()) {
            self.input(id, Input::Persisted(seq));
        }
    }

    /// Lets everything happen that needs no time.
    pub fn settle(&mut self, limits: &Limits) {
        let ids: Vec<_> = self.hosts.keys().copied().collect();
        for _ in 0..1000 {
            let mut moved = !self.wire.is_empty();
            for id in ids.iter().filter(|id| !limits.stuck.contains(id)) {
                let host = self.hosts.get_mut(id).unwrap();
                moved |= host.node.is_some() && !(host.disk.is_idle() && host.inputs.is_empty());
                if host.node.is_some() {
                    self.answer(*id);
                    self.persist(*id);
                }
            }
            if !moved {
                return;
            }
            self.deliver(limits);
        }
        panic!("it never settles");
    }

    /// Gives a node the answers of its own driver.
    pub fn answer(&mut self, id: NodeId) {
        for input in std::mem::take(&mut self.hosts.get_mut(&id).unwrap().inputs) {
            self.input(id, input);
        }
    }

    /// Time passes and nodes do what is due; nothing is delivered.
    pub fn wait(&mut self, span: Duration) {
        self.pass(span, |_| {});
    }

    /// Time passes and everything happens.
    pub fn run(&mut self, span: Duration, limits: &Limits) {
        self.settle(limits);
        self.pass(span, |cluster| cluster.settle(limits));
    }

    fn pass(&mut self, span: Duration, mut after: impl FnMut(&mut Self)) {
        let end = self.now.after(span);
        loop {
            let deadline = |host: &Host| host.node.as_ref().map(Node::next_deadline);
            let next = self.hosts.iter().filter_map(|(id, host)| deadline(host).map(|at| (at, *id))).min();
            let Some((_, id)) = next.filter(|(at, _)| *at <= end) else { break };
            self.now = self.now.max(next.unwrap().0);
            self.input(id, Input::Tick);
            after(self);
        }
        self.now = end;
    }

    /// The transfer of a snapshot ends.
    pub fn snapshot(&mut self, from: NodeId, to: NodeId, fails: bool) {
        let applied = self.hosts[&from].applied;
        let sender = self.hosts[&from].node.as_ref().unwrap();
        let id = self.hosts[&from].disk.view.entry(applied).map_or(sender.status().base, |entry| entry.id);
        let membership = sender.membership_as_of(applied).clone();
        let mut result = SnapshotSent::Failed;
        if !fails {
            self.hosts.get_mut(&to).unwrap().applied = id.index;
            self.input(to, Input::SnapshotInstalled { base: id, membership: membership.into() });
            result = SnapshotSent::Installed(id);
        }
        self.input(from, Input::SnapshotSent { to, result });
    }

    /// One input to one node; what came of it is told.
    pub fn input(&mut self, id: NodeId, input: Input) {
        let host = self.hosts.get_mut(&id).unwrap();
        let node = host.node.as_mut().unwrap();
        if let Input::Applied(index) = &input {
            host.applied = host.applied.max(*index);
        }
        let before = node.clone();
        let mut effects = Effects::default();
        node.handle(self.now, input, &mut effects);
        check_state(node).unwrap();
        check_delta(&before, node).unwrap();
        let commit = (node.commit() > before.commit()).then(|| node.commit());
        self.tell(id, &effects, commit);
        let host = self.hosts.get_mut(&id).unwrap();
        effects.writes.into_iter().for_each(|write| host.disk.queue(write));
        host.inputs.extend(effects.apply.iter().map(|apply| Input::Applied(apply.last)));
        let fetched = effects.fetches.into_iter().map(|fetch| fetched(fetch, &host.disk));
        host.inputs.extend(fetched);
        for message in &effects.messages {
            let sent = self.sent.entry(id).or_default();
            *sent.entry(crate::show::kind(&message.body)).or_default() += 1;
        }
        self.wire.extend(effects.messages);
    }

    fn tell(&mut self, id: NodeId, effects: &Effects, commit: Option<LogIndex>) {
        let mut lines = Vec::new();
        if let Some(role) = effects.role {
            let leader = role.leader.filter(|leader| *leader != id).map(|leader| format!(" of {leader}"));
            let name = crate::show::role(role.role);
            lines.push(format!("{name}{} in term {}", leader.unwrap_or_default(), role.term));
        }
        lines.extend(commit.map(|commit| format!("commit {commit}")));
        for done in &effects.done {
            lines.push(format!("{} -> {}", self.tickets[&done.ticket], crate::show::outcome(done.outcome)));
        }
        for snapshot in &effects.snapshots {
            lines.push(match snapshot {
                SnapshotEffect::Send { to, at_least } => {
                    format!("send {to} a snapshot of at least {at_least}")
                }
                SnapshotEffect::Cancel { to } => format!("cancel the snapshot to {to}"),
            });
        }
        lines.extend(
            effects.fetches.iter().map(|fetch| format!("fetch from {} to {}", fetch.first, fetch.last)),
        );
        lines.extend(effects.fatal.iter().map(|fatal| format!("fatal: {fatal}")));
        self.told.extend(lines.into_iter().map(|line| format!("{id}: {line}")));
    }
}

fn fetched(fetch: Fetch, disk: &Disk) -> Input {
    let mut bytes = 0;
    let entries: Vec<_> = (fetch.first.0..=fetch.last.0)
        .map_while(|index| disk.view.entry(LogIndex(index)).cloned())
        .take_while(|entry| {
            bytes += entry.weight();
            entry.id.index == fetch.first || bytes <= fetch.bytes_max
        })
        .collect();
    let result = if entries.is_empty() { Fetched::Compacted } else { Fetched::Entries(entries) };
    Input::Fetched { request: fetch.request, result }
}
