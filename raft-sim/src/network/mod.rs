//! The network: frames of the real codec, on links that lose, delay and repeat them and that can be cut.

pub(crate) mod admit;
pub(crate) mod bulk;
pub(crate) mod connections;
pub(crate) mod narrow;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use raftkit_core::{NodeId, StoreId};
use raftkit_net::{FRAME_BYTES_MAX, Frame, FrameError};

use crate::Settings;
use crate::rng::Rng;

/// The kind byte of a Raft message's frame (raft-net's documentation).
const MESSAGE: u8 = 4;

/// One end of a connection: a process on a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) node: NodeId,
    pub(crate) life: u64,
    pub(crate) store: StoreId,
    pub(crate) incarnation: u64,
}

/// The kind of traffic that a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Raft messages and requests.
    Control,
    /// Responses, which go back on the connection that the sender of the request dialled.
    Answers,
    /// Chunks of snapshots.
    Bulk,
}

/// Bytes on their way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: NodeId,
    /// The sender, as it has identified itself in its greeting.
    pub(crate) sender: End,
    pub(crate) to: NodeId,
    pub(crate) lane: Lane,
    /// Number of the connection.
    pub(crate) connection: u64,
    /// Number of the process that the bytes are for.
    pub(crate) to_life: u64,
    /// Number of the frame that the bytes are a part of, and true for its first part; none for a whole frame.
    pub(crate) part_of: Option<(u64, bool)>,
    pub(crate) bytes: Bytes,
}

/// One lane of one direction between two nodes.
#[derive(Debug, Default)]
struct Link {
    /// Number of the connection.
    connection: u64,
    /// Both ends of the connection; none without one.
    ends: Option<(End, End)>,
    /// True when the connection is broken and neither side has noticed.
    broken: bool,
    last_arrival: u64,
    /// The part of an incomplete frame that has arrived, and the number of that frame.
    buffer: BytesMut,
    part_of: u64,
}

/// A direction between two nodes.
#[derive(Clone, Copy, Debug, Default)]
struct Way {
    blocked_until: u64,
    clogged_until: u64,
    clogged_us: u64,
    starved_until: u64,
}

/// Outcome of sending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The frame is on its way, or lost without notice.
    OnItsWay,
    /// There is no connection.
    Blocked,
    /// A part of the frame is on its way, and the connection has broken.
    Broken,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    links: BTreeMap<(NodeId, NodeId, Lane), Link>,
    ways: BTreeMap<(NodeId, NodeId), Way>,
    rng: Rng,
    numbers: u64,
    pub(crate) lost: u64,
    pub(crate) split: u64,
    pub(crate) late: u64,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            links: BTreeMap::new(),
            ways: BTreeMap::new(),
            rng: Rng::new(seed, "network"),
            numbers: 0,
            lost: 0,
            split: 0,
            late: 0,
        }
    }

    /// Cuts a direction until a time, unless it is cut for longer already.
    pub(crate) fn block(&mut self, from: NodeId, to: NodeId, until: u64) {
        let way = self.ways.entry((from, to)).or_default();
        way.blocked_until = way.blocked_until.max(until);
    }

    pub(crate) fn clog(&mut self, from: NodeId, to: NodeId, until: u64, extra_us: u64) {
        let way = self.ways.entry((from, to)).or_default();
        (way.clogged_until, way.clogged_us) = (until, extra_us);
    }

    /// Loses everything on the bulk lane of a direction until a time.
    pub(crate) fn starve(&mut self, from: NodeId, to: NodeId, until: u64) {
        self.ways.entry((from, to)).or_default().starved_until = until;
    }

    /// Ends all cuts, except in directions for which `kept` returns true.
    pub(crate) fn heal(&mut self, kept: impl Fn(NodeId, NodeId) -> bool) {
        self.ways.retain(|(from, to), _| kept(*from, *to));
    }

    pub(crate) fn is_blocked(&self, from: NodeId, to: NodeId, now: u64) -> bool {
        self.ways.get(&(from, to)).is_some_and(|way| now < way.blocked_until)
    }

    /// Time at which the last cut, delay or loss in any direction ends.
    pub(crate) fn disturbed_until(&self) -> u64 {
        let ends = |way: &Way| way.blocked_until.max(way.clogged_until).max(way.starved_until);
        self.ways.values().map(ends).max().unwrap_or(0)
    }

    /// Breaks the connection of one direction and lane. Everything on its way is lost, incomplete frames too.
    pub(crate) fn reset_lane(&mut self, from: NodeId, to: NodeId, lane: Lane) {
        if let Some(link) = self.links.get_mut(&(from, to, lane)) {
            link.break_off();
        }
    }

    /// Records a live connection.
    pub(crate) fn connect(&mut self, from: End, to: End, lane: Lane) {
        let link = self.links.entry((from.node, to.node, lane)).or_default();
        link.break_off();
        link.ends = Some((from, to));
    }

    pub(crate) fn is_connected(&self, from: End, to: End, lane: Lane) -> bool {
        self.links.get(&(from.node, to.node, lane)).is_some_and(|link| link.ends == Some((from, to)))
    }

    /// Number of the live connection of a direction and lane; none without one.
    pub(crate) fn connection(&self, from: NodeId, to: NodeId, lane: Lane) -> u64 {
        self.links.get(&(from, to, lane)).map_or(0, |link| link.connection)
    }

    /// Returns a number that was not given out before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Draws a byte, by which nodes vary the times of their attempts.
    pub(crate) fn spread(&mut self) -> u8 {
        self.rng.bits().to_le_bytes()[0]
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.rng.below(limit)
    }

    /// Time at which a single packet that is sent at `sent_at` arrives; none if it is lost.
    pub(crate) fn carry(
        &mut self,
        sent_at: u64,
        settings: &Settings,
        from: NodeId,
        to: NodeId,
    ) -> Option<u64> {
        let way = self.ways.get(&(from, to)).copied().unwrap_or_default();
        if sent_at < way.blocked_until || self.rng.permille(settings.loss) {
            return None;
        }
        Some(sent_at + self.delay(sent_at, settings, from, to, 1200))
    }

    /// Draws the delay of a number of bytes.
    fn delay(&mut self, now: u64, settings: &Settings, from: NodeId, to: NodeId, bytes: usize) -> u64 {
        let distance = if from < to { settings.ahead_us } else { settings.back_us };
        let mut delay = 40 + distance + self.rng.below(settings.delay_us);
        if self.rng.permille(settings.slow) {
            delay += self.rng.below(400_000);
        }
        let way = self.ways.get(&(from, to)).copied().unwrap_or_default();
        if now < way.clogged_until {
            delay += way.clogged_us;
        }
        delay + bytes as u64 / 100
    }

    /// Sends a frame on a live connection.
    pub(crate) fn send(
        &mut self,
        now: u64,
        settings: &Settings,
        (from, to): (End, End),
        lane: Lane,
        frame: &Bytes,
        out: &mut Vec<(u64, Packet)>,
    ) -> Sent {
        let way = self.ways.get(&(from.node, to.node)).copied().unwrap_or_default();
        if now < way.blocked_until {
            // QUIC repeats the frame until the connection is given up. A frame that was not handed to QUIC yet may be dropped.
            let repeated = lane != Lane::Bulk && way.blocked_until != u64::MAX && self.rng.permille(500);
            if !repeated {
                self.lost += 1;
                return Sent::Blocked;
            }
        }
        if self.rng.permille(settings.loss) || lane == Lane::Bulk && now < way.starved_until {
            self.lost += 1;
            return Sent::OnItsWay;
        }
        let mut at = now.max(way.blocked_until) + self.delay(now, settings, from.node, to.node, frame.len());
        let link = self.links.entry((from.node, to.node, lane)).or_default();
        if link.broken {
            self.lost += 1;
            return Sent::OnItsWay;
        }
        if !self.rng.permille(settings.reorder) {
            at = at.max(link.last_arrival + 1);
            link.last_arrival = at;
        }
        let packet = |bytes: Bytes, part_of| Packet {
            from: from.node,
            sender: from,
            to: to.node,
            lane,
            connection: link.connection,
            to_life: to.life,
            part_of,
            bytes,
        };
        if frame.len() > 2 && self.rng.permille(settings.split) {
            // The connection may break between the two parts, so that the second one never arrives.
            let middle = usize::try_from(self.rng.range(1, frame.len() as u64 - 1)).unwrap_or(1);
            self.split += 1;
            let number = self.split;
            out.push((at, packet(frame.slice(..middle), Some((number, true)))));
            if self.rng.permille(500) {
                let later = at + self.rng.below(50_000);
                link.last_arrival = link.last_arrival.max(later);
                out.push((later, packet(frame.slice(middle..), Some((number, false)))));
            } else {
                self.lost += 1;
                link.broken = true;
                return Sent::Broken;
            }
            return Sent::OnItsWay;
        }
        out.push((at, packet(frame.clone(), None)));
        // Only messages are repeated. QUIC repeats nothing, so this asks more of the protocol than it needs; requests would be
        // carried out twice.
        if frame.get(4) == Some(&MESSAGE) && self.rng.permille(settings.duplicates) {
            out.push((at + self.rng.below(200_000), packet(frame.clone(), None)));
        }
        Sent::OnItsWay
    }

    /// Takes bytes that arrive, and returns the frames that they complete.
    pub(crate) fn arrive(
        &mut self,
        settings: &Settings,
        packet: Packet,
        to_life: u64,
    ) -> Result<Vec<Frame>, FrameError> {
        let link = self.links.entry((packet.from, packet.to, packet.lane)).or_default();
        let current = link.connection == packet.connection && packet.to_life == to_life;
        let Some((number, first)) = packet.part_of else {
            if !current {
                if packet.to_life != to_life || !self.rng.permille(settings.late) {
                    return Ok(Vec::new());
                }
                self.late += 1;
            }
            return Ok(vec![raftkit_net::decode(packet.bytes)?]);
        };
        if !current {
            return Ok(Vec::new());
        }
        if first {
            // Drop the part of a frame of an earlier connection.
            link.buffer.clear();
            link.part_of = number;
        } else if link.part_of != number {
            return Ok(Vec::new());
        }
        link.buffer.extend_from_slice(&packet.bytes);
        let mut frames = Vec::new();
        while let Some(frame) = raftkit_net::split(&mut link.buffer, FRAME_BYTES_MAX)? {
            frames.push(raftkit_net::decode(frame)?);
        }
        Ok(frames)
    }
}

impl Link {
    fn break_off(&mut self) {
        self.connection += 1;
        self.ends = None;
        self.broken = false;
        self.buffer.clear();
    }
}
