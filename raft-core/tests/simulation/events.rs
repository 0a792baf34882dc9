//! Events, in the order of virtual time.

use raftkit_core::{Fetch, Input, LogId, Membership, Message, NodeId};

use crate::world::World;

/// An event. Events of a running node name its boot, so that they are dropped after a restart.
#[derive(Debug)]
pub enum Event {
    Deliver(Message),
    Tick(NodeId, u64),
    Flush(NodeId, u64),
    Input(NodeId, u64, Input),
    Fetch(NodeId, u64, Fetch),
    Snapshot {
        from: NodeId,
        boot: u64,
        to: NodeId,
        id: LogId,
        membership: Membership,
    },
    Restart(NodeId),
    Chaos,
    Client,
    /// The operator repairs the cluster once the faults have ended.
    Operator,
}

impl World {
    /// Runs until `end`, or until this number of steps was taken.
    pub fn run(&mut self, end: u64, steps: u64) {
        let limit = self.steps.saturating_add(steps);
        while self.steps < limit {
            let Some((at, event)) = self.queue.pop_until(end) else { break };
            self.now = self.now.max(at);
            self.on_event(event);
        }
        if self.steps < limit {
            self.now = self.now.max(end);
        }
    }

    /// Runs for `span` microseconds.
    pub fn run_for(&mut self, span: u64) {
        self.run(self.now + span, u64::MAX);
    }

    /// Runs until `holds`, checked every `grain` microseconds, for at most `span`. False if it never does.
    pub fn run_until(&mut self, span: u64, grain: u64, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + span;
        while !holds(self) {
            if self.now >= end {
                return false;
            }
            self.run_for(grain);
        }
        true
    }

    pub fn schedule(&mut self, delay: u64, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    fn on_event(&mut self, event: Event) {
        // A paused process takes its inputs when it continues, and reads the clock only then.
        let target = match &event {
            Event::Deliver(message) => Some(message.to),
            Event::Tick(id, _) | Event::Flush(id, _) | Event::Input(id, _, _) | Event::Fetch(id, _, _) => {
                Some(*id)
            }
            Event::Snapshot { .. } | Event::Restart(_) | Event::Chaos | Event::Client | Event::Operator => {
                None
            }
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
            Event::Tick(id, boot) => {
                if self.is_live(id, boot) && self.hosts[&id].tick_at <= self.now {
                    self.host(id).tick_at = u64::MAX;
                    self.step(id, Input::Tick);
                }
            }
            Event::Flush(id, boot) => {
                if self.is_live(id, boot) {
                    self.flush(id);
                }
            }
            Event::Input(id, boot, input) => {
                if self.is_live(id, boot) {
                    if let Input::Applied(index) = &input {
                        let host = self.host(id);
                        host.applied = host.applied.max(*index);
                    }
                    self.step(id, input);
                }
            }
            Event::Fetch(id, boot, fetch) => {
                if self.is_live(id, boot) {
                    self.fetch(id, fetch);
                }
            }
            Event::Snapshot { from, boot, to, id, membership } => {
                self.install(from, boot, to, id, membership);
            }
            Event::Restart(id) => self.restart(id),
            Event::Chaos => self.chaos(),
            Event::Client => self.client(),
            Event::Operator => self.operate(),
        }
    }
}
