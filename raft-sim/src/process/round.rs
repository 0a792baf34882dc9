//! A round of a node's loop: take the inputs, read the clock, call the service, carry out its actions.

use raftkit_core::invariants::Before;
use raftkit_core::{Body, NodeId};
use raftkit_net::Frame;
use raftkit_replica::{
    Action, CallFailed, CallId, CallerId, Ended, Event, MachineWork, Service, ServiceAction, ServiceEvent,
    TransportReport,
};

use raftkit_snapshot::SnapshotMessage;

use crate::Mark;
use crate::network::{End, Lane, Sent};
use crate::process::host::{Asker, IoWork, Process};
use crate::run::trace::kind;
use crate::subject::Subject;
use crate::world::{Happening, MS, World};

/// Time from the arrival of an input to the round that takes it, in microseconds.
const NOTICE_US: u64 = 15;
/// Upper bound on the consecutive rounds after which the deadline is already past. A loop that exceeds it does nothing else any
/// more.
const SPINS_MAX: u32 = 1000;

impl<S: Subject> World<S> {
    /// Puts an event into a process's inbox.
    pub(crate) fn give(&mut self, id: NodeId, event: ServiceEvent) {
        let at = self.now + NOTICE_US;
        let Some(process) = self.host(id).process.as_mut() else { return };
        process.inbox.push(event);
        self.wake(id, at);
    }

    /// Wakes a process at a moment, unless it wakes before.
    pub(crate) fn wake(&mut self, id: NodeId, at: u64) {
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(process) = host.process.as_mut() else { return };
        if process.taken.is_none() && process.wake_at.is_none_or(|planned| at < planned) {
            process.wake_at = Some(at);
            let life = host.life;
            self.at(at, Happening::Wake(id, life));
        }
    }

    pub(crate) fn woken(&mut self, id: NodeId, life: u64) {
        let now = self.now;
        let host = self.hosts.get_mut(&id).expect("known");
        if host.life != life {
            return;
        }
        let paused_until = host.paused_until;
        let local = host.clock.local(now);
        let Some(process) = host.process.as_mut() else { return };
        if process.wake_at != Some(now) || process.taken.is_some() {
            return;
        }
        process.wake_at = None;
        if now < paused_until {
            host.resumed_at = paused_until;
            return self.wake(id, paused_until);
        }
        if process.inbox.is_empty() && process.service.next_deadline() > local {
            return self.arm(id);
        }
        let mut taken = std::mem::take(&mut process.inbox);
        Service::order(&mut taken);
        let planned = std::mem::take(&mut host.hiccup_us);
        let drawn = self.rng.permille(self.settings.hiccups) && !self.healed;
        let hiccup = if drawn { planned.max(self.rng.below(30 * MS)) } else { planned };
        if hiccup == 0 {
            return self.round(id, taken);
        }
        self.host(id).resumed_at = now + hiccup;
        let leads = self.leader() == Some(id);
        self.marks.hit_if(leads && hiccup > MS, Mark::HiccupOfLeader);
        if let Some(process) = self.process(id, life) {
            process.taken = Some(taken);
        }
        self.at(now + hiccup, Happening::GoOn(id, life));
    }

    pub(crate) fn go_on(&mut self, id: NodeId, life: u64) {
        let now = self.now;
        let host = self.host(id);
        let paused_until = host.paused_until;
        if now < paused_until {
            host.resumed_at = paused_until;
            return self.at(paused_until, Happening::GoOn(id, life));
        }
        let Some(process) = self.process(id, life) else { return };
        if let Some(taken) = process.taken.take() {
            self.round(id, taken);
        }
    }

    /// Plans the next wake-up by the node's own deadline.
    fn arm(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(process) = host.process.as_mut() else { return };
        let deadline = process.service.next_deadline();
        let spins = process.inbox.is_empty() && deadline <= host.clock.local(self.now);
        process.spins = if spins { process.spins + 1 } else { 0 };
        if process.spins > SPINS_MAX {
            let what = format!("{id} has a deadline that does not move: it does nothing else any more");
            return self.ensure(Err((crate::Promise::Liveness, what)));
        }
        let at = if process.inbox.is_empty() { host.clock.moment(deadline) } else { self.now };
        // Virtual time moves on between two rounds, even where the deadline is past already.
        let at = at.max(self.now + 1);
        self.wake(id, at);
    }

    fn round(&mut self, id: NodeId, taken: Vec<ServiceEvent>) {
        let now = self.now;
        let host = self.hosts.get_mut(&id).expect("known");
        let local = host.clock.local(now);
        let Some(process) = host.process.as_mut() else { return };
        let before = Before::of(process.service.replica().node());
        let mut out = Vec::new();
        let count = taken.len() as u64;
        let applied = process.service.replica().node().applied();
        let hears = taken.iter().any(crate::checks::transfers::is_for_receiver);
        process.heard.begin(&before);
        for event in taken {
            process.heard.note(&event, process.service.replica().node(), local);
            process.service.handle(local, event, &mut out);
        }
        process.service.end_round(local, &mut out);
        let node = process.service.replica().node();
        let content = [
            count,
            out.len() as u64,
            local.0,
            node.term().0,
            node.commit().0,
            node.applied().0,
            u64::from(node.is_leader()),
        ];
        self.note(kind::ROUND, id, &content);
        self.shadow_writes(id, &out);
        self.check_transfers(id, applied, hears, &out);
        self.check_round(id, &before);
        let let_go = self.follow_contacts(id);
        let mut ended = None;
        let mut stopped = false;
        for action in out {
            self.act(id, action, &mut ended, &mut stopped);
        }
        // Connections end only after the actions, as the final message to a removed peer is among these.
        for peer in let_go {
            self.let_go(id, peer);
        }
        if let Some(why) = ended {
            return self.ended_by_itself(id, &why);
        }
        if stopped && let Some(process) = self.host(id).process.as_mut() {
            process.stopped = true;
        }
        self.go_on_flushing(id);
        self.start_machine(id);
        self.start_io(id);
        self.maybe_finish(id);
        self.arm(id);
    }

    /// Carries out one action of a round. The order of the actions matters, so the caller keeps it.
    fn act(&mut self, id: NodeId, action: ServiceAction, ended: &mut Option<Ended>, stopped: &mut bool) {
        match action {
            ServiceAction::Do(Action::Send(message)) => {
                let checked = self.check_sent(id, &message).and_then(|()| self.check_said(id, &message));
                self.ensure(checked);
                self.tell(|| {
                    format!("{} -> {}  {}", message.from, message.to, crate::run::words::message(&message))
                });
                self.send_message(id, message);
            }
            ServiceAction::Do(Action::SendBulk { to, body, id: name }) => self.send_bulk(id, to, body, name),
            ServiceAction::Do(Action::Log(write)) => {
                self.tell(|| format!("{id} writes {}", crate::run::words::write(&write)));
                self.with(id, |process| process.flush.queue.push_back(write));
            }
            ServiceAction::Do(Action::Fetch(fetch)) => {
                self.with(id, |process| process.io.queue.push_back(IoWork::Fetch(fetch)));
            }
            ServiceAction::Do(Action::Machine(work)) => {
                if let MachineWork::Restore(file) = &work {
                    let at = file.manifest().id;
                    self.tell(|| format!("{id} switches to the snapshot at {at}"));
                }
                self.with(id, |process| process.machine.queue.push(work));
            }
            ServiceAction::Do(Action::Snapshot(work)) => {
                self.with(id, |process| process.io.queue.push_back(IoWork::Snapshot(work)));
            }
            ServiceAction::Do(Action::Role(role)) => {
                self.tell(|| format!("{id} is {:?} in term {}", role.role, role.term));
            }
            ServiceAction::Do(Action::Ended(why)) => *ended = Some(why),
            ServiceAction::Call { call, to, body } => self.call(id, call, to, body),
            ServiceAction::HangUp(call) => {
                self.with(id, |process| process.calls.remove(&call));
            }
            ServiceAction::Respond { caller, body } => self.respond(id, caller, body),
            ServiceAction::Reply { request, reply } => self.replied(id, request, reply),
            ServiceAction::Stopped => *stopped = true,
        }
    }

    pub(crate) fn with<T>(&mut self, id: NodeId, act: impl FnOnce(&mut Process<S>) -> T) -> Option<T> {
        self.host(id).process.as_mut().map(act)
    }

    pub(crate) fn end_of(&self, id: NodeId) -> End {
        let host = &self.hosts[&id];
        let incarnation = host.process.as_ref().map_or(0, |process| process.incarnation.0);
        End { node: id, life: host.life, store: host.store, incarnation }
    }

    /// Sends a bulk body on the connection for bulk data, which is made when it is first needed.
    pub(crate) fn put_bulk_on(&mut self, id: NodeId, to: NodeId, frame: &bytes::Bytes) {
        if self.hosts.get(&to).is_none_or(|host| host.process.is_none()) {
            return;
        }
        let (own, other) = (self.end_of(id), self.end_of(to));
        if !self.network.is_connected(own, other, Lane::Bulk) {
            let blocked =
                self.network.is_blocked(id, to, self.now) || self.network.is_blocked(to, id, self.now);
            if blocked {
                return;
            }
            if !crate::network::admit::greet(&mut self.hosts, own, other) {
                return self.hit(Mark::Refused);
            }
            self.network.connect(own, other, Lane::Bulk);
        }
        if self.send(own, other, Lane::Bulk, frame) == Sent::Broken {
            self.network.reset_lane(id, to, Lane::Bulk);
        }
    }

    /// Sends a frame on a live connection.
    pub(crate) fn send(&mut self, own: End, other: End, lane: Lane, frame: &bytes::Bytes) -> Sent {
        let content = [other.node.0, frame.len() as u64, xxhash_rust::xxh3::xxh3_64(frame)];
        self.note(kind::ACTION, own.node, &content);
        let mut packets = std::mem::take(&mut self.packets);
        let sent = self.network.send(self.now, &self.settings, (own, other), lane, frame, &mut packets);
        self.marks.hit_if(packets.iter().any(|(_, packet)| packet.part_of.is_some()), Mark::FrameSplit);
        for (at, packet) in packets.drain(..) {
            self.at(at, Happening::Arrive(packet));
        }
        self.packets = packets;
        sent
    }

    pub(crate) fn unreachable(&mut self, id: NodeId, life: u64, peer: NodeId) {
        if self.process(id, life).is_some() {
            self.hit(Mark::Unreachable);
            if self.with(id, |process| process.contacts.unreachable(peer)) == Some(true) {
                self.let_go(id, peer);
            }
            self.give(id, ServiceEvent::Replica(Event::Transport(TransportReport::Unreachable(peer))));
        }
    }

    fn call(&mut self, id: NodeId, call: CallId, to: NodeId, body: bytes::Bytes) {
        self.hit(Mark::WriteForwarded);
        self.tell(|| format!("{id} -> {to}  call {}, {} bytes", call.0, body.len()));
        self.with(id, |process| process.calls.insert(call, to));
        if let Some(frame) = encoded(&Frame::Request { id: call.0, body }) {
            self.make_call(id, call, to, frame);
        }
    }

    /// Plans the loss of a call: its connection may break at any time until the answer has come, and without an answer the
    /// caller gives up in the end.
    pub(crate) fn call_may_be_lost(&mut self, id: NodeId, call: CallId) {
        let life = self.hosts[&id].life;
        let breaks = self.settings.calls_kept == 0 && self.rng.permille(30) && !self.healed;
        self.calls_broken += u64::from(breaks);
        let most = if breaks { self.settings.commit_timeout_ms } else { 1500 };
        let round_trips = 4 * (self.settings.ahead_us + self.settings.back_us);
        let at = self.now + if breaks { 0 } else { 1200 * MS + round_trips } + self.rng.below(most * MS);
        self.at(at, Happening::CallLost(id, life, call, true));
    }

    pub(crate) fn call_lost(&mut self, id: NodeId, life: u64, call: CallId, sent: bool) {
        let Some(process) = self.process(id, life) else { return };
        if process.calls.remove(&call).is_some() {
            let result = Err(if sent { CallFailed::Lost } else { CallFailed::NotSent });
            self.give(id, ServiceEvent::Answered { call, result });
        }
    }

    fn respond(&mut self, id: NodeId, caller: CallerId, body: bytes::Bytes) {
        let Some(Some(asker)) = self.with(id, |process| process.callers.remove(&caller)) else {
            return self.ensure(Err((
                crate::Promise::OneAnswer,
                format!("{id} answered caller {} twice", caller.0),
            )));
        };
        let Asker { end: other, connection, call } = asker;
        // A response belongs on the connection of its request; on a later connection nobody waits for it.
        if self.network.connection(other.node, id, Lane::Control) != connection {
            return;
        }
        let Some(frame) = encoded(&Frame::Response { id: call.0, body: Some(body) }) else { return };
        self.transmit(id, other.node, Lane::Answers, frame);
    }

    /// Bytes arrive at a node.
    pub(crate) fn arrive(&mut self, packet: crate::network::Packet) {
        let (from, to, lane, sender) = (packet.from, packet.to, packet.lane, packet.sender);
        let connection = packet.connection;
        let host = &self.hosts[&to];
        if host.process.is_none() || self.network.is_blocked(from, to, self.now) {
            if lane == Lane::Bulk {
                self.network.reset_lane(from, to, lane);
            }
            return;
        }
        let life = host.life;
        let before = self.network.late;
        let arrived = self.network.arrive(&self.settings, packet, life);
        self.marks.hit_if(self.network.late > before, Mark::Late);
        let frames = match arrived {
            Ok(frames) => frames,
            Err(error) => {
                let what = format!("{to} got a malformed frame of {from}: {error}");
                return self.ensure(Err((crate::Promise::NoPanic, what)));
            }
        };
        for frame in frames {
            self.note(kind::ARRIVAL, to, &[from.0, u64::from(frame.kind())]);
            self.take_frame(sender, connection, to, lane, frame);
        }
    }

    fn take_frame(&mut self, sender: End, connection: u64, to: NodeId, lane: Lane, frame: Frame) {
        let from = sender.node;
        match (lane, frame) {
            (Lane::Control, Frame::Message(message)) => {
                if let Body::RequestVote(ask) = &message.body {
                    self.truth.note_candidate(message.from, message.from_store, message.term, ask.request);
                }
                if crate::network::admit::message(&self.hosts, to, sender, &message) {
                    self.give(to, ServiceEvent::Replica(Event::Transport(TransportReport::Message(message))));
                }
            }
            (Lane::Control, Frame::Request { id, body }) => {
                // The response will go back on this connection, to this process.
                let caller = self.clients.next_caller();
                let asker = Asker { end: sender, connection, call: CallId(id) };
                self.with(to, |process| process.callers.insert(caller, asker));
                self.give(to, ServiceEvent::Asked { caller, body });
            }
            (Lane::Answers, Frame::Response { id, body }) => {
                let call = CallId(id);
                let waits = self.with(to, |process| process.calls.remove(&call).is_some()) == Some(true);
                if waits {
                    let result = body.ok_or(CallFailed::Lost);
                    self.give(to, ServiceEvent::Answered { call, result });
                }
            }
            (Lane::Bulk, Frame::Bulk { body }) => {
                if let Ok(SnapshotMessage::Offer(manifest)) = SnapshotMessage::decode(body.clone()) {
                    self.note_transfer(to, manifest.id, false);
                }
                self.give(to, ServiceEvent::Replica(Event::Transport(TransportReport::Bulk { from, body })));
            }
            (_, other) => {
                let what = format!("{to} got a frame of kind {} where none belongs", other.kind());
                self.ensure(Err((crate::Promise::NoPanic, what)));
            }
        }
    }
}

pub(crate) fn encoded(frame: &Frame) -> Option<bytes::Bytes> {
    let mut buffer = bytes::BytesMut::new();
    raftkit_net::encode_frame(frame, &mut buffer).ok()?;
    Some(buffer.freeze())
}
