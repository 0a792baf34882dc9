//! Snapshot transfers: the snapshots that peers need, the one being made, and the one that comes in.

mod incoming;
mod outgoing;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, PeerStatus, SnapshotSent, Time, WriteSeq};
use raftkit_snapshot::{Audience, ChunkNumber, Manifest, ReceiverInput, SnapshotFile, SnapshotMessage};

use crate::transfers::incoming::Incoming;
use crate::transfers::outgoing::Outgoing;
use crate::{Action, BulkId, Output, SnapshotWork};

/// Transfers in both directions, and the snapshots that the folder must keep for them.
#[derive(Debug)]
pub(crate) struct Transfers {
    outgoing: Outgoing,
    incoming: Incoming,
    /// The snapshots that the folder must keep, as of the last event.
    kept: BTreeSet<LogId>,
}

/// Results of outgoing transfers that have ended, for the core.
pub(crate) type Ended = Vec<(NodeId, SnapshotSent)>;

impl Transfers {
    pub(crate) fn new() -> Self {
        Self { outgoing: Outgoing::default(), incoming: Incoming::new(), kept: BTreeSet::new() }
    }

    /// The lowest index after which the log must stay, for the snapshots being sent or made.
    pub(crate) fn needed(&self) -> Option<LogIndex> {
        self.outgoing.needed()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [self.outgoing.next_deadline(), self.incoming.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, now: Time, applied: LogIndex, out: &mut Vec<Output>) -> Ended {
        let ended = self.outgoing.tick(now, applied, out);
        self.incoming.tick(now, out);
        self.let_go(out);
        ended
    }

    /// The core wants a snapshot sent to `to`.
    pub(crate) fn wanted(
        &mut self,
        now: Time,
        to: NodeId,
        at_least: LogIndex,
        applied: LogIndex,
        out: &mut Vec<Output>,
    ) -> Ended {
        let ended = self.outgoing.wanted(now, to, at_least, applied, out);
        self.let_go(out);
        ended
    }

    /// The core does not need the transfer to `to` any more.
    pub(crate) fn cancelled(&mut self, now: Time, to: NodeId, out: &mut Vec<Output>) {
        self.outgoing.cancelled(now, to);
        self.let_go(out);
    }

    /// Checks how far peers that have installed a snapshot have read the log. `held` is the highest index up to which
    /// the log may be cut; `led` gives the peers that this node leads.
    pub(crate) fn follow(
        &mut self,
        now: Time,
        held: LogIndex,
        led: impl FnOnce() -> BTreeMap<NodeId, PeerStatus>,
    ) {
        if self.outgoing.follows() {
            self.outgoing.follow(now, held, &led());
        }
    }

    /// The state machine has made a view, and the snapshot is being written from it.
    pub(crate) fn viewed(&mut self, id: LogId) {
        self.outgoing.viewed(id);
        self.kept.extend(self.outgoing.kept());
    }

    /// The snapshot was made, or could not be.
    pub(crate) fn built(
        &mut self,
        now: Time,
        result: Result<Manifest, String>,
        applied: LogIndex,
        out: &mut Vec<Output>,
    ) -> Ended {
        let ended = self.outgoing.built(now, result, applied, out);
        self.let_go(out);
        ended
    }

    /// A snapshot frame arrived. A frame that makes no sense is dropped: its sender asks again or gives up.
    pub(crate) fn message(
        &mut self,
        now: Time,
        from: NodeId,
        body: Bytes,
        applied: LogIndex,
        out: &mut Vec<Output>,
    ) -> Ended {
        let Ok(message) = SnapshotMessage::decode(body) else { return Ended::new() };
        let mut ended = Ended::new();
        match message.audience() {
            Audience::Receiver => {
                self.incoming.give(now, ReceiverInput::Message { from, message, applied }, out);
            }
            Audience::Sender => ended = self.outgoing.message(now, from, message, out),
        }
        self.let_go(out);
        ended
    }

    /// A large frame has left this node.
    pub(crate) fn left(&mut self, now: Time, id: BulkId, out: &mut Vec<Output>) -> Ended {
        let ended = self.outgoing.left(now, id, out);
        self.let_go(out);
        ended
    }

    /// A chunk was read for a peer, or could not be.
    pub(crate) fn chunk_read(
        &mut self,
        now: Time,
        chunk: (NodeId, LogId, ChunkNumber),
        bytes: Result<Bytes, String>,
        out: &mut Vec<Output>,
    ) -> Ended {
        let ended = self.outgoing.chunk_read(now, chunk, bytes, out);
        self.let_go(out);
        ended
    }

    /// There is a place for the incoming snapshot, which holds these chunks already.
    pub(crate) fn partial_opened(
        &mut self,
        now: Time,
        result: Result<BTreeSet<ChunkNumber>, String>,
        out: &mut Vec<Output>,
    ) {
        self.incoming.answered(now, result.map(|have| ReceiverInput::Opened { have }), out);
        self.let_go(out);
    }

    /// A chunk of the incoming snapshot was stored, or could not be.
    pub(crate) fn chunk_stored(
        &mut self,
        now: Time,
        result: Result<ChunkNumber, String>,
        out: &mut Vec<Output>,
    ) {
        self.incoming.answered(now, result.map(|chunk| ReceiverInput::Stored { chunk }), out);
        self.let_go(out);
    }

    /// The incoming snapshot is complete and durable, or could not be completed.
    pub(crate) fn whole(&mut self, now: Time, result: Result<SnapshotFile, String>, out: &mut Vec<Output>) {
        self.incoming.whole(now, result, out);
        self.let_go(out);
    }

    /// The state machine has switched to a snapshot. The log is durably up to it with the write `follows`, or is so
    /// already.
    pub(crate) fn restored(
        &mut self,
        now: Time,
        id: LogId,
        follows: Option<WriteSeq>,
        out: &mut Vec<Output>,
    ) {
        self.incoming.restored(now, id, follows, out);
        self.let_go(out);
    }

    /// The log's writes up to this one are durable.
    pub(crate) fn persisted(&mut self, seq: WriteSeq, out: &mut Vec<Output>) {
        if self.incoming.persisted(seq) {
            self.let_go(out);
        }
    }

    /// Tells the folder which snapshots to keep, once one of them is not needed any more. This is work in a queue and
    /// holds for the moment after all work before it, so a snapshot that is being received or written is named here
    /// long before it has its name in the folder.
    fn let_go(&mut self, out: &mut Vec<Output>) {
        self.outgoing.forget_unneeded();
        let kept: BTreeSet<LogId> = self.outgoing.kept().chain(self.incoming.kept()).collect();
        let before = std::mem::replace(&mut self.kept, kept);
        if !before.is_subset(&self.kept) {
            out.push(Action::Snapshot(SnapshotWork::Keep(self.kept.iter().copied().collect())).into());
        }
    }
}
