//! Outgoing snapshots: made when a peer needs one, and sent to all peers that need one.

use std::collections::BTreeMap;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, PeerStatus, SnapshotSent, Time};
use raftkit_snapshot::{
    Cargo, ChunkNumber, Manifest, Sender, SenderInput, SenderOptions, SenderOutput, SnapshotMessage,
};

use crate::transfers::Ended;
use crate::transfers::peer::{Peer, RETRY_AFTER};
use crate::{Action, BulkId, MachineWork, Output, SnapshotWork};

/// Drives the senders of snapshots, and the making of snapshots.
///
/// A snapshot may have gigabytes, so one that was made is used for all peers that need one, and for all their
/// retries, as long as the log continues from it. Two bounds keep that from lasting: the file is removed with the
/// last [`Peer`] that may need it, and the log behind it is cut regardless once it exceeds
/// [`transfer_bytes_max`](crate::CompactionOptions::transfer_bytes_max). The core does not ask again for a peer that
/// is gone, and such a peer is forgotten after a while.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    peers: BTreeMap<NodeId, Peer>,
    making: Option<Making>,
    /// The newest snapshot made on this node, while a peer may need it.
    latest: Option<Manifest>,
    /// Offers and chunks given to the transport that have not left this node. They outlive their sender, because the
    /// next sender to the same peer must know what is before it on the link.
    leaving: BTreeMap<BulkId, (NodeId, LogId, Cargo)>,
    next_bulk: u64,
}

/// The snapshot that is being made.
#[derive(Clone, Copy, Debug)]
enum Making {
    /// The state machine was asked for a view, which will include at least this index.
    Viewing(LogIndex),
    /// The snapshot with this last entry is being written.
    Writing(LogId),
}

impl Making {
    /// The snapshot is usable if the log stays from after this index on.
    fn floor(self) -> LogIndex {
        match self {
            Self::Viewing(applied) => applied,
            Self::Writing(id) => id.index,
        }
    }
}

impl Outgoing {
    /// The lowest index after which the log must stay, for the snapshots being sent or made.
    pub(crate) fn needed(&self) -> Option<LogIndex> {
        let making = self.making.map(Making::floor);
        let peers = self.peers.values().filter_map(Peer::needs_log_from);
        let sent = peers.chain(self.latest.as_ref().map(|manifest| manifest.id.index));
        sent.chain(making).min()
    }

    /// The snapshots made here that must stay on disk.
    pub(crate) fn kept(&self) -> impl Iterator<Item = LogId> + '_ {
        let sent = self.peers.values().filter_map(Peer::sent);
        // A snapshot counts from the moment its file may get its name, which is before this node hears of that.
        let made = self.making.and_then(|making| match making {
            Making::Viewing(_) => None,
            Making::Writing(id) => Some(id),
        });
        sent.chain(made).chain(self.latest.as_ref().map(|it| it.id))
    }

    /// Forgets the newest snapshot if no peer needs it.
    pub(crate) fn forget_unneeded(&mut self) {
        if !self.peers.values().any(Peer::needs_latest) {
            self.latest = None;
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.peers.values().filter_map(Peer::next_deadline).min()
    }

    pub(crate) fn tick(&mut self, now: Time, applied: LogIndex, out: &mut Vec<Output>) -> Ended {
        let due = |peer: &Peer| peer.next_deadline().is_some_and(|at| at <= now);
        let due: Vec<NodeId> = self.peers.iter().filter(|(_, peer)| due(peer)).map(|(to, _)| *to).collect();
        let mut ended = Ended::new();
        for to in due {
            match self.peers.get(&to) {
                Some(Peer::Sending(_)) => ended.extend(self.give(now, to, SenderInput::Tick, out)),
                Some(Peer::Failed { asked: Some(at_least), .. }) => {
                    ended.extend(self.begin(now, to, *at_least, applied, out));
                }
                Some(Peer::Failed { asked: None, .. }) => {
                    self.peers.remove(&to);
                }
                // Decided by the next check of how far the peer has read.
                Some(Peer::CatchingUp { .. }) | Some(Peer::Waiting(_)) | None => {}
            }
        }
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
        if let Some(Peer::Failed { at, asked }) = self.peers.get_mut(&to)
            && now < at.after(RETRY_AFTER)
        {
            *asked = Some(at_least);
            return Ended::new();
        }
        self.begin(now, to, at_least, applied, out)
    }

    fn begin(
        &mut self,
        now: Time,
        to: NodeId,
        at_least: LogIndex,
        applied: LogIndex,
        out: &mut Vec<Output>,
    ) -> Ended {
        match self.latest.clone().filter(|manifest| manifest.id.index >= at_least) {
            Some(manifest) => self.start(now, to, manifest, out),
            None => {
                // The log starts after the snapshot by now, so only transfers that are under way can still use it.
                self.latest = None;
                self.peers.insert(to, Peer::Waiting(at_least));
                self.make(applied, out);
                Ended::new()
            }
        }
    }

    /// The core does not need the transfer any more. In most cases the peer is known to have installed the snapshot
    /// before it says so itself.
    pub(crate) fn cancelled(&mut self, now: Time, to: NodeId) {
        if let Some(Peer::Sending(sender)) = self.peers.remove(&to) {
            let from = sender.manifest().id.index;
            self.peers.insert(to, Peer::CatchingUp { from, since: now });
        }
    }

    /// Checks how far peers that have installed a snapshot have read the log: `held` is the highest index up to which
    /// the log may be cut, and `led` are the peers that this node leads.
    pub(crate) fn follow(&mut self, now: Time, held: LogIndex, led: &BTreeMap<NodeId, PeerStatus>) {
        let matches = |to: &NodeId| led.get(to).map(|peer| peer.match_index);
        self.peers.retain(|to, peer| peer.still_behind(now, held, matches(to)));
    }

    /// Whether any peer has installed a snapshot and may still be behind.
    pub(crate) fn follows(&self) -> bool {
        self.peers.values().any(|peer| matches!(peer, Peer::CatchingUp { .. }))
    }

    fn make(&mut self, applied: LogIndex, out: &mut Vec<Output>) {
        if self.making.is_none() {
            self.making = Some(Making::Viewing(applied));
            out.push(Action::Machine(MachineWork::View).into());
        }
    }

    /// The state machine has made a view, and the snapshot is being written from it.
    pub(crate) fn viewed(&mut self, id: LogId) {
        self.making = Some(Making::Writing(id));
    }

    /// The snapshot was made, or could not be.
    pub(crate) fn built(
        &mut self,
        now: Time,
        result: Result<Manifest, String>,
        applied: LogIndex,
        out: &mut Vec<Output>,
    ) -> Ended {
        self.making = None;
        let waiting: Vec<(NodeId, LogIndex)> =
            self.peers.iter().filter_map(|(to, peer)| Some((*to, peer.waits_for()?))).collect();
        let mut ended = Ended::new();
        let Ok(manifest) = result else {
            for (to, _) in waiting {
                self.peers.insert(to, Peer::Failed { at: now, asked: None });
                ended.push((to, SnapshotSent::Failed));
            }
            return ended;
        };
        self.latest = Some(manifest.clone());
        for (to, at_least) in waiting {
            if manifest.id.index >= at_least {
                ended.extend(self.start(now, to, manifest.clone(), out));
            } else {
                self.make(applied, out);
            }
        }
        ended
    }

    fn start(&mut self, now: Time, to: NodeId, manifest: Manifest, out: &mut Vec<Output>) -> Ended {
        let leaving = self.leaving.values().filter_map(|(node, snapshot, cargo)| match cargo {
            Cargo::Chunk(chunk) if *node == to => Some((*snapshot, *chunk)),
            Cargo::Chunk(_) | Cargo::Offer => None,
        });
        let sender = Sender::new(to, manifest, SenderOptions::default()).after(leaving);
        self.peers.insert(to, Peer::Sending(Box::new(sender)));
        self.give(now, to, SenderInput::Start, out)
    }

    /// A peer has sent a message about the snapshot that is being sent to it.
    pub(crate) fn message(
        &mut self,
        now: Time,
        from: NodeId,
        message: SnapshotMessage,
        out: &mut Vec<Output>,
    ) -> Ended {
        self.give(now, from, SenderInput::Message(message), out)
    }

    /// An offer or a chunk has left this node.
    pub(crate) fn left(&mut self, now: Time, id: BulkId, out: &mut Vec<Output>) -> Ended {
        let Some((to, snapshot, cargo)) = self.leaving.remove(&id) else { return Ended::new() };
        self.give(now, to, SenderInput::Left { snapshot, cargo }, out)
    }

    pub(crate) fn chunk_read(
        &mut self,
        now: Time,
        (to, snapshot, chunk): (NodeId, LogId, ChunkNumber),
        bytes: Result<Bytes, String>,
        out: &mut Vec<Output>,
    ) -> Ended {
        if self.sender(to).is_none_or(|sender| sender.manifest().id != snapshot) {
            return Ended::new();
        }
        let input = match bytes {
            Ok(bytes) => SenderInput::ChunkRead { chunk, bytes },
            Err(_unreadable) => {
                // The snapshot will not be readable the next time either.
                self.latest.take_if(|latest| latest.id == snapshot);
                SenderInput::ReadFailed
            }
        };
        self.give(now, to, input, out)
    }

    fn sender(&mut self, to: NodeId) -> Option<&mut Sender> {
        match self.peers.get_mut(&to)? {
            Peer::Sending(sender) => Some(sender),
            Peer::Waiting(_) | Peer::Failed { .. } | Peer::CatchingUp { .. } => None,
        }
    }

    fn give(&mut self, now: Time, to: NodeId, input: SenderInput, out: &mut Vec<Output>) -> Ended {
        let Some(sender) = self.sender(to) else { return Ended::new() };
        let snapshot = sender.manifest().id;
        let mut outputs = Vec::new();
        sender.handle(now, input, &mut outputs);
        let mut ended = Ended::new();
        for output in outputs {
            match output {
                SenderOutput::Send(message) => {
                    let id = self.name(to, &message);
                    out.push(Action::SendBulk { to, body: message.encode(), id }.into());
                }
                SenderOutput::ReadChunk { chunk } => {
                    out.push(Action::Snapshot(SnapshotWork::ReadChunk { to, snapshot, chunk }).into());
                }
                SenderOutput::Done(result) => {
                    let peer = match result {
                        SnapshotSent::Installed(id) => Peer::CatchingUp { from: id.index, since: now },
                        SnapshotSent::Failed => Peer::Failed { at: now, asked: None },
                    };
                    self.peers.insert(to, peer);
                    ended.push((to, result));
                }
            }
        }
        ended
    }

    /// Gives a name to a message that may take long to leave this node; other messages get none.
    fn name(&mut self, to: NodeId, message: &SnapshotMessage) -> Option<BulkId> {
        let cargo = match message {
            SnapshotMessage::Offer(_) => Cargo::Offer,
            SnapshotMessage::Chunk { chunk, .. } => Cargo::Chunk(*chunk),
            SnapshotMessage::Want { .. }
            | SnapshotMessage::Working { .. }
            | SnapshotMessage::Installed { .. }
            | SnapshotMessage::Refused { .. } => return None,
        };
        self.next_bulk += 1;
        let id = BulkId(self.next_bulk);
        self.leaving.insert(id, (to, message.snapshot(), cargo));
        Some(id)
    }
}
