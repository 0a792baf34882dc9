//! Recurring deadlines, with a driver that gives a tick at `Node::next_deadline` and at no other time. A
//! deadline that the core arms once and does not renew would never be met a second time.

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
use members::voters;
use messages::{append, entry};
use raftkit_core::*;

/// Advances time by `span`, from deadline to deadline; writes are durable at once. Returns all messages.
fn run(it: &mut Driven, span: Duration) -> Vec<Message> {
    let end = it.now.after(span);
    let mut said = Vec::new();
    let mut spins = 0;
    while it.node.next_deadline() <= end {
        let at = it.node.next_deadline().max(it.now);
        spins = if at == it.now { spins + 1 } else { 0 };
        assert!(spins < 10, "a deadline that was met does not move");
        it.now = at;
        it.give(Input::Tick);
        said.extend(it.effects.messages.clone());
        while let Some(write) = it.effects.writes.last() {
            let seq = write.seq;
            it.give(Input::Persisted(seq));
            said.extend(it.effects.messages.clone());
        }
    }
    it.now = end;
    said
}

fn count(said: &[Message], to: u64, is: impl Fn(&Body) -> bool) -> usize {
    said.iter().filter(|message| message.to == NodeId(to) && is(&message.body)).count()
}

/// A heartbeat of node 2, the leader of term 2.
fn beat(it: &mut Driven, round: u64) {
    it.hear(2, 2, append(LogId::GENESIS, Vec::new(), 1, round));
    while let Some(write) = it.effects.writes.last() {
        let seq = write.seq;
        it.give(Input::Persisted(seq));
    }
}

#[test]
fn a_node_that_hears_nobody_asks_for_pre_votes_again_and_again() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let said = run(&mut it, Duration::from_secs(10));
    let asks = count(&said, 2, |body| matches!(body, Body::PreVote(_)));
    assert!((10..=20).contains(&asks), "{asks} times in 10 s");
}

#[test]
fn an_election_that_nobody_answers_is_begun_again_and_again() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    for term in 2..6 {
        it.campaign(&[2]);
        it.persist();
        assert_eq!(it.node.term(), Term(term));
        assert!(it.node.next_deadline() <= it.now.after(Duration::from_millis(1500)));
    }
}

#[test]
fn a_leader_beats_peers_that_do_not_answer_until_it_steps_down() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    let said = run(&mut it, Duration::from_millis(740));
    assert!(it.node.is_leader());
    for peer in [2, 3] {
        let beats = count(&said, peer, |body| matches!(body, Body::AppendEntries(_)));
        assert!((6..=9).contains(&beats), "{beats} to {peer} in 740 ms");
    }
    run(&mut it, Duration::from_millis(100));
    assert!(!it.node.is_leader());
}

#[test]
fn a_read_that_the_leader_does_not_answer_is_asked_again_and_again() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    beat(&mut it, 1);
    it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Quorum });
    let mut asks = 0;
    for round in 2..12 {
        let said = run(&mut it, Duration::from_millis(100));
        asks += count(&said, 2, |body| matches!(body, Body::ReadIndex(_)));
        beat(&mut it, round);
    }
    assert!(asks >= 3, "asked {asks} times in 1 s");
}

#[test]
fn a_damaged_node_that_gets_no_answer_asks_again_and_again() {
    let hard_state = HardState { health: Health::Damaged, term: Term(1), ..HardState::default() };
    let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
    let mut it = Driven::restored(restored);
    let mut asks = 0;
    for round in 1..12 {
        beat(&mut it, round);
        let said = run(&mut it, Duration::from_millis(100));
        asks += count(&said, 2, |body| matches!(body, Body::ReadIndex(_)));
    }
    assert!(asks >= 8, "asked {asks} times in 1.1 s");
}

/// Every commit index that no write carried is written on its own, not just the first one.
#[test]
fn every_commit_index_reaches_the_disk_without_a_write_to_carry_it() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    let entries = (2..8).map(|index| entry(2, index)).collect();
    it.hear(2, 2, append(LogId::GENESIS, entries, 1, 1)).persist();
    for commit in 2..8 {
        it.hear(2, 2, append(LogId::new(2, 7), Vec::new(), commit, commit));
        assert!(it.effects.writes.is_empty(), "it waits for a write");
        run(&mut it, Duration::from_millis(40));
        assert_eq!(it.node.durable_commit(), LogIndex(commit));
    }
}

/// A transfer fails after its time, and so does the next one.
#[test]
fn each_transfer_has_an_end() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    for ticket in 1..4 {
        it.give(Input::Transfer { ticket: Ticket(ticket), to: Some(NodeId(3)) });
        let mut failed = false;
        let end = it.now.after(Duration::from_millis(1100));
        while it.now < end && !failed {
            it.now = it.node.next_deadline().max(it.now);
            it.give(Input::Tick);
            failed =
                it.effects.done.contains(&Done { ticket: Ticket(ticket), outcome: Outcome::TransferFailed });
            // Node 2's answers satisfy check-quorum.
            let round = it.appends().iter().map(|(_, append)| append.round.0).max();
            if let Some(round) = round {
                let term = it.node.term().0;
                it.hear(2, term, messages::answer(AppendOutcome::Heard, round));
            }
        }
        assert!(failed, "transfer {ticket} has no end");
    }
}

/// The wait for promises of an earlier incarnation ends with nothing but ticks, and the lower value is
/// written.
#[test]
fn the_promise_of_an_earlier_life_is_lowered_at_its_end() {
    let promise = Duration::from_secs(3);
    let hard_state = HardState { term: Term(1), promise, ..HardState::default() };
    let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
    let mut it = Driven::restored(restored);
    let said = run(&mut it, promise - Duration::from_millis(1));
    assert_eq!(count(&said, 2, |_| true), 0, "it does not ask for votes that it could not count its own to");
    it.give(Input::Tick);
    assert!(it.effects.writes.is_empty());
    it.now = Time(0).after(promise);
    it.give(Input::Tick);
    let stored: Vec<_> = it.effects.writes.iter().filter_map(|write| write.hard_state).collect();
    assert_eq!(stored.iter().map(|hard| hard.promise).collect::<Vec<_>>(), [Duration::from_millis(500)]);
}
