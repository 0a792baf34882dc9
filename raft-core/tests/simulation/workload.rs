//! What clients ask.

use bytes::Bytes;
use raftkit_core::{Input, NodeId, Proposal, ReadMode, Ticket};

use crate::events::Event;
use crate::truth::Asked;
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
        match self.chance.range(0, 100) {
            0..60 => {
                let count = self.chance.range(1, 4);
                self.propose(to, count);
            }
            60..78 => self.read(to, ReadMode::Lease),
            78..96 => self.read(to, ReadMode::Quorum),
            _ => {
                let target = self.chance.happens(500).then(|| self.chance.pick(&ids));
                let ticket = self.ticket(to, Asked::Transfer);
                self.step(to, Input::Transfer { ticket, to: target });
            }
        }
    }

    pub fn propose(&mut self, to: NodeId, count: u64) {
        let proposals = (0..count)
            .map(|_| self.ticket(to, Asked::Proposal))
            .map(|ticket| Proposal { ticket, command: Bytes::from(ticket.0.to_le_bytes().to_vec()) });
        let proposals = proposals.collect();
        self.step(to, Input::Propose(proposals));
    }

    pub fn read(&mut self, to: NodeId, mode: ReadMode) {
        let asked = Asked::Read(self.truth.known);
        let ticket = self.ticket(to, asked);
        self.step(to, Input::Read { ticket, mode });
    }

    pub fn ticket(&mut self, node: NodeId, asked: Asked) -> Ticket {
        self.next_ticket += 1;
        self.truth.ask(node, Ticket(self.next_ticket), asked);
        Ticket(self.next_ticket)
    }
}
