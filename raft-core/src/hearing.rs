//! Accepting messages, and adopting a higher term from one (paper, section 5.1). A node accepts messages for
//! itself, from members on the data folders that the membership names, and from their newest incarnations.

use crate::raft::{COUNT_MAX, Node};
use crate::{Body, Effects, Incarnation, LogId, Message, StoreId, Term};

/// The newest incarnation heard from a member: one run of its process on one data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewestIncarnation {
    store: StoreId,
    incarnation: Incarnation,
    /// The membership entry that named this data folder when it was last checked.
    member_in: LogId,
}

impl Node {
    /// Takes a message: decides whether it is accepted, adopts a higher term, and dispatches it (paper,
    /// section 5.1).
    pub(crate) fn on_message(&mut self, message: Message, effects: &mut Effects) {
        if !self.hears(&message) {
            return;
        }
        if message.term > self.common.term && !self.settle_term(&message, effects) {
            return;
        }
        let Message { from, from_store, from_incarnation, term, body, .. } = message;
        let current = term == self.common.term;
        match body {
            Body::PreVote(body) => self.on_pre_vote(from, body, effects),
            // The sender's term may be lower: a candidate that failed before is ahead of those it asks.
            Body::PreVoteResponse(body) => self.on_pre_vote_response(from, body, effects),
            Body::RequestVote(body) => {
                self.on_request_vote(from, from_store, term, body, effects);
            }
            Body::RequestVoteResponse(body) if current => self.on_vote_response(from, body, effects),
            Body::AppendEntries(body) => self.on_append_entries(from, from_incarnation, term, body, effects),
            Body::AppendEntriesResponse(body) if current => {
                if let Some(mut leading) = self.leading() {
                    leading.on_append_response(from, from_incarnation, body, effects);
                }
            }
            Body::ReadIndex(body) => self.on_read_index(from, body, effects),
            Body::ReadIndexResponse(body) if current => self.on_read_index_response(from, body, effects),
            Body::TimeoutNow(_) if current => self.on_timeout_now(from, effects),
            // An answer of an earlier term does not count in this one.
            Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {}
        }
    }

    /// True when a message is accepted: it is valid, for this node, from the data folder that the membership
    /// names, and not from an earlier incarnation of the sender. Records the newest incarnation of each
    /// member.
    fn hears(&mut self, message: &Message) -> bool {
        let (from, store, incarnation) = (message.from, message.from_store, message.from_incarnation);
        if message.to != self.common.config.node
            || from == self.common.config.node
            || message.term.0 > COUNT_MAX
        {
            return false;
        }
        let membership = self.common.memberships.current();
        let known = self.common.incarnations.get(&from).filter(|newest| newest.store == store);
        if known
            .is_some_and(|newest| newest.incarnation == incarnation && newest.member_in == membership.id())
        {
            return true; // The usual case.
        }
        if membership.store(from) != Some(store) {
            return self.hears_stranger(message);
        }
        if known.is_some_and(|newest| newest.incarnation > incarnation) {
            return false;
        }
        let is_new_incarnation = known.is_some_and(|newest| newest.incarnation < incarnation);
        let member_in = membership.id();
        self.common.incarnations.insert(from, NewestIncarnation { store, incarnation, member_in });
        if is_new_incarnation && let Some(mut leading) = self.leading() {
            leading.probe_again(from, false); // Appends to the earlier incarnation are lost.
        }
        true
    }

    /// True when a message is accepted from a node, or a data folder, that the membership does not name.
    fn hears_stranger(&self, message: &Message) -> bool {
        match &message.body {
            // A leader or candidate may have been added, or given another data folder, by entries that this
            // node still lacks. If it ignored them, a voter that lags could neither catch up nor elect them,
            // and the cluster might be stuck. The log comparison alone decides (thesis, section 4.2.2).
            Body::AppendEntries(_) | Body::PreVote(_) | Body::RequestVote(_) => true,
            // Accepted from the leader that this node follows, for the same reason.
            Body::ReadIndexResponse(_) | Body::TimeoutNow(_) => self.leader() == Some(message.from),
            // Answers count towards quorums, and so only from members on the data folder that the membership
            // names. A voter that was wiped would otherwise vote twice in one term, or be counted for entries
            // that it no longer has.
            Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::ReadIndex(_) => false,
        }
    }

    /// Adopts the higher term of a message where that is due. False when the message is to be ignored.
    fn settle_term(&mut self, message: &Message, effects: &mut Effects) -> bool {
        match &message.body {
            // A pre-vote changes no state (thesis, section 9.6).
            Body::PreVote(_) => true,
            Body::RequestVote(body) => {
                // Vote requests are ignored while the promise to the leader lasts, and with them their term.
                // A removed server no longer gets heartbeats and campaigns again and again, and each of its
                // terms would depose the leader (thesis, section 4.2.3). Besides, the leader may be serving
                // reads on the lease that the promise gave it.
                let sticky = self.is_sticky() && body.reason == crate::CampaignReason::LeaderTimeout;
                if !sticky {
                    self.become_follower(message.term, None, effects);
                }
                !sticky
            }
            Body::AppendEntries(body) => {
                let sound = well_formed(body, message.term);
                if sound {
                    self.become_follower(
                        message.term,
                        Some((message.from, message.from_incarnation)),
                        effects,
                    );
                }
                sound
            }
            Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {
                self.become_follower(message.term, None, effects);
                true
            }
        }
    }
}

/// True when the entries follow `prev` consecutively, in terms that rise at most to the sender's.
pub(crate) fn well_formed(append: &crate::AppendEntries, term: Term) -> bool {
    let mut prev = append.prev;
    if prev.index.0 > COUNT_MAX || prev.term > term {
        return false;
    }
    append.entries.iter().all(|entry| {
        let follows = entry.id.index == prev.index.next() && (prev.term..=term).contains(&entry.id.term);
        prev = entry.id;
        follows && prev.index.0 <= COUNT_MAX
    })
}
