//! Whose messages count: data folders, incarnations and request ids.

use raftkit_core::*;

use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{answer, append, matches, message};

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

/// Both are in their first incarnation. An answer to a request of the old folder must not be taken for one of
/// the new folder.
#[test]
fn a_wiped_node_asks_under_other_names_than_before() {
    let asked = |store| {
        let restored = Restored::founded(voters(&[1, 2, 3]));
        let config = Config::new(NodeId(1), StoreId(store), Incarnation(1), 1);
        let mut it = Driven::founded(voters(&[1, 2, 3]));
        it.node = Node::restore(config, restored, it.now).unwrap();
        it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
        it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Quorum });
        let Some(Body::ReadIndex(ask)) = it.bodies().pop() else { panic!("{:?}", it.effects) };
        ask.request
    };
    assert_ne!(asked(1), asked(9));
}
