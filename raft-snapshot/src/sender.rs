//! The sending end of a transfer: a pure state machine.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, NodeId, SnapshotSent, Time};

use crate::manifest::Manifest;
use crate::message::{Refusal, SnapshotMessage};

/// At most so many chunks are being read for one receiver; more are asked for again.
const READING_MAX: usize = 64;

/// Settings of a [`Sender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderOptions {
    /// After so long without a word the offer is made again: it, or an answer, may be lost. 2 s.
    pub offer_again: Duration,
    /// After so long without a word the transfer has failed. 10 s; well above the receiver's
    /// [`working_interval`](crate::ReceiverOptions::working_interval).
    pub silence_max: Duration,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self { offer_again: Duration::from_secs(2), silence_max: Duration::from_secs(10) }
    }
}

/// What happens to a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderInput {
    /// Begin: the first input.
    Start,
    /// The receiver said something.
    Message(SnapshotMessage),
    /// The answer to [`SenderOutput::ReadChunk`].
    ChunkRead {
        /// Which.
        chunk: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A chunk cannot be read: the snapshot is of no use.
    ReadFailed,
    /// Time has passed: give it when [`Sender::next_deadline`] is reached. Harmless at any time.
    Tick,
}

/// What a driver must do for a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderOutput {
    /// Send to the receiver; it may get lost.
    Send(SnapshotMessage),
    /// Read a chunk; answer [`SenderInput::ChunkRead`] or [`SenderInput::ReadFailed`].
    ReadChunk {
        /// Which.
        chunk: u32,
    },
    /// The transfer has ended. Said once; nothing follows.
    Done(SnapshotSent),
}

/// Sends one snapshot to one node. It keeps no chunk in memory and no list of what was sent: the receiver asks.
///
/// ```text
/// Idle --Start--> Serving --Installed, NotNeeded--------------> Ended   Done(Installed)
///                    |------Busy, Failed, silence, ReadFailed-> Ended   Done(Failed)
/// ```
#[derive(Clone, Debug)]
pub struct Sender {
    to: NodeId,
    manifest: Manifest,
    options: SenderOptions,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    Serving {
        /// When the receiver last said something; at first, when the offer was made.
        heard: Time,
        /// When to offer again.
        offer_at: Time,
        /// Chunks that the driver is reading.
        reading: BTreeSet<u32>,
    },
    Ended,
}

impl Sender {
    /// A sender of the snapshot that `manifest` describes.
    #[must_use]
    pub fn new(to: NodeId, manifest: Manifest, options: SenderOptions) -> Self {
        Self { to, manifest, options, state: State::Idle }
    }

    /// To whom it sends.
    #[must_use]
    pub fn to(&self) -> NodeId {
        self.to
    }

    /// What it sends.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// When to give a [`SenderInput::Tick`] at the latest; none when there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match &self.state {
            State::Serving { heard, offer_at, .. } => {
                let silent = heard.after(self.options.silence_max);
                Some(mutant!(SilenceNeverFails, *offer_at, silent.min(*offer_at)))
            }
            State::Idle | State::Ended => None,
        }
    }

    /// Takes one input; `out` gets what follows from it, in order.
    pub fn handle(&mut self, now: Time, input: SenderInput, out: &mut Vec<SenderOutput>) {
        match (&mut self.state, input) {
            (State::Idle, SenderInput::Start) => {
                let offer_at = now.after(self.options.offer_again);
                self.state = State::Serving { heard: now, offer_at, reading: BTreeSet::new() };
                out.push(SenderOutput::Send(SnapshotMessage::Offer(self.manifest.clone())));
            }
            (State::Serving { .. }, SenderInput::Message(message)) => self.message(now, message, out),
            (State::Serving { reading, .. }, SenderInput::ChunkRead { chunk, bytes }) => {
                if reading.remove(&chunk) {
                    let snapshot = self.manifest.id;
                    out.push(SenderOutput::Send(SnapshotMessage::Chunk { snapshot, chunk, bytes }));
                }
            }
            (State::Serving { .. }, SenderInput::ReadFailed) if mutant!(UnreadableNotTold) => {}
            (State::Serving { .. }, SenderInput::ReadFailed) => {
                let (snapshot, reason) = (self.manifest.id, Refusal::Gone);
                out.push(SenderOutput::Send(SnapshotMessage::Refused { snapshot, reason }));
                self.end(SnapshotSent::Failed, out);
            }
            (State::Serving { .. }, SenderInput::Tick) => self.tick(now, out),
            (State::Serving { .. }, SenderInput::Start) | (State::Idle | State::Ended, _) => {}
        }
    }

    fn message(&mut self, now: Time, message: SnapshotMessage, out: &mut Vec<SenderOutput>) {
        // What is about another snapshot is from an earlier transfer to the same node.
        if message.snapshot() != self.manifest.id {
            return;
        }
        match message {
            SnapshotMessage::Want { chunk, .. } => {
                let count = self.manifest.count();
                let Some(reading) = self.heard(now) else { return };
                if chunk < count && reading.len() < READING_MAX && reading.insert(chunk) {
                    out.push(SenderOutput::ReadChunk { chunk });
                }
            }
            SnapshotMessage::Working { .. } => {
                self.heard(now);
            }
            SnapshotMessage::Installed { snapshot } => self.end(SnapshotSent::Installed(snapshot), out),
            SnapshotMessage::Refused { snapshot, reason } => {
                if let Some(result) = outcome(snapshot, reason) {
                    self.end(result, out);
                }
            }
            // These are what a sender says.
            SnapshotMessage::Offer(_) | SnapshotMessage::Chunk { .. } => {}
        }
    }

    /// The receiver lives.
    fn heard(&mut self, now: Time) -> Option<&mut BTreeSet<u32>> {
        let State::Serving { heard, offer_at, reading } = &mut self.state else { return None };
        *heard = now;
        *offer_at = now.after(self.options.offer_again);
        Some(reading)
    }

    fn tick(&mut self, now: Time, out: &mut Vec<SenderOutput>) {
        let State::Serving { heard, offer_at, .. } = &mut self.state else { return };
        if now >= heard.after(self.options.silence_max) && !mutant!(SilenceNeverFails) {
            self.end(SnapshotSent::Failed, out);
        } else if now >= *offer_at {
            *offer_at = now.after(self.options.offer_again);
            out.push(SenderOutput::Send(SnapshotMessage::Offer(self.manifest.clone())));
        }
    }

    fn end(&mut self, result: SnapshotSent, out: &mut Vec<SenderOutput>) {
        self.state = State::Ended;
        out.push(SenderOutput::Done(result));
    }
}

/// What a refusal means for the transfer.
fn outcome(snapshot: LogId, reason: Refusal) -> Option<SnapshotSent> {
    match reason {
        // What it has applied is committed, so it holds everything that the snapshot would give it.
        Refusal::NotNeeded { have } if have >= snapshot.index => Some(SnapshotSent::Installed(snapshot)),
        Refusal::Failed if mutant!(FailureTakenForInstalled) => Some(SnapshotSent::Installed(snapshot)),
        Refusal::Failed if mutant!(FailureNotHeard) => None,
        Refusal::NotNeeded { .. } | Refusal::Busy | Refusal::Failed => Some(SnapshotSent::Failed),
        // Said by senders.
        Refusal::Gone => None,
    }
}
