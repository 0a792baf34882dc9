//! Requests of clients.

use bytes::Bytes;
use raftkit_core::{Input, LogId, Membership, MembershipChange, NodeId, Proposal, ReadMode, Ticket};

use crate::events::Event;
use crate::tickets::Asked;
use crate::world::{MS, World};

impl World {
    pub fn client(&mut self) {
        if self.healed {
            return;
        }
        let delay = self.chance.range(1, 30) * MS;
        self.schedule(delay, Event::Client);
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let anyone = self.chance.pick(&ids);
        let to = if self.chance.happens(700) { self.leader().unwrap_or(anyone) } else { anyone };
        if self.hosts[&to].node.is_none() || self.hosts[&to].paused_until > self.now {
            return;
        }
        if self.chance.happens(self.changes) {
            return self.change_at_random(to);
        }
        match self.chance.range(0, 100) {
            0..60 => {
                let count = self.chance.range(1, 4);
                self.propose(to, count);
            }
            60..78 => self.read(to, ReadMode::Lease),
            78..96 => self.read(to, ReadMode::Quorum),
            _ => {
                let target = self.chance.happens(500).then(|| self.chance.pick(&ids));
                self.transfer(to, target);
            }
        }
    }

    /// Proposes commands to a node, if it is running.
    pub fn propose(&mut self, to: NodeId, count: u64) {
        if self.hosts[&to].node.is_none() {
            return;
        }
        let proposals = (0..count)
            .map(|_| self.ticket(to, Asked::Proposal))
            .map(|ticket| Proposal { ticket, command: Bytes::from(ticket.0.to_le_bytes().to_vec()) });
        let proposals = proposals.collect();
        self.step(to, Input::Propose(proposals));
    }

    pub fn read(&mut self, to: NodeId, mode: ReadMode) {
        if self.hosts[&to].node.is_some() {
            let ticket = self.ticket(to, Asked::Read { at_least: self.truth.known, mode });
            self.step(to, Input::Read { ticket, mode });
        }
    }

    pub fn transfer(&mut self, from: NodeId, to: Option<NodeId>) {
        if self.hosts[&from].node.is_some() {
            let ticket = self.ticket(from, Asked::Transfer);
            self.step(from, Input::Transfer { ticket, to });
        }
    }

    pub fn change(&mut self, to: NodeId, seen: LogId, target: Membership) -> Option<Ticket> {
        self.hosts[&to].node.as_ref()?;
        let ticket = self.ticket(to, Asked::Change { seen, target: Box::new(target.clone()) });
        self.step(to, Input::Change(Box::new(MembershipChange { ticket, seen, target })));
        Some(ticket)
    }

    fn ticket(&mut self, node: NodeId, asked: Asked) -> Ticket {
        self.next_ticket += 1;
        self.tickets.ask(node, Ticket(self.next_ticket), asked);
        Ticket(self.next_ticket)
    }
}
