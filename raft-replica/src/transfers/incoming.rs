//! The incoming snapshot, and the snapshots that the state machine has switched to before the log followed.

use std::collections::BTreeMap;

use raftkit_core::{LogId, Time, WriteSeq};
use raftkit_snapshot::{Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput, SnapshotFile};

use crate::{Action, MachineWork, Output, SnapshotWork};

/// Drives the receiver of snapshots, and knows which snapshots a restart would need.
///
/// ```text
///   offered --> current ------ the state machine has switched ------> switched --- the log is durably ---> gone
///               comes in, whole, being switched to                                 up to it
/// ```
#[derive(Debug)]
pub(crate) struct Incoming {
    receiver: Receiver,
    /// The snapshot that comes in, or that the state machine is switching to.
    current: Option<LogId>,
    /// The complete snapshot file, held until the state machine is to switch to it.
    whole: Option<SnapshotFile>,
    /// Snapshots that the state machine has switched to, each with the write that brings the log durably up to it. If
    /// the power is cut before that write is durable, only the snapshot explains a state ahead of its log. Another
    /// snapshot may come in and be switched to meanwhile, so each has a write of its own.
    switched: BTreeMap<LogId, WriteSeq>,
    /// Number of pieces of work that the snapshot worker has not answered; it answers in order.
    unanswered: usize,
    /// Number of the first of those that belong to transfers which were given up. The receiver must not see their
    /// answers.
    stale: usize,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        let receiver = Receiver::new(ReceiverOptions::default());
        let switched = BTreeMap::new();
        Self { receiver, current: None, whole: None, switched, unanswered: 0, stale: 0 }
    }

    /// The incoming snapshots that must stay on disk.
    pub(crate) fn kept(&self) -> impl Iterator<Item = LogId> + '_ {
        self.current.into_iter().chain(self.switched.keys().copied())
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.receiver.next_deadline()
    }

    pub(crate) fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.next_deadline().is_some_and(|at| at <= now) {
            self.give(now, ReceiverInput::Tick, out);
        }
    }

    /// The snapshot worker has answered.
    pub(crate) fn answered(
        &mut self,
        now: Time,
        result: Result<ReceiverInput, String>,
        out: &mut Vec<Output>,
    ) {
        if self.is_stale() {
            return;
        }
        self.give(now, result.unwrap_or(ReceiverInput::Failed), out);
    }

    /// The snapshot is complete and durable, or could not be completed.
    pub(crate) fn whole(&mut self, now: Time, result: Result<SnapshotFile, String>, out: &mut Vec<Output>) {
        if self.is_stale() {
            return;
        }
        let input = match result {
            Ok(file) => {
                self.whole = Some(file);
                ReceiverInput::Finished
            }
            Err(_reason) => ReceiverInput::Failed,
        };
        self.give(now, input, out);
    }

    /// Counts an answer of the snapshot worker. True if the transfer that it belongs to was given up.
    fn is_stale(&mut self) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        let stale = self.stale > 0;
        self.stale = self.stale.saturating_sub(1);
        stale
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
        self.current = self.current.filter(|current| *current != id);
        if let Some(write) = follows {
            self.switched.insert(id, write);
        }
        self.give(now, ReceiverInput::Installed, out);
    }

    /// The log's writes up to this one are durable. True if a snapshot was kept for one of them.
    pub(crate) fn persisted(&mut self, seq: WriteSeq) -> bool {
        let before = self.switched.len();
        self.switched.retain(|_, write| *write > seq);
        self.switched.len() != before
    }

    pub(crate) fn give(&mut self, now: Time, input: ReceiverInput, out: &mut Vec<Output>) {
        let mut outputs = Vec::new();
        self.receiver.handle(now, input, &mut outputs);
        for output in outputs {
            match output {
                ReceiverOutput::Send { to, message } => {
                    // A few bytes, which need no pacing.
                    out.push(Action::SendBulk { to, body: message.encode(), id: None }.into());
                }
                ReceiverOutput::Open(manifest) => {
                    self.current = Some(manifest.id);
                    self.unanswered += 1;
                    out.push(Action::Snapshot(SnapshotWork::OpenPartial(manifest)).into());
                }
                ReceiverOutput::Store { chunk, bytes } => {
                    self.unanswered += 1;
                    out.push(Action::Snapshot(SnapshotWork::StoreChunk { chunk, bytes }).into());
                }
                ReceiverOutput::Finish => {
                    self.unanswered += 1;
                    out.push(Action::Snapshot(SnapshotWork::FinishPartial).into());
                }
                ReceiverOutput::Install(_manifest) => {
                    if let Some(file) = self.whole.take() {
                        out.push(Action::Machine(MachineWork::Restore(file)).into());
                    }
                }
                ReceiverOutput::Discard => {
                    (self.current, self.whole) = (None, None);
                    self.stale = self.unanswered;
                    out.push(Action::Snapshot(SnapshotWork::DropPartial).into());
                }
            }
        }
    }
}
