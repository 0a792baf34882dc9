//! The snapshot that comes in, and those that the state machine has switched to and the log has not.

use std::collections::BTreeMap;

use raftkit_core::{LogId, Time, WriteSeq};
use raftkit_snapshot::{Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput, SnapshotFile};

use crate::{Action, MachineWork, Output, SnapshotWork};

/// Drives the receiver, and knows which snapshots a restart would need.
///
/// ```text
///   offered --> current ------ the state machine has switched ------> switched --- the log is durably ---> gone
///               comes in, whole, being switched to                                 up to it
/// ```
#[derive(Debug)]
pub(crate) struct Incoming {
    receiver: Receiver,
    /// The snapshot that is coming in or being switched to.
    current: Option<LogId>,
    /// It, once it is whole and until the state machine is told to switch to it.
    whole: Option<SnapshotFile>,
    /// Snapshots that the state machine has switched to, and the write that brings the log durably up to each. Should the
    /// power go before, they are all that explains a state ahead of its log. Another one may be coming in meanwhile, and
    /// be switched to, so each has its own write.
    switched: BTreeMap<LogId, WriteSeq>,
    /// What the snapshot worker was asked for and has not answered; it answers in order.
    unanswered: usize,
    /// Of those, the first so many belong to transfers that were given up: the receiver must not hear of them.
    stale: usize,
}

impl Incoming {
    pub(crate) fn new() -> Self {
        let receiver = Receiver::new(ReceiverOptions::default());
        let switched = BTreeMap::new();
        Self { receiver, current: None, whole: None, switched, unanswered: 0, stale: 0 }
    }

    /// The snapshots that must stay on disk.
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

    /// The snapshot worker answers.
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

    /// The snapshot is whole and durable, or could not be made so.
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

    /// Takes note of an answer. True when nobody waits for it any more.
    fn is_stale(&mut self) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        let stale = self.stale > 0;
        self.stale = self.stale.saturating_sub(1);
        stale
    }

    /// The state machine has switched to a snapshot; the log is durably up to it by that write, or is already.
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

    /// The log's writes up to this one are durable. True when that is what a snapshot was kept for.
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
                    // A few bytes.
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
