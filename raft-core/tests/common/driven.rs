//! Node 1 alone, driven by hand: one input at a time, and its effects.

use raftkit_core::invariants::{check_delta, check_state};
use raftkit_core::{
    AppendEntries, AppendOutcome, Base, Body, Config, Effects, Input, LogIndex, Membership, Message, Node,
    NodeId, PreVote, PreVoteResponse, Proposal, RequestId, Restored, StoreId, Ticket, Time, Vote, WriteSeq,
};

use crate::messages::{LIFE, message, vote_response};

pub struct Driven {
    pub node: Node,
    pub now: Time,
    /// The effects of the last input only.
    pub effects: Effects,
}

impl Driven {
    /// A node whose log is empty after `base`.
    pub fn new(base: Base) -> Self {
        let last = base.id.index;
        Self::restored(Restored { base, last, ..Restored::default() })
    }

    pub fn restored(restored: Restored) -> Self {
        let config = Config::new(NodeId(1), StoreId(1), LIFE, 1);
        let node = Node::restore(config, restored, Time(0)).unwrap();
        Self { node, now: Time(0), effects: Effects::default() }
    }

    pub fn founded(membership: Membership) -> Self {
        Self::restored(Restored::founded(membership))
    }

    /// Gives one input and keeps only its effects.
    pub fn give(&mut self, input: Input) -> &mut Self {
        self.effects = Effects::default();
        let before = self.node.clone();
        self.node.handle(self.now, input, &mut self.effects);
        check_state(&self.node).unwrap();
        check_delta(&before, &self.node).unwrap();
        self
    }

    pub fn hear(&mut self, from: u64, term: u64, body: Body) -> &mut Self {
        self.give(Input::Message(message(from, term, body)))
    }

    /// Makes the writes up to the last one of the last input durable.
    pub fn persist(&mut self) -> &mut Self {
        let seq = self.effects.writes.last().expect("there is a write").seq;
        self.give(Input::Persisted(seq))
    }

    pub fn propose(&mut self, ticket: u64, command: &'static str) -> &mut Self {
        let command = command.as_bytes().into();
        self.give(Input::Propose(vec![Proposal { ticket: Ticket(ticket), command }]))
    }

    /// Advances the time to the node's deadline.
    pub fn wait(&mut self) -> &mut Self {
        self.now = self.node.next_deadline();
        self.give(Input::Tick)
    }

    pub fn bodies(&self) -> Vec<Body> {
        self.effects.messages.iter().map(|message| message.body.clone()).collect()
    }

    /// The outcomes that the last input sent to a leader.
    pub fn outcomes(&self) -> Vec<AppendOutcome> {
        let outcome = |message: &Message| match &message.body {
            Body::AppendEntriesResponse(answer) => Some(answer.outcome),
            _ => None,
        };
        self.effects.messages.iter().filter_map(outcome).collect()
    }

    /// The votes that the last input sent to candidates.
    pub fn votes(&self) -> Vec<Vote> {
        let vote = |message: &Message| match &message.body {
            Body::RequestVoteResponse(answer) => Some(answer.vote),
            _ => None,
        };
        self.effects.messages.iter().filter_map(vote).collect()
    }

    /// The votes sent once the writes of the last input are durable.
    pub fn votes_when_durable(&mut self) -> Vec<Vote> {
        let mut said = self.votes();
        if !self.effects.writes.is_empty() {
            said.extend(self.persist().votes());
        }
        said
    }

    /// The appends that the last input sent, with their receivers.
    pub fn appends(&self) -> Vec<(NodeId, AppendEntries)> {
        let append = |message: &Message| match &message.body {
            Body::AppendEntries(append) => Some((message.to, append.clone())),
            _ => None,
        };
        self.effects.messages.iter().filter_map(append).collect()
    }

    /// The appends that the last input sent to one peer: `prev`, and the indexes of the entries.
    pub fn appended(&self, to: u64) -> Vec<(LogIndex, Vec<LogIndex>)> {
        let indexes = |append: AppendEntries| append.entries.iter().map(|entry| entry.id.index).collect();
        let to_peer = self.appends().into_iter().filter(|(peer, _)| *peer == NodeId(to));
        to_peer.map(|(_, append)| (append.prev.index, indexes(append))).collect()
    }

    /// Waits for the node's deadline and answers its pre-votes as `granting`. The node is a candidate
    /// afterwards, and the effects are those of its campaign.
    pub fn campaign(&mut self, granting: &[u64]) -> RequestId {
        self.wait();
        for id in granting {
            let Some(Body::PreVote(ask)) = self.bodies().first().cloned() else { break };
            let PreVote { campaign_term, request, .. } = ask;
            let answer = PreVoteResponse { vote: Vote::Granted, campaign_term, request };
            let term = self.node.term().0;
            self.hear(*id, term, Body::PreVoteResponse(answer));
            if self.effects.messages.is_empty() {
                self.effects.messages.push(message(*id, term, Body::PreVote(ask))); // It keeps asking.
            }
        }
        match self.bodies().first() {
            Some(Body::RequestVote(ask)) => ask.request,
            other => panic!("{other:?} is no campaign"),
        }
    }

    /// Makes the node leader with the votes of `from`, its first entry durable.
    pub fn elect(&mut self, from: &[u64]) -> &mut Self {
        self.win(from).persist()
    }

    /// Makes the node leader with the votes of `from`; the effects are those of its election.
    pub fn win(&mut self, from: &[u64]) -> &mut Self {
        let request = self.campaign(from);
        let term = self.node.term().0;
        self.persist();
        for id in from.iter().copied() {
            if !self.node.is_leader() {
                self.hear(id, term, vote_response(Vote::Granted, request));
            }
        }
        assert!(self.node.is_leader());
        self
    }
}

/// The sequence number of the last write in `effects`.
pub fn last_write(effects: &Effects) -> WriteSeq {
    effects.writes.last().expect("there is a write").seq
}
