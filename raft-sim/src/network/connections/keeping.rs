//! Connections that nodes keep, and their loss.

use raftkit_core::{Message, NodeId, StoreId};
use raftkit_replica::CallId;

use super::{Outgoing, moment, pair};
use crate::Mark;
use crate::network::{End, Lane, Sent};
use crate::subject::Subject;
use crate::world::{Happening, MS, SECOND, World};

/// Time for which a removed peer is still dialled because messages are queued for it, as in the transport.
const PARTING_MAX: u64 = 60 * SECOND;

impl<S: Subject> World<S> {
    /// Adjusts the connections of a process to its membership. Returns the peers to disconnect once the round's messages are sent.
    pub(crate) fn follow_contacts(&mut self, id: NodeId) -> Vec<NodeId> {
        let Some(change) = self.with(id, |process| process.contacts.update(process.service.replica().node()))
        else {
            return Vec::new();
        };
        let Some(change) = change else { return Vec::new() };
        for (peer, member) in &change.keep {
            let known = self.with(id, |process| {
                let outgoing = process.outgoing.get(peer);
                outgoing.is_some_and(|it| it.store == member.store && it.parts_at.is_none())
            });
            if known == Some(false) {
                self.begin_to_dial(id, *peer, member.store);
            }
        }
        change.let_go
    }

    fn begin_to_dial(&mut self, id: NodeId, peer: NodeId, store: StoreId) {
        let outgoing = Outgoing::new(store, &self.settings);
        self.with(id, |process| process.outgoing.insert(peer, outgoing));
        self.network.reset_lane(id, peer, Lane::Control);
        self.look_by(id, peer, self.now);
    }

    /// Stops keeping a connection to a node. Queued messages are still sent if possible.
    pub(crate) fn let_go(&mut self, id: NodeId, peer: NodeId) {
        let until = self.now + PARTING_MAX;
        self.with(id, |process| {
            if let Some(outgoing) = process.outgoing.get_mut(&peer) {
                outgoing.parts_at = Some(until);
            }
        });
        self.part_if_due(id, peer);
    }

    /// Ends the connection to a node that is no peer any more, once no message waits for it.
    pub(super) fn part_if_due(&mut self, id: NodeId, peer: NodeId) {
        let gone = self.with(id, |process| {
            let over = process
                .outgoing
                .get(&peer)
                .is_some_and(|it| it.parts_at.is_some() && (it.standing.is_some() || it.queue.bytes() == 0));
            if over {
                process.outgoing.remove(&peer);
            }
            over
        });
        if gone == Some(true) {
            self.hit(Mark::PeerLetGo);
            self.tell(|| format!("{}  let go of", pair(id, peer)));
        }
    }

    /// Sends a message, or keeps it until there is a connection.
    pub(crate) fn send_message(&mut self, id: NodeId, message: Message) {
        let to = message.to;
        // A node that the membership does not name is dialled when there is an answer for it.
        if let Some(Some(caller)) = self.with(id, |process| process.contacts.tells(to)) {
            self.hit(Mark::StrangerAnswered);
            self.begin_to_dial(id, to, caller.store);
        }
        let Some(outgoing) = self.with(id, |process| process.outgoing.get(&to).map(Outgoing::connected))
        else {
            return;
        };
        match outgoing {
            // The process keeps no connection to this node.
            None => {}
            Some(None) => {
                self.hit(Mark::MessageWaited);
                self.with(id, |process| {
                    if let Some(outgoing) = process.outgoing.get_mut(&to) {
                        outgoing.queue(message);
                    }
                });
            }
            Some(Some(_)) => self.transmit_message(id, message),
        }
    }

    /// Sends a frame on its connection. Without one the frame is lost.
    pub(crate) fn put_on(&mut self, id: NodeId, to: NodeId, lane: Lane, frame: &bytes::Bytes) {
        match lane {
            Lane::Control => {
                let connected = self
                    .with(id, |process| process.outgoing.get(&to).and_then(Outgoing::connected))
                    .flatten();
                if let Some((other, number)) = connected {
                    self.send_on(self.end_of(id), other, number, frame);
                }
            }
            Lane::Answers => self.answer_on(id, to, frame),
            Lane::Bulk => self.put_bulk_on(id, to, frame),
        }
    }

    /// Sends a frame on a live connection, which may break in the middle of the frame.
    fn send_on(&mut self, own: End, other: End, number: u64, frame: &bytes::Bytes) {
        if self.send(own, other, Lane::Control, frame) == Sent::Broken {
            let at = self.now + 60 * MS;
            self.at(at, Happening::Lost(own.node, own.life, other.node, number));
        }
    }

    /// Sends a response on the connection that the sender of the request has dialled.
    fn answer_on(&mut self, id: NodeId, asker: NodeId, frame: &bytes::Bytes) {
        let own = self.end_of(id);
        let connected =
            self.with(asker, |process| process.outgoing.get(&id).and_then(Outgoing::connected)).flatten();
        if connected.is_none_or(|(other, _)| other.life != own.life) {
            return;
        }
        let other = self.end_of(asker);
        if !self.network.is_connected(own, other, Lane::Answers) {
            self.network.connect(own, other, Lane::Answers);
        }
        if self.send(own, other, Lane::Answers, frame) == Sent::Broken {
            self.connection_lost(asker, id, "it broke");
        }
    }

    /// Makes a call, or keeps it until there is a connection. If no connection is being made, the call fails as certainly not sent.
    pub(crate) fn make_call(&mut self, id: NodeId, call: CallId, to: NodeId, frame: bytes::Bytes) {
        let connected = self.with(id, |process| process.outgoing.get(&to).map(Outgoing::connected)).flatten();
        match connected {
            Some(Some(_)) => self.call_on(id, to, call, frame),
            Some(None) | None => {
                let waits = self.with(id, |process| {
                    process.outgoing.get_mut(&to).is_some_and(|outgoing| outgoing.wait(call, frame))
                });
                if waits != Some(true) {
                    let (at, life) = (self.now + self.network.below(20 * MS), self.hosts[&id].life);
                    self.at(at, Happening::CallLost(id, life, call, false));
                }
            }
        }
    }

    pub(super) fn call_on(&mut self, id: NodeId, to: NodeId, call: CallId, frame: bytes::Bytes) {
        self.transmit(id, to, Lane::Control, frame);
        self.call_may_be_lost(id, call);
    }

    /// Checks a connection from time to time: QUIC sends keep-alives, and gives up a peer that is silent for too long.
    pub(crate) fn keep(&mut self, id: NodeId, life: u64, peer: NodeId, number: u64) {
        let now = self.now;
        let paused_until = self.hosts[&id].paused_until;
        if now < paused_until {
            return self.at(paused_until, Happening::Keep(id, life, peer, number));
        }
        let Some(process) = self.process(id, life) else { return };
        let Some(outgoing) = process.outgoing.get(&peer).filter(|it| it.number == number) else { return };
        let Some(standing) = outgoing.standing else { return };
        let host = &self.hosts[&peer];
        let (is_there, is_it) =
            (host.process.is_some() && now >= host.paused_until, host.life == standing.other.life);
        let passes = !self.network.is_blocked(id, peer, now) && !self.network.is_blocked(peer, id, now);
        if passes && is_there && !is_it {
            // A process answers packets for connections of its predecessor with a stateless reset (RFC 9000, section 10.3).
            return self.connection_lost(id, peer, "the other process no longer knows it");
        }
        let heard_at = if passes && is_there { now } else { standing.heard_at };
        let silent_max = (self.settings.election_timeout_ms * MS).max(4 * standing.round_trip);
        if now - heard_at >= silent_max {
            self.hit(Mark::PeerSilent);
            return self.connection_lost(id, peer, "it fell silent");
        }
        self.with(id, |process| {
            if let Some(standing) = process.outgoing.get_mut(&peer).and_then(|it| it.standing.as_mut()) {
                standing.heard_at = heard_at;
            }
        });
        self.keep_later(id, peer, number);
    }

    pub(super) fn keep_later(&mut self, id: NodeId, peer: NodeId, number: u64) {
        let (at, life) = (self.now + self.settings.election_timeout_ms * MS / 4, self.hosts[&id].life);
        self.at(at, Happening::Keep(id, life, peer, number));
    }

    /// Breaks a connection, unless another one has replaced it.
    pub(crate) fn lose(&mut self, id: NodeId, life: u64, peer: NodeId, number: u64) {
        let process = self.process(id, life);
        let outgoing = process.and_then(|process| process.outgoing.get(&peer));
        if outgoing.is_some_and(|it| it.number == number && it.standing.is_some()) {
            self.connection_lost(id, peer, "it broke");
        }
    }

    /// Handles the loss of a connection with everything on it.
    pub(crate) fn connection_lost(&mut self, id: NodeId, peer: NodeId, why: &str) {
        let (now, spread, life) = (self.now, self.network.spread(), self.hosts[&id].life);
        let was = self.with(id, |process| {
            let outgoing = process.outgoing.get_mut(&peer)?;
            let standing = outgoing.standing.take()?;
            outgoing.dialler.lost(moment(now), moment(standing.round_trip), spread);
            outgoing.queue.set_newest_only(true);
            Some(())
        });
        if was.flatten().is_none() {
            return;
        }
        self.tell(|| format!("{}  connection lost: {why}", pair(id, peer)));
        self.network.reset_lane(id, peer, Lane::Control);
        // Responses to the node's requests were to come back on the same connection.
        self.network.reset_lane(peer, id, Lane::Answers);
        self.at(now, Happening::Unreachable(id, life, peer));
        self.look_by(id, peer, now);
    }

    /// Tells peers that a process ends.
    pub(crate) fn farewell(&mut self, id: NodeId) {
        let to_it: Vec<(NodeId, u64, u64)> = self
            .hosts
            .values()
            .filter_map(|host| {
                let outgoing = host.process.as_ref()?.outgoing.get(&id)?;
                outgoing.standing.map(|_| (host.id, host.life, outgoing.number))
            })
            .collect();
        for (peer, life, number) in to_it {
            if let Some(at) = self.network.carry(self.now, &self.settings, id, peer) {
                self.at(at, Happening::Lost(peer, life, id, number));
            }
        }
    }

    /// Describes the first of these nodes that has no connection to another one which its membership names; none if there is none.
    pub(crate) fn unconnected(&self, among: &[NodeId]) -> Option<String> {
        let lacks = |from: &NodeId, to: &NodeId| {
            let Some(process) = self.hosts[from].process.as_ref() else { return true };
            if !process.service.replica().node().membership().contains(*to) {
                return false;
            }
            let outgoing = process.outgoing.get(to);
            let other = outgoing.and_then(Outgoing::connected).map(|(other, _)| other.life);
            other != Some(self.hosts[to].life)
        };
        let pairs = among.iter().flat_map(|from| among.iter().map(move |to| (from, to)));
        pairs
            .filter(|(from, to)| from != to)
            .find(|(from, to)| lacks(from, to))
            .map(|(from, to)| format!("{from} has no connection to {to}"))
    }
}
