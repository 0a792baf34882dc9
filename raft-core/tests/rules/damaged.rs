//! Nodes that lost entries which they had acknowledged.

use raftkit_core::*;

use crate::MS;
use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{answer, append, matches, request_vote};

/// A damaged node may have lost acknowledged entries, so comparing its log with the candidate's proves
/// nothing.
#[test]
fn a_damaged_node_gives_no_vote() {
    let votes = |health| {
        let mut it = Driven::founded(voters(&[1, 2, 3]));
        let hard_state = HardState { health, ..HardState::default() };
        let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
        let config = Config::new(NodeId(1), StoreId(1), Incarnation(6), 1);
        it.node = Node::restore(config, restored, Time(0)).unwrap();
        it.now = Time(600 * MS);
        it.hear(2, 2, request_vote(LogId::GENESIS));
        it.votes_when_durable()
    };
    assert_eq!(votes(Health::Damaged), [Vote::Refused]);
    assert_eq!(votes(Health::Sound), [Vote::Granted]);
}

/// Its answer to a heartbeat reports the damage as well, but may be lost. From its read-index request on it
/// does not count.
#[test]
fn a_damaged_peer_that_asks_how_far_to_heal_does_not_count_for_the_answer() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(3, 2, answer(matches(2), 1));
    let request = RequestId { incarnation: Incarnation(6), number: RequestNumber(1) };
    it.hear(3, 2, Body::ReadIndex(ReadIndex { mode: ReadMode::Quorum, asker: Health::Damaged, request }));
    assert_eq!(it.node.status().peers[&NodeId(3)].health, Health::Damaged);
}

#[test]
fn a_damaged_node_heals_by_the_answer_to_its_own_question() {
    let hard_state = HardState { health: Health::Damaged, ..HardState::default() };
    let restored = Restored { hard_state, ..Restored::founded(voters(&[1, 2, 3])) };
    let mut it = Driven::restored(restored);
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    let ask = it.bodies().into_iter().find_map(|body| match body {
        Body::ReadIndex(ask) => Some(ask),
        _ => None,
    });
    let own = ask.expect("it asks").request;
    it.persist();
    let other = RequestId { number: RequestNumber(own.number.0 + 1), ..own };
    for (request, expected) in [(other, Health::Damaged), (own, Health::Sound)] {
        it.hear(2, 2, Body::ReadIndexResponse(ReadIndexResponse { index: Some(LogIndex(1)), request }));
        assert_eq!(it.node.health(), expected);
    }
}

#[test]
fn what_a_peer_acknowledged_while_it_was_damaged_counts_once_it_has_healed() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(3, 2, answer(matches(1), 1));
    for health in [Health::Damaged, Health::Sound] {
        let Body::AppendEntriesResponse(said) = answer(matches(2), 1) else { panic!("an answer") };
        it.hear(3, 2, Body::AppendEntriesResponse(AppendEntriesResponse { health, ..said }));
        let expected = if health == Health::Sound { 2 } else { 1 };
        assert_eq!(it.node.commit(), LogIndex(expected));
    }
}

/// The entries that the node still has may be of a deposed leader, in place of those that it has lost.
#[test]
fn a_damaged_node_does_not_heal_by_entries_that_its_leader_has_not_confirmed() {
    let restored = Restored {
        term_runs: vec![TermRun { term: Term(2), first: LogIndex(2) }],
        last: LogIndex(5),
        hard_state: HardState { term: Term(2), health: Health::Damaged, ..HardState::default() },
        ..Restored::founded(voters(&[1, 2, 3]))
    };
    let mut it = Driven::restored(restored);
    it.hear(2, 3, append(LogId::new(2, 2), vec![], 2, 1));
    let ask = it.bodies().into_iter().find_map(|body| match body {
        Body::ReadIndex(ask) => Some(ask),
        _ => None,
    });
    let request = ask.expect("it asks").request;
    it.persist();
    it.hear(2, 3, Body::ReadIndexResponse(ReadIndexResponse { index: Some(LogIndex(5)), request }));
    assert_eq!((it.node.health(), it.node.commit()), (Health::Damaged, LogIndex(2)));
    it.hear(2, 3, append(LogId::new(2, 5), vec![], 5, 2));
    assert_eq!((it.node.health(), it.node.commit()), (Health::Sound, LogIndex(5)));
}

/// It has acknowledged entry 3 and lost it with the damage. It heals without it, as it was not committed.
#[test]
fn what_a_peer_acknowledged_before_its_damage_does_not_count_when_it_has_healed() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1)).hear(3, 2, answer(matches(2), 1));
    it.propose(1, "x");
    let seq = it.effects.writes[0].seq;
    it.hear(3, 2, answer(matches(3), 1));
    for health in [Health::Damaged, Health::Sound] {
        let Body::AppendEntriesResponse(said) = answer(matches(2), 1) else { panic!("an answer") };
        it.hear(3, 2, Body::AppendEntriesResponse(AppendEntriesResponse { health, ..said }));
    }
    it.give(Input::Persisted(seq));
    assert_eq!(it.node.commit(), LogIndex(2), "only node 1 holds entry 3");
    it.hear(3, 2, answer(matches(3), 1));
    assert_eq!(it.node.commit(), LogIndex(3));
}
