//! Proposals, what is committed, and what may be applied (paper, sections 5.3 and 5.4.2).

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::raft::Node;
use crate::role::{Leader, Open, Role};
use crate::{
    Apply, Done, Effects, Entry, LogId, LogIndex, NodeId, Outcome, Payload, Proposal, Term, Ticket, WriteSeq,
    quorum,
};

impl Node {
    pub(crate) fn on_propose(&mut self, proposals: Vec<Proposal>, effects: &mut Effects) {
        // Whoever waits a moment and asks again finds the successor, or this node still leading.
        let successor = self.transfer.as_ref().map(|transfer| Outcome::NotLeader(Some(transfer.to)));
        for Proposal { ticket, command } in proposals {
            let payload = Payload::Command(command);
            let refused = match &self.role {
                Role::Leader(leader) => {
                    let weight = Entry { id: LogId::ZERO, payload: payload.clone() }.weight();
                    let full = leader.open_bytes.saturating_add(weight) > self.config.uncommitted_bytes_max;
                    // Something larger than the limit may pass alone, or it never could.
                    let overloaded = full && !leader.open.is_empty();
                    let successor = mutant!(self.config, ProposalsInTransfer, None, successor);
                    let overloaded = overloaded && !mutant!(self.config, UncommittedIgnored);
                    successor.or(overloaded.then_some(Outcome::Overloaded))
                }
                Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => {
                    Some(Outcome::NotLeader(self.leader()))
                }
            };
            match refused {
                Some(outcome) => effects.done.push(Done { ticket, outcome }),
                None => self.append_own(payload, Some(ticket)),
            }
        }
    }

    /// Appends an entry that follows the last one, here and to the write of this call.
    pub(crate) fn append_entry(&mut self, entry: Entry) {
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.append(entry.id.index, Arc::clone(membership));
        }
        self.writes.append(entry.clone());
        self.log.append(entry);
    }

    /// A write is durable: what waited for it goes on.
    pub(crate) fn on_persisted(&mut self, seq: WriteSeq, effects: &mut Effects) {
        let Some(last) = self.writes.persisted(seq) else { return };
        let last = mutant!(self.config, OldWriteCompletesNew, self.log.last_index(), last);
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
        let (own, durable) = (self.config.node, self.log.durable());
        let durable = mutant!(self.config, LeaderCountsBeforeDisk, self.log.last_index(), durable);
        let holds = |node| {
            let peer = leader.progress.get(&node);
            let matched = mutant!(
                self.config,
                RegressedPeerCounted,
                peer.map(|peer| peer.match_index),
                peer.map(crate::progress::Progress::counted_match)
            );
            if node == own { durable } else { matched.unwrap_or_default() }
        };
        let membership = self.memberships.current();
        let agreed = mutant!(
            self.config,
            QuorumOffByOne,
            crate::mutants::too_small_majority(membership, holds),
            mutant!(
                self.config,
                QuorumUnsorted,
                crate::mutants::unsorted_middle(membership, holds),
                quorum::agreed(membership, holds)
            )
        );
        // Only entries of this term are committed by counting (paper, section 5.4.2 and Figure 8).
        if let Some(index) = agreed.filter(|index| {
            self.log.term(*index) == Some(self.term) || mutant!(self.config, OldTermCommitted)
        }) {
            self.advance_commit(index, effects);
        }
    }

    /// Everything up to `index` is committed.
    pub(crate) fn advance_commit(&mut self, index: LogIndex, effects: &mut Effects) {
        if index <= self.commit && !(mutant!(self.config, CommitGoesBack) && index < self.commit) {
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
        let last =
            mutant!(self.config, AppliedBeforeDurable, self.commit, self.commit.min(self.log.durable()));
        if last <= self.handed {
            return;
        }
        let first = self.handed.next();
        let whole =
            |(entries, _): &(Vec<Entry>, usize)| entries.last().is_some_and(|entry| entry.id.index == last);
        let entries = self.log.slice(first, last, usize::MAX).filter(whole).map(|(entries, _)| entries);
        effects.apply.push(Apply { first, last, entries });
        self.handed = last;
    }
}

impl Leader {
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
