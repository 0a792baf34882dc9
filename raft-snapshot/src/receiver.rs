//! The receiving end of a transfer: a pure state machine.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, Time};

use crate::manifest::Manifest;
use crate::message::{Refusal, SnapshotMessage};
use crate::pace::Pace;
use crate::transfer::{Chunks, Phase, Transfer, refused, working};

/// Settings of a [`Receiver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// The number of chunks that are asked for or being stored at a time, at first. 4; at least 1.
    pub window: usize,
    /// The window never shrinks below this. 2: while one chunk comes in, the next is on its way.
    pub window_min: usize,
    /// The window never grows above this. 16.
    pub window_max: usize,
    /// Nor above this many bytes of chunks: the bound of the memory taken. 4 MiB; a larger chunk is asked for alone.
    pub window_bytes_max: usize,
    /// The time that a chunk should take from being asked for to being here. The window shrinks where it takes more than
    /// twice as long, and grows where it takes less than half. 1 s: enough on its way for any distance, and little to
    /// lose where the link breaks.
    pub turnaround: Duration,
    /// A chunk that has not come after this is asked for again, on a slow link after some turnarounds; and each further time
    /// after twice as long. 4 s.
    pub ask_again: Duration,
    /// Without a good chunk for this the transfer has failed; on a slow link after some times what good chunks are apart,
    /// and twice as long with each transfer in a row of which nothing came. 30 s.
    pub give_up: Duration,
    /// The longest of these. 10 min.
    pub give_up_max: Duration,
    /// A sender of which nothing was heard for this gives way to any other one. 10 s, as long as a sender waits for a word.
    pub sender_silence: Duration,
    /// A receiver that has nothing to ask for says so this often. 1 s.
    pub working_interval: Duration,
    /// How often a chunk may come with a wrong hash; once more, and the transfer has failed. 3.
    pub bad_chunks_max: u32,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        Self {
            window: 4,
            window_min: 2,
            window_max: 16,
            window_bytes_max: 4 << 20,
            turnaround: Duration::from_secs(1),
            ask_again: Duration::from_secs(4),
            give_up: Duration::from_secs(30),
            give_up_max: Duration::from_secs(600),
            sender_silence: Duration::from_secs(10),
            working_interval: Duration::from_secs(1),
            bad_chunks_max: 3,
        }
    }
}

/// What happens to a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverInput {
    /// A node said something.
    Message {
        /// Who.
        from: NodeId,
        /// What.
        message: SnapshotMessage,
        /// What this node's state machine has applied.
        applied: LogIndex,
    },
    /// The answer to [`ReceiverOutput::Open`].
    Opened {
        /// The chunks that are there and good ([`Partial::have`](crate::Partial::have)).
        have: BTreeSet<u32>,
    },
    /// The answer to [`ReceiverOutput::Store`].
    Stored {
        /// Which.
        chunk: u32,
    },
    /// The answer to [`ReceiverOutput::Finish`].
    Finished,
    /// The answer to [`ReceiverOutput::Install`].
    Installed,
    /// What was asked for last did not work. Answers to earlier outputs must not be given in any more.
    Failed,
    /// Time has passed: give it when [`Receiver::next_deadline`] is reached. Harmless at any time.
    Tick,
}

/// What a driver must do for a receiver, in this order. [`Partial`](crate::Partial) does the work and checks each step
/// by itself: a snapshot with a wrong or missing chunk is never finished, whatever is answered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverOutput {
    /// Send; it may get lost.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        message: SnapshotMessage,
    },
    /// Open what is there of this snapshot; answer [`ReceiverInput::Opened`].
    Open(Manifest),
    /// Store a chunk; answer [`ReceiverInput::Stored`].
    Store {
        /// Which.
        chunk: u32,
        /// Its bytes; their hash is right.
        bytes: Bytes,
    },
    /// Every chunk is stored: make the snapshot durable; answer [`ReceiverInput::Finished`].
    Finish,
    /// Let the state machine switch to the snapshot, durably; answer [`ReceiverInput::Installed`]. Where it has
    /// meanwhile applied as much by the log, leave it as it is and give the same answer: it must not go back.
    Install(Manifest),
    /// The transfer is over without success: close what was opened. The chunks stay for another try.
    Discard,
}

/// Receives one snapshot at a time, from any node that offers it.
///
/// ```text
///   Idle --Offer--> Opening --Opened--> Fetching --all stored--> Finishing --Finished--> Installing --Installed--> Idle
///                                          |                                                  (says Installed)
///                                          +--no progress, bad chunks, sender gone--> Closing --all stores done--> Idle
/// ```
///
/// [`ReceiverInput::Failed`] leads to Idle from everywhere, and the sender is told.
#[derive(Clone, Debug)]
pub struct Receiver {
    options: ReceiverOptions,
    /// What was seen of the link.
    pace: Pace,
    transfer: Option<Transfer>,
    /// What this node's state machine has applied, as far as inputs said.
    applied: LogIndex,
}

impl Receiver {
    /// A receiver that waits for an offer.
    #[must_use]
    pub fn new(options: ReceiverOptions) -> Self {
        Self { options, pace: Pace::new(&options), transfer: None, applied: LogIndex::ZERO }
    }

    /// The snapshot being received, if any.
    #[must_use]
    pub fn receiving(&self) -> Option<&Manifest> {
        self.transfer.as_ref().map(|transfer| &transfer.manifest)
    }

    /// When to give a [`ReceiverInput::Tick`] at the latest; none when there is nothing to wait for.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        let transfer = self.transfer.as_ref()?;
        let working = transfer.spoke.after(self.options.working_interval);
        match &transfer.phase {
            Phase::Opening | Phase::Finishing | Phase::Installing => Some(working),
            Phase::Closing(_) => None,
            Phase::Fetching(chunks) => {
                let ask_again = |times| self.pace.ask_again(&self.options, times);
                let ask = chunks.asked.values().map(|asked| asked.due(ask_again)).min();
                let give_up = self.pace.give_up(&self.options);
                let give_up = chunks.storing.is_empty().then(|| chunks.progress.after(give_up));
                [Some(working), ask, give_up].into_iter().flatten().min()
            }
        }
    }

    /// Takes one input; `out` gets what follows from it, in order.
    pub fn handle(&mut self, now: Time, input: ReceiverInput, out: &mut Vec<ReceiverOutput>) {
        match input {
            ReceiverInput::Message { from, message, applied } => {
                self.applied = self.applied.max(applied);
                self.drop_unneeded(out);
                self.message(now, from, message, out);
            }
            ReceiverInput::Opened { have } => self.opened(now, &have, out),
            ReceiverInput::Stored { chunk } => self.stored(now, chunk, out),
            ReceiverInput::Finished => self.finished(out),
            ReceiverInput::Installed => self.installed(out),
            ReceiverInput::Failed => self.abandon(Some(Refusal::Failed), out),
            ReceiverInput::Tick => self.tick(now, out),
        }
    }

    /// Ends a transfer that the log has overtaken: an install would take the state back.
    fn drop_unneeded(&mut self, out: &mut Vec<ReceiverOutput>) {
        let have = self.applied;
        let overtaken = |transfer: &Transfer| transfer.manifest.id.index <= have;
        if self.transfer.as_ref().is_some_and(overtaken) {
            self.close(Some(Refusal::NotNeeded { have }), out);
        }
    }

    fn message(&mut self, now: Time, from: NodeId, message: SnapshotMessage, out: &mut Vec<ReceiverOutput>) {
        let of_ours = |transfer: &&mut Transfer| transfer.is_with(from, message.snapshot());
        if let Some(transfer) = self.transfer.as_mut().filter(of_ours) {
            transfer.heard = now;
        }
        match message {
            SnapshotMessage::Offer(manifest) => self.offer(now, from, manifest, out),
            SnapshotMessage::Chunk { snapshot, chunk, bytes } => {
                self.chunk(now, from, snapshot, chunk, bytes, out)
            }
            SnapshotMessage::Refused { snapshot, reason: Refusal::Gone } => {
                if self.transfer.as_ref().is_some_and(|transfer| transfer.is_with(from, snapshot)) {
                    self.close(None, out);
                }
            }
            // These are what a receiver says.
            SnapshotMessage::Want { .. }
            | SnapshotMessage::Working { .. }
            | SnapshotMessage::Installed { .. }
            | SnapshotMessage::Refused { .. } => {}
        }
    }

    fn offer(&mut self, now: Time, from: NodeId, manifest: Manifest, out: &mut Vec<ReceiverOutput>) {
        let (snapshot, have) = (manifest.id, self.applied);
        let refuse = |reason| refused(from, snapshot, reason);
        let needed = snapshot.index > have;
        let same = |transfer: &Transfer| transfer.manifest == manifest;
        // While it is being installed the state machine may show it already: that is for `Installed` to tell.
        let goes_on = |transfer: &&mut Transfer| same(transfer) && (needed || transfer.is_working());
        if let Some(transfer) = self.transfer.as_mut().filter(goes_on) {
            let window = self.pace.window(&self.options, transfer.manifest.chunk_bytes);
            transfer.resume(now, from, window, out);
        } else if !needed {
            out.push(refuse(Refusal::NotNeeded { have }));
        } else if self.transfer.as_ref().is_some_and(|transfer| {
            let is_silent = now >= transfer.heard.after(self.options.sender_silence);
            !transfer.gives_way_to(snapshot, is_silent)
        }) {
            out.push(refuse(Refusal::Busy));
        } else {
            self.abandon(Some(Refusal::Busy), out);
            out.push(ReceiverOutput::Open(manifest.clone()));
            // It may take long to check what is there: the sender hears at once that its offer is taken.
            out.push(working(from, snapshot));
            self.transfer = Some(Transfer::new(now, from, manifest));
        }
    }

    fn chunk(
        &mut self,
        now: Time,
        from: NodeId,
        snapshot: LogId,
        chunk: u32,
        bytes: Bytes,
        out: &mut Vec<ReceiverOutput>,
    ) {
        let options = self.options;
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.manifest.id == snapshot)
        else {
            return;
        };
        let Phase::Fetching(chunks) = &mut transfer.phase else { return };
        // Only what was asked for is taken, so the window bounds the memory.
        let asked = chunks.asked.get(&chunk).copied();
        if asked.is_none() {
            return;
        }
        if transfer.manifest.matches(chunk, &bytes) {
            self.pace.arrived(now.since(chunks.progress));
            if let Some(asked) = asked.filter(|asked| asked.times == 1) {
                self.pace.took(&options, now.since(asked.at));
            }
            chunks.asked.remove(&chunk);
            chunks.any_came = true;
            chunks.storing.insert(chunk);
            chunks.progress = now;
            out.push(ReceiverOutput::Store { chunk, bytes });
            return;
        }
        if transfer.from != from {
            return;
        }
        let bad = chunks.bad.entry(chunk).or_insert(0);
        *bad += 1;
        if *bad > options.bad_chunks_max {
            self.close(Some(Refusal::Failed), out);
        } else {
            chunks.ask(now, chunk);
            transfer.want(now, chunk, out);
        }
    }

    fn opened(&mut self, now: Time, have: &BTreeSet<u32>, out: &mut Vec<ReceiverOutput>) {
        let Some(transfer) = &mut self.transfer else { return };
        if !matches!(transfer.phase, Phase::Opening) {
            return;
        }
        let missing = (0..transfer.manifest.count()).filter(|chunk| !have.contains(chunk)).collect();
        transfer.phase = Phase::Fetching(Chunks::new(now, missing));
        transfer.advance(now, self.pace.window(&self.options, transfer.manifest.chunk_bytes), out);
    }

    fn stored(&mut self, now: Time, chunk: u32, out: &mut Vec<ReceiverOutput>) {
        let Some(transfer) = &mut self.transfer else { return };
        match &mut transfer.phase {
            Phase::Fetching(chunks) => {
                if chunks.storing.remove(&chunk) {
                    // The give-up time counts from here: a slow disk of our own is not the sender's fault.
                    chunks.progress = now;
                    transfer.advance(
                        now,
                        self.pace.window(&self.options, transfer.manifest.chunk_bytes),
                        out,
                    );
                }
            }
            Phase::Closing(chunks) => {
                chunks.storing.remove(&chunk);
                if chunks.storing.is_empty() {
                    self.abandon(None, out);
                }
            }
            Phase::Opening | Phase::Finishing | Phase::Installing => {}
        }
    }

    fn finished(&mut self, out: &mut Vec<ReceiverOutput>) {
        let have = self.applied;
        let Some(transfer) = &mut self.transfer else { return };
        if !matches!(transfer.phase, Phase::Finishing) {
            return;
        }
        if transfer.manifest.id.index <= have {
            self.abandon(Some(Refusal::NotNeeded { have }), out);
        } else {
            transfer.phase = Phase::Installing;
            out.push(ReceiverOutput::Install(transfer.manifest.clone()));
        }
    }

    fn installed(&mut self, out: &mut Vec<ReceiverOutput>) {
        if let Some(transfer) = self.transfer.take_if(|transfer| matches!(transfer.phase, Phase::Installing))
        {
            let message = SnapshotMessage::Installed { snapshot: transfer.manifest.id };
            out.push(ReceiverOutput::Send { to: transfer.from, message });
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<ReceiverOutput>) {
        let options = self.options;
        let Some(transfer) = &mut self.transfer else { return };
        if let Phase::Fetching(chunks) = &mut transfer.phase {
            if chunks.storing.is_empty() && now >= chunks.progress.after(self.pace.give_up(&options)) {
                if !chunks.any_came {
                    self.pace.given_up();
                }
                self.close(Some(Refusal::Failed), out);
                return;
            }
            let late = chunks.late(now, |times| self.pace.ask_again(&options, times));
            for chunk in late {
                transfer.want(now, chunk, out);
            }
        }
        if now >= transfer.spoke.after(options.working_interval)
            && !matches!(transfer.phase, Phase::Closing(_))
        {
            transfer.say_working(now, out);
        }
    }

    /// Ends the transfer once the driver has nothing of it in hand.
    fn close(&mut self, reason: Option<Refusal>, out: &mut Vec<ReceiverOutput>) {
        let Some(transfer) = &mut self.transfer else { return };
        match &mut transfer.phase {
            Phase::Fetching(chunks) => {
                if chunks.storing.is_empty() {
                    self.abandon(reason, out);
                    return;
                }
                let chunks = chunks.clone();
                transfer.phase = Phase::Closing(chunks);
                if let Some(reason) = reason {
                    out.push(refused(transfer.from, transfer.manifest.id, reason));
                }
            }
            // All chunks are here, or it is being looked at what is: the sender is not needed at the moment.
            Phase::Opening | Phase::Finishing | Phase::Installing | Phase::Closing(_) => {}
        }
    }

    /// Ends the transfer, if there is one; with a reason the sender is told.
    fn abandon(&mut self, reason: Option<Refusal>, out: &mut Vec<ReceiverOutput>) {
        if let Some(transfer) = self.transfer.take() {
            out.push(ReceiverOutput::Discard);
            if let Some(reason) = reason {
                out.push(refused(transfer.from, transfer.manifest.id, reason));
            }
        }
    }
}
