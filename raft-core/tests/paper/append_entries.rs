//! Figure 2, "AppendEntries RPC", "Receiver implementation".

use raftkit_core::{LogId, LogIndex, Term};

use crate::driven::Driven;
use crate::messages::{append, conflict, entry, matches};
use crate::one_of_three;

/// Node 1 of three with entries of these terms from index 2 on, all durable, that each term's leader sent; node 2 leads
/// `term`.
fn with_log(terms: &[u64], term: u64) -> Driven {
    let mut it = one_of_three();
    let mut prev = LogId::GENESIS;
    for (index, of) in (2..).zip(terms) {
        it.hear(2, *of, append(prev, vec![entry(*of, index)], 1, 1)).persist();
        prev = LogId::new(*of, index);
    }
    it.hear(2, term, append(LogId::GENESIS, vec![], 1, 1));
    if !it.effects.writes.is_empty() {
        it.persist();
    }
    it
}

/// Figure 2, AppendEntries RPC, receiver 1: "Reply false if term < currentTerm (§5.1)".
#[test]
fn rule_1_entries_of_an_earlier_term_are_refused() {
    let mut it = with_log(&[], 4);
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2)], 2, 1));
    assert_eq!(it.effects.messages[0].term, Term(4), "the later term is the refusal");
    assert_eq!(it.outcomes(), [raftkit_core::AppendOutcome::Heard]);
    assert!(it.effects.writes.is_empty());
    assert_eq!((it.node.status().last, it.node.commit()), (LogId::GENESIS, LogIndex(1)));
}

/// Figure 2, AppendEntries RPC, receiver 2: "Reply false if log doesn't contain an entry at prevLogIndex whose term
/// matches prevLogTerm (§5.3)".
#[test]
fn rule_2_a_gap_or_another_entry_before_is_refused() {
    let mut it = with_log(&[2, 2], 4);
    it.hear(2, 4, append(LogId::new(4, 7), vec![entry(4, 8)], 1, 2));
    assert_eq!(it.outcomes(), [conflict(7, LogId::new(2, 3))], "its log ends at 3");
    it.hear(2, 4, append(LogId::new(3, 3), vec![entry(4, 4)], 1, 3));
    assert_eq!(it.outcomes(), [conflict(3, LogId::new(2, 2))], "its entry 3 is of another term");
    assert!(it.effects.writes.is_empty());
    assert_eq!(it.node.status().last, LogId::new(2, 3), "nothing was deleted");
}

/// Figure 2, AppendEntries RPC, receiver 3: "If an existing entry conflicts with a new one (same index but different
/// terms), delete the existing entry and all that follow it (§5.3)".
#[test]
fn rule_3_a_conflicting_entry_is_deleted_with_all_that_follow() {
    let mut it = with_log(&[2, 2, 2, 2], 3);
    it.hear(2, 3, append(LogId::new(2, 2), vec![entry(2, 3), entry(3, 4)], 1, 2));
    let write = &it.effects.writes[0];
    assert_eq!((write.truncate_from, &write.append[..]), (Some(LogIndex(4)), &[entry(3, 4)][..]));
    assert_eq!(it.node.status().last, LogId::new(3, 4), "5 is gone, too");
    it.persist();
    assert_eq!(it.outcomes(), [matches(4)]);
}

/// Figure 2, AppendEntries RPC, receiver 4: "Append any new entries not already in the log". What is already there
/// stays, and so does what follows it: a delayed message must not undo what a later one appended.
#[test]
fn rule_4_only_entries_that_are_new_are_appended() {
    let mut it = with_log(&[2, 2, 2], 2);
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3)], 1, 2));
    assert!(it.effects.writes.is_empty());
    assert_eq!(it.node.status().last, LogId::new(2, 4), "an old message deletes nothing");
    it.hear(2, 2, append(LogId::new(2, 2), vec![entry(2, 3), entry(2, 4), entry(2, 5)], 1, 3));
    let write = &it.effects.writes[0];
    assert_eq!((write.truncate_from, &write.append[..]), (None, &[entry(2, 5)][..]));
}

/// Figure 2, AppendEntries RPC, receiver 5: "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index
/// of last new entry)". The last new entry is the last one that this message proves to match, not the last in the log.
#[test]
fn rule_5_commit_goes_no_further_than_what_the_message_proves() {
    let mut it = with_log(&[2, 2, 2], 2);
    it.hear(2, 2, append(LogId::new(2, 4), vec![entry(2, 5)], 3, 2));
    assert_eq!(it.node.commit(), LogIndex(3), "leaderCommit is the smaller");
    // The next leader holds up to 3 of it and another entry 4: its commit index is about its own log.
    it.hear(3, 3, append(LogId::new(2, 3), vec![], 5, 1));
    assert_eq!(it.node.commit(), LogIndex(3));
    it.hear(3, 3, append(LogId::new(2, 3), vec![entry(3, 4)], 5, 2));
    assert_eq!(it.node.commit(), LogIndex(4), "the last new entry is the smaller");
}
