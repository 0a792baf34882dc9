//! The kinds of faults and their probabilities, drawn for each seed.

use std::collections::BTreeSet;

use raftkit_core::{Input, NodeId};

use crate::chance::Chance;
use crate::events::Event;
use crate::injected::Fault;
use crate::trace;
use crate::world::{MS, World};

/// Probability of each kind of fault in this seed, in thousandths of its occasions. Many are zero.
#[derive(Clone, Default)]
pub struct Faults {
    pub loss: u64,
    pub duplication: u64,
    pub slow: u64,
    pub crash: u64,
    pub partition: u64,
    pub stall: u64,
    pub pause: u64,
    pub write_failure: u64,
    /// Of starts: the log has lost its end.
    pub damage: u64,
    /// Of crashes: the data folder is lost.
    pub wipe: u64,
    /// Of reads of the log: it cannot be read.
    pub rot: u64,
    /// Greatest deviation of a clock's rate, in thousandths.
    pub drift: u64,
    /// Of starts: the node has other settings than before.
    pub settings: u64,
    /// True for unlimited damage: committed entries survive, but there may be nobody left to lead.
    pub reckless: bool,
}

impl Faults {
    pub fn draw(chance: &mut Chance) -> Self {
        let mut some = |most: u64| if chance.happens(500) { chance.range(1, most) } else { 0 };
        Self {
            loss: some(200),
            duplication: some(200),
            slow: some(200),
            crash: some(60),
            partition: some(60),
            stall: some(40),
            pause: some(30),
            write_failure: some(15),
            damage: some(500),
            wipe: some(300),
            rot: some(100),
            drift: some(46),
            reckless: some(20) == 1,
            settings: some(700),
        }
    }

    /// No faults but drifting clocks.
    pub fn none(drift: u64) -> Self {
        Self { drift, ..Self::default() }
    }
}

impl World {
    pub fn chaos(&mut self) {
        if self.healed {
            return;
        }
        self.schedule(50 * MS, Event::Chaos);
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        for id in ids.iter().copied() {
            if self.hosts[&id].node.is_none() {
                continue;
            }
            if self.chance.happens(self.faults.crash) {
                self.crash(id);
                if self.chance.happens(self.faults.wipe) {
                    self.wipe(id);
                }
                let delay = self.chance.range(1, 1500) * MS;
                self.schedule(delay, Event::Restart(id));
                continue;
            }
            if self.chance.happens(self.faults.pause) {
                let span = self.chance.range(1, 1500) * MS;
                self.pause(id, span);
            }
            if self.chance.happens(self.faults.partition) {
                let others = ids.iter().filter(|_| self.chance.happens(600)).copied().collect();
                self.inject(Fault::Partition, format_args!("{id} is cut off from {}", names(&others)));
                self.host(id).blocked = others;
            } else if self.chance.happens(100) {
                self.host(id).blocked.clear();
                trace::event(self.now, format_args!("{id} hears everyone"));
            }
            if self.chance.happens(5) {
                let peer = self.chance.pick(&ids);
                self.step(id, Input::Unreachable(peer));
            }
            self.maintain(id);
        }
    }

    /// Pauses the process for `span`.
    pub fn pause(&mut self, id: NodeId, span: u64) {
        self.inject(Fault::Pause, format_args!("{id} stands still for {} ms", span / MS));
        self.host(id).paused_until = self.now + span;
    }

    /// Blocks the disk for `span`.
    pub fn stick(&mut self, id: NodeId, span: u64) {
        self.inject(Fault::Stall, format_args!("{id} has a disk that is stuck for {} ms", span / MS));
        self.host(id).stuck_until = self.now + span;
    }

    /// Makes the state machine durable and lets the log be compacted.
    pub fn maintain(&mut self, id: NodeId) {
        if self.hosts[&id].node.is_none() {
            return;
        }
        if self.chance.happens(100) {
            let host = self.host(id);
            host.durable_applied = host.applied;
        }
        if self.chance.happens(60) {
            let to = self.hosts[&id].durable_applied;
            self.step(id, Input::Compact(to));
        }
        if self.chance.happens(10) {
            self.step(id, Input::PersistCommit);
        }
    }
}

/// Formats node ids.
pub fn names(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(" ")
}
