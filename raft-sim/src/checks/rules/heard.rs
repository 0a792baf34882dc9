//! What a process has heard and said, and when.

use std::collections::BTreeMap;

use raftkit_core::invariants::Before;
use raftkit_core::{
    Body, LogId, LogIndex, Membership, NodeId, ReadMode, RequestId, Round, StoreId, Term, Time,
};
use raftkit_replica::{Event, ServiceEvent};

/// So many rounds are remembered: more than an answer comes late.
const ROUNDS: usize = 4096;

/// What a process has heard and said, all times on its own clock.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// When a leader that it heard was heard last.
    pub(super) leader_at: Option<Time>,
    /// What it knew to be committed when its round began.
    pub(super) commit: LogIndex,
    /// The term that it led then.
    pub(super) led: Option<Term>,
    /// The membership in force then.
    pub(super) membership: LogIndex,
    /// Appends that it took in.
    pub(super) appends: BTreeMap<(NodeId, Term, Round), Time>,
    /// Requests for its vote that it took in, each when for the first time.
    pub(super) asked: BTreeMap<(NodeId, RequestId), Time>,
    /// The term of the vote that it gave last, and when that was asked for.
    pub(super) granted: Option<(Term, Time)>,
    /// Questions of followers from where they can read, each when it came first: it is asked again until it is answered.
    pub(super) reads: BTreeMap<(NodeId, RequestId), (Time, ReadMode)>,
    /// When it first sent each round.
    pub(super) rounds: BTreeMap<Round, Time>,
    /// Since when it leads in its term.
    pub(super) since: Time,
    /// Since when each member is one, and in which membership that was looked at.
    known: BTreeMap<NodeId, (StoreId, Time)>,
    known_of: LogId,
    /// What each peer answered last, in this term or one before.
    answers: BTreeMap<NodeId, Answer>,
    /// Who answered in an earlier one, within this round.
    pub(super) outdated: Vec<NodeId>,
}

/// The answers of a peer to a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) term: Term,
    /// When the newest round that it heard was sent. It may answer in the round of the election, to what it was sent long
    /// before.
    pub(super) sent: Option<Time>,
    /// When it was heard last.
    pub(super) at: Time,
}

impl Heard {
    /// A round begins.
    pub(crate) fn begin(&mut self, before: &Before) {
        self.commit = before.commit();
        self.led = before.is_leader().then(|| before.term());
        self.membership = before.membership_index();
    }

    /// Something is about to be taken in.
    pub(crate) fn note(&mut self, event: &ServiceEvent, node: &raftkit_core::Node, now: Time) {
        let ServiceEvent::Replica(Event::Message(message)) = event else { return };
        let from = message.from;
        match &message.body {
            Body::AppendEntries(append) => {
                keep(&mut self.appends, (from, message.term, append.round), now);
            }
            Body::RequestVote(ask) => keep(&mut self.asked, (from, ask.request), now),
            Body::ReadIndex(ask) => keep(&mut self.reads, (from, ask.request), (now, ask.mode)),
            Body::AppendEntriesResponse(_) if message.term < node.term() => self.outdated.push(from),
            Body::AppendEntriesResponse(answer) if node.is_leader() && message.term == node.term() => {
                let earlier = self.answer(from, message.term).and_then(|answer| answer.sent);
                let sent = self.rounds.get(&answer.round).copied().max(earlier);
                self.answers.insert(from, Answer { term: message.term, sent, at: now });
            }
            Body::AppendEntriesResponse(_)
            | Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {}
        }
    }

    /// It leads from now on.
    pub(super) fn leads(&mut self, now: Time) {
        self.since = now;
        self.known.clear();
        self.known_of = LogId::ZERO;
        self.reads.clear();
    }

    pub(super) fn answer(&self, peer: NodeId, term: Term) -> Option<Answer> {
        self.answers.get(&peer).copied().filter(|answer| answer.term == term)
    }

    pub(super) fn answered_at(&self, peer: NodeId, term: Term) -> Time {
        // What it answered before it was removed and named again is older than that.
        let known = self.known.get(&peer).map_or(self.since, |(_, at)| *at);
        self.answer(peer, term).map_or(known, |answer| answer.at.max(known))
    }

    /// It leads these members: each has the time of a voter that has just fallen silent, from when it was named.
    pub(super) fn knows(&mut self, members: &Membership, now: Time) {
        if self.known_of != members.id() {
            self.known_of = members.id();
            self.known.retain(|id, (store, _)| members.store(*id) == Some(*store));
            for (id, member) in members.members() {
                self.known.entry(*id).or_insert((member.store, now));
            }
        }
    }
}

/// Keeps the first time that something came, and of all no more than are asked for.
pub(super) fn keep<K: Ord, V>(times: &mut BTreeMap<K, V>, key: K, now: V) {
    times.entry(key).or_insert(now);
    if times.len() > ROUNDS {
        times.pop_first();
    }
}
