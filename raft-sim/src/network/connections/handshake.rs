//! Attempts to connect: their packets in both directions, and the decisions of both sides.

use raftkit_core::{Incarnation, NodeId};
use raftkit_net::dialling::{Called, PeerIncarnation, Progress, Step};
use raftkit_net::queue::Urgency;

use super::{moment, pair, us};
use crate::Mark;
use crate::network::{End, Lane};
use crate::subject::Subject;
use crate::world::{Happening, MS, World};

/// Time after which a packet without an answer is repeated, in microseconds. It doubles each time, as QUIC's time-out does on a
/// path that it has not measured yet.
const REPEATED_AFTER: u64 = 99 * MS;
/// Upper bound on the repetitions of a packet. An attempt ends earlier.
const REPEATS_MAX: u32 = 7;

/// A packet of a handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shake {
    /// The dialling side.
    from: End,
    /// The node that is dialled.
    to: NodeId,
    /// The process that has answered; none before the first answer.
    other: Option<End>,
    number: u64,
    stage: Stage,
    /// Time at which this packet, or the one that it answers, was sent. The round trip is measured by it.
    sent_at: u64,
    answers: u64,
    /// Number of times that the packet arrived while no process was there.
    tries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    First,
    Answer,
    Greeting,
    /// The other side's greeting (true) or its refusal.
    Greeted(bool),
}

impl Shake {
    fn towards_dialled(&self) -> bool {
        match self.stage {
            Stage::First | Stage::Greeting => true,
            Stage::Answer | Stage::Greeted(_) => false,
        }
    }
}

impl<S: Subject> World<S> {
    /// Asks the dialler of a node for the next step of its connection to a peer.
    pub(crate) fn look(&mut self, id: NodeId, life: u64, peer: NodeId) {
        let (now, spread) = (self.now, self.network.spread());
        let paused_until = self.hosts[&id].paused_until;
        let Some(process) = self.process(id, life) else { return };
        let Some(outgoing) = process.outgoing.get_mut(&peer) else { return };
        if outgoing.look_at != Some(now) {
            return;
        }
        outgoing.look_at = None;
        if now < paused_until {
            return self.look_by(id, peer, paused_until);
        }
        if outgoing.parts_at.is_some_and(|at| at <= now) {
            process.outgoing.remove(&peer);
            return;
        }
        match outgoing.dialler.step(moment(now), spread) {
            Step::Wait { until: None } => {}
            Step::Wait { until: Some(until) } => self.look_by(id, peer, us(until)),
            Step::GiveUp { .. } => {
                self.hit(Mark::DialTimedOut);
                self.attempt_failed(id, peer);
            }
            Step::Dial { .. } => self.dial(id, life, peer),
        }
    }

    /// Plans to ask the dialler at a time, unless an earlier time is planned.
    pub(super) fn look_by(&mut self, id: NodeId, peer: NodeId, at: u64) {
        let (at, life) = (at.max(self.now), self.hosts[&id].life);
        let Some(outgoing) = self.with(id, |process| process.outgoing.get_mut(&peer).map(|it| it.look_at))
        else {
            return;
        };
        if outgoing.is_some_and(|planned| planned.is_none_or(|planned| at < planned)) {
            self.with(id, |process| {
                if let Some(outgoing) = process.outgoing.get_mut(&peer) {
                    outgoing.look_at = Some(at);
                }
            });
            self.at(at, Happening::Dialler(id, life, peer));
        }
    }

    fn dial(&mut self, id: NodeId, life: u64, peer: NodeId) {
        let number = self.network.next_number();
        let Some(outgoing) = self.process(id, life).and_then(|process| process.outgoing.get_mut(&peer))
        else {
            return;
        };
        outgoing.number = number;
        self.look_by(id, peer, self.now);
        let stage = Stage::First;
        let shake = Shake {
            from: self.end_of(id),
            to: peer,
            other: None,
            number,
            stage,
            sent_at: self.now,
            answers: self.now,
            tries: 0,
        };
        self.carry(shake);
    }

    fn carry(&mut self, shake: Shake) {
        let (from, to) = (shake.from.node, shake.to);
        let (sender, receiver) = if shake.towards_dialled() { (from, to) } else { (to, from) };
        if !self.hosts.contains_key(&receiver) {
            return;
        }
        // Packets that are lost, or that meet a cut, are repeated.
        let mut sent_at = self.now;
        for repeat in 0..REPEATS_MAX {
            if let Some(at) = self.network.carry(sent_at, &self.settings, sender, receiver) {
                return self.at(at, Happening::Shake(Shake { sent_at, ..shake }));
            }
            sent_at += REPEATED_AFTER << repeat;
        }
    }

    /// A packet of a handshake arrives.
    pub(crate) fn shake(&mut self, shake: Shake) {
        let at = if shake.towards_dialled() { shake.to } else { shake.from.node };
        let host = &self.hosts[&at];
        if self.now < host.paused_until {
            return self.at(host.paused_until, Happening::Shake(shake));
        }
        if host.process.is_none() {
            let again = shake.stage == Stage::First && shake.tries < REPEATS_MAX;
            if again {
                let at = self.now + (REPEATED_AFTER << shake.tries);
                let tries = shake.tries + 1;
                self.at(at, Happening::Shake(Shake { tries, sent_at: at, ..shake }));
            }
            return;
        }
        match shake.stage {
            Stage::First => {
                let (other, answers) = (Some(self.end_of(shake.to)), shake.sent_at);
                self.carry(Shake { stage: Stage::Answer, other, answers, ..shake });
            }
            Stage::Greeting if shake.other.is_some_and(|other| other.life == host.life) => {
                self.greeted_by(shake)
            }
            // The greeting is for a process that has ended.
            Stage::Greeting => {}
            Stage::Answer if self.is_current(shake) => self.answered(shake),
            Stage::Greeted(welcome) if self.is_current(shake) => self.welcomed(shake, welcome),
            // The packet belongs to an attempt that was given up.
            Stage::Answer | Stage::Greeted(_) => {}
        }
    }

    fn is_current(&self, shake: Shake) -> bool {
        let host = &self.hosts[&shake.from.node];
        let outgoing = host.process.as_ref().and_then(|process| process.outgoing.get(&shake.to));
        host.life == shake.from.life
            && outgoing.is_some_and(|it| it.number == shake.number && it.standing.is_none())
    }

    fn answered(&mut self, shake: Shake) {
        let now = moment(self.now);
        let round_trip = moment(self.now - shake.answers);
        self.with(shake.from.node, |process| {
            if let Some(outgoing) = process.outgoing.get_mut(&shake.to) {
                outgoing.dialler.progress(now, Progress::Answered);
                outgoing.dialler.progress(now, Progress::Connected { round_trip });
            }
        });
        self.look_by(shake.from.node, shake.to, self.now);
        self.carry(Shake { stage: Stage::Greeting, answers: shake.sent_at, ..shake });
    }

    /// Handles the dialling side's greeting: it is checked, and shows that the node is there.
    fn greeted_by(&mut self, shake: Shake) {
        let (dialler, own) = (shake.from, self.end_of(shake.to));
        let welcome = crate::network::admit::admit_dialler(&mut self.hosts, dialler, own);
        if welcome {
            self.called(shake.to, dialler, self.now - shake.answers);
        } else {
            self.hit(Mark::Refused);
        }
        self.carry(Shake { stage: Stage::Greeted(welcome), ..shake });
    }

    /// Handles a dial to `id`, which may change the connection in the other direction.
    fn called(&mut self, id: NodeId, caller: End, round_trip: u64) {
        let now = moment(self.now);
        self.with(id, |process| process.contacts.called(caller.node, caller.store, ""));
        let peer = PeerIncarnation { store: caller.store, incarnation: Incarnation(caller.incarnation) };
        let Some(outgoing) = self.with(id, |process| {
            process.outgoing.get_mut(&caller.node).map(|outgoing| {
                let attempting = outgoing.standing.is_none() && outgoing.look_at.is_some();
                (outgoing.dialler.called(now, peer, moment(round_trip)), attempting)
            })
        }) else {
            return;
        };
        match outgoing {
            None | Some((Called::Stays, _)) => {}
            Some((Called::Changed, attempting)) => {
                self.marks.hit_if(attempting, Mark::DialsCrossed);
                self.look_by(id, caller.node, self.now);
            }
            Some((Called::Outlived, _)) => {
                self.hit(Mark::ConnectionOutlived);
                self.connection_lost(id, caller.node, "a later incarnation has called");
            }
        }
    }

    /// Handles the other side's greeting or refusal.
    fn welcomed(&mut self, shake: Shake, welcome: bool) {
        let (own, peer, now) = (shake.from, shake.to, self.now);
        let id = own.node;
        let admitted = shake
            .other
            .filter(|other| welcome && crate::network::admit::admit_dialled(&mut self.hosts, own, *other));
        let spread = self.network.spread();
        let Some(other) = admitted else {
            self.hit(Mark::Refused);
            self.with(id, |process| {
                if let Some(outgoing) = process.outgoing.get_mut(&peer) {
                    outgoing.dialler.failed(moment(now), spread);
                }
            });
            return self.attempt_failed(id, peer);
        };
        let greeted = PeerIncarnation { store: other.store, incarnation: Incarnation(other.incarnation) };
        let Some(Some((messages, calls))) = self.with(id, |process| {
            process.outgoing.get_mut(&peer).map(|outgoing| {
                outgoing.dialler.greeted(moment(now), greeted);
                let round_trip = outgoing.dialler.round_trip().map_or(0, us);
                outgoing.standing = Some(super::Standing { other, heard_at: now, round_trip });
                outgoing.down = false;
                outgoing.queue.set_newest_only(false);
                let messages: Vec<_> = [Urgency::Urgent, Urgency::Bulky]
                    .into_iter()
                    .flat_map(|urgency| outgoing.queue.take(urgency, usize::MAX))
                    .collect();
                (messages, std::mem::take(&mut outgoing.waiting))
            })
        }) else {
            return;
        };
        self.tell(|| format!("{}  connected", pair(id, peer)));
        self.network.connect(own, other, Lane::Control);
        for message in messages {
            self.transmit_message(id, message);
        }
        for (call, frame) in calls {
            self.call_on(id, peer, call, frame);
        }
        self.keep_later(id, peer, shake.number);
        self.part_if_due(id, peer);
    }

    /// Fails the calls that wait for an attempt.
    fn attempt_failed(&mut self, id: NodeId, peer: NodeId) {
        let life = self.hosts[&id].life;
        let Some(Some(calls)) = self.with(id, |process| {
            process.outgoing.get_mut(&peer).map(|outgoing| {
                outgoing.down = true;
                outgoing.queue.set_newest_only(true);
                std::mem::take(&mut outgoing.waiting)
            })
        }) else {
            return;
        };
        for (call, _) in calls {
            self.at(self.now, Happening::CallLost(id, life, call, false));
        }
        self.at(self.now, Happening::Unreachable(id, life, peer));
        self.look_by(id, peer, self.now);
    }
}
