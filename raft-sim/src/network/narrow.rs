//! Links with a rate. Frames that the network cannot take yet wait at the sender as they do in the shipping transport: messages in
//! raft-net's queue with its lanes, requests and bulk bodies after them. Answers go on another connection, and two
//! connections use a link in turns.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use raftkit_core::{Message, NodeId};
use raftkit_net::queue::{Queue, Urgency};

use crate::Mark;
use crate::network::Lane;
use crate::subject::Subject;
use crate::world::{Happening, World};

/// Upper bound on the bytes that the transport queues for a peer.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// All directions, while links have a rate.
#[derive(Debug, Default)]
pub(crate) struct Narrow(BTreeMap<(NodeId, NodeId), Way>);

/// A direction from one node to another.
#[derive(Debug)]
struct Way {
    /// Number of the sending process.
    life: u64,
    messages: Queue,
    others: VecDeque<(Lane, Bytes)>,
    /// Answers, each with the number of the connection of its request: an answer goes back on that connection or is dropped.
    answers: VecDeque<(u64, Bytes)>,
    /// True when the last turn was that of the connection with the answers.
    answered: bool,
    /// Time at which the link will have carried everything that it was given.
    free_at: u64,
    /// True when an event is planned that gives the link more.
    planned: bool,
}

impl Way {
    fn new(life: u64) -> Self {
        let messages = Queue::new(QUEUE_BYTES_MAX);
        let (others, answers) = (VecDeque::new(), VecDeque::new());
        Self { life, messages, others, answers, answered: false, free_at: 0, planned: false }
    }

    /// Removes and returns the frame to send next, if any waits. `asked_on` is the number of the connection that the other
    /// node has dialled: answers to requests of an earlier one are dropped.
    fn next(&mut self, asked_on: u64) -> Option<(Lane, Bytes)> {
        self.answers.retain(|(connection, _)| *connection == asked_on);
        self.answered = !self.answered && !self.answers.is_empty();
        let answer = if self.answered { self.answers.pop_front() } else { None };
        answer.map(|(_, frame)| (Lane::Answers, frame)).or_else(|| self.next_of_own())
    }

    /// Removes and returns the next frame of the connection that this node has dialled: urgent messages first, then entries, then
    /// everything else, by the priorities of their streams.
    fn next_of_own(&mut self) -> Option<(Lane, Bytes)> {
        let message = [Urgency::Urgent, Urgency::Bulky].into_iter().find_map(|urgency| {
            // A limit of one byte takes one message.
            self.messages.take(urgency, 1).pop()
        });
        match message {
            Some(message) => {
                let mut frame = BytesMut::new();
                let encoded = raftkit_net::encode_message(&message, &mut frame);
                encoded.ok().map(|()| (Lane::Control, frame.freeze()))
            }
            None => self.others.pop_front(),
        }
    }
}

impl<S: Subject> World<S> {
    /// Sends a message on a live connection, at once or when its link has carried the frames before it.
    pub(crate) fn transmit_message(&mut self, id: NodeId, message: Message) {
        let to = message.to;
        if self.settings.link_kbps == 0 {
            let mut frame = BytesMut::new();
            if raftkit_net::encode_message(&message, &mut frame).is_ok() {
                self.put_on(id, to, Lane::Control, &frame.freeze());
            }
            return;
        }
        if self.way(id, to).messages.push(message).is_none() {
            let life = self.hosts[&id].life;
            self.at(self.now, Happening::Unreachable(id, life, to));
        }
        self.pump(id, to);
    }

    /// Sends any other frame in the same way.
    pub(crate) fn transmit(&mut self, id: NodeId, to: NodeId, lane: Lane, frame: Bytes) {
        if self.settings.link_kbps == 0 {
            return self.put_on(id, to, lane, &frame);
        }
        let asked_on = self.network.connection(to, id, Lane::Control);
        let way = self.way(id, to);
        match lane {
            Lane::Answers => way.answers.push_back((asked_on, frame)),
            Lane::Control | Lane::Bulk => way.others.push_back((lane, frame)),
        }
        self.pump(id, to);
    }

    fn way(&mut self, id: NodeId, to: NodeId) -> &mut Way {
        let life = self.hosts[&id].life;
        let way = self.narrow.0.entry((id, to)).or_insert_with(|| Way::new(life));
        if way.life != life {
            // Frames that waited in the earlier process are gone with it.
            *way = Way { free_at: way.free_at, ..Way::new(life) };
        }
        way
    }

    /// Gives a link as many frames as its queue in the network takes now, and plans to go on when the queue takes more.
    pub(crate) fn pump(&mut self, id: NodeId, to: NodeId) {
        let (now, life, kbps) = (self.now, self.hosts[&id].life, self.settings.link_kbps);
        let queue_us = (self.settings.link_queue_kib * 1024 * 1000).checked_div(kbps).unwrap_or(u64::MAX);
        let mut frames = Vec::new();
        let asked_on = self.network.connection(to, id, Lane::Control);
        let way = self.way(id, to);
        let mut next_look = None;
        loop {
            if way.free_at > now.saturating_add(queue_us) {
                next_look = (!way.planned).then_some(way.free_at - queue_us);
                way.planned = true;
                break;
            }
            let Some((lane, frame)) = way.next(asked_on) else { break };
            let takes = (frame.len() as u64 * 1000).checked_div(kbps).unwrap_or(0);
            way.free_at = way.free_at.max(now) + takes;
            frames.push((way.free_at, lane, frame));
        }
        for (at, lane, frame) in frames {
            let asked_on = (lane == Lane::Answers).then_some(asked_on);
            self.at(at, Happening::Carried { from: id, life, to, lane, asked_on, frame });
        }
        if let Some(at) = next_look {
            self.hit(Mark::LinkFull);
            self.at(at, Happening::Pump(id, to));
        }
    }

    /// Goes on with a link whose queue takes more.
    pub(crate) fn pump_again(&mut self, id: NodeId, to: NodeId) {
        self.way(id, to).planned = false;
        self.pump(id, to);
    }

    /// Delivers a frame that a link has carried. It is lost if the sending process, or the connection of an answer, is gone.
    pub(crate) fn carried(
        &mut self,
        (id, life): (NodeId, u64),
        to: NodeId,
        (lane, asked_on): (Lane, Option<u64>),
        frame: &Bytes,
    ) {
        let stands = asked_on.is_none_or(|number| number == self.network.connection(to, id, Lane::Control));
        if stands && self.process(id, life).is_some() {
            self.put_on(id, to, lane, frame);
        }
    }

    /// Removes the rates of all links.
    pub(crate) fn widen_all(&mut self) {
        let ways: Vec<_> = self.narrow.0.keys().copied().collect();
        for (id, to) in ways {
            self.pump(id, to);
        }
    }
}
