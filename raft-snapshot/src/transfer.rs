//! One transfer on the receiving side: its phase, and the state of each chunk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raftkit_core::{LogId, NodeId, Time};

use crate::manifest::{ChunkNumber, Manifest};
use crate::message::{Refusal, SnapshotMessage};
use crate::receiver::ReceiverOutput;

/// One transfer, beginning with the offer.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) from: NodeId,
    pub(crate) manifest: Manifest,
    pub(crate) phase: Phase,
    /// Time of the last message to the sender.
    pub(crate) spoke: Time,
    /// Time of the last message from the sender about this snapshot.
    pub(crate) heard: Time,
}

/// Phase of a transfer.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Opening,
    Fetching(Chunks),
    /// Like `Fetching`, but the transfer ends once the driver has stored the chunks handed to it.
    Closing(Chunks),
    Finishing,
    Installing,
}

/// State of every chunk that is not stored yet.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    /// Chunks not requested yet.
    pub(crate) missing: BTreeSet<ChunkNumber>,
    /// Chunks requested, and when.
    pub(crate) asked: BTreeMap<ChunkNumber, Asked>,
    /// Chunks handed to the driver to be stored.
    pub(crate) storing: BTreeSet<ChunkNumber>,
    /// Number of times that each chunk arrived with a wrong hash.
    pub(crate) bad: BTreeMap<ChunkNumber, u32>,
    /// Time at which a good chunk last arrived or was stored.
    pub(crate) progress: Time,
    /// Whether a good chunk has arrived from a sender in this transfer.
    pub(crate) any_came: bool,
}

/// Time of the last request for a chunk, and the number of requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Time,
    pub(crate) times: u32,
}

impl Asked {
    /// Returns the time at which the chunk is requested again.
    pub(crate) fn due(self, ask_again: impl Fn(u32) -> Duration) -> Time {
        self.at.after(ask_again(self.times))
    }
}

impl Chunks {
    pub(crate) fn new(now: Time, missing: BTreeSet<ChunkNumber>) -> Self {
        let (asked, storing, bad) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { missing, asked, storing, bad, progress: now, any_came: false }
    }

    /// Records a request for a chunk.
    pub(crate) fn ask(&mut self, now: Time, chunk: ChunkNumber) {
        let asked = self.asked.entry(chunk).or_insert(Asked { at: now, times: 0 });
        (asked.at, asked.times) = (now, asked.times.saturating_add(1));
    }

    /// Returns the chunks due to be requested again, and records a new request for each.
    pub(crate) fn late(&mut self, now: Time, ask_again: impl Fn(u32) -> Duration) -> Vec<ChunkNumber> {
        let late: Vec<ChunkNumber> = self
            .asked
            .iter()
            .filter(|(_, asked)| now >= asked.due(&ask_again))
            .map(|(chunk, _)| *chunk)
            .collect();
        for chunk in &late {
            self.ask(now, *chunk);
        }
        late
    }
}

impl Transfer {
    /// Creates the transfer for a snapshot just offered.
    pub(crate) fn new(now: Time, from: NodeId, manifest: Manifest) -> Self {
        Self { from, manifest, phase: Phase::Opening, spoke: now, heard: now }
    }

    /// Returns true if `from` is the sender of this transfer and `snapshot` is what it sends.
    pub(crate) fn is_with(&self, from: NodeId, snapshot: LogId) -> bool {
        self.from == from && self.manifest.id == snapshot
    }

    /// Returns true if an offer of another snapshot may replace this transfer: the offered one is newer, or this sender
    /// is silent, and the driver is not busy.
    pub(crate) fn gives_way_to(&self, offered: LogId, is_silent: bool) -> bool {
        match &self.phase {
            Phase::Fetching(chunks) | Phase::Closing(chunks) => {
                (self.manifest.id < offered || is_silent) && chunks.storing.is_empty()
            }
            Phase::Opening | Phase::Finishing | Phase::Installing => false,
        }
    }

    /// Returns true if the driver is busy and needs nothing from the sender.
    pub(crate) fn is_working(&self) -> bool {
        match &self.phase {
            Phase::Opening | Phase::Finishing | Phase::Installing => true,
            Phase::Fetching(_) | Phase::Closing(_) => false,
        }
    }

    /// Continues with the node that offers the same snapshot, either the same sender or another one.
    pub(crate) fn resume(&mut self, now: Time, from: NodeId, window: usize, out: &mut Vec<ReceiverOutput>) {
        let same = self.from == from;
        (self.from, self.heard) = (from, now);
        match &mut self.phase {
            Phase::Fetching(_) if same => self.say_working(now, out),
            Phase::Fetching(chunks) | Phase::Closing(chunks) => {
                // Request again what was requested from the other sender, or before this one restarted.
                let mut chunks = chunks.clone();
                chunks.missing.extend(std::mem::take(&mut chunks.asked).into_keys());
                chunks.bad.clear();
                chunks.progress = now;
                self.phase = Phase::Fetching(chunks);
                self.say_working(now, out);
                self.advance(now, window, out);
            }
            Phase::Opening | Phase::Finishing | Phase::Installing => self.say_working(now, out),
        }
    }

    /// Fills the window with requests. Once every chunk is stored, moves on to finishing.
    pub(crate) fn advance(&mut self, now: Time, window: usize, out: &mut Vec<ReceiverOutput>) {
        let Phase::Fetching(chunks) = &mut self.phase else { return };
        let stored = chunks.storing.is_empty();
        if chunks.missing.is_empty() && chunks.asked.is_empty() && stored {
            self.phase = Phase::Finishing;
            out.push(ReceiverOutput::Finish);
            return;
        }
        let mut next = Vec::new();
        while chunks.asked.len() + chunks.storing.len() < window {
            let Some(chunk) = chunks.missing.pop_first() else { break };
            chunks.ask(now, chunk);
            next.push(chunk);
        }
        for chunk in next {
            self.want(now, chunk, out);
        }
    }

    pub(crate) fn want(&mut self, now: Time, chunk: ChunkNumber, out: &mut Vec<ReceiverOutput>) {
        self.spoke = now;
        let message = SnapshotMessage::Want { snapshot: self.manifest.id, chunk };
        out.push(ReceiverOutput::Send { to: self.from, message });
    }

    pub(crate) fn say_working(&mut self, now: Time, out: &mut Vec<ReceiverOutput>) {
        self.spoke = now;
        out.push(working(self.from, self.manifest.id));
    }
}

pub(crate) fn working(to: NodeId, snapshot: LogId) -> ReceiverOutput {
    ReceiverOutput::Send { to, message: SnapshotMessage::Working { snapshot } }
}

pub(crate) fn refused(to: NodeId, snapshot: LogId, reason: Refusal) -> ReceiverOutput {
    ReceiverOutput::Send { to, message: SnapshotMessage::Refused { snapshot, reason } }
}
