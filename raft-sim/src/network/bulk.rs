//! The bulk lane of a process: frames go out to each peer one after the other, at the rate of the link.

use std::collections::BTreeMap;

use bytes::Bytes;
use raftkit_core::{LogId, NodeId};
use raftkit_net::Frame;
use raftkit_replica::{BulkId, Event, ServiceEvent, TransportReport};
use raftkit_snapshot::{ChunkNumber, SnapshotMessage};

use crate::Mark;
use crate::checks::violation::{Checked, promise};
use crate::network::Lane;
use crate::process::round::encoded;
use crate::subject::Subject;
use crate::world::{Happening, SECOND, World};

/// A frame that is being sent. It has left when its last byte is on the link.
pub(crate) struct Leaving {
    pub(crate) to: NodeId,
    pub(crate) body: Bytes,
    pub(crate) name: Option<BulkId>,
}

/// The bulk frames that a process has handed to its transport.
#[derive(Debug, Default)]
pub(crate) struct BulkLane {
    /// Time at which the last frame for each peer will have left.
    free: BTreeMap<NodeId, u64>,
    /// Number of chunks for each peer that have not left yet.
    waiting: BTreeMap<NodeId, usize>,
    /// Number of times that each chunk of each snapshot was sent to each process of each peer.
    sent: BTreeMap<(NodeId, u64, LogId, ChunkNumber), u64>,
    /// Time of the first offer of each snapshot that the process receives.
    pub(crate) offered: BTreeMap<LogId, u64>,
}

/// Upper bound on the chunks that a node may hold in memory for one peer
/// ([`SenderOptions`](raftkit_snapshot::SenderOptions)).
const CHUNKS_MAX: usize = 2;

/// Time above which a transfer counts as slow, in microseconds.
const SLOW: u64 = 10 * SECOND;

fn chunk(body: &Bytes) -> Option<(LogId, ChunkNumber)> {
    match SnapshotMessage::decode(body.clone()) {
        Ok(SnapshotMessage::Chunk { snapshot, chunk, .. }) => Some((snapshot, chunk)),
        Ok(_) | Err(_) => None,
    }
}

impl<S: Subject> World<S> {
    /// Queues a frame on the bulk lane of a node.
    pub(crate) fn send_bulk(&mut self, id: NodeId, to: NodeId, body: Bytes, name: Option<BulkId>) {
        self.tell(|| format!("{id} -> {to}  bulk, {} bytes", body.len()));
        let checked = self.check_bulk(id, to, &body);
        self.ensure(checked);
        let (now, rate, life) = (self.now, self.settings.bulk_bytes_s, self.hosts[&id].life);
        let takes = (body.len() as u64 * SECOND).checked_div(rate).unwrap_or(0);
        let free = self.with(id, |process| {
            let free = process.bulk.free.entry(to).or_default();
            *free = (*free).max(now) + takes;
            *free
        });
        let leaving = Leaving { to, body, name };
        match free {
            Some(free) if free > now => self.at(free, Happening::Leaves(id, life, leaving)),
            Some(_) | None => self.leaves(id, life, leaving),
        }
    }

    /// Sends a frame whose turn it is, if the peer can be reached.
    pub(crate) fn leaves(&mut self, id: NodeId, life: u64, leaving: Leaving) {
        let Some(process) = self.process(id, life) else { return };
        let Leaving { to, body, name } = leaving;
        if chunk(&body).is_some()
            && let Some(waiting) = process.bulk.waiting.get_mut(&to)
        {
            *waiting = waiting.saturating_sub(1);
        }
        if let Some(frame) = encoded(&Frame::Bulk { body }) {
            self.transmit(id, to, Lane::Bulk, frame);
        }
        if let Some(name) = name {
            self.give(id, ServiceEvent::Replica(Event::Transport(TransportReport::BulkLeft(name))));
        }
    }

    /// Checks that a node holds few chunks in memory, and that it sends no chunk twice without a fault.
    fn check_bulk(&mut self, id: NodeId, to: NodeId, body: &Bytes) -> Checked {
        let Some((snapshot, chunk)) = chunk(body) else { return Ok(()) };
        let counts = self.counts;
        let faults = counts.partitions
            + counts.pauses
            + counts.crashes
            + counts.stops
            + counts.wipes
            + self.network.lost
            + self.network.split;
        let is_calm = faults == 0 && self.settings.slow == 0 && !self.has_stalled();
        let life = self.hosts.get(&to).map_or(0, |host| host.life);
        let Some(process) = self.host(id).process.as_mut() else { return Ok(()) };
        let waiting = process.bulk.waiting.entry(to).or_default();
        *waiting += 1;
        promise!(
            Bounded,
            *waiting <= CHUNKS_MAX,
            "{id} has handed {waiting} chunks to its transport that have not left for {to}; {CHUNKS_MAX} are allowed"
        );
        let sent = process.bulk.sent.entry((to, life, snapshot, chunk)).or_default();
        *sent += 1;
        let times = *sent;
        promise!(
            Bounded,
            !is_calm || times == 1,
            "{id} sends chunk {chunk} of the snapshot at {snapshot} to {to} for the {times}. time, and nothing was lost"
        );
        Ok(())
    }

    fn has_stalled(&self) -> bool {
        self.marks.count(Mark::Stalled) > 0 || self.hosts.values().any(|host| host.held_until > 0)
    }

    /// Records that a snapshot was offered to a node, or installed by it, and marks a slow transfer.
    pub(crate) fn note_transfer(&mut self, id: NodeId, snapshot: LogId, installed: bool) {
        let now = self.now;
        let since = self.with(id, |process| *process.bulk.offered.entry(snapshot).or_insert(now));
        let is_slow = since.is_some_and(|since| now - since > SLOW) && self.settings.bulk_bytes_s > 0;
        self.marks.hit_if(installed && is_slow, Mark::SlowSnapshot);
    }
}
