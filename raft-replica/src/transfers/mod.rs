//! Snapshots on their way: which peers get one, which is being made, which one comes in.

mod incoming;
mod outgoing;

use std::collections::BTreeSet;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, SnapshotSent, Time, WriteSeq};
use raftkit_snapshot::{Audience, Manifest, ReceiverInput, SnapshotFile, SnapshotMessage};

use crate::transfers::incoming::Incoming;
use crate::transfers::outgoing::Outgoing;
use crate::{Action, SnapshotWork};

/// Both directions, and what the folder must keep for them.
#[derive(Debug)]
pub(crate) struct Transfers {
    outgoing: Outgoing,
    incoming: Incoming,
    /// What the folder must keep, as of the last event.
    kept: BTreeSet<LogId>,
}

/// Sent transfers that have ended, for the core.
pub(crate) type Ended = Vec<(NodeId, SnapshotSent)>;

impl Transfers {
    pub(crate) fn new() -> Self {
        Self { outgoing: Outgoing::default(), incoming: Incoming::new(), kept: BTreeSet::new() }
    }

    /// The lowest index from which the log must go on for what is on its way.
    pub(crate) fn needed(&self) -> Option<LogIndex> {
        self.outgoing.needed()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [self.outgoing.next_deadline(), self.incoming.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, now: Time, out: &mut Vec<Action>) -> Ended {
        if self.next_deadline().is_none_or(|at| now < at) {
            return Ended::new();
        }
        let ended = self.outgoing.tick(now, out);
        self.incoming.tick(now, out);
        self.let_go(out);
        ended
    }

    /// The core wants `to` to get a snapshot.
    pub(crate) fn wanted(
        &mut self,
        now: Time,
        to: NodeId,
        at_least: LogIndex,
        applied: LogIndex,
        out: &mut Vec<Action>,
    ) -> Ended {
        let ended = self.outgoing.wanted(now, to, at_least, applied, out);
        self.let_go(out);
        ended
    }

    /// The core does not want that any more.
    pub(crate) fn cancelled(&mut self, to: NodeId, out: &mut Vec<Action>) {
        self.outgoing.cancelled(to);
        self.let_go(out);
    }

    /// The state machine has a view, which is being written from now on.
    pub(crate) fn viewed(&mut self, id: LogId) {
        self.outgoing.viewed(id);
        self.kept.extend(self.outgoing.kept());
    }

    /// The snapshot that was being made is there, or is not.
    pub(crate) fn built(
        &mut self,
        now: Time,
        result: Result<Manifest, String>,
        applied: LogIndex,
        out: &mut Vec<Action>,
    ) -> Ended {
        let ended = self.outgoing.built(now, result, applied, out);
        self.let_go(out);
        ended
    }

    /// A frame came in. One that makes no sense is dropped: its sender asks again or gives up.
    pub(crate) fn message(
        &mut self,
        now: Time,
        from: NodeId,
        body: Bytes,
        applied: LogIndex,
        out: &mut Vec<Action>,
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

    /// A chunk was read for a peer, or could not be.
    pub(crate) fn chunk_read(
        &mut self,
        now: Time,
        chunk: (NodeId, LogId, u32),
        bytes: Result<Bytes, String>,
        out: &mut Vec<Action>,
    ) -> Ended {
        let ended = self.outgoing.chunk_read(now, chunk, bytes, out);
        self.let_go(out);
        ended
    }

    /// There is a place for what comes in, and these chunks are there already.
    pub(crate) fn partial_opened(
        &mut self,
        now: Time,
        result: Result<BTreeSet<u32>, String>,
        out: &mut Vec<Action>,
    ) {
        let input = result.map_or(ReceiverInput::Failed, |have| ReceiverInput::Opened { have });
        self.incoming.give(now, input, out);
        self.let_go(out);
    }

    /// A chunk of what comes in is stored.
    pub(crate) fn chunk_stored(&mut self, now: Time, result: Result<u32, String>, out: &mut Vec<Action>) {
        let input = result.map_or(ReceiverInput::Failed, |chunk| ReceiverInput::Stored { chunk });
        self.incoming.give(now, input, out);
        self.let_go(out);
    }

    /// What comes in is whole and durable.
    pub(crate) fn whole(&mut self, now: Time, result: Result<SnapshotFile, String>, out: &mut Vec<Action>) {
        self.incoming.whole(now, result, out);
        self.let_go(out);
    }

    /// The state machine has switched to a snapshot. The log is durably up to it by the write `follows`, or is already.
    pub(crate) fn restored(
        &mut self,
        now: Time,
        id: LogId,
        follows: Option<WriteSeq>,
        out: &mut Vec<Action>,
    ) {
        self.incoming.restored(now, id, follows, out);
        self.let_go(out);
    }

    /// The log's writes up to this one are durable.
    pub(crate) fn persisted(&mut self, seq: WriteSeq, out: &mut Vec<Action>) {
        if self.incoming.persisted(seq) {
            self.let_go(out);
        }
    }

    /// Says what the folder must keep, once something in it is of no more use. The work for it is a queue, and this says
    /// what is right after all that was asked for before: what is being received or written by then is named here long
    /// before it has its name in the folder.
    fn let_go(&mut self, out: &mut Vec<Action>) {
        self.outgoing.forget_unneeded();
        let kept: BTreeSet<LogId> = self.outgoing.kept().chain(self.incoming.kept()).collect();
        let before = std::mem::replace(&mut self.kept, kept);
        if !before.is_subset(&self.kept) {
            out.push(Action::Snapshot(SnapshotWork::Keep(self.kept.iter().copied().collect())));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use raftkit_core::Membership;
    use raftkit_disk::SimulatedDisk;
    use raftkit_snapshot::SnapshotDir;

    use crate::MachineWork;

    use super::*;

    const PEER: NodeId = NodeId(2);

    fn snapshot(index: u64) -> SnapshotFile {
        let dir = SnapshotDir::new(Arc::new(SimulatedDisk::new(1)), PathBuf::from("/snapshots")).unwrap();
        dir.create(Membership::default()).unwrap().finish(LogId::new(2, index)).unwrap()
    }

    #[test]
    fn the_log_is_needed_from_the_making_of_a_snapshot_until_it_is_sent() {
        let (mut transfers, mut out) = (Transfers::new(), Vec::new());
        assert_eq!(transfers.needed(), None);
        transfers.wanted(Time(0), PEER, LogIndex(5), LogIndex(8), &mut out);
        assert_eq!(transfers.needed(), Some(LogIndex(8)), "its view may be as old as that");
        let manifest = snapshot(9).manifest().clone();
        transfers.built(Time(1), Ok(manifest), LogIndex(12), &mut out);
        assert_eq!(transfers.needed(), Some(LogIndex(9)));
        let installed = SnapshotMessage::Installed { snapshot: LogId::new(2, 9) }.encode();
        let ended = transfers.message(Time(2), PEER, installed, LogIndex(12), &mut out);
        assert_eq!(ended, [(PEER, SnapshotSent::Installed(LogId::new(2, 9)))]);
        assert_eq!(transfers.needed(), None);
    }

    #[test]
    fn whoever_waits_for_a_snapshot_that_cannot_be_made_has_failed() {
        let (mut transfers, mut out) = (Transfers::new(), Vec::new());
        for peer in [2, 3] {
            transfers.wanted(Time(0), NodeId(peer), LogIndex(5), LogIndex(8), &mut out);
        }
        let ended = transfers.built(Time(1), Err("no space".to_owned()), LogIndex(8), &mut out);
        assert_eq!(ended, [2, 3].map(|peer| (NodeId(peer), SnapshotSent::Failed)));
        assert_eq!(transfers.needed(), None);
    }

    #[test]
    fn a_snapshot_is_told_to_be_installed_once_the_state_machine_has_switched() {
        let (mut transfers, mut out) = (Transfers::new(), Vec::new());
        let file = snapshot(9);
        let offer = SnapshotMessage::Offer(file.manifest().clone()).encode();
        transfers.message(Time(0), PEER, offer, LogIndex(1), &mut out);
        transfers.partial_opened(Time(1), Ok(BTreeSet::new()), &mut out);
        transfers.whole(Time(2), Ok(file), &mut out);
        assert!(matches!(out.last(), Some(Action::Machine(MachineWork::Restore(_)))));
        let told = |out: &[Action]| {
            let says = SnapshotMessage::Installed { snapshot: LogId::new(2, 9) }.encode();
            out.iter().any(|it| matches!(it, Action::SendBulk { to: PEER, body } if *body == says))
        };
        assert!(!told(&out));
        transfers.restored(Time(3), LogId::new(2, 9), None, &mut out);
        assert!(told(&out));
    }

    fn keeps(out: &[Action]) -> Vec<Vec<u64>> {
        let keep = |action: &Action| match action {
            Action::Snapshot(SnapshotWork::Keep(keep)) => Some(keep.iter().map(|id| id.index.0).collect()),
            _ => None,
        };
        out.iter().filter_map(keep).collect()
    }

    #[test]
    fn a_snapshot_is_kept_from_the_moment_that_it_is_written_on() {
        let (mut transfers, mut out) = (Transfers::new(), Vec::new());
        transfers.wanted(Time(0), PEER, LogIndex(1), LogIndex(5), &mut out);
        transfers.viewed(LogId::new(2, 5));
        transfers.built(Time(1), Ok(snapshot(5).manifest().clone()), LogIndex(5), &mut out);
        transfers.wanted(Time(2), NodeId(3), LogIndex(8), LogIndex(9), &mut out);
        transfers.viewed(LogId::new(2, 9));
        let installed = SnapshotMessage::Installed { snapshot: LogId::new(2, 5) }.encode();
        transfers.message(Time(3), PEER, installed, LogIndex(9), &mut out);
        // By the time that this is done, 9 may have its name.
        assert_eq!(keeps(&out), [[9]]);
        transfers.built(Time(4), Err("no space".to_owned()), LogIndex(9), &mut out);
        assert_eq!(keeps(&out), [vec![9], vec![]]);
    }
}
