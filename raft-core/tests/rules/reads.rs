//! Leases and reads (thesis, section 6.4).

use std::time::Duration;

use raftkit_core::*;

use crate::driven::Driven;
use crate::members::voters;
use crate::messages::{answer, append, matches, newest_round};

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
fn an_index_to_read_at_is_taken_from_the_leader_alone() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1)).persist();
    it.give(Input::Read { ticket: Ticket(1), mode: ReadMode::Quorum });
    let Some(Body::ReadIndex(ask)) = it.bodies().pop() else { panic!("{:?}", it.effects) };
    let answer = ReadIndexResponse { index: Some(LogIndex(1)), request: ask.request };
    assert_eq!(it.hear(3, 2, Body::ReadIndexResponse(answer)).effects.done, []);
    assert_eq!(it.hear(2, 2, Body::ReadIndexResponse(answer)).effects.done.len(), 1);
}

#[test]
fn so_many_reads_may_wait_and_no_more() {
    let overloaded = |mut it: Driven| {
        let mut effects = Effects::default();
        for ticket in 0..=1 << 16 {
            let read = Input::Read { ticket: Ticket(ticket), mode: ReadMode::Quorum };
            it.node.handle(it.now, read, &mut effects);
        }
        effects.done
    };
    let mut leader = Driven::founded(voters(&[1, 2, 3]));
    leader.elect(&[2]).hear(2, 2, answer(matches(2), 1));
    let mut follower = Driven::founded(voters(&[1, 2, 3]));
    follower.hear(2, 2, append(LogId::GENESIS, vec![], 1, 1));
    for refused in [overloaded(leader), overloaded(follower)] {
        assert_eq!(refused, [Done { ticket: Ticket(1 << 16), outcome: Outcome::Overloaded }]);
    }
}
