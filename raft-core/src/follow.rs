//! The follower's side of replication: does the log match, what is appended, what is acknowledged and when (paper,
//! AppendEntries RPC).

use crate::hearing::well_formed;
use crate::raft::Node;
use crate::role::{Following, Role};
use crate::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, Effects, Entries, Fatal, Incarnation, LogId,
    LogIndex, NodeId, Term,
};
use core::time::Duration;

/// What an append did to the log.
enum Accepted {
    /// Everything up to this index is as in the leader's log.
    Verified(LogIndex),
    /// `prev` is not here.
    Conflict(AppendOutcome),
    /// It contradicts what is committed here, from this index on.
    Contradiction(LogIndex),
}

impl Node {
    pub(crate) fn on_append_entries(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        term: Term,
        append: AppendEntries,
        effects: &mut Effects,
    ) {
        if term < self.term {
            return self.refuse_old_leader(from, incarnation, append.round, effects);
        }
        if !well_formed(&append, term) || !self.hears_leader(from, incarnation, effects) {
            return;
        }
        let (round, is_beat, commit) = (append.round, append.entries.is_empty(), append.commit);
        let Role::Follower(following) = &mut self.role else { return };
        following.round = following.round.max(round);
        match self.accept(append) {
            Accepted::Contradiction(refused) => {
                let fatal = Fatal::CommittedConflict { leader: from, refused, commit: self.commit };
                self.end(fatal, effects);
            }
            Accepted::Conflict(outcome) => self.answer_leader(outcome, effects),
            Accepted::Verified(index) => {
                // Not further than this message proves: what follows here may be another leader's.
                self.advance_commit(commit.min(index), effects);
                if let Role::Follower(following) = &mut self.role {
                    following.verified = following.verified.max(index).max(self.commit);
                }
                self.acknowledge_append(round, is_beat, effects);
            }
        }
    }

    /// A leader of an earlier term learns of this one and steps down. Nothing is promised to it.
    fn refuse_old_leader(&self, to: NodeId, to_incarnation: Incarnation, round: u64, effects: &mut Effects) {
        let outcome = AppendOutcome::Heard;
        let (promise, health) = (Duration::ZERO, self.health.health());
        let answer = AppendEntriesResponse { outcome, round, to_incarnation, promise, health };
        effects.messages.push(self.envelope().to(to, Body::AppendEntriesResponse(answer)));
    }

    /// Follows the leader of this term and promises it not to vote for a while. False when it cannot be the leader.
    fn hears_leader(&mut self, from: NodeId, incarnation: Incarnation, effects: &mut Effects) -> bool {
        match &self.role {
            Role::Leader(_) => return false, // One leader a term.
            Role::Follower(Following { leader: Some(leader), .. }) if *leader != from => return false,
            Role::Follower(Following { leader: Some(_), .. }) => {}
            Role::Follower(Following { leader: None, .. }) | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.become_follower(self.term, Some((from, incarnation)), effects);
            }
        }
        self.leader_heard = Some(self.now);
        self.promise_leader();
        self.wait_for_leader();
        true
    }

    /// Brings the log in line with what the leader sent (paper, section 5.3).
    fn accept(&mut self, append: AppendEntries) -> Accepted {
        let prev = append.prev;
        if prev.index <= self.commit {
            // Every leader holds what is committed, so it matches, also where it is compacted away.
            if self.log.term(prev.index).is_some_and(|term| term != prev.term) {
                return Accepted::Contradiction(prev.index);
            }
        } else if !self.log.holds(prev) {
            let hint = self.log.last_not_above(prev_of(prev.index), prev.term);
            // What is committed cannot be refused.
            let hint = hint.filter(|hint| hint.index >= self.commit).or_else(|| self.log.id(self.commit));
            let hint = hint.unwrap_or(self.log.base());
            return Accepted::Conflict(AppendOutcome::Conflict { refused: prev.index, hint });
        }
        let verified = append.entries.last_index().unwrap_or(prev.index);
        let fresh = self.fresh(append.entries);
        let Some(LogId { term, index }) = fresh.first().map(|entry| entry.id) else {
            return Accepted::Verified(verified);
        };
        // Behind a compacted entry, whose term alone is known, a lower term cannot follow.
        if index <= self.commit || self.log.term(prev_of(index)).is_some_and(|prev| prev > term) {
            return Accepted::Contradiction(index);
        }
        if index <= self.log.last_index() {
            self.truncate_from(index);
        }
        self.append_entries(fresh);
        Accepted::Verified(verified)
    }

    /// The entries behind those that the log holds already.
    fn fresh(&self, entries: Entries) -> Entries {
        if entries.first_index().is_none_or(|first| first > self.log.last_index()) {
            return entries;
        }
        let base = self.log.base().index;
        let held = entries.iter().take_while(|it| it.id.index <= base || self.log.holds(it.id)).count();
        entries.part(held..entries.len())
    }

    /// Drops a tail that another leader left.
    pub(crate) fn truncate_from(&mut self, index: LogIndex) {
        self.log.truncate_from(index);
        self.writes.truncate_from(index);
        self.memberships.truncate_from(index);
        if let Role::Follower(following) = &mut self.role {
            let before = prev_of(index);
            following.verified = following.verified.min(before);
        }
    }

    /// What this follower may acknowledge: what it holds durably, of a leader whose term is durable too. None while
    /// something that the leader waits for is on its way to the disk.
    fn durable_match(&self, following: &Following) -> Option<LogIndex> {
        let term_durable = self.writes.durable().term >= self.term;
        let log_durable = self.log.durable() >= following.verified;
        (term_durable && log_durable).then_some(following.verified)
    }

    /// Answers an append: at once when nothing waits for the disk. What waits is acknowledged when it is durable (a
    /// crash could otherwise lose a committed entry, thesis 3.8); but a heartbeat is answered at once even then, so
    /// that leases and check-quorum do not depend on disks.
    fn acknowledge_append(&mut self, round: u64, is_beat: bool, effects: &mut Effects) {
        let Role::Follower(following) = &self.role else { return };
        let outcome = self.durable_match(following);
        // A commit index that was sent on its own asks for nothing.
        let is_news = round > following.answered || outcome.is_some_and(|index| index > following.acked);
        match outcome {
            Some(index) if !is_beat || is_news => self.answer_leader(AppendOutcome::Match(index), effects),
            None if is_beat && is_news => self.answer_leader(AppendOutcome::Heard, effects),
            Some(_) | None => {}
        }
    }

    /// A write is durable: acknowledge what it made so.
    pub(crate) fn acknowledge_durable(&mut self, effects: &mut Effects) {
        let Role::Follower(following) = &self.role else { return };
        let index = following.verified.min(self.log.durable());
        if index > following.acked && self.writes.durable().term >= self.term {
            self.answer_leader(AppendOutcome::Match(index), effects);
        }
    }

    /// This node counts again: says so at once, with what it holds.
    pub(crate) fn acknowledge_healed(&mut self, effects: &mut Effects) {
        let Role::Follower(following) = &self.role else { return };
        if let Some(index) = self.durable_match(following) {
            self.answer_leader(AppendOutcome::Match(index), effects);
        }
    }

    /// Answers the leader with the newest round heard of it.
    fn answer_leader(&mut self, outcome: AppendOutcome, effects: &mut Effects) {
        let (envelope, health) = (self.envelope(), self.health.health());
        // A damaged node does not vote anyway, and its promise is part of no lease.
        let promises = self.is_sound();
        let promise = if promises { self.durable_promise() } else { Duration::ZERO };
        let Role::Follower(following) = &mut self.role else { return };
        let Some(leader) = following.leader else { return };
        following.answered = following.round;
        if let AppendOutcome::Match(index) = outcome {
            following.acked = following.acked.max(index);
        }
        let round = following.round;
        let to_incarnation = following.incarnation;
        let answer = AppendEntriesResponse { outcome, round, to_incarnation, promise, health };
        effects.messages.push(envelope.to(leader, Body::AppendEntriesResponse(answer)));
    }
}

/// The index before `index`; before the first there is only zero.
fn prev_of(index: LogIndex) -> LogIndex {
    index.previous().unwrap_or_default()
}
