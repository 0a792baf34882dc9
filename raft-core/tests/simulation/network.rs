//! What nodes send each other: late, twice, or never.

use raftkit_core::{Incarnation, Input, LogIndex, Message, NodeId, SnapshotSent};

use crate::events::Event;
use crate::world::{MS, World};

impl World {
    pub fn send_snapshot(&mut self, from: NodeId, life: Incarnation, to: NodeId, at_least: LogIndex) {
        let host = &self.hosts[&from];
        let delay = self.chance.range(1, 100) * MS;
        if host.applied < at_least {
            let input = Input::SnapshotSent { to, result: SnapshotSent::Failed };
            return self.schedule(delay, Event::Input(from, life, input));
        }
        let id = self.truth.id(host.applied).expect("applied, so committed");
        let membership = host.node.as_ref().expect("it runs").membership_as_of(id.index).clone();
        self.schedule(delay, Event::Snapshot { from, life, to, id, membership });
    }

    pub fn send(&mut self, message: Message) {
        self.trace = self.trace.rotate_left(5) ^ self.now ^ (message.from.0 << 8 | message.to.0);
        if self.chance.happens(self.faults.loss) {
            return;
        }
        let copies = if self.chance.happens(self.faults.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = self.chance.happens(self.faults.slow);
            let delay = if slow { self.chance.range(1, 1500) * MS } else { self.chance.range(100, 3 * MS) };
            self.schedule(delay, Event::Deliver(message.clone()));
        }
    }
}
