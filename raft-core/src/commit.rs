//! Proposals, what is committed, and what may be applied (paper, sections 5.3 and 5.4.2).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::backlog::{Amount, Backlog};
use crate::raft::Node;
use crate::role::{Leader, Open, Role};
use crate::{
    Apply, Done, Effects, Entries, Entry, LogId, LogIndex, NodeId, Outcome, Payload, Proposal, Term, Ticket,
    Time, WriteSeq,
};

impl Node {
    pub(crate) fn on_propose(&mut self, proposals: Vec<Proposal>, effects: &mut Effects) {
        // Whoever waits a moment and asks again finds the successor, or this node still leading.
        let successor = self.transfer.as_ref().map(|transfer| transfer.to);
        let Role::Leader(leader) = &mut self.role else {
            return refuse(proposals, Outcome::NotLeader(self.leader()), effects);
        };
        if let Some(successor) = successor {
            return refuse(proposals, Outcome::NotLeader(Some(successor)), effects);
        }
        let limit = self.config.uncommitted_bytes_max;
        let (proposals, amount) = leader.admit(proposals, limit, &self.backlog, self.now, effects);
        let (term, first, before) = (self.term, self.log.last_index().next(), leader.open_bytes);
        let entries: Entries = proposals
            .into_iter()
            .enumerate()
            .map(|(at, Proposal { ticket, command })| {
                let id = LogId { term, index: first.plus(at as u64) };
                let entry = Entry { id, payload: Payload::Command(command) };
                leader.note_open(id.index, entry.weight(), Some(ticket));
                entry
            })
            .collect();
        let bytes = leader.open_bytes - before;
        if let Some(last) = entries.last_index() {
            self.backlog.note_taken(self.now, last, amount);
        }
        self.append_run(entries, bytes);
    }

    /// Appends entries of this weight that follow the last one, here and to the write of this call.
    pub(crate) fn append_run(&mut self, entries: Entries, bytes: usize) {
        self.writes.append(entries.clone());
        self.log.append(entries, bytes);
    }

    /// The same, for entries that may hold memberships.
    pub(crate) fn append_entries(&mut self, entries: Entries) {
        let mut bytes = 0_usize;
        for entry in &entries {
            bytes = bytes.saturating_add(entry.weight());
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.append(entry.id.index, Arc::clone(membership));
            }
        }
        self.append_run(entries, bytes);
    }

    /// A write is durable: what waited for it goes on.
    pub(crate) fn on_persisted(&mut self, seq: WriteSeq, effects: &mut Effects) {
        let Some(last) = self.writes.persisted(self.now, seq) else { return };
        self.log.persisted_to(last);
        if self.writes.is_idle() && self.commit_due.is_some() {
            self.commit_due = None; // Counted anew from here.
        }
        self.release_grant(effects);
        self.count_own_vote(effects);
        self.acknowledge_durable(effects);
        self.advance_leader_commit(effects);
    }

    /// Raises a leader's commit index to what a quorum holds durably, itself included once its own disk has it.
    pub(crate) fn advance_leader_commit(&mut self, effects: &mut Effects) {
        let Role::Leader(leader) = &self.role else { return };
        if self.commit == self.log.last_index() {
            return;
        }
        let (own, durable) = (self.config.node, self.log.durable());
        let holds = |node| {
            if node == own {
                return durable;
            }
            let Some(peer) = leader.progress.get(&node) else { return LogIndex::ZERO };
            peer.counted_match()
        };
        let agreed = self.agreed(holds);
        // Only entries of this term are committed by counting (paper, section 5.4.2 and Figure 8).
        if let Some(index) = agreed.filter(|index| self.log.term(*index) == Some(self.term)) {
            self.advance_commit(index, effects);
        }
    }

    /// Everything up to `index` is committed.
    pub(crate) fn advance_commit(&mut self, index: LogIndex, effects: &mut Effects) {
        if index <= self.commit {
            return;
        }
        self.commit = index;
        let term = self.term;
        if let Role::Leader(leader) = &mut self.role {
            let first_of_term = leader.reads.awaits_commit() && index >= leader.term_start;
            leader.settle_open(index, term, effects);
            if first_of_term {
                self.begin_held_reads(effects);
            }
            self.settle_membership(effects);
        }
    }

    /// Hands what is committed and durable here to the state machine, once.
    pub(crate) fn hand_out_committed(&mut self, effects: &mut Effects) {
        let last = self.commit.min(self.log.durable());
        if last <= self.handed {
            return;
        }
        while self.handed < last {
            let first = self.handed.next();
            let entries = self.log.tail().slice(first, last, usize::MAX).map(|(entries, _)| entries);
            let held = entries.as_ref().and_then(Entries::last_index);
            // What is not in memory any more is read from the log, up to where memory begins.
            let before_tail = || self.log.tail_first().previous().map_or(last, |before| before.min(last));
            self.handed = held.unwrap_or_else(before_tail);
            effects.apply.push(Apply { first, last: self.handed, entries });
        }
    }
}

/// Answers all of them alike: nothing was done.
fn refuse(proposals: Vec<Proposal>, outcome: Outcome, effects: &mut Effects) {
    effects.done.extend(proposals.into_iter().map(|Proposal { ticket, .. }| Done { ticket, outcome }));
}

impl Leader {
    /// The proposals that there is room for, and what they amount to; the others are answered.
    fn admit(
        &self,
        mut proposals: Vec<Proposal>,
        limit: usize,
        backlog: &Backlog,
        now: Time,
        effects: &mut Effects,
    ) -> (Vec<Proposal>, Amount) {
        let weight = |proposal: &Proposal| Entry::command_weight(&proposal.command);
        let all = proposals.iter().map(weight).fold(self.open_bytes, usize::saturating_add);
        let amount = proposals.iter().map(Amount::of).fold(Amount::default(), Amount::and);
        if all <= limit && backlog.has_room(now, amount) {
            return (proposals, amount);
        }
        let (mut open, mut is_empty, mut taken) = (self.open_bytes, self.open.is_empty(), Amount::default());
        proposals.retain(|proposal| {
            let with = open.saturating_add(weight(proposal));
            let taken_with = taken.and(Amount::of(proposal));
            // Something larger than a limit may pass alone, or it never could.
            let alone = backlog.is_empty() && taken == Amount::default();
            let fits = (with <= limit || is_empty) && (backlog.has_room(now, taken_with) || alone);
            if fits {
                (open, is_empty, taken) = (with, false, taken_with);
            } else {
                effects.done.push(Done { ticket: proposal.ticket, outcome: Outcome::Overloaded });
            }
            fits
        });
        (proposals, taken)
    }

    /// Notes an entry that is not committed yet.
    pub(crate) fn note_open(&mut self, index: LogIndex, weight: usize, ticket: Option<Ticket>) {
        self.open_bytes = self.open_bytes.saturating_add(weight);
        self.open.push_back(Open { index, weight, ticket });
    }

    /// Answers whose entry is committed.
    fn settle_open(&mut self, commit: LogIndex, term: Term, effects: &mut Effects) {
        while let Some(open) = self.open.front().copied().filter(|open| open.index <= commit) {
            self.open.pop_front();
            self.open_bytes -= open.weight;
            if let Some(ticket) = open.ticket {
                let outcome = Outcome::Committed(LogId { term, index: open.index });
                effects.done.push(Done { ticket, outcome });
            }
        }
    }

    /// Leads no more: proposals on their way may or may not be committed by whoever leads next, and nothing else was
    /// done for anyone.
    pub(crate) fn leave(self, term: Term, next: Option<NodeId>, effects: &mut Effects) {
        self.leave_open(term, effects);
        crate::raft::cancel_snapshots(&self, effects);
        self.reads.fail(Outcome::NotLeader(next), effects);
    }

    /// The node has ended while it led.
    pub(crate) fn stop(self, term: Term, effects: &mut Effects) {
        self.leave_open(term, effects);
        crate::raft::cancel_snapshots(&self, effects);
        self.reads.fail(Outcome::Stopped, effects);
    }

    fn leave_open(&self, term: Term, effects: &mut Effects) {
        if let Some(change) = self.change {
            effects.done.push(Done { ticket: change.ticket, outcome: Outcome::Unknown(change.first) });
        }
        for open in &self.open {
            if let Some(ticket) = open.ticket {
                let outcome = Outcome::Unknown(LogId { term, index: open.index });
                effects.done.push(Done { ticket, outcome });
            }
        }
    }
}
