//! Reports to a replica, by their source, and what follows from each.

use raftkit_core::{Input, LogId, LogIndex, Membership, Time, WriteSeq};
use raftkit_snapshot::Manifest;

use super::Replica;
use crate::{Action, Ended, LogReport, MachineReport, Output, SnapshotReport, SnapshotWork, TransportReport};

impl Replica {
    pub(super) fn on_transport(&mut self, now: Time, report: TransportReport, out: &mut Vec<Output>) {
        match report {
            TransportReport::Message(message) => self.core(now, Input::Message(message), out),
            TransportReport::Unreachable(node) => self.core(now, Input::Unreachable(node), out),
            TransportReport::Bulk { from, body } => {
                // The applied index of the core: a log that lost entries needs a snapshot even where the state does not.
                let ended = self.transfers.message(now, from, body, self.node.applied(), out);
                self.sent(now, ended, out);
            }
            TransportReport::BulkLeft(id) => {
                let ended = self.transfers.left(now, id, out);
                self.sent(now, ended, out);
            }
        }
    }

    pub(super) fn on_log(&mut self, now: Time, report: LogReport, out: &mut Vec<Output>) {
        match report {
            LogReport::Persisted(seq) => self.persisted(now, seq, out),
            LogReport::Fetched { id, result } => self.core(now, Input::Fetched { id, result }, out),
            LogReport::FetchFailed { id, reason } => self.fetch_failed(now, id, reason, out),
            LogReport::Failed(reason) => self.end(now, Ended::Log(reason), out),
            LogReport::Damaged(what) => self.end(now, Ended::LogDamaged(what), out),
        }
    }

    pub(super) fn on_machine(&mut self, now: Time, report: MachineReport, out: &mut Vec<Output>) {
        match report {
            MachineReport::Applied(batch) => self.note_applied(now, batch, out),
            MachineReport::Durable(id) => self.machine_durable(now, id.index, out),
            MachineReport::Restored { id, membership } => self.restored(now, id, membership, out),
            MachineReport::View { view, membership } => {
                self.transfers.viewed(view.id());
                out.push(Action::Snapshot(SnapshotWork::Build { view, membership }).into());
            }
            MachineReport::NoView(reason) => self.built(now, Err(reason), out),
            MachineReport::Failed(reason) => self.end(now, Ended::Machine(reason), out),
        }
    }

    pub(super) fn on_snapshot(&mut self, now: Time, report: SnapshotReport, out: &mut Vec<Output>) {
        match report {
            SnapshotReport::Built(result) => self.built(now, result, out),
            SnapshotReport::ChunkRead { to, snapshot, chunk, bytes } => {
                let ended = self.transfers.chunk_read(now, (to, snapshot, chunk), bytes, out);
                self.sent(now, ended, out);
            }
            SnapshotReport::PartialOpened(result) => self.transfers.partial_opened(now, result, out),
            SnapshotReport::ChunkStored(result) => self.transfers.chunk_stored(now, result, out),
            SnapshotReport::Received(result) => {
                self.transfers.whole(now, result, out);
            }
        }
    }

    pub(super) fn built(&mut self, now: Time, result: Result<Manifest, String>, out: &mut Vec<Output>) {
        let ended = self.transfers.built(now, result, self.node.applied(), out);
        self.sent(now, ended, out);
    }

    pub(super) fn persisted(&mut self, now: Time, seq: WriteSeq, out: &mut Vec<Output>) {
        self.persisted = self.persisted.max(seq);
        self.core(now, Input::Persisted(seq), out);
        self.transfers.persisted(seq, out);
    }

    pub(super) fn machine_durable(&mut self, now: Time, durable: LogIndex, out: &mut Vec<Output>) {
        self.persisting = false;
        self.unpersisted_since = (durable < self.node.applied()).then_some(now);
        self.durable = self.durable.max(durable);
        self.compact(now, out);
    }

    /// The state machine has switched to a snapshot, and the log follows. The order is snapshot, state machine, log.
    pub(super) fn restored(&mut self, now: Time, id: LogId, membership: Membership, out: &mut Vec<Output>) {
        self.durable = self.durable.max(id.index);
        self.skip_answers(id.index, out);
        self.core(now, Input::SnapshotInstalled { base: id, membership: membership.into() }, out);
        // Either the last write resets the log to the snapshot, or the log's own entries reach up to the snapshot and
        // may still be in memory only. Until that write is durable, only the snapshot explains a state machine that
        // is ahead of its log, so the snapshot stays.
        let follows = Some(self.written).filter(|write| *write > self.persisted);
        self.transfers.restored(now, id, follows, out);
    }
}
