//! Progress: time, messages, disks and drivers.

use std::collections::BTreeSet;
use std::time::Duration;

use raftkit_core::{Input, NodeId, RoleName, Time};

use crate::backing::Backing;
use crate::cluster::{Cluster, Host};

/// How long a leader waits for an append to carry a new commit index before it sends the index alone.
const COMMIT_DELAY: Duration = Duration::from_millis(2);

/// The limits that a command sets.
#[derive(Default)]
pub struct Limits {
    /// Nodes whose messages, in both directions, are lost.
    pub drop: BTreeSet<NodeId>,
    /// Nodes whose disks are stuck.
    pub stuck: BTreeSet<NodeId>,
}

impl<B: Backing> Cluster<B> {
    /// Waits for the node's deadline, lets it campaign, and processes everything that follows.
    pub fn elect(&mut self, id: NodeId, limits: &Limits) {
        self.campaign(id);
        self.settle(limits);
    }

    pub fn campaign(&mut self, id: NodeId) {
        let follows = |host: &Host<B>| host.node.as_ref().is_some_and(|it| it.role() == RoleName::Follower);
        let deadline = self.hosts[&id].deadline().expect("it runs");
        let late = deadline < self.now;
        self.now = self.now.max(deadline);
        self.input(id, Input::Tick);
        // A node that is called too late concludes that it stood still, and waits once more.
        if late && follows(&self.hosts[&id]) {
            self.now = self.now.max(self.hosts[&id].deadline().expect("it runs"));
            self.input(id, Input::Tick);
        }
    }

    /// Delivers the messages on the wire now, but not the answers to them.
    pub fn deliver(&mut self, limits: &Limits) {
        for message in std::mem::take(&mut self.wire) {
            let (from, to) = (message.from, message.to);
            let lost =
                limits.drop.contains(&to) || limits.drop.contains(&from) || self.cut.contains(&(from, to));
            if !lost && self.hosts.get(&to).is_some_and(|host| host.node.is_some()) {
                self.input(to, Input::Message(B::carry(message)));
            }
        }
    }

    pub fn drop_wire(&mut self, to: &BTreeSet<NodeId>, from: &BTreeSet<NodeId>) {
        let all = to.is_empty() && from.is_empty();
        self.wire.retain(|message| !(all || to.contains(&message.to) || from.contains(&message.from)));
    }

    /// Duplicates every message on the wire.
    pub fn repeat_wire(&mut self) {
        let again = self.wire.clone();
        self.wire.extend(again);
    }

    /// Cuts the links between a node and these, or all others, in both directions until they are repaired.
    pub fn cut(&mut self, id: NodeId, from: Option<BTreeSet<NodeId>>) {
        let others = from.unwrap_or_else(|| self.hosts.keys().copied().collect());
        self.cut.extend(others.iter().flat_map(|other| [(id, *other), (*other, id)]));
    }

    pub fn persist(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).unwrap();
        if let Some(seq) = host.disk.flush() {
            self.input(id, Input::Persisted(seq));
        }
    }

    /// Processes everything that needs no time to pass, and then the commit indexes that leaders send alone once no
    /// append has carried them for a moment.
    pub fn settle(&mut self, limits: &Limits) {
        self.exchange(limits);
        while let Some((at, id)) = self.next_untold_commit() {
            self.now = self.now.max(at);
            self.input(id, Input::Tick);
            self.exchange(limits);
        }
    }

    /// The next deadline of a leader within the time that a commit index waits for an append.
    fn next_untold_commit(&self) -> Option<(Time, NodeId)> {
        let leads = |host: &Host<B>| host.node.as_ref().is_some_and(raftkit_core::Node::is_leader);
        let leaders = self.hosts.iter().filter(|(_, host)| leads(host));
        let deadlines = leaders.filter_map(|(id, host)| host.deadline().map(|at| (at, *id)));
        deadlines.min().filter(|(at, _)| *at <= self.now.after(COMMIT_DELAY))
    }

    /// Processes everything that needs no time to pass.
    fn exchange(&mut self, limits: &Limits) {
        for _ in 0..1000 {
            let mut moved = !self.wire.is_empty();
            let ids: Vec<_> = self.hosts.keys().copied().collect();
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

    /// Gives a node the answers of its driver.
    pub fn answer(&mut self, id: NodeId) {
        for input in std::mem::take(&mut self.hosts.get_mut(&id).unwrap().inputs) {
            self.input(id, input);
        }
    }

    /// Advances time and handles deadlines; nothing is delivered.
    pub fn wait(&mut self, span: Duration) {
        self.pass(span, |_| {});
    }

    /// Advances time while no node runs: all stand still.
    pub fn standstill(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Advances time and processes everything.
    pub fn run(&mut self, span: Duration, limits: &Limits) {
        self.settle(limits);
        self.pass(span, |cluster| cluster.settle(limits));
    }

    fn pass(&mut self, span: Duration, mut after: impl FnMut(&mut Self)) {
        let end = self.now.after(span);
        loop {
            let deadlines = self.hosts.iter().filter_map(|(id, host)| host.deadline().map(|at| (at, *id)));
            let Some((at, id)) = deadlines.min().filter(|(at, _): &(Time, _)| *at <= end) else { break };
            self.now = self.now.max(at);
            self.input(id, Input::Tick);
            after(self);
        }
        self.now = self.now.max(end);
    }
}
