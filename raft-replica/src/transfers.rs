//! Snapshots on their way: which peers get one, which is being made, which one comes in.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, SnapshotSent, Time};
use raftkit_snapshot::{
    Audience, Manifest, Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput, Sender, SenderInput,
    SenderOptions, SenderOutput, SnapshotFile, SnapshotMessage,
};

use crate::{Action, MachineWork, SnapshotWork};

/// Drives senders and the receiver, and says what the folder must keep.
#[derive(Debug)]
pub(crate) struct Transfers {
    senders: BTreeMap<NodeId, Outgoing>,
    /// Peers that wait for a snapshot that includes at least this index.
    waiting: BTreeMap<NodeId, LogIndex>,
    /// A snapshot is being made; the log is kept from here on.
    making: Option<LogIndex>,
    latest: Option<Manifest>,
    receiver: Receiver,
    /// The snapshot that is coming in or being switched to.
    incoming: Option<LogId>,
    received: Option<SnapshotFile>,
}

#[derive(Debug)]
struct Outgoing {
    snapshot: LogId,
    sender: Sender,
}

/// Sent transfers that have ended, for the core.
pub(crate) type Ended = Vec<(NodeId, SnapshotSent)>;

impl Transfers {
    pub(crate) fn new() -> Self {
        Self {
            senders: BTreeMap::new(),
            waiting: BTreeMap::new(),
            making: None,
            latest: None,
            receiver: Receiver::new(ReceiverOptions::default()),
            incoming: None,
            received: None,
        }
    }

    /// The lowest index from which the log must go on for what is on its way.
    pub(crate) fn needed(&self) -> Option<LogIndex> {
        let making = self.making.filter(|_| !mutant!(CutBeforeSnapshotDurable));
        let sent = self.senders.values().map(|outgoing| outgoing.snapshot.index);
        sent.filter(|_| !mutant!(TransferLogNotKept)).chain(making).min()
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        let senders = self.senders.values().filter_map(|outgoing| outgoing.sender.next_deadline());
        senders.chain(self.receiver.next_deadline()).min()
    }

    pub(crate) fn tick(&mut self, now: Time, out: &mut Vec<Action>) -> Ended {
        let due: Vec<NodeId> = self
            .senders
            .iter()
            .filter(|(_, outgoing)| outgoing.sender.next_deadline().is_some_and(|at| at <= now))
            .map(|(to, _)| *to)
            .collect();
        let mut ended = Ended::new();
        for to in due {
            ended.extend(self.give_sender(now, to, SenderInput::Tick, out));
        }
        if self.receiver.next_deadline().is_some_and(|at| at <= now) {
            self.give_receiver(now, ReceiverInput::Tick, out);
        }
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
        match self.latest.clone().filter(|manifest| manifest.id.index >= at_least) {
            Some(manifest) => self.start(now, to, manifest, out),
            None => {
                self.waiting.insert(to, at_least);
                self.make(applied, out);
                Ended::new()
            }
        }
    }

    pub(crate) fn cancelled(&mut self, to: NodeId, out: &mut Vec<Action>) {
        self.waiting.remove(&to);
        self.senders.remove(&to);
        self.keep(out);
    }

    fn make(&mut self, applied: LogIndex, out: &mut Vec<Action>) {
        if self.making.is_none() {
            self.making = Some(applied);
            out.push(Action::Machine(MachineWork::View));
        }
    }

    /// The snapshot that was being made is there, or is not.
    pub(crate) fn built(
        &mut self,
        now: Time,
        result: Result<Manifest, String>,
        applied: LogIndex,
        out: &mut Vec<Action>,
    ) -> Ended {
        self.making = None;
        let waiting = std::mem::take(&mut self.waiting);
        let Ok(manifest) = result else {
            let failed = waiting.into_keys().map(|to| (to, SnapshotSent::Failed));
            return failed.filter(|_| !mutant!(BuildFailureNotReported)).collect();
        };
        self.latest = Some(manifest.clone());
        let mut ended = Ended::new();
        for (to, at_least) in waiting {
            if manifest.id.index >= at_least {
                ended.extend(self.start(now, to, manifest.clone(), out));
            } else {
                self.waiting.insert(to, at_least);
            }
        }
        if !self.waiting.is_empty() {
            self.make(applied, out);
        }
        self.keep(out);
        ended
    }

    fn start(&mut self, now: Time, to: NodeId, manifest: Manifest, out: &mut Vec<Action>) -> Ended {
        let snapshot = manifest.id;
        let sender = Sender::new(to, manifest, SenderOptions::default());
        self.senders.insert(to, Outgoing { snapshot, sender });
        self.give_sender(now, to, SenderInput::Start, out)
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
        match message.audience() {
            Audience::Receiver => {
                self.give_receiver(now, ReceiverInput::Message { from, message, applied }, out);
                Ended::new()
            }
            Audience::Sender => self.give_sender(now, from, SenderInput::Message(message), out),
        }
    }

    pub(crate) fn chunk_read(
        &mut self,
        now: Time,
        to: NodeId,
        snapshot: LogId,
        chunk: u32,
        bytes: Result<Bytes, String>,
        out: &mut Vec<Action>,
    ) -> Ended {
        if self.senders.get(&to).is_none_or(|outgoing| outgoing.snapshot != snapshot) {
            return Ended::new();
        }
        let input = match bytes {
            Ok(bytes) => SenderInput::ChunkRead { chunk, bytes },
            Err(_unreadable) => SenderInput::ReadFailed,
        };
        self.give_sender(now, to, input, out)
    }

    fn give_sender(&mut self, now: Time, to: NodeId, input: SenderInput, out: &mut Vec<Action>) -> Ended {
        let Some(outgoing) = self.senders.get_mut(&to) else { return Ended::new() };
        let snapshot = outgoing.snapshot;
        let mut outputs = Vec::new();
        outgoing.sender.handle(now, input, &mut outputs);
        let mut ended = Ended::new();
        for output in outputs {
            match output {
                SenderOutput::Send(message) => out.push(Action::SendBulk { to, body: message.encode() }),
                SenderOutput::ReadChunk { chunk } => {
                    out.push(Action::Snapshot(SnapshotWork::ReadChunk { to, snapshot, chunk }));
                }
                SenderOutput::Done(result) => {
                    self.senders.remove(&to);
                    if result != SnapshotSent::Failed || !mutant!(SendFailureNotReported) {
                        ended.push((to, result));
                    }
                    self.keep(out);
                }
            }
        }
        ended
    }

    pub(crate) fn partial_opened(
        &mut self,
        now: Time,
        result: Result<BTreeSet<u32>, String>,
        out: &mut Vec<Action>,
    ) {
        let input = result.map_or(ReceiverInput::Failed, |have| ReceiverInput::Opened { have });
        self.give_receiver(now, input, out);
    }

    pub(crate) fn chunk_stored(&mut self, now: Time, result: Result<u32, String>, out: &mut Vec<Action>) {
        let input = result.map_or(ReceiverInput::Failed, |chunk| ReceiverInput::Stored { chunk });
        self.give_receiver(now, input, out);
    }

    pub(crate) fn whole(&mut self, now: Time, result: Result<SnapshotFile, String>, out: &mut Vec<Action>) {
        let input = match result {
            Ok(file) => {
                self.received = Some(file);
                ReceiverInput::Finished
            }
            Err(_reason) => ReceiverInput::Failed,
        };
        self.give_receiver(now, input, out);
    }

    /// The state machine has switched to the snapshot that came in.
    pub(crate) fn restored(&mut self, now: Time, out: &mut Vec<Action>) {
        self.give_receiver(now, ReceiverInput::Installed, out);
    }

    /// The log has been reset to the snapshot that came in, durably: its file is of no more use.
    pub(crate) fn installed(&mut self, out: &mut Vec<Action>) {
        self.switched.clear();
        if mutant!(IncomingForgottenByInstall) {
            self.incoming = None;
        }
        self.keep(out);
    }

    fn give_receiver(&mut self, now: Time, input: ReceiverInput, out: &mut Vec<Action>) {
        let mut outputs = Vec::new();
        self.receiver.handle(now, input, &mut outputs);
        for output in outputs {
            match output {
                ReceiverOutput::Send { to, message } => {
                    out.push(Action::SendBulk { to, body: message.encode() });
                }
                ReceiverOutput::Open(manifest) => {
                    self.incoming = Some(manifest.id);
                    out.push(Action::Snapshot(SnapshotWork::OpenPartial(manifest)));
                }
                ReceiverOutput::Store { chunk, bytes } => {
                    out.push(Action::Snapshot(SnapshotWork::StoreChunk { chunk, bytes }));
                }
                ReceiverOutput::Finish => out.push(Action::Snapshot(SnapshotWork::FinishPartial)),
                ReceiverOutput::Install(_manifest) => {
                    if let Some(file) = self.received.take() {
                        out.push(Action::Machine(MachineWork::Restore(file)));
                        if mutant!(InstalledSaidEarly) {
                            return self.give_receiver(now, ReceiverInput::Installed, out);
                        }
                    }
                }
                ReceiverOutput::Discard => {
                    self.incoming = None;
                    out.push(Action::Snapshot(SnapshotWork::DropPartial));
                }
            }
        }
    }

    /// Says what the folder must keep; a snapshot that nobody is being sent is dropped.
    fn keep(&mut self, out: &mut Vec<Action>) {
        if self.senders.is_empty() && self.waiting.is_empty() {
            self.latest = None;
        }
        let sent = self.senders.values().map(|outgoing| outgoing.snapshot);
        let latest = self.latest.as_ref().map(|manifest| manifest.id);
        let keep: BTreeSet<LogId> =
            sent.chain(latest).chain(self.incoming).chain(self.switched.iter().copied()).collect();
        out.push(Action::Snapshot(SnapshotWork::Keep(keep.into_iter().collect())));
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
        transfers.restored(Time(3), &mut out);
        assert!(told(&out));
    }
}
