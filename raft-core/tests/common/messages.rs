//! Hand-made messages, addressed to node 1 unless a test changes that.

use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{
    AppendEntries, AppendEntriesResponse, AppendOutcome, Body, CampaignReason, Effects, Entry, Health,
    Incarnation, LogId, LogIndex, Message, NodeId, Payload, PreVote, RequestId, RequestVote,
    RequestVoteResponse, Round, StoreId, Term, Vote,
};

/// The incarnation of node 1, the node under test.
pub const LIFE: Incarnation = Incarnation(5);

pub fn message(from: u64, term: u64, body: Body) -> Message {
    Message {
        from: NodeId(from),
        from_store: StoreId(u128::from(from)),
        from_incarnation: Incarnation(1),
        to: NodeId(1),
        term: Term(term),
        body,
    }
}

/// The entry at `index` in the log of the leader of `term`: a command that names both.
pub fn entry(term: u64, index: u64) -> Entry {
    let command = Bytes::from(format!("{term}.{index}"));
    Entry { id: LogId::new(term, index), payload: Payload::Command(command) }
}

pub fn append(prev: LogId, entries: Vec<Entry>, commit: u64, round: u64) -> Body {
    Body::AppendEntries(AppendEntries {
        prev,
        entries: entries.into(),
        commit: LogIndex(commit),
        round: Round(round),
    })
}

/// A follower's answer, with a promise of 500 ms.
pub fn answer(outcome: AppendOutcome, round: u64) -> Body {
    let promise = Duration::from_millis(500);
    let health = Health::Sound;
    Body::AppendEntriesResponse(AppendEntriesResponse {
        outcome,
        round: Round(round),
        to_incarnation: LIFE,
        promise,
        health,
    })
}

pub fn matches(index: u64) -> AppendOutcome {
    AppendOutcome::Match(LogIndex(index))
}

pub fn conflict(refused: u64, hint: LogId) -> AppendOutcome {
    AppendOutcome::Conflict { refused: LogIndex(refused), hint }
}

pub fn pre_vote(campaign_term: u64, last: LogId) -> Body {
    Body::PreVote(PreVote { campaign_term: Term(campaign_term), last, request: RequestId::default() })
}

pub fn request_vote(last: LogId) -> Body {
    let (reason, request) = (CampaignReason::LeaderTimeout, RequestId::default());
    Body::RequestVote(RequestVote { last, reason, request })
}

pub fn vote_response(vote: Vote, request: RequestId) -> Body {
    Body::RequestVoteResponse(RequestVoteResponse { vote, request })
}

/// The newest round among the messages.
pub fn newest_round(effects: &Effects) -> u64 {
    let round = |message: &Message| match &message.body {
        Body::AppendEntries(append) => Some(append.round.0),
        _ => None,
    };
    effects.messages.iter().filter_map(round).max().expect("an append was sent")
}
