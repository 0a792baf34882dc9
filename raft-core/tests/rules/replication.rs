//! Appends, acknowledgements and commits (paper, sections 5.3 and 5.4.2).

use bytes::Bytes;
use raftkit_core::*;

use crate::driven::Driven;
use crate::members::{joint, voters};
use crate::messages::{answer, append, conflict, entry, matches, message, vote_response};

/// Index 3 was acknowledged to the leader of term 2, and has been overwritten since.
#[test]
fn an_acknowledgement_of_an_earlier_term_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    let command = Bytes::from_static(b"lost");
    it.give(Input::Propose(vec![Proposal { ticket: Ticket(1), command }])).persist();
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2)], 1, 1)).persist();
    let request = it.campaign(&[2]);
    it.persist();
    it.hear(2, 4, vote_response(Vote::Granted, request)).persist();
    assert_eq!((it.node.is_leader(), it.node.status().last), (true, LogId::new(4, 3)));
    it.hear(2, 2, answer(matches(3), 1));
    assert_eq!(it.node.commit(), LogIndex(1));
    it.hear(2, 4, answer(matches(3), 1));
    assert_eq!(it.node.commit(), LogIndex(3));
}

/// A crash between truncation and append would leave a log that no leader ever sent.
#[test]
fn a_tail_is_cut_and_rewritten_in_one_write() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3)], 1, 1)).persist();
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2)], 1, 1));
    let [write] = &it.effects.writes[..] else { panic!("{:?}", it.effects.writes) };
    assert_eq!((write.truncate_from, &write.append[..]), (Some(LogIndex(2)), &[entry(3, 2)][..]));
    assert_eq!(write.hard_state.map(|hard| hard.term), Some(Term(3)));
}

/// A node that forgot the term in a crash could vote in an earlier one, against what it acknowledged.
#[test]
fn nothing_is_acknowledged_in_a_term_that_the_disk_lacks() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!(it.outcomes(), [AppendOutcome::Heard]);
    assert_eq!(it.persist().outcomes(), [matches(1)]);
}

#[test]
fn a_leader_that_contradicts_what_is_committed_ends_the_node() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2)], 2, 1));
    assert_eq!(it.node.commit(), LogIndex(2));
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2)], 2, 1));
    let conflict = Fatal::CommittedConflict { leader: NodeId(3), refused: LogIndex(2), commit: LogIndex(2) };
    assert_eq!(it.effects.fatal, Some(conflict));
    assert!(it.effects.writes.is_empty() && it.effects.messages.is_empty());
    it.hear(2, 9, append(LogId::GENESIS, vec![], 1, 1));
    assert!(it.effects.is_empty());
    assert_eq!(it.node.next_deadline(), Time(u64::MAX));
}

#[test]
fn a_compacted_prev_is_no_conflict() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let log: Vec<Entry> = (2..=5).map(|index| entry(2, index)).collect();
    it.hear(2, 2, append(LogId::GENESIS, log.clone(), 5, 1)).persist();
    it.give(Input::Applied(LogIndex(5)));
    it.give(Input::Compact(LogIndex(9)));
    assert_eq!(it.effects.writes[0].compact_to, Some(LogIndex(5)), "clipped to what is applied");
    it.hear(2, 2, append(LogId::GENESIS, log, 5, 2));
    assert_eq!(it.outcomes(), [matches(5)]);
    it.hear(2, 2, append(LogId::new(2, 3), vec![entry(2, 4)], 5, 2));
    assert_eq!(it.outcomes(), [matches(5)]);
}

#[test]
fn a_peer_that_lost_what_it_acknowledged_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(3, 2, answer(matches(2), 1));
    it.propose(1, "y");
    let seq = it.effects.writes[0].seq;
    it.hear(2, 2, answer(matches(3), 1));
    let mut restarted = message(2, 2, answer(matches(1), 1));
    restarted.from_incarnation = Incarnation(2);
    it.give(Input::Message(restarted));
    it.give(Input::Persisted(seq));
    assert_eq!(it.node.commit(), LogIndex(2), "only node 1 holds entry 3");
    let again = message(2, 2, answer(matches(3), 1));
    it.give(Input::Message(Message { from_incarnation: Incarnation(2), ..again }));
    assert_eq!(it.node.commit(), LogIndex(3));
}

#[test]
fn a_match_beyond_the_log_is_nonsense() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(77), 1));
    assert_eq!(it.node.commit(), LogIndex(1));
}

#[test]
fn a_joint_commit_needs_both_halves() {
    let mut it = Driven::founded(joint(&[1, 2, 3], &[1, 4, 5]));
    it.elect(&[2, 4]);
    it.hear(2, 2, answer(matches(2), 1));
    it.hear(3, 2, answer(matches(2), 1));
    assert_eq!(it.node.commit(), LogIndex(1), "the outgoing half lacks it");
    assert_eq!(it.node.lease_until(), None);
    it.hear(5, 2, answer(matches(2), 1));
    assert_eq!(it.node.commit(), LogIndex(2));
}

#[test]
fn entries_that_cannot_be_read_are_never_sent_and_end_the_node() {
    let restored = Restored {
        term_runs: vec![TermRun { term: Term(1), first: LogIndex(2) }],
        last: LogIndex(3),
        hard_state: HardState { term: Term(1), ..HardState::default() },
        ..Restored::founded(voters(&[1, 2, 3]))
    };
    let mut it = Driven::restored(restored);
    it.elect(&[2]);
    it.hear(3, 2, answer(conflict(3, LogId::GENESIS), 1));
    it.hear(3, 2, answer(matches(1), 1));
    let fetch = it.effects.fetches[0];
    assert_eq!((fetch.first, fetch.last), (LogIndex(2), LogIndex(4)));
    it.give(Input::Fetched { id: fetch.id, result: Fetched::Damaged });
    assert!(it.effects.messages.is_empty());
    assert_eq!(it.effects.fatal, Some(Fatal::LogDamaged { first: LogIndex(2) }));
    assert_eq!(it.node.leader(), None);
}
