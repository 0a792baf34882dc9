//! One transfer on the receiving side: its phase, and where each chunk is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raftkit_core::{LogId, NodeId, Time};

use crate::manifest::Manifest;
use crate::message::{Refusal, SnapshotMessage};
use crate::receiver::ReceiverOutput;

/// One transfer, from the offer on.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) from: NodeId,
    pub(crate) manifest: Manifest,
    pub(crate) phase: Phase,
    /// When this node last said something to the sender.
    pub(crate) spoke: Time,
    /// When the sender last said something about this snapshot.
    pub(crate) heard: Time,
}

/// How far it is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Opening,
    Fetching(Chunks),
    /// As Fetching, but the transfer is over once the driver has stored what it was given.
    Closing(Chunks),
    Finishing,
    Installing,
}

/// Where each chunk is that is not stored.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    /// Not asked for yet.
    pub(crate) missing: BTreeSet<u32>,
    /// Asked for, and when.
    pub(crate) asked: BTreeMap<u32, Asked>,
    /// Handed to the driver.
    pub(crate) storing: BTreeSet<u32>,
    /// How often each came with a wrong hash.
    pub(crate) bad: BTreeMap<u32, u32>,
    /// When a good chunk last came or was stored.
    pub(crate) progress: Time,
    /// Whether a good chunk came from a sender in this transfer.
    pub(crate) any_came: bool,
}

/// When a chunk was asked for last, and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at: Time,
    pub(crate) times: u32,
}

impl Asked {
    /// When it is asked for again.
    pub(crate) fn due(self, ask_again: impl Fn(u32) -> Duration) -> Time {
        self.at.after(ask_again(self.times))
    }
}

impl Chunks {
    pub(crate) fn new(now: Time, missing: BTreeSet<u32>) -> Self {
        let (asked, storing, bad) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { missing, asked, storing, bad, progress: now, any_came: false }
    }

    /// Notes that a chunk is asked for.
    pub(crate) fn ask(&mut self, now: Time, chunk: u32) {
        let asked = self.asked.entry(chunk).or_insert(Asked { at: now, times: 0 });
        (asked.at, asked.times) = (now, asked.times.saturating_add(1));
    }

    /// Marks what was asked for so long ago that it is asked for again, and says which.
    pub(crate) fn late(&mut self, now: Time, ask_again: impl Fn(u32) -> Duration) -> Vec<u32> {
        let late: Vec<u32> = self
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
    /// A transfer that has just been offered.
    pub(crate) fn new(now: Time, from: NodeId, manifest: Manifest) -> Self {
        Self { from, manifest, phase: Phase::Opening, spoke: now, heard: now }
    }

    /// True when this node is who sends, and this snapshot is what it sends.
    pub(crate) fn is_with(&self, from: NodeId, snapshot: LogId) -> bool {
        self.from == from && self.manifest.id == snapshot
    }

    /// True when an offer of another snapshot may take this one's place: it is newer, or the sender of this one is silent,
    /// and the driver is not at work.
    pub(crate) fn gives_way_to(&self, offered: LogId, is_silent: bool) -> bool {
        match &self.phase {
            Phase::Fetching(chunks) | Phase::Closing(chunks) => {
                (self.manifest.id < offered || is_silent) && chunks.storing.is_empty()
            }
            Phase::Opening | Phase::Finishing | Phase::Installing => false,
        }
    }

    /// True when the driver is at work and needs nothing from the sender.
    pub(crate) fn is_working(&self) -> bool {
        match &self.phase {
            Phase::Opening | Phase::Finishing | Phase::Installing => true,
            Phase::Fetching(_) | Phase::Closing(_) => false,
        }
    }

    /// The same snapshot is offered, again or by another node: go on with that one.
    pub(crate) fn resume(&mut self, now: Time, from: NodeId, window: usize, out: &mut Vec<ReceiverOutput>) {
        let same = self.from == from;
        (self.from, self.heard) = (from, now);
        match &mut self.phase {
            Phase::Fetching(_) if same => self.say_working(now, out),
            Phase::Fetching(chunks) | Phase::Closing(chunks) => {
                // What was asked of the other one, or before it went, is asked anew.
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

    /// Fills the window; with every chunk stored, goes on to finish.
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

    pub(crate) fn want(&mut self, now: Time, chunk: u32, out: &mut Vec<ReceiverOutput>) {
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
