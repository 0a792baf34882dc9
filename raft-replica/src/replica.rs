//! The replica: the protocol with a log, a state machine and snapshots around it. Events in, actions out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use raftkit_core::{
    Apply, Done, Effects, Fatal, FetchId, Fetched, Input, LogId, LogIndex, Membership, Node, Outcome,
    SnapshotEffect, Status, Term, Ticket, Time, WriteSeq,
};

use crate::compaction::CompactionPolicy;
use crate::transfers::{self, Transfers};
use crate::{
    Action, Answer, Answers, AppliedBatch, CompactionOptions, Ended, Event, MachineWork, SnapshotWork,
};

/// What a replica is told beside the protocol's own settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// How much of the log is kept.
    pub compaction: CompactionOptions,
    /// The state machine is made durable at least so often while commands are applied; what a restart replays.
    pub persist_interval: Duration,
    /// At most so many bytes of committed entries wait in memory to be applied; what comes on top is read back from the
    /// log when its turn comes.
    pub unapplied_bytes_max: usize,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            compaction: CompactionOptions::default(),
            persist_interval: Duration::from_secs(1),
            unapplied_bytes_max: 64 << 20,
        }
    }
}

/// One node's protocol, and what is waited for around it. It knows no clock, thread or socket: whoever drives it gives
/// it time with each event and does what it asks for, through the three workers
/// ([`raftkit_log`], [`Applier`](crate::Applier), [`SnapshotWorker`](crate::SnapshotWorker)).
#[derive(Debug)]
pub struct Replica {
    node: Node,
    options: ReplicaOptions,
    effects: Effects,
    /// Proposals that are committed or in doubt, until the entry of that index is applied here.
    awaiting: BTreeMap<(LogIndex, Term), Ticket>,
    /// Changes of membership that are not answered.
    changes: BTreeSet<Ticket>,
    /// What the applier was handed and has not reported: (last index, bytes in memory) of each run.
    unapplied: VecDeque<(LogIndex, usize)>,
    unapplied_bytes: usize,
    transfers: Transfers,
    compaction: CompactionPolicy,
    durable: LogIndex,
    /// The state machine has applied something that is not durable, since when; none while it is being made durable.
    unpersisted_since: Option<Time>,
    persisting: bool,
    /// The newest write that the log worker was handed.
    written: WriteSeq,
    /// The newest one that it has made durable.
    persisted: WriteSeq,
    /// Why the log could not be read, while the core is told.
    unread: Option<String>,
    ended: bool,
}

impl Replica {
    /// A replica around a restored node, whose state machine holds everything up to `durable` durably.
    #[must_use]
    pub fn new(node: Node, durable: LogIndex, options: ReplicaOptions) -> Self {
        let base = node.status().base.index;
        Self {
            node,
            options,
            effects: Effects::default(),
            awaiting: BTreeMap::new(),
            changes: BTreeSet::new(),
            unapplied: VecDeque::new(),
            unapplied_bytes: 0,
            transfers: Transfers::new(),
            compaction: CompactionPolicy::new(options.compaction, base),
            durable,
            unpersisted_since: None,
            persisting: false,
            written: WriteSeq::default(),
            persisted: WriteSeq::default(),
            unread: None,
            ended: false,
        }
    }

    /// The protocol's state.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Everything that an operator wants to see.
    #[must_use]
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// What the state machine holds durably. Above the end of the log while that lacks what was damaged in it.
    #[must_use]
    pub fn durable(&self) -> LogIndex {
        self.durable
    }

    /// What the state machine shows at least: what the core had it apply, or what it held already when the log, which
    /// lost entries, ended before that.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.node.applied().max(self.durable)
    }

    /// When [`Event::Tick`] is due, if nothing else comes before.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let persist = match (self.unpersisted_since, self.persisting) {
            (Some(since), false) => Some(since.after(self.options.persist_interval)),
            (Some(_), true) | (None, _) => None,
        };
        let others = persist.into_iter().chain(self.transfers.next_deadline()).min();
        others.map_or_else(|| self.node.next_deadline(), |at| at.min(self.node.next_deadline()))
    }

    /// Takes one event and appends what is to be done. `now` is read after the event was taken in, never before.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        if self.ended {
            return self.refuse(now, event, out);
        }
        match event {
            Event::Tick => self.tick(now, out),
            Event::Message(message) => self.core(now, Input::Message(message), out),
            Event::Propose(proposals) => self.core(now, Input::Propose(proposals), out),
            Event::Read { ticket, mode } => self.core(now, Input::Read { ticket, mode }, out),
            Event::Transfer { ticket, to } => self.core(now, Input::Transfer { ticket, to }, out),
            Event::Change(change) => {
                self.changes.insert(change.ticket);
                self.core(now, Input::Change(change), out);
            }
            Event::PersistCommit => self.core(now, Input::PersistCommit, out),
            Event::Unreachable(node) => self.core(now, Input::Unreachable(node), out),
            Event::Fetched { request, result } => self.core(now, Input::Fetched { id: request, result }, out),
            Event::Persisted(seq) => self.persisted(now, seq, out),
            Event::FetchFailed { request, reason } => self.fetch_failed(now, request, reason, out),
            Event::LogFailed(reason) => self.end(now, Ended::Log(reason), out),
            Event::LogDamaged(what) => self.end(now, Ended::LogDamaged(what), out),
            Event::MachineFailed(reason) => self.end(now, Ended::Machine(reason), out),
            Event::Applied(batch) => self.note_applied(now, batch, out),
            Event::MachineDurable(id) => self.machine_durable(now, id.index, out),
            Event::Restored { id, membership } => self.restored(now, id, membership, out),
            Event::View { view, membership } => {
                self.transfers.viewed(view.id());
                out.push(Action::Snapshot(SnapshotWork::Build { view, membership }));
            }
            Event::Bulk { from, body } => {
                // As the core sees it: a log that lost entries needs a snapshot also where the state does not.
                let ended = self.transfers.message(now, from, body, self.node.applied(), out);
                self.sent(now, ended, out);
            }
            Event::BulkLeft(id) => {
                let ended = self.transfers.left(now, id, out);
                self.sent(now, ended, out);
            }
            Event::SnapshotBuilt(result) => {
                let ended = self.transfers.built(now, result, self.node.applied(), out);
                self.sent(now, ended, out);
            }
            Event::ChunkRead { to, snapshot, chunk, bytes } => {
                let ended = self.transfers.chunk_read(now, (to, snapshot, chunk), bytes, out);
                self.sent(now, ended, out);
            }
            Event::PartialOpened(result) => self.transfers.partial_opened(now, result, out),
            Event::ChunkStored(result) => self.transfers.chunk_stored(now, result, out),
            Event::SnapshotReceived(result) => {
                self.transfers.whole(now, result, out);
            }
        }
    }

    /// After the end only requests are answered. Above all no snapshot goes on being installed: its log could not follow,
    /// and its file must stay as it is for the restart that finishes the install.
    fn refuse(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        match event {
            Event::Propose(proposals) => self.core(now, Input::Propose(proposals), out),
            Event::Read { ticket, mode } => self.core(now, Input::Read { ticket, mode }, out),
            Event::Transfer { ticket, to } => self.core(now, Input::Transfer { ticket, to }, out),
            Event::Change(change) => self.core(now, Input::Change(change), out),
            Event::Tick
            | Event::Message(_)
            | Event::Bulk { .. }
            | Event::BulkLeft(_)
            | Event::PersistCommit
            | Event::Unreachable(_)
            | Event::Persisted(_)
            | Event::LogFailed(_)
            | Event::LogDamaged(_)
            | Event::Fetched { .. }
            | Event::FetchFailed { .. }
            | Event::Applied(_)
            | Event::MachineDurable(_)
            | Event::MachineFailed(_)
            | Event::View { .. }
            | Event::SnapshotBuilt(_)
            | Event::ChunkRead { .. }
            | Event::PartialOpened(_)
            | Event::ChunkStored(_)
            | Event::SnapshotReceived(_)
            | Event::Restored { .. } => {}
        }
    }

    fn tick(&mut self, now: Time, out: &mut Vec<Action>) {
        let due =
            self.unpersisted_since.is_some_and(|since| since.after(self.options.persist_interval) <= now);
        if due && !self.persisting {
            self.persisting = true;
            out.push(Action::Machine(MachineWork::Persist));
        }
        if self.transfers.next_deadline().is_some_and(|at| at <= now) {
            let ended = self.transfers.tick(now, self.node.applied(), out);
            self.sent(now, ended, out);
            // What the log was kept for may be given up.
            self.compact(now, out);
        }
        if self.node.next_deadline() <= now {
            self.core(now, Input::Tick, out);
        }
    }

    /// One input for the core, and everything that follows from it.
    fn core(&mut self, now: Time, input: Input, out: &mut Vec<Action>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.node.handle(now, input, &mut effects);
        // Messages first: they leave while the disk works (thesis, section 10.2.1).
        out.extend(effects.messages.drain(..).map(Action::Send));
        for write in effects.writes.drain(..) {
            self.compaction.written(&write);
            self.written = write.seq;
            out.push(Action::Log(write));
        }
        for done in effects.done.drain(..) {
            self.done(done, out);
        }
        for apply in effects.apply.drain(..) {
            let apply = self.bounded(apply);
            let mut waited = self.awaiting.range((apply.first, Term(0))..=(apply.last, Term(u64::MAX)));
            let answers = if waited.next().is_some() { Answers::Wanted } else { Answers::Unwanted };
            out.push(Action::Machine(MachineWork::Apply { apply, answers }));
        }
        out.extend(effects.fetches.drain(..).map(Action::Fetch));
        out.extend(effects.role.take().map(Action::Role));
        if let Some(fatal) = effects.fatal.take() {
            self.say_ended(self.in_detail(fatal), out);
        }
        let snapshots = std::mem::take(&mut effects.snapshots);
        self.effects = effects;
        for effect in snapshots {
            let ended = match effect {
                SnapshotEffect::Send { to, at_least } => {
                    self.transfers.wanted(now, to, at_least, self.node.applied(), out)
                }
                SnapshotEffect::Cancel { to } => {
                    self.transfers.cancelled(now, to, out);
                    transfers::Ended::new()
                }
            };
            self.sent(now, ended, out);
        }
    }

    /// The log could not be read. Only if a peer still waits for it, the node ends.
    fn fetch_failed(&mut self, now: Time, request: FetchId, reason: String, out: &mut Vec<Action>) {
        self.unread = Some(reason);
        self.core(now, Input::Fetched { id: request, result: Fetched::Damaged }, out);
        self.unread = None;
    }

    fn in_detail(&self, fatal: Fatal) -> Ended {
        match &self.unread {
            Some(reason) if matches!(fatal, Fatal::LogDamaged { .. }) => Ended::Log(reason.clone()),
            Some(_) | None => Ended::Protocol(fatal),
        }
    }

    /// A state machine that is slower than the log must not fill the memory: the run is handed on without its entries.
    fn bounded(&mut self, apply: Apply) -> Apply {
        let fits = self.unapplied_bytes < self.options.unapplied_bytes_max;
        let entries = apply.entries.filter(|_| fits);
        let bytes = entries.iter().flatten().map(raftkit_core::Entry::weight).sum();
        self.unapplied_bytes += bytes;
        self.unapplied.push_back((apply.last, bytes));
        Apply { entries, ..apply }
    }

    fn sent(&mut self, now: Time, ended: transfers::Ended, out: &mut Vec<Action>) {
        let any = !ended.is_empty();
        for (to, result) in ended {
            self.core(now, Input::SnapshotSent { to, result }, out);
        }
        if any {
            // What was kept for it can go, also when no write comes any more.
            self.compact(now, out);
        }
    }

    fn done(&mut self, Done { ticket, outcome }: Done, out: &mut Vec<Action>) {
        let is_change = self.changes.remove(&ticket);
        let answer = match outcome {
            // The state machine has no part in it.
            Outcome::Committed(id) if is_change => Answer::Changed(id),
            Outcome::Unknown(_) if is_change => Answer::Unknown,
            // Answered once it is applied. In doubt: the log itself tells what became of it, when that index commits.
            Outcome::Committed(id) | Outcome::Unknown(id) => {
                if self.ended {
                    Answer::Unknown
                } else {
                    self.awaiting.insert((id.index, id.term), ticket);
                    return;
                }
            }
            Outcome::ReadAt(index) => Answer::ReadAt(index),
            Outcome::Transferred(node) => Answer::Transferred(node),
            Outcome::NotLeader(hint) => Answer::NotLeader(hint),
            Outcome::Overloaded => Answer::Overloaded,
            Outcome::TransferFailed => Answer::TransferFailed,
            Outcome::Stopped => Answer::Stopped,
            Outcome::Conflict(id) => Answer::Conflict(id),
            Outcome::Refused(why) => Answer::Refused(why),
        };
        out.push(Action::Answer { ticket, answer });
    }

    fn persisted(&mut self, now: Time, seq: WriteSeq, out: &mut Vec<Action>) {
        self.persisted = self.persisted.max(seq);
        self.core(now, Input::Persisted(seq), out);
        self.transfers.persisted(seq, out);
    }

    fn note_applied(&mut self, now: Time, batch: AppliedBatch, out: &mut Vec<Action>) {
        if batch.through > self.durable {
            self.unpersisted_since.get_or_insert(now);
        }
        while let Some((last, bytes)) = self.unapplied.front()
            && *last <= batch.through
        {
            self.unapplied_bytes -= bytes;
            self.unapplied.pop_front();
        }
        let mut responses = batch.responses.into_iter().peekable();
        while let Some(entry) = self.awaiting.first_entry() {
            let (index, term) = *entry.key();
            if index > batch.through {
                break;
            }
            let ticket = entry.remove();
            while responses.next_if(|(id, _)| id.index < index).is_some() {}
            let answer = match responses.peek() {
                Some((id, response)) if id.index == index && id.term == term => {
                    Answer::Committed { id: *id, response: response.clone() }
                }
                // Another leader's entry is committed there: ours is not in the log and never will be.
                Some((id, _)) if id.index == index => Answer::NotLeader(self.node.leader()),
                Some(_) | None => Answer::Unknown,
            };
            out.push(Action::Answer { ticket, answer });
        }
        self.core(now, Input::Applied(batch.through), out);
    }

    fn machine_durable(&mut self, now: Time, durable: LogIndex, out: &mut Vec<Action>) {
        self.persisting = false;
        self.unpersisted_since = (durable < self.node.applied()).then_some(now);
        self.durable = self.durable.max(durable);
        self.compact(now, out);
    }

    /// Cuts the log where that is worth it and nothing needs what is cut.
    fn compact(&mut self, now: Time, out: &mut Vec<Action>) {
        // Where the state is ahead of a log that lost entries, there is nothing to cut up to it yet.
        let held = self.durable.min(self.node.applied());
        self.transfers.follow(now, held, || self.node.status().peers);
        if let Some(to) = self.compaction.target(held, self.transfers.needed()) {
            self.core(now, Input::Compact(to), out);
        }
    }

    /// The state machine has switched; now the log follows (design: snapshot, state machine, log, in this order).
    fn restored(&mut self, now: Time, id: LogId, membership: Membership, out: &mut Vec<Action>) {
        self.durable = self.durable.max(id.index);
        self.skip_answers(id.index, out);
        self.core(now, Input::SnapshotInstalled { base: id, membership: membership.into() }, out);
        // The last write resets the log to the snapshot, or it or one before brings the log's own entries up to it: the
        // log may hold them in memory only. Until that is durable nothing but the snapshot explains a state machine that
        // is ahead of its log.
        let follows = Some(self.written).filter(|write| *write > self.persisted);
        self.transfers.restored(now, id, follows, out);
    }

    /// What a snapshot jumped over cannot be told apart any more.
    fn skip_answers(&mut self, through: LogIndex, out: &mut Vec<Action>) {
        let later = self.awaiting.split_off(&(through.next(), Term(0)));
        for ticket in std::mem::replace(&mut self.awaiting, later).into_values() {
            out.push(Action::Answer { ticket, answer: Answer::Unknown });
        }
    }

    fn end(&mut self, now: Time, why: Ended, out: &mut Vec<Action>) {
        self.say_ended(why, out);
        self.core(now, Input::WriteFailed, out);
    }

    fn say_ended(&mut self, why: Ended, out: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Action::Ended(why));
            self.skip_answers(LogIndex(u64::MAX - 1), out);
        }
    }
}
