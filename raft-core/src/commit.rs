//! Proposals, the commit index, and handing committed entries to the state machine (paper, sections 5.3 and
//! 5.4.2).

use alloc::vec::Vec;

use crate::backlog::{Amount, Backlog};
use crate::common::Common;
use crate::raft::{answer_all, tickets_of};
use crate::role::{Leader, Leading, Uncommitted};
use crate::{
    Apply, Done, Effects, Entries, Entry, LogId, LogIndex, NodeId, Outcome, Payload, Proposal, Term, Ticket,
    Time,
};

impl Leading<'_> {
    /// Appends the proposals that are accepted.
    pub(crate) fn on_propose(&mut self, proposals: Vec<Proposal>, effects: &mut Effects) {
        let Self { common, leader } = self;
        // A caller that retries a moment later finds the successor, or this node still leading.
        let successor = common.transfer.as_ref().map(|transfer| transfer.to);
        if let Some(successor) = successor {
            return answer_all(tickets_of(&proposals), Outcome::NotLeader(Some(successor)), effects);
        }
        let limit = common.config.uncommitted_bytes_max;
        let (proposals, amount) = leader.admit(proposals, limit, &common.backlog, common.now, effects);
        let (term, first, before) = (common.term, common.log.last_index().next(), leader.uncommitted_bytes);
        let entries: Entries = proposals
            .into_iter()
            .enumerate()
            .map(|(at, Proposal { ticket, command })| {
                let id = LogId { term, index: first.plus(at as u64) };
                let entry = Entry { id, payload: Payload::Command(command) };
                leader.note_uncommitted(id.index, entry.weight(), Some(ticket));
                entry
            })
            .collect();
        let bytes = leader.uncommitted_bytes - before;
        if let Some(last) = entries.last_index() {
            common.backlog.note_taken(common.now, last, amount);
        }
        common.append_run(entries, bytes);
    }

    /// Raises a leader's commit index to what a quorum holds durably. The leader's own copy counts only once
    /// it is durable.
    ///
    /// If it counted earlier: of three nodes, S1 leads and appends entry 7, S2 acknowledges it, and S1
    /// commits it and answers the client. S1 crashes before its fsync and restarts without entry 7. While S2
    /// is out of reach, S1 and S3 elect one of themselves, and the committed entry is lost (thesis, section
    /// 10.2.1).
    ///
    /// Entries of earlier terms are committed only along with one of the leader's term (paper, section 5.4.2,
    /// Figure 8). If they were counted: S1 leads term 2, replicates index 2 to S2 alone and crashes. S5 leads
    /// term 3, appends another entry at index 2, and crashes. S1 leads term 4 and replicates its old entry to
    /// S3. A majority holds it, but S5, whose last entry is of term 3, can still win the votes of S2, S3 and
    /// S4, and overwrite it.
    pub(crate) fn advance_leader_commit(&mut self, effects: &mut Effects) {
        let common = &*self.common;
        if common.commit == common.log.last_index() {
            return;
        }
        let (own, durable) = (common.config.node, common.log.durable());
        let holds = |node| {
            if node == own {
                return durable;
            }
            let Some(peer) = self.leader.progress.get(&node) else { return LogIndex::ZERO };
            peer.counted_match()
        };
        let agreed = common.agreed(holds);
        // Only entries of this term are committed by counting (paper, section 5.4.2 and Figure 8).
        if let Some(index) = agreed.filter(|index| common.log.term(*index) == Some(common.term)) {
            self.advance_commit(index, effects);
        }
    }

    /// Raises the commit index to `index`, and answers what that settles.
    pub(crate) fn advance_commit(&mut self, index: LogIndex, effects: &mut Effects) {
        if !self.common.raise_commit(index) {
            return;
        }
        let leader = &mut self.leader;
        let first_of_term = leader.reads.awaits_commit() && index >= leader.term_start;
        leader.answer_committed(index, self.common.term, effects);
        if first_of_term {
            self.begin_held_reads(effects);
        }
        self.settle_membership(effects);
    }
}

impl Common {
    /// Raises the commit index to `index`. False if it is there already.
    pub(crate) fn raise_commit(&mut self, index: LogIndex) -> bool {
        if index <= self.commit {
            return false;
        }
        self.commit = index;
        true
    }

    /// The state machine has applied everything up to `index`.
    pub(crate) fn on_applied(&mut self, index: LogIndex) {
        self.applied = self.applied.max(index.min(self.handed_out));
        self.backlog.note_applied(self.now, self.applied);
    }

    /// Hands entries that are committed and durable here to the state machine, each once. An entry that is
    /// applied before it is durable here could be in the state machine and missing from the log after a
    /// crash.
    pub(crate) fn hand_out_committed(&mut self, effects: &mut Effects) {
        let last = self.commit.min(self.log.durable());
        if last <= self.handed_out {
            return;
        }
        while self.handed_out < last {
            let first = self.handed_out.next();
            let entries = self.log.tail().slice(first, last, usize::MAX).map(|(entries, _)| entries);
            let held = entries.as_ref().and_then(Entries::last_index);
            // The entries up to where the in-memory tail begins are read from the log by the driver.
            let before_tail = || self.log.tail_first().previous().map_or(last, |before| before.min(last));
            self.handed_out = held.unwrap_or_else(before_tail);
            effects.apply.push(Apply { first, last: self.handed_out, entries });
        }
    }
}

impl Leader {
    /// Returns the proposals that fit the limits, and their total; the others are answered `Overloaded`.
    fn admit(
        &self,
        mut proposals: Vec<Proposal>,
        limit: usize,
        backlog: &Backlog,
        now: Time,
        effects: &mut Effects,
    ) -> (Vec<Proposal>, Amount) {
        let weight = |proposal: &Proposal| Entry::command_weight(&proposal.command);
        let all = proposals.iter().map(weight).fold(self.uncommitted_bytes, usize::saturating_add);
        let amount = proposals.iter().map(Amount::of).fold(Amount::default(), Amount::and);
        if all <= limit && backlog.has_room(now, amount) {
            return (proposals, amount);
        }
        let (mut open, mut is_empty, mut taken) =
            (self.uncommitted_bytes, self.uncommitted.is_empty(), Amount::default());
        proposals.retain(|proposal| {
            let with = open.saturating_add(weight(proposal));
            let taken_with = taken.and(Amount::of(proposal));
            // A proposal larger than a limit is accepted while nothing else is open, as it would never fit
            // otherwise.
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

    /// Records an entry that is not committed yet.
    pub(crate) fn note_uncommitted(&mut self, index: LogIndex, weight: usize, ticket: Option<Ticket>) {
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_add(weight);
        self.uncommitted.push_back(Uncommitted { index, weight, ticket });
    }

    /// Answers the proposals whose entries are committed.
    fn answer_committed(&mut self, commit: LogIndex, term: Term, effects: &mut Effects) {
        while let Some(open) = self.uncommitted.front().copied().filter(|open| open.index <= commit) {
            self.uncommitted.pop_front();
            self.uncommitted_bytes -= open.weight;
            if let Some(ticket) = open.ticket {
                let outcome = Outcome::Committed(LogId { term, index: open.index });
                effects.done.push(Done { ticket, outcome });
            }
        }
    }

    /// Ends the leadership. Uncommitted proposals are answered `Unknown`, as a later leader may commit or
    /// overwrite them; to everything else nothing was done.
    pub(crate) fn leave(self, term: Term, next: Option<NodeId>, effects: &mut Effects) {
        self.answer_unknown(term, effects);
        self.cancel_snapshots(effects);
        self.reads.fail(Outcome::NotLeader(next), effects);
    }

    /// Ends the leadership because the node has ended.
    pub(crate) fn stop(self, term: Term, effects: &mut Effects) {
        self.answer_unknown(term, effects);
        self.cancel_snapshots(effects);
        self.reads.fail(Outcome::Stopped, effects);
    }

    fn answer_unknown(&self, term: Term, effects: &mut Effects) {
        if let Some(change) = self.change {
            effects.done.push(Done { ticket: change.ticket, outcome: Outcome::Unknown(change.first) });
        }
        for open in &self.uncommitted {
            if let Some(ticket) = open.ticket {
                let outcome = Outcome::Unknown(LogId { term, index: open.index });
                effects.done.push(Done { ticket, outcome });
            }
        }
    }
}
