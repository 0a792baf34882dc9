//! One transfer on the receiving side: its phase, and where each chunk is.

use std::collections::{BTreeMap, BTreeSet};

use raftkit_core::{LogId, NodeId, Time};

use crate::manifest::Manifest;
use crate::message::{Refusal, SnapshotMessage};
use crate::receiver::{ReceiverOptions, ReceiverOutput};

/// One transfer, from the offer on.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) from: NodeId,
    pub(crate) manifest: Manifest,
    pub(crate) phase: Phase,
    /// When this node last said something to the sender.
    pub(crate) spoke: Time,
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
    pub(crate) asked: BTreeMap<u32, Time>,
    /// Handed to the driver.
    pub(crate) storing: BTreeSet<u32>,
    /// How often each came with a wrong hash.
    pub(crate) bad: BTreeMap<u32, u32>,
    /// When a good chunk last came or was stored.
    pub(crate) progress: Time,
}

impl Chunks {
    pub(crate) fn new(now: Time, missing: BTreeSet<u32>) -> Self {
        let (asked, storing, bad) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        Self { missing, asked, storing, bad, progress: now }
    }

    /// Marks what was asked for so long ago that it is asked for again, and says which.
    pub(crate) fn late(&mut self, now: Time, options: ReceiverOptions) -> Vec<u32> {
        let late = self.asked.iter_mut().filter(|(_, asked)| now >= asked.after(options.ask_again));
        late.map(|(chunk, asked)| {
            *asked = now;
            *chunk
        })
        .collect()
    }
}

impl Transfer {
    /// True when an offer of another snapshot may take this one's place: it is newer, and the driver is not at work.
    pub(crate) fn gives_way_to(&self, offered: LogId) -> bool {
        match &self.phase {
            Phase::Fetching(chunks) | Phase::Closing(chunks) => {
                (self.manifest.id < offered || mutant!(OlderTakesItsPlace)) && chunks.storing.is_empty()
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
    pub(crate) fn resume(
        &mut self,
        now: Time,
        from: NodeId,
        options: ReceiverOptions,
        out: &mut Vec<ReceiverOutput>,
    ) {
        let same = self.from == from;
        self.from = from;
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
                self.advance(now, options, out);
            }
            Phase::Opening | Phase::Finishing | Phase::Installing => self.say_working(now, out),
        }
    }

    /// Fills the window; with every chunk stored, goes on to finish.
    pub(crate) fn advance(&mut self, now: Time, options: ReceiverOptions, out: &mut Vec<ReceiverOutput>) {
        let Phase::Fetching(chunks) = &mut self.phase else { return };
        let stored = chunks.storing.is_empty() || mutant!(FinishesWhileStoring);
        if chunks.missing.is_empty() && chunks.asked.is_empty() && stored {
            self.phase = Phase::Finishing;
            out.push(ReceiverOutput::Finish);
            return;
        }
        let mut next = Vec::new();
        let window = mutant!(WindowIgnored, usize::MAX, options.window.max(1));
        while chunks.asked.len() + chunks.storing.len() < window {
            let Some(chunk) = chunks.missing.pop_first() else { break };
            chunks.asked.insert(chunk, now);
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
