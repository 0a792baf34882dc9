//! Figure 2, "Rules for Servers", candidates.

use raftkit_core::{Body, LogId, NodeId, RequestId, RequestNumber, RoleName, Term, Vote};

use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{append, vote_response};
use crate::{MS, one_of_three};

/// Figure 2, Rules for Servers, candidates 1: "On conversion to candidate, start election: Increment currentTerm".
#[test]
fn candidates_1_the_term_rises() {
    let mut it = one_of_three();
    it.campaign(&[2]);
    assert_eq!((it.node.role(), it.node.term()), (RoleName::Candidate, Term(2)));
}

/// Figure 2, Rules for Servers, candidates 1: "Vote for self". The vote is written like any other, and counts only
/// once it is durable.
#[test]
fn candidates_1_it_votes_for_itself() {
    let mut it = one_of_three();
    let request = it.campaign(&[2]);
    let written = it.effects.writes[0].hard_state.map(|hard| (hard.term, hard.vote));
    assert_eq!(written, Some((Term(2), Some(NodeId(1)))));
    let own = it.effects.writes[0].seq;
    it.hear(2, 2, vote_response(Vote::Granted, request));
    assert!(!it.node.is_leader(), "its own vote is not durable yet");
    it.give(raftkit_core::Input::Persisted(own));
    assert!(it.node.is_leader());
}

/// Figure 2, Rules for Servers, candidates 1: "Reset election timer". It is 1.0 to 1.5 of `election_timeout`, 1 s.
#[test]
fn candidates_1_the_election_timer_starts_anew() {
    let mut it = one_of_three();
    it.campaign(&[2]);
    let now = it.now.0;
    assert!((now + 1000 * MS..=now + 1500 * MS).contains(&it.node.next_deadline().0));
}

/// Figure 2, Rules for Servers, candidates 1: "Send RequestVote RPCs to all other servers".
#[test]
fn candidates_1_it_asks_all_others_for_their_votes() {
    let mut it = Driven::founded(voters(&[1, 2, 3, 4, 5]));
    it.campaign(&[2, 3]);
    let asked: Vec<_> = it.effects.messages.iter().map(|message| (message.to, message.term)).collect();
    assert_eq!(asked, [2, 3, 4, 5].map(|id| (NodeId(id), Term(2))));
    for body in it.bodies() {
        let Body::RequestVote(ask) = body else { panic!("{body:?}") };
        assert_eq!(ask.last, LogId::GENESIS);
    }
}

/// Figure 2, Rules for Servers, candidates 2: "If votes received from majority of servers: become leader". Each server
/// counts once, and only for the election that it was asked in.
#[test]
fn candidates_2_a_majority_of_votes_makes_a_leader() {
    let mut it = Driven::founded(voters(&[1, 2, 3, 4, 5]));
    let request = it.campaign(&[2, 3]);
    it.persist();
    it.hear(2, 2, vote_response(Vote::Granted, request));
    it.hear(2, 2, vote_response(Vote::Granted, request));
    it.hear(
        3,
        2,
        vote_response(Vote::Granted, RequestId { number: RequestNumber(request.number.0 + 1), ..request }),
    );
    it.hear(4, 2, vote_response(Vote::Refused, request));
    assert_eq!(it.node.role(), RoleName::Candidate, "two votes of five");
    it.hear(5, 2, vote_response(Vote::Granted, request));
    assert_eq!((it.node.role(), it.node.leader()), (RoleName::Leader, Some(NodeId(1))));
}

/// Figure 2, Rules for Servers, candidates 3: "If AppendEntries RPC received from new leader: convert to follower".
/// Section 5.2: if the leader's term is at least as large as its own; else it continues in candidate state.
#[test]
fn candidates_3_a_new_leader_ends_the_campaign() {
    let mut it = one_of_three();
    it.campaign(&[2]);
    it.hear(3, 1, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!(it.node.role(), RoleName::Candidate, "that one led the term before");
    it.hear(3, 2, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!((it.node.role(), it.node.leader()), (RoleName::Follower, Some(NodeId(3))));
}

/// Figure 2, Rules for Servers, candidates 4: "If election timeout elapses: start new election". It asks for pre-votes
/// again first; and votes for the election before do not count in this one.
#[test]
fn candidates_4_an_election_without_a_winner_is_followed_by_the_next() {
    let mut it = one_of_three();
    let old = it.campaign(&[2]);
    it.persist();
    let new = it.campaign(&[2]);
    assert_eq!((it.node.role(), it.node.term()), (RoleName::Candidate, Term(3)));
    it.persist();
    it.hear(2, 3, vote_response(Vote::Granted, old));
    assert_eq!(it.node.role(), RoleName::Candidate);
    it.hear(2, 3, vote_response(Vote::Granted, new));
    assert_eq!(it.node.role(), RoleName::Leader);
}
