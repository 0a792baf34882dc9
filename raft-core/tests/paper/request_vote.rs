//! Figure 2, "RequestVote RPC", "Receiver implementation".

use raftkit_core::{Body, LogId, Term, Time, Vote};

use crate::messages::{append, entry, pre_vote, request_vote};
use crate::{MS, one_of_three};

/// Figure 2, RequestVote RPC, receiver 1: "Reply false if term < currentTerm (§5.1)".
#[test]
fn rule_1_a_candidate_of_an_earlier_term_gets_no_vote() {
    let mut it = one_of_three();
    it.hear(2, 4, append(LogId::GENESIS, vec![], 1, 1)).persist();
    it.now = Time(2_000 * MS);
    it.hear(3, 3, request_vote(LogId::new(3, 9)));
    assert_eq!((it.votes(), it.effects.messages[0].term), (vec![Vote::Refused], Term(4)));
}

/// Figure 2, RequestVote RPC, receiver 2: "If votedFor is null or candidateId [...] grant vote (§5.2, §5.4)": one vote
/// a term, and the same one again when it is asked for again.
#[test]
fn rule_2_one_vote_a_term_first_come_first_served() {
    let mut it = one_of_three();
    it.now = Time(600 * MS);
    it.hear(2, 2, request_vote(LogId::GENESIS)).persist();
    assert_eq!(it.votes(), [Vote::Granted]);
    it.hear(3, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes(), [Vote::Refused]);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes(), [Vote::Granted]);
    it.hear(3, 3, request_vote(LogId::GENESIS)).persist();
    assert_eq!(it.votes(), [Vote::Granted], "another term, another vote");
}

/// Figure 2, RequestVote RPC, receiver 2: "[...] and candidate's log is at least as up-to-date as receiver's log, grant
/// vote (§5.2, §5.4)". Section 5.4.1: the later term decides, and the length only between equal terms. A pre-vote
/// foretells the vote.
#[test]
fn rule_2_only_a_log_that_is_at_least_as_up_to_date_gets_the_vote() {
    let voted = |last: LogId, term: u64| {
        let mut it = one_of_three();
        it.hear(2, 3, append(LogId::GENESIS, vec![entry(2, 2), entry(3, 3)], 1, 1)).persist();
        it.now = Time(2_000 * MS);
        it.hear(3, 3, pre_vote(term, last));
        let [Body::PreVoteResponse(pre)] = it.bodies()[..] else { panic!("a pre-vote is answered") };
        // A refusal is said at once, a grant when it is durable.
        let mut said = it.hear(3, term, request_vote(last)).votes();
        said.extend(it.persist().votes());
        assert_eq!(said, [pre.vote]);
        pre.vote
    };
    assert_eq!(voted(LogId::new(2, 9), 4), Vote::Refused, "longer, but of an older term");
    assert_eq!(voted(LogId::new(3, 2), 4), Vote::Refused, "shorter");
    assert_eq!(voted(LogId::new(3, 3), 4), Vote::Granted, "the same");
    assert_eq!(voted(LogId::new(3, 4), 4), Vote::Granted, "longer");
    assert_eq!(voted(LogId::new(4, 2), 5), Vote::Granted, "shorter, but of a later term");
}
