//! The sending end of a transfer: a pure state machine.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, NodeId, SnapshotSent, Time};

use crate::manifest::Manifest;
use crate::message::{Refusal, SnapshotMessage};

/// Most chunks that one receiver may have asked for and not been sent. A receiver asks again for what comes on top.
const WANTED_MAX: usize = 64;

/// Settings of a [`Sender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderOptions {
    /// After so long without a word the offer is made again: it, or an answer, may be lost. 2 s.
    pub offer_again: Duration,
    /// After so long without a word the transfer has failed. 10 s; well above the receiver's
    /// [`working_interval`](crate::ReceiverOptions::working_interval).
    pub silence_max: Duration,
    /// Most chunks in this node's memory for one receiver: being read, or handed to the driver and not
    /// [left](SenderInput::Left). 2, so that the next chunk is at hand when the link has taken one.
    pub in_memory_max: usize,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self { offer_again: Duration::from_secs(2), silence_max: Duration::from_secs(10), in_memory_max: 2 }
    }
}

/// The messages of a sender that may take long to leave a node: all others have a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// The offer: its manifest has 32 bytes for each chunk.
    Offer,
    /// This chunk.
    Chunk(u32),
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
    /// An offer or a chunk that was to be [sent](SenderOutput::Send), by this sender or by an earlier one to the same
    /// node, takes no memory here any more: it is on the link, or was lost.
    Left {
        /// Of which snapshot.
        snapshot: LogId,
        /// What.
        cargo: Cargo,
    },
    /// Time has passed: give it when [`Sender::next_deadline`] is reached. Harmless at any time.
    Tick,
}

/// What a driver must do for a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderOutput {
    /// Send to the receiver; it may get lost. Once an offer or a chunk has left, or is lost, say
    /// [`SenderInput::Left`].
    Send(SnapshotMessage),
    /// Read a chunk; answer [`SenderInput::ChunkRead`] or [`SenderInput::ReadFailed`].
    ReadChunk {
        /// Which.
        chunk: u32,
    },
    /// The transfer has ended. Said once; nothing follows.
    Done(SnapshotSent),
}

/// Sends one snapshot to one node. It keeps no list of what was sent: the receiver asks. A chunk is read only when there is
/// room for it on the way: what waits for a slow link waits as a number, not as bytes, and what is asked for again while
/// it waits is not sent twice.
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
    /// Chunks that were handed to the driver and have not left, also those of earlier senders to this node.
    leaving: BTreeSet<(LogId, u32)>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    Serving {
        /// When the receiver last said something; at first, when the offer had left.
        heard: Time,
        /// When to offer again; none while an offer has not left: a second one would only wait behind it.
        offer_at: Option<Time>,
        /// Whether an offer has left.
        offered: bool,
        /// Chunks that were asked for and wait for room on the way, in the order in which they were asked for.
        wanted: VecDeque<u32>,
        /// Chunks that the driver is reading.
        reading: BTreeSet<u32>,
    },
    Ended,
}

impl Sender {
    /// A sender of the snapshot that `manifest` describes.
    #[must_use]
    pub fn new(to: NodeId, manifest: Manifest, options: SenderOptions) -> Self {
        Self { to, manifest, options, leaving: BTreeSet::new(), state: State::Idle }
    }

    /// The same sender, told of the chunks that earlier senders to this node have handed to the driver and that have not
    /// left yet.
    #[must_use]
    pub fn after(mut self, leaving: impl IntoIterator<Item = (LogId, u32)>) -> Self {
        self.leaving.extend(leaving);
        self
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
                offer_at.map(|offer_at| silent.min(offer_at))
            }
            State::Idle | State::Ended => None,
        }
    }

    /// Takes one input; `out` gets what follows from it, in order.
    pub fn handle(&mut self, now: Time, input: SenderInput, out: &mut Vec<SenderOutput>) {
        match (&mut self.state, input) {
            (State::Idle, SenderInput::Start) => {
                let (wanted, reading) = (VecDeque::new(), BTreeSet::new());
                self.state = State::Serving { heard: now, offer_at: None, offered: false, wanted, reading };
                out.push(SenderOutput::Send(SnapshotMessage::Offer(self.manifest.clone())));
            }
            (State::Serving { .. }, SenderInput::Message(message)) => self.message(now, message, out),
            (State::Serving { reading, .. }, SenderInput::ChunkRead { chunk, bytes }) => {
                if reading.remove(&chunk) {
                    let snapshot = self.manifest.id;
                    self.leaving.insert((snapshot, chunk));
                    out.push(SenderOutput::Send(SnapshotMessage::Chunk { snapshot, chunk, bytes }));
                }
            }
            (State::Serving { .. }, SenderInput::ReadFailed) => {
                let (snapshot, reason) = (self.manifest.id, Refusal::Gone);
                out.push(SenderOutput::Send(SnapshotMessage::Refused { snapshot, reason }));
                self.end(SnapshotSent::Failed, out);
            }
            (State::Serving { .. }, SenderInput::Left { snapshot, cargo }) => {
                self.left(now, snapshot, cargo, out);
            }
            (State::Serving { .. }, SenderInput::Tick) => self.tick(now, out),
            (State::Serving { .. }, SenderInput::Start) | (State::Idle | State::Ended, _) => {}
        }
    }

    /// Something has left this node: there is room for the next.
    fn left(&mut self, now: Time, snapshot: LogId, cargo: Cargo, out: &mut Vec<SenderOutput>) {
        match (&mut self.state, cargo) {
            (_, Cargo::Chunk(chunk)) => drop(self.leaving.remove(&(snapshot, chunk))),
            (State::Serving { heard, offer_at, offered, .. }, Cargo::Offer)
                if snapshot == self.manifest.id && offer_at.is_none() =>
            {
                *offer_at = Some(now.after(self.options.offer_again));
                // The receiver can say nothing to an offer that it has not got. A later offer proves nothing of it.
                if !std::mem::replace(offered, true) {
                    *heard = now;
                }
            }
            (State::Serving { .. } | State::Idle | State::Ended, Cargo::Offer) => {}
        }
        self.read_next(out);
    }

    /// Reads what was asked for, as far as there is room on the way.
    fn read_next(&mut self, out: &mut Vec<SenderOutput>) {
        let State::Serving { wanted, reading, .. } = &mut self.state else { return };
        while reading.len() + self.leaving.len() < self.options.in_memory_max.max(1) {
            let Some(chunk) = wanted.pop_front() else { return };
            reading.insert(chunk);
            out.push(SenderOutput::ReadChunk { chunk });
        }
    }

    fn message(&mut self, now: Time, message: SnapshotMessage, out: &mut Vec<SenderOutput>) {
        // What is about another snapshot is from an earlier transfer to the same node.
        if message.snapshot() != self.manifest.id {
            return;
        }
        match message {
            SnapshotMessage::Want { chunk, .. } => {
                self.heard(now);
                self.want(chunk);
                self.read_next(out);
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

    /// Takes note of a chunk that the receiver asks for. One that is on its way already is not sent twice.
    fn want(&mut self, chunk: u32) {
        let State::Serving { wanted, reading, .. } = &mut self.state else { return };
        let on_its_way = reading.contains(&chunk)
            || self.leaving.contains(&(self.manifest.id, chunk))
            || wanted.contains(&chunk);
        if chunk < self.manifest.count() && !on_its_way && wanted.len() < WANTED_MAX {
            wanted.push_back(chunk);
        }
    }

    /// The receiver lives.
    fn heard(&mut self, now: Time) {
        if let State::Serving { heard, offer_at, .. } = &mut self.state {
            *heard = now;
            *offer_at = offer_at.map(|_| now.after(self.options.offer_again));
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<SenderOutput>) {
        let State::Serving { heard, offer_at, .. } = &mut self.state else { return };
        let Some(due) = *offer_at else { return };
        if now >= heard.after(self.options.silence_max) {
            self.end(SnapshotSent::Failed, out);
        } else if now >= due {
            *offer_at = None;
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
        Refusal::NotNeeded { .. } | Refusal::Busy | Refusal::Failed => Some(SnapshotSent::Failed),
        // Said by senders.
        Refusal::Gone => None,
    }
}
