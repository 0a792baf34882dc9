//! What a node listens to: messages for it, of members on the data folders that the membership names, of their newest
//! lives; and what a higher term in one of them does (paper, section 5.1).

use crate::raft::{COUNT_MAX, Node};
use crate::{Body, Effects, Incarnation, LogId, Message, StoreId, Term};

/// A life of a member: one run of its process on one data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    store: StoreId,
    incarnation: Incarnation,
    /// The entry of the membership that named this data folder when it was last looked at.
    member_in: LogId,
}

impl Node {
    /// Decides whether a message is heard at all, settles the term, and passes it on (paper, section 5.1).
    pub(crate) fn on_message(&mut self, message: Message, effects: &mut Effects) {
        if !self.hears(&message) {
            return;
        }
        if message.term > self.term && !self.settle_term(&message, effects) {
            return;
        }
        let Message { from, from_store, from_incarnation, term, body, .. } = message;
        let current = term == self.term;
        match body {
            Body::PreVote(body) => self.on_pre_vote(from, body, effects),
            // Its term may be lower than ours: whoever campaigned in vain is ahead of those it asks.
            Body::PreVoteResponse(body) => self.on_pre_vote_response(from, body, effects),
            Body::RequestVote(body) => {
                self.on_request_vote(from, from_store, term, body, effects);
            }
            Body::RequestVoteResponse(body) if current => self.on_vote_response(from, body, effects),
            Body::AppendEntries(body) => self.on_append_entries(from, from_incarnation, term, body, effects),
            Body::AppendEntriesResponse(body) if current => {
                self.on_append_response(from, from_incarnation, body, effects);
            }
            Body::ReadIndex(body) => self.on_read_index(from, body, effects),
            Body::ReadIndexResponse(body) if current => self.on_read_index_response(from, body, effects),
            Body::TimeoutNow(_) if current => self.on_timeout_now(from, effects),
            // Of an earlier term: it counts for nothing in this one.
            Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {}
        }
    }

    /// False for what is not for this node, from another data folder than the membership names, from an earlier life
    /// of its sender, or nonsense. Remembers the newest life of each member.
    fn hears(&mut self, message: &Message) -> bool {
        let (from, store, incarnation) = (message.from, message.from_store, message.from_incarnation);
        if message.to != self.config.node || from == self.config.node || message.term.0 > COUNT_MAX {
            return false;
        }
        let membership = self.memberships.current();
        let known = self.lives.get(&from).filter(|life| life.store == store);
        if known.is_some_and(|life| life.incarnation == incarnation && life.member_in == membership.id()) {
            return true; // As nearly always.
        }
        if membership.store(from) != Some(store) {
            return self.hears_stranger(message);
        }
        if known.is_some_and(|life| life.incarnation > incarnation) {
            return false;
        }
        let is_new_life = known.is_some_and(|life| life.incarnation < incarnation);
        self.lives.insert(from, Life { store, incarnation, member_in: membership.id() });
        if is_new_life {
            self.probe_again(from, false); // What was on its way to the earlier one is lost.
        }
        true
    }

    /// What is heard from a node, or a data folder, that the membership does not name.
    fn hears_stranger(&self, message: &Message) -> bool {
        match &message.body {
            // A leader or candidate may have been added, or given another data folder, by entries that this node still
            // lacks: whoever has the longer log decides (thesis, section 4.2.2).
            Body::AppendEntries(_) | Body::PreVote(_) | Body::RequestVote(_) => true,
            // From the leader that this node follows, for the same reason.
            Body::ReadIndexResponse(_) | Body::TimeoutNow(_) => self.leader() == Some(message.from),
            // What is counted is counted for members only, and for the data folder that the membership names.
            Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::ReadIndex(_) => false,
        }
    }

    /// A message of a higher term: follow into it, where that is due. False when the message is to be ignored.
    fn settle_term(&mut self, message: &Message, effects: &mut Effects) -> bool {
        match &message.body {
            // Asking changes nothing (thesis, section 9.6).
            Body::PreVote(_) => true,
            Body::RequestVote(body) => {
                // A node that has just heard its leader is not drawn away from it, least of all by one that was removed
                // (thesis, section 4.2.3).
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

/// True when the entries follow `prev` one by one, in terms that rise up to the sender's.
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
