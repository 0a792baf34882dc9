//! The sending end of a transfer: a pure state machine.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, NodeId, SnapshotSent, Time};

use crate::manifest::{ChunkNumber, Manifest};
use crate::message::{Refusal, SnapshotMessage};

/// Maximum number of chunks that a receiver may have asked for and not received yet. Requests beyond it are ignored,
/// and the receiver repeats them later.
const WANTED_MAX: usize = 64;

/// Settings of a [`Sender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderOptions {
    /// Repeat the offer after this much silence, since the offer or its answer may be lost. Default: 2 s.
    pub offer_again: Duration,
    /// The transfer fails after this much silence. Must be well above the receiver's
    /// [`working_interval`](crate::ReceiverOptions::working_interval). Default: 10 s.
    pub silence_max: Duration,
    /// Maximum number of chunks in memory for one receiver: being read, or handed to the driver and not yet
    /// [left](SenderInput::Left). Default: 2, so that the next chunk is ready as soon as the link has taken one.
    pub in_memory_max: usize,
}

impl Default for SenderOptions {
    fn default() -> Self {
        Self { offer_again: Duration::from_secs(2), silence_max: Duration::from_secs(10), in_memory_max: 2 }
    }
}

/// The messages of a sender that may take long to leave the node. All others are a few bytes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cargo {
    /// The offer. Its manifest has 32 bytes for each chunk.
    Offer,
    /// The chunk with this number.
    Chunk(ChunkNumber),
}

/// Inputs of a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderInput {
    /// Starts the transfer. Must be the first input.
    Start,
    /// A message from the receiver.
    Message(SnapshotMessage),
    /// A chunk was read, as asked by [`SenderOutput::ReadChunk`].
    ChunkRead {
        /// Number of the chunk.
        chunk: ChunkNumber,
        /// Bytes of the chunk.
        bytes: Bytes,
    },
    /// A chunk cannot be read, which ends the transfer.
    ReadFailed,
    /// An offer or chunk to be [sent](SenderOutput::Send), by this sender or by an earlier one to the same node, no
    /// longer takes memory on this node: it is on the link, or was lost.
    Left {
        /// The snapshot that the message belonged to.
        snapshot: LogId,
        /// The message that left.
        cargo: Cargo,
    },
    /// Time has passed. Due when [`Sender::next_deadline`] is reached, harmless at any other time.
    Tick,
}

/// Actions that a driver must carry out for a sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SenderOutput {
    /// Send this message to the receiver; it may get lost. After an offer or chunk has left or is lost, report
    /// [`SenderInput::Left`].
    Send(SnapshotMessage),
    /// Read a chunk, and answer with [`SenderInput::ChunkRead`] or [`SenderInput::ReadFailed`].
    ReadChunk {
        /// Number of the chunk.
        chunk: ChunkNumber,
    },
    /// The transfer has ended. This is the last output.
    Done(SnapshotSent),
}

/// Sends one snapshot to one node. The sender keeps no list of what it sent: the receiver asks for what it lacks. A
/// chunk is read only when there is room for it on the way, so requests waiting for a slow link are kept as numbers,
/// not as bytes, and a chunk asked for again while it waits is sent only once.
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
    /// Chunks handed to the driver that have not left yet, including those of earlier senders to this node.
    leaving: BTreeSet<(LogId, ChunkNumber)>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Idle,
    Serving {
        /// Time of the last message from the receiver; initially, the time at which the offer left.
        heard: Time,
        /// Time to repeat the offer; `None` while an offer has not left, because a second one would only queue behind
        /// it.
        offer_at: Option<Time>,
        /// Whether an offer has left.
        offered: bool,
        /// Chunks asked for that wait for room on the way, in the order of the requests.
        wanted: VecDeque<ChunkNumber>,
        /// Chunks that the driver is reading.
        reading: BTreeSet<ChunkNumber>,
    },
    Ended,
}

impl Sender {
    /// Creates a sender for the snapshot described by `manifest`.
    #[must_use]
    pub fn new(to: NodeId, manifest: Manifest, options: SenderOptions) -> Self {
        Self { to, manifest, options, leaving: BTreeSet::new(), state: State::Idle }
    }

    /// Adds the chunks that earlier senders to this node handed to the driver and that have not left yet; they take up
    /// room on the way too.
    #[must_use]
    pub fn after(mut self, leaving: impl IntoIterator<Item = (LogId, ChunkNumber)>) -> Self {
        self.leaving.extend(leaving);
        self
    }

    /// Returns the receiving node.
    #[must_use]
    pub fn to(&self) -> NodeId {
        self.to
    }

    /// Returns the manifest of the snapshot being sent.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Returns the time by which a [`SenderInput::Tick`] is due; `None` if the sender waits for nothing.
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

    /// Handles one input and appends the resulting outputs to `out`, in order.
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

    /// Handles that a message has left this node, which makes room for the next chunk.
    fn left(&mut self, now: Time, snapshot: LogId, cargo: Cargo, out: &mut Vec<SenderOutput>) {
        match (&mut self.state, cargo) {
            (_, Cargo::Chunk(chunk)) => drop(self.leaving.remove(&(snapshot, chunk))),
            (State::Serving { heard, offer_at, offered, .. }, Cargo::Offer)
                if snapshot == self.manifest.id && offer_at.is_none() =>
            {
                *offer_at = Some(now.after(self.options.offer_again));
                // Silence counts from the first offer that leaves: the receiver cannot answer an offer that it has not
                // got. A repeated offer does not restart it.
                if !std::mem::replace(offered, true) {
                    *heard = now;
                }
            }
            (State::Serving { .. } | State::Idle | State::Ended, Cargo::Offer) => {}
        }
        self.read_next(out);
    }

    /// Reads the chunks asked for, as far as there is room on the way.
    fn read_next(&mut self, out: &mut Vec<SenderOutput>) {
        let State::Serving { wanted, reading, .. } = &mut self.state else { return };
        while reading.len() + self.leaving.len() < self.options.in_memory_max.max(1) {
            let Some(chunk) = wanted.pop_front() else { return };
            reading.insert(chunk);
            out.push(SenderOutput::ReadChunk { chunk });
        }
    }

    fn message(&mut self, now: Time, message: SnapshotMessage, out: &mut Vec<SenderOutput>) {
        // A message about another snapshot belongs to an earlier transfer to the same node.
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
            // Only senders send these.
            SnapshotMessage::Offer(_) | SnapshotMessage::Chunk { .. } => {}
        }
    }

    /// Queues a chunk that the receiver asks for, unless it is already on its way.
    fn want(&mut self, chunk: ChunkNumber) {
        let State::Serving { wanted, reading, .. } = &mut self.state else { return };
        let on_its_way = reading.contains(&chunk)
            || self.leaving.contains(&(self.manifest.id, chunk))
            || wanted.contains(&chunk);
        if chunk.0 < self.manifest.count() && !on_its_way && wanted.len() < WANTED_MAX {
            wanted.push_back(chunk);
        }
    }

    /// Records a sign of life from the receiver.
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

/// Returns what a refusal means for the transfer.
fn outcome(snapshot: LogId, reason: Refusal) -> Option<SnapshotSent> {
    match reason {
        // The receiver has applied at least as much, and applied entries are committed, so it already holds everything
        // in the snapshot.
        Refusal::NotNeeded { have } if have >= snapshot.index => Some(SnapshotSent::Installed(snapshot)),
        Refusal::NotNeeded { .. } | Refusal::Busy | Refusal::Failed => Some(SnapshotSent::Failed),
        // Only senders send this.
        Refusal::Gone => None,
    }
}
