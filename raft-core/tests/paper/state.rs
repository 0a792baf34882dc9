//! Figure 2, "State".

use raftkit_core::{HardState, LogId, LogIndex, NodeId, PeerState, Term, TermRun, Time, Vote};

use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{answer, append, entry, matches, message, request_vote};
use crate::{MS, one_of_three};

/// Figure 2, "State": "Persistent state on all servers: (Updated on stable storage before responding to RPCs)
/// currentTerm [...] votedFor [...]".
#[test]
fn term_and_vote_are_durable_before_a_vote_is_answered() {
    let mut it = one_of_three();
    it.now = Time(600 * MS);
    it.hear(2, 2, request_vote(LogId::GENESIS));
    assert_eq!(it.votes(), [], "the vote is not durable yet");
    let written = it.effects.writes[0].hard_state.map(|hard| (hard.term, hard.vote));
    assert_eq!(written, Some((Term(2), Some(NodeId(2)))));
    it.persist();
    assert_eq!(it.votes(), [Vote::Granted]);
}

/// Figure 2, "State": "Persistent state on all servers: (Updated on stable storage before responding to RPCs) [...]
/// log[]".
#[test]
fn entries_and_term_are_durable_before_they_are_acknowledged() {
    let mut it = one_of_three();
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3)], 1, 1));
    assert_eq!(it.outcomes(), []);
    let write = &it.effects.writes[0];
    assert_eq!(write.append, [entry(2, 2), entry(2, 3)]);
    assert_eq!(write.hard_state.map(|hard| hard.term), Some(Term(2)));
    it.persist();
    assert_eq!(it.outcomes(), [matches(3)]);
    it.hear(2, 2, append(LogId::new(2, 3), vec![entry(2, 4)], 1, 1));
    assert_eq!(it.outcomes(), [], "the term is durable, the entry is not");
    it.persist();
    assert_eq!(it.outcomes(), [matches(4)]);
}

/// Figure 2, "State": "Persistent state on all servers". A server that comes back knows its term, its vote and its
/// log, and so votes for nobody else in that term. Nor, other than the paper, for the same one again: a vote is for a node
/// in one data folder, and that one is not stored.
#[test]
fn a_restart_brings_back_term_vote_and_log() {
    let hard_state = HardState { term: Term(4), vote: Some(NodeId(2)), ..HardState::default() };
    let restored = raftkit_core::Restored {
        base: raftkit_core::Base::founding(voters(&[1, 2, 3])),
        term_runs: vec![TermRun { term: Term(3), first: LogIndex(2) }],
        last: LogIndex(5),
        hard_state,
        ..Default::default()
    };
    let mut it = Driven::restored(restored);
    it.now = Time(600 * MS);
    assert_eq!((it.node.term(), it.node.status().last), (Term(4), LogId::new(3, 5)));
    it.hear(3, 4, request_vote(LogId::new(3, 5)));
    assert_eq!(it.votes(), [Vote::Refused]);
    it.hear(2, 4, request_vote(LogId::new(3, 5)));
    assert_eq!(it.votes(), [Vote::Refused], "which data folder of node 2 got the vote is not remembered");
}

/// Figure 2, "State": "currentTerm: latest term server has seen (initialized to 0 on first boot, increases
/// monotonically)". Here it starts with the term of the founding entry, 1.
#[test]
fn the_term_only_rises() {
    let mut it = one_of_three();
    assert_eq!(it.node.term(), Term(1));
    for (heard, then) in [(3, 3), (2, 3), (7, 7), (1, 7)] {
        it.hear(2, heard, append(LogId::GENESIS, vec![], 1, 1));
        assert_eq!(it.node.term(), Term(then));
    }
}

/// Figure 2, "State": "Volatile state on all servers: commitIndex: [...] (initialized to 0, increases monotonically),
/// lastApplied: [...] (initialized to 0, increases monotonically)". Here both start with the founding entry, and the
/// commit index is written along with other things, so that a restart may start from more.
#[test]
fn commit_and_applied_only_rise() {
    let mut it = one_of_three();
    assert_eq!((it.node.commit(), it.node.applied()), (LogIndex(1), LogIndex(1)));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3)], 3, 1)).persist();
    it.give(raftkit_core::Input::Applied(LogIndex(3)));
    it.hear(2, 2, append(LogId::new(2, 3), vec![], 2, 2));
    it.give(raftkit_core::Input::Applied(LogIndex(2)));
    assert_eq!((it.node.commit(), it.node.applied()), (LogIndex(3), LogIndex(3)));
}

/// Figure 2, "State": "Volatile state on leaders: (Reinitialized after election) nextIndex[]: for each server, index
/// of the next log entry to send to that server (initialized to leader last log index + 1); matchIndex[]: [...]
/// (initialized to 0, increases monotonically)".
#[test]
fn next_index_and_match_index_start_anew_after_each_election() {
    let mut it = one_of_three();
    let peer = |it: &Driven| {
        let status = it.node.status().peers[&NodeId(2)];
        (status.match_index, status.next_index, status.state)
    };
    it.win(&[2, 3]);
    let last = it.node.status().last.index;
    assert_eq!(last, LogIndex(2), "its own first entry of the term is on top");
    assert_eq!(peer(&it), (LogIndex(0), LogIndex(2), PeerState::Probe));
    it.persist();
    it.hear(2, 2, answer(matches(2), 1));
    assert_eq!(peer(&it), (LogIndex(2), LogIndex(3), PeerState::Replicate));
    it.propose(1, "x").persist();
    it.hear(2, 2, answer(matches(3), 1));
    it.hear(2, 2, answer(matches(2), 1));
    assert_eq!(peer(&it).0, LogIndex(3), "an answer that was overtaken takes nothing back");

    // Another leader follows, and then this node leads again: what it knew of its peers is forgotten.
    let other = append(LogId::new(2, 3), vec![entry(3, 4)], 3, 1);
    it.give(raftkit_core::Input::Message(message(3, 3, other))).persist();
    it.win(&[2, 3]);
    assert_eq!(peer(&it), (LogIndex(0), LogIndex(5), PeerState::Probe));
}
