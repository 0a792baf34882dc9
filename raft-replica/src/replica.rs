//! The replica: the protocol, with a log, a state machine and snapshots around it.

mod answers;
mod reports;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use raftkit_core::{
    Apply, Effects, Fatal, FetchId, Fetched, Input, LogIndex, MembershipChange, Node, NodeId, Proposal,
    ReadMode, SnapshotEffect, Status, Term, Ticket, Time, WriteSeq,
};

use crate::compaction::CompactionPolicy;
use crate::transfers::{self, Transfers};
use crate::{Action, Answers, CompactionOptions, Ended, Event, MachineWork, Output};

/// Settings of a replica, beside the protocol's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaOptions {
    /// How much of the log is kept.
    pub compaction: CompactionOptions,
    /// Longest time between two moments at which the state machine is made durable, while commands are applied. A
    /// restart replays the log from the last such moment.
    pub persist_interval: Duration,
    /// Upper bound on the bytes of committed entries that wait in memory to be applied. Entries beyond it are read
    /// from the log when their turn comes.
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

/// One node's protocol, with the requests, the work and the snapshot transfers that it waits for. A replica knows no
/// clock, thread or socket: its driver passes the time with each call, and carries out the actions with three workers
/// ([`raftkit_log`], [`Applier`](crate::Applier), [`SnapshotWorker`](crate::SnapshotWorker)).
#[derive(Debug)]
pub struct Replica {
    node: Node,
    options: ReplicaOptions,
    effects: Effects,
    /// Proposals that are committed or in doubt, by the index and term of their entry. They are answered once an
    /// entry is applied at that index.
    awaiting: BTreeMap<(LogIndex, Term), Ticket>,
    /// Tickets of membership changes that are not answered.
    changes: BTreeSet<Ticket>,
    /// Runs given to the applier and not reported as applied: (last index, bytes in memory) of each.
    unapplied: VecDeque<(LogIndex, usize)>,
    unapplied_bytes: usize,
    transfers: Transfers,
    compaction: CompactionPolicy,
    durable: LogIndex,
    /// The time since which the state machine has applied commands that are not durable; none if all are, or are
    /// being made so.
    unpersisted_since: Option<Time>,
    persisting: bool,
    /// The newest write given to the log.
    written: WriteSeq,
    /// The newest write that the log has made durable.
    persisted: WriteSeq,
    /// The reason why the log could not be read, while the core handles that.
    unread: Option<String>,
    ended: bool,
}

impl Replica {
    /// A replica around a restored node. The state machine holds everything up to `durable` durably.
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

    /// The state of the protocol that an operator looks at.
    #[must_use]
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// The last index that the state machine holds durably. It is above the end of the log while a damaged log lacks
    /// entries that the state machine holds.
    #[must_use]
    pub fn durable(&self) -> LogIndex {
        self.durable
    }

    /// The last index that the state machine certainly shows: what the core knows to be applied, or what the state
    /// machine held already when a damaged log ended before that.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.node.applied().max(self.durable)
    }

    /// The time at which [`tick`](Self::tick) is due, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Time {
        let persist = match (self.unpersisted_since, self.persisting) {
            (Some(since), false) => Some(since.after(self.options.persist_interval)),
            (Some(_), true) | (None, _) => None,
        };
        let others = persist.into_iter().chain(self.transfers.next_deadline()).min();
        others.map_or_else(|| self.node.next_deadline(), |at| at.min(self.node.next_deadline()))
    }

    /// Takes a report and appends what is to be done. `now` is read after the report was taken in, never before.
    ///
    /// A replica that has ended takes no reports. Above all it does not go on with installing a snapshot: its log could
    /// not follow, and the snapshot's file must stay as it is for the restart, which finishes the install.
    pub fn handle(&mut self, now: Time, event: Event, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        match event {
            Event::Transport(report) => self.on_transport(now, report, out),
            Event::Log(report) => self.on_log(now, report, out),
            Event::Machine(report) => self.on_machine(now, report, out),
            Event::Snapshot(report) => self.on_snapshot(now, report, out),
        }
    }

    /// Proposes commands, in this order.
    pub fn propose(&mut self, now: Time, proposals: Vec<Proposal>, out: &mut Vec<Output>) {
        self.core(now, Input::Propose(proposals), out);
    }

    /// Asks for the index from which a read may be served.
    pub fn read(&mut self, now: Time, ticket: Ticket, mode: ReadMode, out: &mut Vec<Output>) {
        self.core(now, Input::Read { ticket, mode }, out);
    }

    /// Hands leadership to `to`, or to the most up-to-date voter.
    pub fn transfer(&mut self, now: Time, ticket: Ticket, to: Option<NodeId>, out: &mut Vec<Output>) {
        self.core(now, Input::Transfer { ticket, to }, out);
    }

    /// Changes the membership.
    pub fn change(&mut self, now: Time, change: MembershipChange, out: &mut Vec<Output>) {
        self.changes.insert(change.ticket);
        self.core(now, Input::Change(Box::new(change)), out);
    }

    /// Makes the commit index durable.
    pub fn persist_commit(&mut self, now: Time, out: &mut Vec<Output>) {
        if !self.ended {
            self.core(now, Input::PersistCommit, out);
        }
    }

    /// Does what is due. Call it when [`next_deadline`](Self::next_deadline) has come; at other times it does no harm.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.ended {
            return;
        }
        let due =
            self.unpersisted_since.is_some_and(|since| since.after(self.options.persist_interval) <= now);
        if due && !self.persisting {
            self.persisting = true;
            out.push(Action::Machine(MachineWork::Persist).into());
        }
        if self.transfers.next_deadline().is_some_and(|at| at <= now) {
            let ended = self.transfers.tick(now, self.node.applied(), out);
            self.sent(now, ended, out);
            // A transfer that ended may be what the log was kept for.
            self.compact(now, out);
        }
        if self.node.next_deadline() <= now {
            self.core(now, Input::Tick, out);
        }
    }

    /// Gives the core one input, and carries out everything that follows from it.
    fn core(&mut self, now: Time, input: Input, out: &mut Vec<Output>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.node.handle(now, input, &mut effects);
        // Messages first: they leave while the disk works (thesis, section 10.2.1).
        out.extend(effects.messages.drain(..).map(|message| Action::Send(message).into()));
        for write in effects.writes.drain(..) {
            self.compaction.written(&write);
            self.written = write.seq;
            out.push(Action::Log(write).into());
        }
        for done in effects.done.drain(..) {
            self.done(done, out);
        }
        for apply in effects.apply.drain(..) {
            let apply = self.bounded(apply);
            let mut waited = self.awaiting.range((apply.first, Term(0))..=(apply.last, Term(u64::MAX)));
            let answers = if waited.next().is_some() { Answers::Wanted } else { Answers::Unwanted };
            out.push(Action::Machine(MachineWork::Apply { apply, answers }).into());
        }
        out.extend(effects.fetches.drain(..).map(|fetch| Action::Fetch(fetch).into()));
        out.extend(effects.role.take().map(|role| Action::Role(role).into()));
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

    /// The log could not be read. The node ends only if a peer still needs the entries.
    fn fetch_failed(&mut self, now: Time, id: FetchId, reason: String, out: &mut Vec<Output>) {
        self.unread = Some(reason);
        self.core(now, Input::Fetched { id, result: Fetched::Damaged }, out);
        self.unread = None;
    }

    fn in_detail(&self, fatal: Fatal) -> Ended {
        match &self.unread {
            Some(reason) if matches!(fatal, Fatal::LogDamaged { .. }) => Ended::Log(reason.clone()),
            Some(_) | None => Ended::Protocol(fatal),
        }
    }

    /// Drops the entries of a run from memory if too many bytes wait to be applied: a slow state machine must not
    /// fill the memory. The applier reads them from the log.
    fn bounded(&mut self, apply: Apply) -> Apply {
        let fits = self.unapplied_bytes < self.options.unapplied_bytes_max;
        let entries = apply.entries.filter(|_| fits);
        let bytes = entries.iter().flatten().map(raftkit_core::Entry::weight).sum();
        self.unapplied_bytes += bytes;
        self.unapplied.push_back((apply.last, bytes));
        Apply { entries, ..apply }
    }

    fn sent(&mut self, now: Time, ended: transfers::Ended, out: &mut Vec<Output>) {
        let any = !ended.is_empty();
        for (to, result) in ended {
            self.core(now, Input::SnapshotSent { to, result }, out);
        }
        if any {
            // The log that was kept for it can be cut, also if no more writes come.
            self.compact(now, out);
        }
    }

    /// Cuts the log, if that is worth a write and nothing needs the entries.
    fn compact(&mut self, now: Time, out: &mut Vec<Output>) {
        // While the state is ahead of a log that lost entries, there is nothing to cut yet up to the state.
        let held = self.durable.min(self.node.applied());
        self.transfers.follow(now, held, || self.node.status().peers);
        if let Some(to) = self.compaction.target(held, self.transfers.needed()) {
            self.core(now, Input::Compact(to), out);
        }
    }

    fn end(&mut self, now: Time, why: Ended, out: &mut Vec<Output>) {
        self.say_ended(why, out);
        self.core(now, Input::WriteFailed, out);
    }

    fn say_ended(&mut self, why: Ended, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.ended, true) {
            out.push(Action::Ended(why).into());
            self.skip_answers(LogIndex(u64::MAX - 1), out);
        }
    }
}
