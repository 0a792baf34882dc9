//! Figure 2, "Rules for Servers", leaders.

use raftkit_core::{
    Apply, Done, HardState, Input, LogId, LogIndex, NodeId, Outcome, Payload, Restored, TermRun,
};
use raftkit_core::{Term, Ticket};

use crate::driven::{Driven, last_write};
use crate::members::voters;
use crate::messages::{answer, append, conflict, entry, matches};
use crate::{MS, one_of_three};

/// Node 1 leads term 2, and its first entry, 2.2, is committed by node 2's acknowledgement.
fn leader() -> Driven {
    let mut it = one_of_three();
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    it
}

/// Figure 2, Rules for Servers, leaders 1: "Upon election: send initial empty AppendEntries RPCs (heartbeat) to each
/// server". Here it is not empty: it carries the no-op of section 8.
#[test]
fn leaders_1_everyone_hears_of_the_election_at_once() {
    let mut it = one_of_three();
    it.win(&[2]);
    let appends = it.appends();
    assert_eq!(appends.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
    for (_, append) in appends {
        assert_eq!(append.prev, LogId::GENESIS);
        assert_eq!(append.entries.iter().map(|entry| &entry.payload).collect::<Vec<_>>(), [&Payload::Noop]);
    }
}

/// Figure 2, Rules for Servers, leaders 1: "repeat during idle periods to prevent election timeouts (§5.2)".
#[test]
fn leaders_1_idle_periods_have_heartbeats() {
    let mut it = leader();
    it.hear(3, 2, answer(matches(2), 1));
    it.wait(); // The commit index is sent once by itself, as no append follows that could carry it.
    assert!(it.appends().iter().all(|(_, append)| append.commit == LogIndex(2)), "{:?}", it.appends());
    for round in 2..12 {
        let before = it.now;
        it.wait();
        let beats = it.appends();
        if beats.is_empty() {
            it.persist(); // The commit index is written on its own.
            continue;
        }
        assert!(it.now.0 - before.0 <= 100 * MS, "a heartbeat each 100 ms");
        assert_eq!(beats.iter().map(|(to, _)| *to).collect::<Vec<_>>(), [NodeId(2), NodeId(3)]);
        assert!(beats.iter().all(|(_, beat)| beat.entries.is_empty()));
        let newest = crate::messages::newest_round(&it.effects);
        assert!(newest >= round, "each is a round of its own");
        it.hear(2, 2, answer(matches(2), newest));
        it.hear(3, 2, answer(matches(2), newest));
    }
    assert!(it.now.0 >= 1000 * MS && it.node.is_leader());
}

/// Figure 2, Rules for Servers, leaders 2: "If command received from client: append entry to local log, respond after
/// entry applied to state machine (§5.3)". The core says that it is committed together with what is to be applied; the
/// driver answers its client once it has applied it.
#[test]
fn leaders_2_a_command_is_appended_and_answered_when_it_can_be_applied() {
    let mut it = leader();
    it.propose(7, "x");
    let seq = last_write(&it.effects);
    assert_eq!(
        it.effects.writes[0].append.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [LogId::new(2, 3)]
    );
    it.hear(3, 2, answer(matches(3), 1));
    assert!(it.effects.done.is_empty(), "on one disk of three");
    it.give(Input::Persisted(seq));
    let outcome = Outcome::Committed(LogId::new(2, 3));
    assert_eq!(it.effects.done, [Done { ticket: Ticket(7), outcome }]);
    let [Apply { first: LogIndex(3), last: LogIndex(3), .. }] = it.effects.apply[..] else {
        panic!("{:?}", it.effects.apply)
    };
}

/// Figure 2, Rules for Servers, leaders 3: "If last log index ≥ nextIndex for a follower: send AppendEntries RPC with
/// log entries starting at nextIndex". Pipelined: without waiting for the answers.
#[test]
fn leaders_3_a_follower_is_sent_all_from_its_next_index_on() {
    let mut it = leader();
    it.propose(1, "x");
    assert_eq!(it.appended(2), [(LogIndex(2), vec![LogIndex(3)])]);
    it.propose(2, "y");
    assert_eq!(it.appended(2), [(LogIndex(3), vec![LogIndex(4)])]);
    assert_eq!(it.appended(3), [], "its answer to the first append is still awaited");
    it.hear(3, 2, answer(matches(2), 1));
    assert_eq!(it.appended(3), [(LogIndex(2), vec![LogIndex(3), LogIndex(4)])]);
}

/// Figure 2, Rules for Servers, leaders 3: "If successful: update nextIndex and matchIndex for follower (§5.3)".
#[test]
fn leaders_3_success_moves_next_index_and_match_index() {
    let mut it = leader();
    it.propose(1, "x");
    let peer = |it: &Driven| {
        let status = it.node.status().peers[&NodeId(2)];
        (status.match_index, status.next_index)
    };
    assert_eq!(peer(&it), (LogIndex(2), LogIndex(4)), "next counts what is on its way");
    it.hear(2, 2, answer(matches(3), 1));
    assert_eq!(peer(&it), (LogIndex(3), LogIndex(4)));
}

/// Figure 2, Rules for Servers, leaders 3: "If AppendEntries fails because of log inconsistency: decrement nextIndex
/// and retry (§5.3)". By terms instead of one by one, as section 5.3 proposes.
#[test]
fn leaders_3_failure_moves_next_index_back_and_tries_again() {
    // Entries 2 to 4 are of term 2 and 5 and 6 of term 4.
    let mut it = one_of_three();
    let log = [2, 2, 2, 4, 4];
    let entries = (2..).zip(log).map(|(index, term)| entry(term, index)).collect();
    it.hear(2, 4, append(LogId::GENESIS, entries, 1, 1)).persist();
    it.win(&[3]);
    assert_eq!(it.appended(2), [(LogIndex(6), vec![LogIndex(7)])]);
    it.persist();
    it.hear(2, 5, answer(conflict(6, LogId::new(3, 5)), 1));
    let all: Vec<_> = (5..=7).map(LogIndex).collect();
    assert_eq!(it.appended(2), [(LogIndex(4), all)], "the follower has term 3 where this log has term 4");
    it.hear(2, 5, answer(conflict(4, LogId::new(1, 1)), 1));
    let all: Vec<_> = (2..=7).map(LogIndex).collect();
    assert_eq!(it.appended(2), [(LogIndex(1), all)]);
    it.hear(2, 5, answer(matches(7), 1));
    assert_eq!(it.node.status().peers[&NodeId(2)].match_index, LogIndex(7));
}

/// Figure 2, Rules for Servers, leaders 4: "If there exists an N such that N > commitIndex, a majority of matchIndex[i]
/// ≥ N [...]: set commitIndex = N (§5.3, §5.4)".
#[test]
fn leaders_4_what_a_majority_holds_is_committed() {
    let mut it = Driven::founded(voters(&[1, 2, 3, 4, 5]));
    it.elect(&[2, 3]);
    for ticket in 1..=3 {
        it.propose(ticket, "x").persist(); // 3, 4, 5
    }
    it.hear(2, 2, answer(matches(5), 1));
    assert_eq!(it.node.commit(), LogIndex(1), "two of five");
    it.hear(3, 2, answer(matches(3), 1));
    assert_eq!(it.node.commit(), LogIndex(3));
    it.hear(4, 2, answer(matches(4), 1));
    assert_eq!(it.node.commit(), LogIndex(4));
    it.hear(5, 2, answer(matches(2), 1));
    assert_eq!(it.node.commit(), LogIndex(4));
}

/// Figure 2, Rules for Servers, leaders 4: "[...] and log[N].term == currentTerm" (§5.4.2, Figure 8): entries of
/// earlier terms are committed by what follows them, and not by counting.
#[test]
fn leaders_4_only_entries_of_its_own_term_are_committed_by_counting() {
    let mut it = Driven::restored(Restored {
        base: raftkit_core::Base::founding(voters(&[1, 2, 3])),
        term_runs: vec![TermRun { term: Term(2), first: LogIndex(2) }],
        last: LogIndex(3),
        hard_state: HardState { term: Term(3), ..HardState::default() },
        ..Restored::default()
    });
    it.elect(&[2]);
    assert_eq!(it.node.status().last, LogId::new(4, 4));
    it.hear(2, 4, answer(matches(3), 1));
    it.hear(3, 4, answer(matches(3), 1));
    assert_eq!(it.node.commit(), LogIndex(1), "everyone has entry 3 of term 2");
    it.hear(3, 4, answer(matches(4), 1));
    assert_eq!(it.node.commit(), LogIndex(4), "an entry of term 4 commits what it follows");
}
