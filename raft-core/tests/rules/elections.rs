//! Votes and campaigns (paper, section 5.2; thesis, sections 3.8 and 9.6).

use std::time::Duration;

use raftkit_core::*;

use crate::MS;
use crate::driven::Driven;
use crate::members::{members, voters};
use crate::messages::{append, message, request_vote, vote_response};

/// Paper, section 5.1: messages of an earlier term do not count in the current one.
#[test]
fn a_vote_given_in_an_earlier_term_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let old = it.campaign(&[2]);
    it.persist();
    let new = it.campaign(&[2]);
    it.persist();
    assert_eq!(it.node.term(), Term(3));
    it.hear(2, 2, vote_response(Vote::Granted, old));
    assert!(!it.node.is_leader());
    it.hear(2, 3, vote_response(Vote::Granted, old));
    assert!(!it.node.is_leader(), "it answers another request");
    it.hear(2, 3, vote_response(Vote::Granted, new));
    assert!(it.node.is_leader());
}

#[test]
fn the_answer_to_an_earlier_pre_vote_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let mut ask = || {
        it.now = it.now.after(Duration::from_millis(750));
        it.give(Input::Tick);
        let Some(Body::PreVote(ask)) = it.bodies().pop() else { panic!("it asks for pre-votes") };
        ask
    };
    let (old, new) = (ask(), ask());
    for (asked, expected) in [(old, RoleName::PreCandidate), (new, RoleName::Candidate)] {
        let PreVote { campaign_term, request, .. } = asked;
        let answer = PreVoteResponse { vote: Vote::Granted, campaign_term, request };
        it.hear(2, 1, Body::PreVoteResponse(answer));
        assert_eq!(it.node.role(), expected);
    }
}

/// Paper, Figure 2: a follower that grants a vote restarts its election timer, to give the candidate a chance
/// to win.
#[test]
fn granting_a_vote_puts_off_the_own_campaign() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.now = Time(it.node.next_deadline().0 - 1);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes_when_durable(), [Vote::Granted]);
    assert!(it.node.next_deadline() >= it.now.after(Duration::from_millis(500)));
}

/// A learner may have been promoted by an entry that it lacks, and its vote may be needed to elect a node
/// that has it.
#[test]
fn a_learner_that_is_asked_for_its_vote_gives_it() {
    let only = [NodeId(2), NodeId(3)].into_iter().collect();
    let mut it = Driven::founded(Membership::new(members([1, 2, 3]), only).unwrap());
    assert_eq!(it.node.role(), RoleName::Learner);
    it.now = Time(600 * MS);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes_when_durable(), [Vote::Granted]);
}

/// The leader may have sent it before it knew that the node is a learner.
#[test]
fn a_learner_that_is_told_to_campaign_does_not() {
    let told = |voting: &[u64]| {
        let voting = voting.iter().copied().map(NodeId).collect();
        let mut it = Driven::founded(Membership::new(members([1, 2, 3]), voting).unwrap());
        it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
        it.hear(2, 2, Body::TimeoutNow(TimeoutNow {}));
        it.node.role()
    };
    assert_eq!([told(&[1, 2, 3]), told(&[2, 3])], [RoleName::Candidate, RoleName::Learner]);
}

/// Thesis, section 3.8: a node votes once in a term, across any number of restarts.
#[test]
fn a_vote_is_remembered_over_a_restart() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.now = Time(600 * MS);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    let hard_state = it.effects.writes[0].hard_state.unwrap();
    let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
    let config = Config::new(NodeId(1), StoreId(1), Incarnation(6), 1);
    it.node = Node::restore(config, restored, it.now).unwrap();
    it.now = it.now.after(Duration::from_millis(500));
    it.hear(3, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes_when_durable(), [Vote::Refused]);
}

/// A vote is for a node on one data folder. Otherwise the same node on another folder could lead the same
/// term.
#[test]
fn two_stores_of_one_node_do_not_both_get_the_vote() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.now = Time(600 * MS);
    let request = RequestId::default();
    let ask = RequestVote { last: LogId::GENESIS, reason: CampaignReason::LeaderTimeout, request };
    it.hear(2, 2, Body::RequestVote(ask)).persist();
    assert_eq!(it.effects.messages.len(), 1, "granted");
    let mut twin = message(2, 2, Body::RequestVote(ask));
    twin.from_store = StoreId(99);
    it.give(Input::Message(twin));
    let refused = RequestVoteResponse { vote: Vote::Refused, request };
    assert_eq!(it.bodies(), [Body::RequestVoteResponse(refused)]);
    it.hear(2, 2, Body::RequestVote(ask));
    let granted = RequestVoteResponse { vote: Vote::Granted, request };
    assert_eq!(it.bodies(), [Body::RequestVoteResponse(granted)], "asked again, as an answer may be lost");
}

#[test]
fn who_is_not_known_yet_may_be_voted_for_and_lead() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.now = Time(600 * MS);
    let request = RequestId::default();
    let ask = RequestVote { last: LogId::new(9, 9), reason: CampaignReason::Transfer, request };
    it.hear(7, 9, Body::RequestVote(ask)).persist();
    let granted = RequestVoteResponse { vote: Vote::Granted, request };
    assert_eq!(
        it.bodies(),
        [Body::RequestVoteResponse(granted)],
        "it may have been added by entries that lack here"
    );
    it.hear(7, 9, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!(it.node.leader(), Some(NodeId(7)));
}

/// The membership names the data folder that this node lost, from which it may have voted and acknowledged.
#[test]
fn a_node_does_not_campaign_from_another_data_folder() {
    let campaigns = |store| {
        let mut it = Driven::founded(voters(&[1, 2, 3]));
        let restored = Restored::founded(voters(&[1, 2, 3]));
        let config = Config::new(NodeId(1), StoreId(store), Incarnation(6), 1);
        it.node = Node::restore(config, restored, it.now).unwrap();
        !it.wait().effects.messages.is_empty()
    };
    assert_eq!([campaigns(1), campaigns(9)], [true, false]);
}
