//! Figure 2, "Rules for Servers": all servers, and followers.

use raftkit_core::{
    Apply, Body, Input, LogId, LogIndex, NodeId, PreVoteResponse, RequestId, RoleName, Term, Time,
};
use raftkit_core::{TimeoutNow, Vote};

use crate::messages::{answer, append, entry, matches, pre_vote, request_vote, vote_response};
use crate::{MS, one_of_three};

/// Figure 2, Rules for Servers, all servers 1: "If commitIndex > lastApplied: increment lastApplied, apply
/// log[lastApplied] to state machine (§5.3)". In order, each once; and here only once it is durable on this server.
#[test]
fn all_1_what_is_committed_is_applied_in_order_and_once() {
    let mut it = one_of_three();
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3), entry(2, 4)], 3, 1));
    assert_eq!((it.node.commit(), &it.effects.apply[..]), (LogIndex(3), &[][..]), "not durable here yet");
    it.persist();
    let entries = Some(vec![entry(2, 2), entry(2, 3)].into());
    assert_eq!(it.effects.apply, [Apply { first: LogIndex(2), last: LogIndex(3), entries }]);
    it.hear(2, 2, append(LogId::new(2, 4), vec![], 4, 2));
    let entries = Some(vec![entry(2, 4)].into());
    assert_eq!(it.effects.apply, [Apply { first: LogIndex(4), last: LogIndex(4), entries }]);
    it.hear(2, 2, append(LogId::new(2, 4), vec![], 4, 3));
    assert_eq!(it.effects.apply, []);
    it.give(Input::Applied(LogIndex(4)));
    assert_eq!(it.node.applied(), LogIndex(4));
}

/// Figure 2, Rules for Servers, all servers 2: "If RPC request or response contains term T > currentTerm: set
/// currentTerm = T, convert to follower (§5.1)". Two exceptions: a pre-vote changes nothing (thesis, section 9.6), and
/// a candidate is not followed while a leader is believed to live (section 6, "servers disregard RequestVote RPCs").
#[test]
fn all_2_a_later_term_makes_any_server_a_follower_in_it() {
    let request = RequestId::default();
    let refused = PreVoteResponse { vote: Vote::Refused, campaign_term: Term(9), request };
    let later = [
        request_vote(LogId::ZERO),
        vote_response(Vote::Refused, request),
        append(LogId::GENESIS, vec![], 1, 1),
        answer(matches(1), 0),
        Body::PreVoteResponse(refused),
        Body::TimeoutNow(TimeoutNow {}),
    ];
    for body in later {
        let is_vote = matches!(body, Body::RequestVote(_));
        let mut candidate = one_of_three();
        candidate.campaign(&[2]);
        candidate.hear(3, 9, body.clone());
        assert_eq!((candidate.node.role(), candidate.node.term()), (RoleName::Follower, Term(9)), "{body:?}");
        let mut leader = one_of_three();
        leader.elect(&[2]).hear(3, 9, body.clone());
        let then = if is_vote { (RoleName::Leader, Term(2)) } else { (RoleName::Follower, Term(9)) };
        assert_eq!((leader.node.role(), leader.node.term()), then, "{body:?}");
    }
    let mut follower = one_of_three();
    follower.now = Time(600 * MS);
    follower.hear(2, 9, pre_vote(9, LogId::GENESIS));
    assert_eq!(follower.node.term(), Term(1), "asking changes nothing");
}

/// Figure 2, Rules for Servers, followers 1: "Respond to RPCs from candidates and leaders".
#[test]
fn followers_1_candidates_and_leaders_are_answered() {
    let mut it = one_of_three();
    it.now = Time(600 * MS);
    it.hear(2, 2, request_vote(LogId::GENESIS)).persist();
    assert_eq!(it.votes(), [Vote::Granted]);
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!(it.outcomes(), [matches(1)]);
    assert_eq!(it.node.leader(), Some(NodeId(2)));
}

/// Figure 2, Rules for Servers, followers 2: "If election timeout elapses without receiving AppendEntries RPC from
/// current leader or granting vote to candidate: convert to candidate". A pre-candidate first, which asks whether it
/// would be elected (thesis, section 9.6). The time-out is 1.0 to 1.5 of `leader_timeout`, 500 ms.
#[test]
fn followers_2_who_hears_no_leader_in_time_asks_to_be_elected() {
    let mut it = one_of_three();
    let first = it.node.next_deadline();
    assert!((500 * MS..=750 * MS).contains(&first.0), "{first:?}");

    it.now = Time(first.0 - 1);
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
    let heard = it.now.0;
    let second = it.node.next_deadline();
    assert!((heard + 500 * MS..=heard + 750 * MS).contains(&second.0), "a leader was heard");
    it.now = first;
    assert_eq!(it.give(Input::Tick).node.role(), RoleName::Follower);

    it.now = Time(heard + 500 * MS);
    it.hear(3, 3, vote_response(Vote::Refused, RequestId::default())).persist(); // It is in term 3 now.
    it.now = Time(heard + 900 * MS);
    it.hear(3, 3, request_vote(LogId::GENESIS)).persist();
    let third = it.node.next_deadline();
    assert!(third.0 >= heard + 1400 * MS, "a vote was granted");

    it.now = third;
    assert_eq!(it.give(Input::Tick).node.role(), RoleName::PreCandidate);
    assert!(matches!(it.bodies()[..], [Body::PreVote(_), Body::PreVote(_)]));
}

/// Figure 2, Rules for Servers, followers 2, the converse: neither messages of an earlier term nor vote
/// requests that are refused keep a follower from campaigning.
#[test]
fn followers_2_an_old_leader_or_a_refused_candidate_does_not_reset_the_timer() {
    let mut it = one_of_three();
    it.hear(2, 4, append(LogId::GENESIS, vec![entry(4, 2)], 1, 1)).persist();
    it.now = Time(500 * MS);
    let deadline = it.node.next_deadline();
    it.hear(3, 3, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!(it.node.next_deadline(), deadline, "a leader of an earlier term");
    it.hear(3, 4, request_vote(LogId::GENESIS));
    assert_eq!((it.votes(), it.node.next_deadline()), (vec![Vote::Refused], deadline));
}
