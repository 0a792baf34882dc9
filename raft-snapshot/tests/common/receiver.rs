//! A receiver to give inputs to, and short names for its inputs and outputs.

use std::collections::BTreeSet;
use std::time::Duration;

use raftkit_core::{LogId, LogIndex, NodeId, Time};
use raftkit_snapshot::{
    ChunkNumber, Manifest, Receiver, ReceiverInput, ReceiverOptions, ReceiverOutput, Refusal, SnapshotFile,
    SnapshotMessage,
};

use super::{CHUNK, data, source};

pub(crate) const A: NodeId = NodeId(1);
pub(crate) const B: NodeId = NodeId(2);

pub(crate) fn id(index: u64) -> LogId {
    LogId::new(1, index)
}

pub(crate) fn seconds(count: u64) -> Time {
    Time::default().after(Duration::from_secs(count))
}

/// A receiver and its last outputs.
pub(crate) struct Bench {
    pub(crate) receiver: Receiver,
    pub(crate) now: Time,
    pub(crate) applied: LogIndex,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            receiver: Receiver::new(ReceiverOptions::default()),
            now: Time::default(),
            applied: LogIndex(3),
        }
    }

    pub(crate) fn give(&mut self, input: ReceiverInput) -> Vec<ReceiverOutput> {
        let mut out = Vec::new();
        self.receiver.handle(self.now, input, &mut out);
        out
    }

    pub(crate) fn hear(&mut self, from: NodeId, message: SnapshotMessage) -> Vec<ReceiverOutput> {
        let applied = self.applied;
        self.give(ReceiverInput::Message { from, message, applied })
    }

    pub(crate) fn offer(&mut self, from: NodeId, manifest: &Manifest) -> Vec<ReceiverOutput> {
        self.hear(from, SnapshotMessage::Offer(manifest.clone()))
    }

    pub(crate) fn chunk(&mut self, from: NodeId, file: &SnapshotFile, chunk: u32) -> Vec<ReceiverOutput> {
        let chunk = ChunkNumber(chunk);
        let (snapshot, bytes) = (file.manifest().id, file.read_chunk(chunk).unwrap());
        self.hear(from, SnapshotMessage::Chunk { snapshot, chunk, bytes })
    }

    pub(crate) fn tick(&mut self, after: u64) -> Vec<ReceiverOutput> {
        self.now = self.now.after(Duration::from_secs(after));
        self.give(ReceiverInput::Tick)
    }
}

pub(crate) fn say(to: NodeId, message: SnapshotMessage) -> ReceiverOutput {
    ReceiverOutput::Send { to, message }
}

pub(crate) fn want(to: NodeId, snapshot: LogId, chunk: u32) -> ReceiverOutput {
    say(to, SnapshotMessage::Want { snapshot, chunk: ChunkNumber(chunk) })
}

pub(crate) fn working(to: NodeId, snapshot: LogId) -> ReceiverOutput {
    say(to, SnapshotMessage::Working { snapshot })
}

pub(crate) fn refused(to: NodeId, snapshot: LogId, reason: Refusal) -> ReceiverOutput {
    say(to, SnapshotMessage::Refused { snapshot, reason })
}

pub(crate) fn store(file: &SnapshotFile, chunk: u32) -> ReceiverOutput {
    let chunk = ChunkNumber(chunk);
    ReceiverOutput::Store { chunk, bytes: file.read_chunk(chunk).unwrap() }
}

pub(crate) fn opened(have: &[u32]) -> ReceiverInput {
    ReceiverInput::Opened { have: have.iter().copied().map(ChunkNumber).collect::<BTreeSet<_>>() }
}

pub(crate) fn snapshot(index: u64, chunks: usize) -> SnapshotFile {
    source(id(index), &data(chunks * CHUNK as usize, index))
}
