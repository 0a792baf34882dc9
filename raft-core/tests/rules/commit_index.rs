//! How followers learn the commit index: with the next append, alone if none has followed for 2 ms, and at
//! once where somebody waits for it.

use std::time::Duration;

use raftkit_core::*;

use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{answer, append, conflict, entry, matches, message, newest_round};

const DELAY: Duration = Duration::from_millis(2);

/// Node 1 leads nodes 2 and 3, which hold its whole log and know that everything is committed.
fn leader() -> Driven {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1)).hear(3, 2, answer(matches(2), 1));
    it.now = it.now.after(DELAY);
    it.give(Input::Tick);
    assert_eq!(told(&it), [(2, 2), (3, 2)]);
    it
}

/// Proposes a command, which is durable on the leader at once. Its index is the leader's last.
fn write(it: &mut Driven, ticket: u64) {
    it.propose(ticket, "x").persist();
}

/// The commit indexes that the last input sent without entries: the peer, and the index as far as this
/// message proves it.
fn told(it: &Driven) -> Vec<(u64, u64)> {
    let alone = it.appends().into_iter().filter(|(_, append)| append.entries.is_empty());
    alone.map(|(to, append)| (to.0, append.commit.min(append.prev.index).0)).collect()
}

/// Advances time by `span`, from deadline to deadline. Returns the commit indexes sent alone, each with the
/// time since the start.
fn run(it: &mut Driven, span: Duration) -> Vec<(Duration, u64, u64)> {
    let (start, end) = (it.now, it.now.after(span));
    let mut all = Vec::new();
    for _ in 0..100 {
        let at = it.node.next_deadline();
        if at > end {
            it.now = end;
            return all;
        }
        it.now = at;
        it.give(Input::Tick);
        all.extend(told(it).into_iter().map(|(to, index)| (at.since(start), to, index)));
    }
    panic!("a deadline that was met does not move: {all:?}");
}

#[test]
fn a_commit_index_is_sent_with_the_next_append_and_costs_no_message() {
    let mut it = leader();
    for index in 3..10 {
        it.propose(index, "x");
        let commits: Vec<_> = it.appends().into_iter().map(|(to, append)| (to.0, append.commit.0)).collect();
        assert_eq!(commits, [(2, index - 1), (3, index - 1)]);
        it.persist();
        for peer in [2, 3] {
            it.hear(peer, 2, answer(matches(index), 1));
            assert!(it.effects.messages.is_empty(), "the client is answered first: {:?}", it.effects);
        }
        assert_eq!(it.node.commit(), LogIndex(index));
        it.now = it.now.after(DELAY / 2);
    }
}

#[test]
fn a_commit_index_that_no_append_carries_is_sent_alone_once_it_is_due() {
    let mut it = leader();
    write(&mut it, 1);
    it.hear(2, 2, answer(matches(3), 1)).hear(3, 2, answer(matches(3), 1));
    assert_eq!(run(&mut it, DELAY * 10), [(DELAY, 2, 3), (DELAY, 3, 3)], "once, and in time");
}

#[test]
fn an_idle_leader_has_no_deadline_but_its_heartbeats() {
    let mut it = leader();
    let heartbeats = run(&mut it, Duration::from_millis(950));
    assert!(heartbeats.len() <= 2 * 10, "{heartbeats:?}");
    assert!(heartbeats.iter().all(|(_, _, commit)| *commit == 2));
}

#[test]
fn one_message_tells_everything_that_was_committed_meanwhile() {
    let mut it = leader();
    (1..=3).for_each(|ticket| write(&mut it, ticket));
    let start = it.now;
    for (peer, index) in [(2, 3), (2, 4), (3, 4), (2, 5), (3, 5)] {
        it.hear(peer, 2, answer(matches(index), 1));
        assert!(it.effects.messages.is_empty(), "{:?}", it.effects);
        it.now = it.now.after(DELAY / 5);
    }
    it.now = start.after(DELAY);
    assert_eq!(it.node.next_deadline(), it.now, "the first of them is told in time");
    it.give(Input::Tick);
    assert_eq!(told(&it), [(2, 5), (3, 5)]);
}

#[test]
fn a_peer_is_told_no_more_than_it_holds() {
    let mut it = leader();
    write(&mut it, 1);
    it.hear(2, 2, answer(matches(3), 1));
    assert_eq!(run(&mut it, DELAY * 3), [(DELAY, 2, 3)], "node 3 has not acknowledged the entry");
    it.hear(3, 2, answer(matches(3), 1));
    assert_eq!(told(&it), [(3, 3)], "it has waited long enough");
    assert_eq!(run(&mut it, DELAY * 3), []);
}

/// While a peer acknowledges only part of what is committed, it is told of that part.
#[test]
fn a_slow_peer_is_told_of_what_it_holds_of_the_committed_entries() {
    let mut it = leader();
    (1..=2).for_each(|ticket| write(&mut it, ticket));
    it.hear(2, 2, answer(matches(4), 1)).hear(3, 2, answer(matches(3), 1));
    assert_eq!(run(&mut it, DELAY * 3), [(DELAY, 2, 4), (DELAY, 3, 3)]);
    it.hear(3, 2, answer(matches(4), 1));
    assert_eq!(told(&it), [(3, 4)]);
}

/// No append can be sent to the peer that would carry the index.
#[test]
fn a_peer_whose_window_is_full_is_told_what_it_holds() {
    let mut it = leader();
    for bytes in [1_000, 62_000, 10_000] {
        let command = vec![0; bytes].into();
        it.give(Input::Propose(vec![Proposal { ticket: Ticket(bytes as u64), command }])).persist();
    }
    it.now = it.now.after(Duration::from_millis(20)); // So slow a link gets no larger window.
    it.hear(2, 2, answer(matches(4), 1));
    it.hear(3, 2, answer(matches(3), 1));
    let mut told = run(&mut it, DELAY * 3);
    told.retain(|(_, to, _)| *to == 3);
    assert_eq!(told, [(DELAY, 3, 3)]);
}

#[test]
fn a_peer_that_refused_the_append_is_told_once_it_has_caught_up() {
    let mut it = leader();
    write(&mut it, 1);
    it.hear(2, 2, answer(matches(3), 1));
    // Node 3 has lost entry 2, which it had acknowledged before it was restarted.
    let mut refused = message(3, 2, answer(conflict(2, LogId::GENESIS), 1));
    refused.from_incarnation = Incarnation(2);
    it.give(Input::Message(refused));
    assert_eq!(it.appended(3), [(LogIndex(1), vec![LogIndex(2), LogIndex(3)])], "it is sent them again");
    assert!(it.appends().iter().all(|(to, append)| to.0 != 3 || append.commit == LogIndex(3)));
    assert_eq!(run(&mut it, DELAY * 3), [(DELAY, 2, 3)]);
}

/// No append can follow that carries the index, because a leader accepts no proposals then.
#[test]
fn a_leader_that_hands_over_tells_its_commit_index_at_once() {
    let mut it = leader();
    write(&mut it, 1);
    it.hear(2, 2, answer(matches(3), 1)).hear(3, 2, answer(matches(3), 1));
    it.give(Input::Transfer { ticket: Ticket(2), to: Some(NodeId(2)) });
    assert_eq!(told(&it), [(2, 3), (3, 3)]);
}

#[test]
fn what_is_committed_during_a_transfer_is_told_at_once() {
    let mut it = leader();
    write(&mut it, 1);
    it.give(Input::Transfer { ticket: Ticket(2), to: Some(NodeId(2)) });
    it.hear(3, 2, answer(matches(3), 1));
    assert_eq!(told(&it), [(3, 3)]);
}

/// The leader's own disk was slow, and completes the commit when the leader has not been answered for too long.
#[test]
fn a_leader_that_hears_no_quorum_tells_its_commit_index_before_it_steps_down() {
    let mut it = leader();
    it.propose(1, "x");
    let seq = it.effects.writes[0].seq;
    it.hear(2, 2, answer(matches(3), 1));
    let gives_up = it.now.after(Duration::from_millis(750));
    while it.node.next_deadline() < gives_up {
        it.wait();
    }
    it.now = gives_up.before(DELAY / 2);
    it.give(Input::Persisted(seq));
    assert_eq!((it.node.commit(), told(&it)), (LogIndex(3), vec![]));
    it.now = gives_up;
    it.give(Input::Tick);
    assert!(!it.node.is_leader());
    assert_eq!(told(&it), [(2, 3)]);
}

/// A leader whose disk is stuck can commit by the acknowledgements of the others, and then steps down.
#[test]
fn a_leader_whose_disk_is_stuck_tells_its_commit_index_before_it_steps_down() {
    let mut it = leader();
    it.propose(1, "x");
    let stuck = it.now.after(Duration::from_millis(2000));
    while it.now < stuck {
        it.now = it.node.next_deadline().min(stuck);
        if it.now < stuck {
            it.give(Input::Tick);
            let round = newest_round_or(&it, 1);
            it.hear(2, 2, answer(AppendOutcome::Heard, round));
            it.hear(3, 2, answer(AppendOutcome::Heard, round));
        }
    }
    it.hear(2, 2, answer(matches(3), 1)).hear(3, 2, answer(matches(3), 1));
    assert_eq!((it.node.commit(), told(&it)), (LogIndex(3), vec![]));
    it.give(Input::Tick);
    assert!(!it.node.is_leader());
    assert_eq!(told(&it), [(2, 3), (3, 3)]);
}

fn newest_round_or(it: &Driven, round: u64) -> u64 {
    if it.appends().is_empty() { round } else { newest_round(&it.effects) }
}

/// Its followers keep their connections to the removed node until they know that the removal is committed.
#[test]
fn the_commit_of_a_membership_change_is_told_at_once() {
    let mut it = leader();
    let target = voters(&[1, 2]);
    let change = MembershipChange { ticket: Ticket(7), seen: it.node.membership().id(), target };
    it.give(Input::Change(Box::new(change))).persist();
    it.hear(2, 2, answer(matches(3), 1));
    assert_eq!(told(&it), [(3, 3), (2, 3)], "the removed node's final message, and the other's");
    assert_eq!(run(&mut it, DELAY * 3), []);
}

#[test]
fn a_follower_commits_what_it_is_sent_after_it_was_told_that_it_is_committed() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    // The heartbeat has overtaken the append, which was sent before its entries were committed.
    it.hear(2, 2, append(LogId::GENESIS, vec![], 3, 2)).persist();
    assert_eq!(it.node.commit(), LogIndex(1));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2), entry(2, 3), entry(2, 4)], 1, 1));
    assert_eq!(it.node.commit(), LogIndex(3), "and not entry 4");
}

/// The leader of term 2 said so of its own log. Entries 2 and 3 of this log may be others.
#[test]
fn what_one_leader_said_to_be_committed_is_not_taken_for_the_log_of_another() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![], 3, 1)).persist();
    it.hear(3, 3, append(LogId::GENESIS, vec![entry(3, 2), entry(3, 3)], 1, 1));
    assert_eq!(it.node.commit(), LogIndex(1));
}

/// Otherwise the read would have to wait until the leader sends its commit index alone.
#[test]
fn a_followers_read_is_served_by_the_answer_alone() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2)], 1, 1)).persist();
    it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Lease });
    let Some(Body::ReadIndex(ask)) = it.bodies().pop() else { panic!("{:?}", it.effects) };
    let index = Some(LogIndex(2));
    it.hear(2, 2, Body::ReadIndexResponse(ReadIndexResponse { index, request: ask.request }));
    assert_eq!(it.effects.done, [Done { ticket: Ticket(1), outcome: Outcome::ReadAt(LogIndex(2)) }]);
    assert_eq!(it.effects.apply.last().map(|apply| apply.last), Some(LogIndex(2)));
}

#[test]
fn a_followers_read_that_is_answered_before_the_entries_have_come_waits_for_nothing_else() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
    it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Quorum });
    let Some(Body::ReadIndex(ask)) = it.bodies().pop() else { panic!("{:?}", it.effects) };
    let index = Some(LogIndex(2));
    it.hear(2, 2, Body::ReadIndexResponse(ReadIndexResponse { index, request: ask.request }));
    assert_eq!(it.node.commit(), LogIndex(1));
    it.hear(2, 2, append(LogId::GENESIS, vec![entry(2, 2)], 1, 1)).persist();
    assert_eq!(it.effects.apply.last().map(|apply| apply.last), Some(LogIndex(2)));
}
