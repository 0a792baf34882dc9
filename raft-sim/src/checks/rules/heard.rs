//! The messages that a process has received and sent, with their times, as far as the rules need them.

use std::collections::BTreeMap;

use raftkit_core::invariants::Before;
use raftkit_core::{
    Body, LogId, LogIndex, Membership, NodeId, ReadMode, RequestId, Round, StoreId, Term, Time,
};
use raftkit_replica::{Event, ServiceEvent, TransportReport};

/// Number of rounds that are remembered. No answer is about an older one.
const ROUNDS: usize = 4096;

/// Record of the messages that a process has received and sent. All times are on the node's own clock.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Time at which a leader was last heard.
    pub(super) leader_at: Option<Time>,
    /// The commit index when the round began.
    pub(super) commit: LogIndex,
    /// The term that the node led when the round began; none if it did not lead.
    pub(super) led: Option<Term>,
    /// The membership in force when the round began.
    pub(super) membership: LogIndex,
    /// Appends that were received, with the time of each.
    pub(super) appends: BTreeMap<(NodeId, Term, Round), Time>,
    /// Requests for votes that were received, with the first time of each.
    pub(super) asked: BTreeMap<(NodeId, RequestId), Time>,
    /// The term of the last vote that was granted, and the time at which it was asked for.
    pub(super) granted: Option<(Term, Time)>,
    /// Requests of followers for a read index, with the first time of each: a request is repeated until it is answered.
    pub(super) reads: BTreeMap<(NodeId, RequestId), (Time, ReadMode)>,
    /// Time at which each round was first sent.
    pub(super) rounds: BTreeMap<Round, Time>,
    /// Time since which the node leads in its term.
    pub(super) since: Time,
    /// The store of each member, and the time since which it is one.
    known: BTreeMap<NodeId, (StoreId, Time)>,
    known_of: LogId,
    /// The last answer of each peer, in this term or an earlier one.
    answers: BTreeMap<NodeId, Answer>,
    /// Peers whose answer in this round was of an earlier term.
    pub(super) outdated: Vec<NodeId>,
}

/// The latest answers of a peer to a leader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) term: Term,
    /// Time at which the newest round that the peer has heard was sent; none where the round is not known, as the peer
    /// may answer an old message in the round of the election.
    pub(super) sent: Option<Time>,
    /// Time at which the peer was last heard.
    pub(super) at: Time,
}

impl Heard {
    /// Records the state of the node at the beginning of a round.
    pub(crate) fn begin(&mut self, before: &Before) {
        self.commit = before.commit();
        self.led = before.is_leader().then(|| before.term());
        self.membership = before.membership_index();
    }

    /// Records an event that the node is about to take in.
    pub(crate) fn note(&mut self, event: &ServiceEvent, node: &raftkit_core::Node, now: Time) {
        let ServiceEvent::Replica(Event::Transport(TransportReport::Message(message))) = event else {
            return;
        };
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

    /// Records that the node leads from now on.
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
        // Answers from before the peer's removal do not count once it is a member again.
        let known = self.known.get(&peer).map_or(self.since, |(_, at)| *at);
        self.answer(peer, term).map_or(known, |answer| answer.at.max(known))
    }

    /// Records the members that the node leads. A member that has just been added counts as heard at that moment.
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

/// Records the first time of an event, and drops the oldest above [`ROUNDS`].
pub(super) fn keep<K: Ord, V>(times: &mut BTreeMap<K, V>, key: K, now: V) {
    times.entry(key).or_insert(now);
    if times.len() > ROUNDS {
        times.pop_first();
    }
}
