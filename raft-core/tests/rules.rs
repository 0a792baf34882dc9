//! One node against hand-made messages: rules that take a forged or unlikely message to see.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

#[path = "common/driven.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod driven;
#[path = "common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
#[path = "common/messages.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod messages;

use std::time::Duration;

use driven::Driven;
use members::{joint, voters};
use messages::{LIFE, answer, append, conflict, entry, matches, message, newest_round};
use raftkit_core::*;

const MS: u64 = 1000;

#[test]
fn a_membership_acts_when_appended_and_goes_when_truncated() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let payload = Payload::Membership(std::sync::Arc::new(voters(&[1, 2, 3, 4])));
    let change = Entry { id: LogId::new(2, 2), payload };
    it.hear(2, 2, append(LogId::GENESIS, vec![change], 1, 1));
    assert!(it.node.membership().contains(NodeId(4)), "not committed, but in force");
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2)], 1, 1));
    assert!(!it.node.membership().contains(NodeId(4)));
    assert_eq!(it.effects.writes[0].truncate_from, Some(LogIndex(2)));
}

#[test]
fn what_another_store_says_under_a_known_id_does_not_count() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    let mut wiped = message(3, 2, answer(matches(2), 1));
    wiped.from_store = StoreId(99);
    it.give(Input::Message(wiped));
    assert_eq!((it.effects.is_empty(), it.node.commit()), (true, LogIndex(1)));
    it.hear(3, 2, answer(matches(2), 1));
    assert_eq!(it.node.commit(), LogIndex(2));
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
fn an_earlier_life_of_a_member_is_not_heard() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let mut newer = message(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    newer.from_incarnation = Incarnation(2);
    it.give(Input::Message(newer));
    it.hear(2, 3, append(LogId::GENESIS, vec![], 1, 1));
    assert_eq!((it.effects.is_empty(), it.node.term()), (true, Term(2)));
}

#[test]
fn an_answer_to_an_earlier_life_of_this_node_counts_for_nothing() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    let mut old = answer(matches(2), 1);
    if let Body::AppendEntriesResponse(old) = &mut old {
        old.to_incarnation = Incarnation(4);
    }
    it.hear(2, 2, old);
    assert_eq!(it.node.commit(), LogIndex(1));
    it.hear(2, 2, answer(matches(2), 1));
    assert_eq!(it.node.commit(), LogIndex(2));
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
fn nothing_is_compacted_before_it_is_applied_and_durable() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2)], 2, 1));
    it.give(Input::Compact(LogIndex(2)));
    assert!(it.effects.writes.is_empty());
}

#[test]
fn a_node_of_no_cluster_asks_for_a_snapshot_and_never_campaigns() {
    let mut it = Driven::new(Base::default());
    it.now = Time(10_000 * MS);
    it.give(Input::Tick);
    assert!(it.effects.is_empty());
    it.hear(2, 2, append(LogId::new(2, 40), vec![], 40, 1));
    assert_eq!(it.outcomes(), [conflict(40, LogId::ZERO)]);
    let (base, membership) = (LogId::new(2, 40), voters(&[1, 2, 3]));
    it.give(Input::SnapshotInstalled { base, membership: membership.clone().into() });
    assert_eq!(it.effects.writes[0].reset_to, Some(Base { id: base, membership }.into()));
    assert!(it.outcomes().is_empty(), "the reset is not durable yet");
    assert_eq!((it.node.commit(), it.node.applied()), (LogIndex(40), LogIndex(40)));
    it.persist();
    assert_eq!(it.outcomes(), [matches(40)]);
}

#[test]
fn a_lease_is_counted_from_the_sending_of_its_round() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    let sent = it.now;
    it.hear(2, 2, answer(matches(2), 1));
    it.now = sent.after(Duration::from_millis(100));
    it.give(Input::Tick);
    let (round, beat) = (newest_round(&it.effects), it.now);
    it.now = beat.after(Duration::from_millis(300));
    it.hear(2, 2, answer(matches(2), round));
    assert_eq!(it.node.lease_until(), Some(beat.after(Duration::from_millis(450))));
}

/// Thesis, section 6.4: before its first commit a leader may not know the newest committed entries.
#[test]
fn a_leader_has_no_lease_before_the_first_commit_of_its_term() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(AppendOutcome::Heard, 1));
    assert_eq!(it.node.lease_until(), None, "node 2 promises, and has no entry of this term yet");
    it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Lease });
    assert_eq!(it.effects.done, []);
    it.hear(2, 2, answer(matches(2), 1));
    assert!(it.node.lease_until().is_some());
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

#[test]
fn a_log_that_contradicts_itself_is_not_started_from() {
    let restore = |change: fn(&mut Restored)| {
        let mut restored = Restored {
            base: Base { id: LogId::new(3, 10), membership: voters(&[1, 2, 3]) },
            term_runs: vec![TermRun { term: Term(4), first: LogIndex(11) }],
            last: LogIndex(12),
            memberships: vec![(LogIndex(11), voters(&[1]))],
            hard_state: HardState { term: Term(4), commit: LogIndex(11), ..HardState::default() },
            applied: LogIndex(10),
        };
        change(&mut restored);
        Node::restore(Config::new(NodeId(1), StoreId(1), LIFE, 1), restored, Time(0)).err()
    };
    assert_eq!(restore(|_| {}), None);
    let refused: [fn(&mut Restored); 9] = [
        |it| it.last = LogIndex(9),
        |it| it.last = LogIndex(u64::MAX),
        |it| it.term_runs.clear(),
        |it| it.term_runs[0].first = LogIndex(12),
        |it| it.memberships[0].0 = LogIndex(13),
        |it| it.hard_state.term = Term(3),
        |it| it.hard_state.commit = LogIndex(13),
        |it| it.applied = LogIndex(13),
        |it| it.applied = LogIndex(9),
    ];
    for (at, change) in refused.into_iter().enumerate() {
        assert!(restore(change).is_some(), "contradiction {at} was taken");
    }
}
