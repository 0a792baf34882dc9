//! What happens, in the order of virtual time.

use std::cmp::Reverse;

use raftkit_core::{Incarnation, Input, LogId, Membership, Message, NodeId};

use crate::world::World;

#[derive(Debug)]
pub enum Event {
    Deliver(Message),
    Tick(NodeId, Incarnation),
    Flush(NodeId, Incarnation),
    Input(NodeId, Incarnation, Input),
    Snapshot { from: NodeId, life: Incarnation, to: NodeId, id: LogId, membership: Membership },
    Restart(NodeId),
    Chaos,
    Client,
}

impl World {
    /// Runs until `end` or until so many steps were taken.
    pub fn run(&mut self, end: u64, steps: u64) {
        let limit = self.steps.saturating_add(steps);
        while self.steps < limit {
            let Some(Reverse((at, key))) = self.events.pop() else { return };
            if at > end {
                self.events.push(Reverse((at, key)));
                self.now = end;
                return;
            }
            self.now = self.now.max(at);
            let event = self.bodies.remove(&key).expect("every key has its event");
            self.on_event(event);
        }
    }

    pub fn schedule(&mut self, delay: u64, event: Event) {
        self.next_event += 1;
        self.events.push(Reverse((self.now + delay, self.next_event)));
        self.bodies.insert(self.next_event, event);
    }

    pub fn on_event(&mut self, event: Event) {
        // A process that is stopped takes its inputs later, and reads the clock only then.
        let target = match &event {
            Event::Deliver(message) => Some(message.to),
            Event::Tick(id, _) | Event::Flush(id, _) | Event::Input(id, _, _) => Some(*id),
            Event::Snapshot { .. } | Event::Restart(_) | Event::Chaos | Event::Client => None,
        };
        if let Some(until) = target.map(|id| self.hosts[&id].paused_until).filter(|until| *until > self.now) {
            return self.schedule(until - self.now, event);
        }
        match event {
            Event::Deliver(message) => {
                if self.hosts[&message.to].node.is_some()
                    && !self.hosts[&message.to].blocked.contains(&message.from)
                {
                    self.step(message.to, Input::Message(message));
                }
            }
            Event::Tick(id, life) => {
                if self.is_live(id, life) && self.hosts[&id].tick_at <= self.now {
                    self.hosts.get_mut(&id).expect("known").tick_at = u64::MAX;
                    self.step(id, Input::Tick);
                }
            }
            Event::Flush(id, life) => {
                if self.is_live(id, life) {
                    self.flush(id);
                }
            }
            Event::Input(id, life, input) => {
                if self.is_live(id, life) {
                    if let Input::Applied(index) = &input {
                        let host = self.hosts.get_mut(&id).expect("known");
                        host.applied = host.applied.max(*index);
                    }
                    self.step(id, input);
                }
            }
            Event::Snapshot { from, life, to, id, membership } => {
                self.install(from, life, to, id, membership)
            }
            Event::Restart(id) => self.restart(id),
            Event::Chaos => self.chaos(),
            Event::Client => self.client(),
        }
    }
}
