//! The receiving end of a transfer: a pure state machine.

mod interface;

use std::collections::BTreeSet;

use bytes::Bytes;
use raftkit_core::{LogId, LogIndex, NodeId, Time};

use crate::manifest::{ChunkNumber, Manifest};
use crate::message::{Refusal, SnapshotMessage};
use crate::pace::Pace;
use crate::transfer::{Chunks, Phase, Transfer, refused, working};
pub use interface::{ReceiverInput, ReceiverOptions, ReceiverOutput};

/// Receives one snapshot at a time, from any node that offers one.
///
/// ```text
///   Idle --Offer--> Opening --Opened--> Fetching --all stored--> Finishing --Finished--> Installing --Installed--> Idle
///                                          |                                                  (says Installed)
///                                          +--no progress, bad chunks, sender gone--> Closing --all stores done--> Idle
/// ```
///
/// [`ReceiverInput::Failed`] leads to Idle from every state, and sends [`Refusal::Failed`] to the sender.
#[derive(Clone, Debug)]
pub struct Receiver {
    options: ReceiverOptions,
    /// Measurements of the link.
    pace: Pace,
    transfer: Option<Transfer>,
    /// Last index that this node's state machine has applied, according to the inputs.
    applied: LogIndex,
}

impl Receiver {
    /// Creates a receiver that waits for an offer.
    #[must_use]
    pub fn new(options: ReceiverOptions) -> Self {
        Self { options, pace: Pace::new(&options), transfer: None, applied: LogIndex::ZERO }
    }

    /// Returns the manifest of the snapshot being received, if any.
    #[must_use]
    pub fn receiving(&self) -> Option<&Manifest> {
        self.transfer.as_ref().map(|transfer| &transfer.manifest)
    }

    /// Returns the time by which a [`ReceiverInput::Tick`] is due; `None` if the receiver waits for nothing.
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

    /// Handles one input and appends the resulting outputs to `out`, in order.
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

    /// Ends a transfer that the log has overtaken: installing it would take the state back.
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
            // Only receivers send these.
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
        // While installing, the state machine may already show the new state. The snapshot is then not obsolete, and
        // the driver will report `Installed`.
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
            // Checking the stored chunks may take long, so tell the sender at once that its offer is accepted.
            out.push(working(from, snapshot));
            self.transfer = Some(Transfer::new(now, from, manifest));
        }
    }

    fn chunk(
        &mut self,
        now: Time,
        from: NodeId,
        snapshot: LogId,
        chunk: ChunkNumber,
        bytes: Bytes,
        out: &mut Vec<ReceiverOutput>,
    ) {
        let options = self.options;
        let Some(transfer) = self.transfer.as_mut().filter(|transfer| transfer.manifest.id == snapshot)
        else {
            return;
        };
        let Phase::Fetching(chunks) = &mut transfer.phase else { return };
        // Accept only requested chunks, so that the window bounds the memory used.
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

    fn opened(&mut self, now: Time, have: &BTreeSet<ChunkNumber>, out: &mut Vec<ReceiverOutput>) {
        let Some(transfer) = &mut self.transfer else { return };
        if !matches!(transfer.phase, Phase::Opening) {
            return;
        }
        let missing = transfer.manifest.numbers().filter(|chunk| !have.contains(chunk)).collect();
        transfer.phase = Phase::Fetching(Chunks::new(now, missing));
        transfer.advance(now, self.pace.window(&self.options, transfer.manifest.chunk_bytes), out);
    }

    fn stored(&mut self, now: Time, chunk: ChunkNumber, out: &mut Vec<ReceiverOutput>) {
        let Some(transfer) = &mut self.transfer else { return };
        match &mut transfer.phase {
            Phase::Fetching(chunks) => {
                if chunks.storing.remove(&chunk) {
                    // Count the give-up time from here: a slow disk on this node is not the sender's fault.
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

    /// Ends the transfer once the driver has completed all its actions.
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
            // Either all chunks are here or the stored ones are being checked: nothing is needed from the sender at the
            // moment.
            Phase::Opening | Phase::Finishing | Phase::Installing | Phase::Closing(_) => {}
        }
    }

    /// Ends the transfer, if there is one. If a reason is given, it is sent to the sender.
    fn abandon(&mut self, reason: Option<Refusal>, out: &mut Vec<ReceiverOutput>) {
        if let Some(transfer) = self.transfer.take() {
            out.push(ReceiverOutput::Discard);
            if let Some(reason) = reason {
                out.push(refused(transfer.from, transfer.manifest.id, reason));
            }
        }
    }
}
