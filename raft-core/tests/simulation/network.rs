//! The network: messages are delayed, duplicated or lost, and links are cut.

use std::collections::BTreeSet;

use raftkit_core::{Input, LogIndex, Message, NodeId, SnapshotSent};

use crate::events::Event;
use crate::faults::names;
use crate::injected::Fault;
use crate::trace;
use crate::world::{MS, World};

impl World {
    pub fn send_snapshot(&mut self, from: NodeId, to: NodeId, at_least: LogIndex) {
        let host = &self.hosts[&from];
        let boot = host.boot;
        let delay = self.chance.range(1, 100) * MS;
        if host.applied < at_least {
            let input = Input::SnapshotSent { to, result: SnapshotSent::Failed };
            return self.schedule(delay, Event::Input(from, boot, input));
        }
        let id = self.truth.id(host.applied).expect("applied, so committed");
        let membership = host.node.as_ref().expect("it runs").membership_as_of(id.index).clone();
        assert_eq!(&membership, self.truth.membership_as_of(id.index), "a snapshot names another membership");
        self.schedule(delay, Event::Snapshot { from, boot, to, id, membership });
    }

    pub fn send(&mut self, message: Message) {
        if !self.hosts.contains_key(&message.to) {
            return;
        }
        let (from, to) = (message.from, message.to);
        if self.chance.happens(self.faults.loss) {
            self.injected.hit(Fault::Lost);
            return trace::follows(format_args!("  lost on its way: {from} -> {to}"));
        }
        let copies = if self.chance.happens(self.faults.duplication) { 2 } else { 1 };
        if copies > 1 {
            self.injected.hit(Fault::Duplicated);
            trace::follows(format_args!("  twice: {from} -> {to}"));
        }
        for _ in 0..copies {
            let slow = self.chance.happens(self.faults.slow);
            if slow {
                self.injected.hit(Fault::Delayed);
                trace::follows(format_args!("  held back: {from} -> {to}"));
            }
            let delay = if slow { self.chance.range(1, 1500) * MS } else { self.chance.range(100, 3 * MS) };
            self.schedule(delay, Event::Deliver(message.clone()));
        }
    }

    /// Partitions the network: hosts hear only hosts of their own group, and those in no group hear nobody.
    pub fn partition(&mut self, groups: &[BTreeSet<NodeId>]) {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let words: Vec<String> = groups.iter().map(names).collect();
        self.inject(Fault::Partition, format_args!("who hears each other: {}", words.join(" | ")));
        for id in &ids {
            let group = groups.iter().find(|group| group.contains(id));
            let deaf = |other: &&NodeId| group.is_none_or(|group| !group.contains(*other));
            self.host(*id).blocked = ids.iter().filter(deaf).copied().collect();
        }
    }

    /// Isolates the nodes `one` from all others.
    pub fn isolate(&mut self, one: &BTreeSet<NodeId>) {
        let rest = self.hosts.keys().copied().filter(|id| !one.contains(id)).collect();
        self.partition(&[rest]);
    }

    /// Ends all partitions.
    pub fn connect(&mut self) {
        trace::event(self.now, format_args!("everyone hears everyone"));
        self.hosts.values_mut().for_each(|host| host.blocked.clear());
    }

    /// Two random groups.
    pub fn split(&mut self) -> [BTreeSet<NodeId>; 2] {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let (left, right) = ids.into_iter().partition(|_| self.chance.happens(500));
        [left, right]
    }
}
