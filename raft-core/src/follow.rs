//! The follower's side of replication: whether the log matches, what is appended, and what is acknowledged
//! when (paper, AppendEntries RPC).

use crate::hearing::well_formed;
use crate::raft::Node;
use crate::role::{Follower, Following, Role};
use crate::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, Effects, Entries, Fatal, Incarnation, LogId,
    LogIndex, NodeId, Round, Term,
};
use core::time::Duration;

/// The effect of an append on the log.
enum Accepted {
    /// Everything up to this index matches the leader's log.
    Verified(LogIndex),
    /// The log does not hold `prev`.
    Conflict(AppendOutcome),
    /// The append contradicts committed entries, from this index on.
    Contradiction(LogIndex),
}

impl Node {
    /// Takes an append, from the leader of this term or from one of an earlier term.
    pub(crate) fn on_append_entries(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        term: Term,
        append: AppendEntries,
        effects: &mut Effects,
    ) {
        if term < self.common.term {
            return self.refuse_old_leader(from, incarnation, append.round, effects);
        }
        if !well_formed(&append, term) {
            return;
        }
        let Some(mut following) = self.follow(from, incarnation, effects) else { return };
        if let Err(fatal) = following.on_append_entries(from, append, effects) {
            self.end(fatal, effects);
        }
    }

    /// Answers a leader of an earlier term, which learns of the current term and steps down. The answer
    /// promises nothing.
    fn refuse_old_leader(
        &self,
        to: NodeId,
        to_incarnation: Incarnation,
        round: Round,
        effects: &mut Effects,
    ) {
        let outcome = AppendOutcome::Heard;
        let (promise, health) = (Duration::ZERO, self.common.health.health());
        let answer = AppendEntriesResponse { outcome, round, to_incarnation, promise, health };
        effects.messages.push(self.common.envelope().to(to, Body::AppendEntriesResponse(answer)));
    }

    /// Follows the leader of this term and renews the promise to it. None when `from` cannot be the leader.
    fn follow(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        effects: &mut Effects,
    ) -> Option<Following<'_>> {
        match &self.role {
            Role::Leader(_) => return None, // There is one leader in a term, and this node is it.
            Role::Follower(Follower { leader: Some(leader), .. }) if *leader != from => return None,
            Role::Follower(Follower { leader: Some(_), .. }) => {}
            Role::Follower(Follower { leader: None, .. }) | Role::PreCandidate(_) | Role::Candidate(_) => {
                self.become_follower(self.common.term, Some((from, incarnation)), effects);
            }
        }
        let common = &mut self.common;
        common.leader_heard = Some(common.now);
        common.promise_leader();
        common.wait_for_leader();
        self.following()
    }
}

impl Following<'_> {
    /// Takes an append of this follower's leader.
    ///
    /// # Errors
    /// The append contradicts committed entries, and the node has to end.
    fn on_append_entries(
        &mut self,
        from: NodeId,
        append: AppendEntries,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        let (round, is_heartbeat, commit) = (append.round, append.entries.is_empty(), append.commit);
        self.follower.round = self.follower.round.max(round);
        match self.accept(append) {
            Accepted::Contradiction(refused) => {
                return Err(Fatal::CommittedConflict { leader: from, refused, commit: self.common.commit });
            }
            Accepted::Conflict(outcome) => self.answer_leader(outcome, effects),
            Accepted::Verified(index) => {
                self.follower.verified = self.follower.verified.max(index).max(self.common.commit);
                self.learn_commit(commit);
                self.acknowledge_append(round, is_heartbeat, effects);
            }
        }
        Ok(())
    }

    /// Takes a commit index of the leader. It is remembered, as the entries that it covers may still be on
    /// their way, in appends that were sent before they were committed.
    ///
    /// Only what is known to match the leader's log is committed here: what follows in this log may be
    /// another leader's. Suppose the leader's commit index is 9, and it probes with prev = 5. Entries 6 to 9
    /// here may be leftovers of a deposed leader, and applying them would break state machine safety (paper,
    /// Figure 2, AppendEntries rule 5: "index of last new entry").
    pub(crate) fn learn_commit(&mut self, commit: LogIndex) {
        let Follower { leader_commit, verified, .. } = &mut *self.follower;
        *leader_commit = commit.max(*leader_commit);
        self.common.raise_commit((*leader_commit).min(*verified));
    }

    /// Makes the log match what the leader sent (paper, section 5.3).
    ///
    /// Only an entry that conflicts is truncated, with all that follow. To truncate after the last entry of
    /// every append would be wrong: appends can be reordered, and an old one would cut off entries that this
    /// node has acknowledged since, and that the leader may have committed by counting it.
    fn accept(&mut self, append: AppendEntries) -> Accepted {
        let (log, commit, prev) = (&self.common.log, self.common.commit, append.prev);
        if prev.index <= commit {
            // Every later leader has the committed entries, so they match even where this log has compacted
            // them.
            if log.term(prev.index).is_some_and(|term| term != prev.term) {
                return Accepted::Contradiction(prev.index);
            }
        } else if !log.holds(prev) {
            let hint = log.last_not_above(prev_of(prev.index), prev.term);
            // Committed entries match, so the hint need not go below them.
            let hint = hint.filter(|hint| hint.index >= commit).or_else(|| log.id(commit));
            let hint = hint.unwrap_or(log.base());
            return Accepted::Conflict(AppendOutcome::Conflict { refused: prev.index, hint });
        }
        let verified = append.entries.last_index().unwrap_or(prev.index);
        let fresh = self.fresh(append.entries);
        let Some(LogId { term, index }) = fresh.first().map(|entry| entry.id) else {
            return Accepted::Verified(verified);
        };
        // After a compacted entry, of which only the term is known, no entry of a lower term can follow.
        if index <= commit || log.term(prev_of(index)).is_some_and(|prev| prev > term) {
            return Accepted::Contradiction(index);
        }
        if index <= log.last_index() {
            self.truncate_from(index);
        }
        self.common.append_entries(fresh);
        Accepted::Verified(verified)
    }

    /// The entries of an append that the log does not hold yet.
    fn fresh(&self, entries: Entries) -> Entries {
        let log = &self.common.log;
        if entries.first_index().is_none_or(|first| first > log.last_index()) {
            return entries;
        }
        let base = log.base().index;
        let held = entries.iter().take_while(|it| it.id.index <= base || log.holds(it.id)).count();
        entries.slice(held..entries.len())
    }

    /// Truncates the log from `index` on: a tail left by another leader.
    fn truncate_from(&mut self, index: LogIndex) {
        self.common.truncate_from(index);
        self.follower.verified = self.follower.verified.min(prev_of(index));
    }

    /// The match index that this follower may acknowledge now: entries and term are both durable. None while
    /// either is still being written.
    ///
    /// The term matters, too. A follower that acknowledges an append of term 5 and then restarts in term 4
    /// may follow an old leader of term 4, which overwrites what was acknowledged and perhaps committed in
    /// term 5.
    fn durable_match(&self) -> Option<LogIndex> {
        let term_durable = self.common.writes.durable().term >= self.common.term;
        let log_durable = self.common.log.durable() >= self.follower.verified;
        (term_durable && log_durable).then_some(self.follower.verified)
    }

    /// Answers an append: at once if everything is durable, otherwise when it is. If S2 acknowledged entry 7
    /// before its fsync, the leader S1 would commit it, and a crash of S2 and the loss of S1 would leave no
    /// copy of a committed entry (thesis, section 3.8).
    ///
    /// A heartbeat is answered at once in any case, without a word about the log, so that leases and
    /// check-quorum do not depend on the speed of disks.
    fn acknowledge_append(&mut self, round: Round, is_heartbeat: bool, effects: &mut Effects) {
        let outcome = self.durable_match();
        // An append that only carries a commit index repeats a round and needs no answer.
        let is_news =
            round > self.follower.answered || outcome.is_some_and(|index| index > self.follower.acked);
        match outcome {
            Some(index) if !is_heartbeat || is_news => {
                self.answer_leader(AppendOutcome::Match(index), effects)
            }
            None if is_heartbeat && is_news => self.answer_leader(AppendOutcome::Heard, effects),
            Some(_) | None => {}
        }
    }

    /// Acknowledges what a completed write has made durable.
    pub(crate) fn acknowledge_durable(&mut self, effects: &mut Effects) {
        let index = self.follower.verified.min(self.common.log.durable());
        if index > self.follower.acked && self.common.writes.durable().term >= self.common.term {
            self.answer_leader(AppendOutcome::Match(index), effects);
        }
    }

    /// Tells the leader at once that this node has recovered, and what it holds.
    pub(crate) fn acknowledge_healed(&mut self, effects: &mut Effects) {
        if let Some(index) = self.durable_match() {
            self.answer_leader(AppendOutcome::Match(index), effects);
        }
    }

    /// Sends an answer that confirms the newest round received from the leader.
    fn answer_leader(&mut self, outcome: AppendOutcome, effects: &mut Effects) {
        let (envelope, health) = (self.common.envelope(), self.common.health.health());
        // A damaged node counts in no quorum, so its promise is of no use to a lease.
        let promises = self.common.is_sound();
        let promise = if promises { self.common.durable_promise() } else { Duration::ZERO };
        let follower = &mut self.follower;
        let Some(leader) = follower.leader else { return };
        follower.answered = follower.round;
        if let AppendOutcome::Match(index) = outcome {
            follower.acked = follower.acked.max(index);
        }
        let round = follower.round;
        let to_incarnation = follower.incarnation;
        let answer = AppendEntriesResponse { outcome, round, to_incarnation, promise, health };
        effects.messages.push(envelope.to(leader, Body::AppendEntriesResponse(answer)));
    }
}

/// The index before `index`; zero for zero.
fn prev_of(index: LogIndex) -> LogIndex {
    index.previous().unwrap_or_default()
}
