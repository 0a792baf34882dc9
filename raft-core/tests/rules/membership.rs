//! Membership changes (paper, section 6; thesis, chapter 4).

use raftkit_core::*;

use crate::driven::Driven;
use crate::members::{joint, voters};
use crate::messages::{answer, append, entry, matches};

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

/// Ending joint consensus is the leader's task, which no caller can perform or prevent.
#[test]
fn a_change_to_a_joint_membership_is_refused() {
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    let target = joint(&[1, 2], &[1, 2, 3]);
    let change = MembershipChange { ticket: Ticket(7), seen: LogId::GENESIS, target };
    it.give(Input::Change(Box::new(change)));
    let outcome = Outcome::Refused(ChangeRefused::Joint);
    assert_eq!(it.effects.done, [Done { ticket: Ticket(7), outcome }]);
}

/// A removed voter is replicated to until its removal is committed (thesis, section 4.2.3). The input that
/// commits it emits the final message to it, and only then may a transport close its connection.
#[test]
fn a_removed_peer_is_a_contact_until_its_removal_is_committed() {
    let contacts = |it: &Driven| it.node.contacts().map(|(id, _)| id.0).collect::<Vec<_>>();
    let mut it = Driven::founded(voters(&[1, 2, 3]));
    it.elect(&[2]);
    it.hear(2, 2, answer(matches(2), 1));
    assert_eq!((contacts(&it), it.node.membership_is_committed()), (vec![2, 3], true));
    let target = voters(&[1, 2]);
    let change = MembershipChange { ticket: Ticket(7), seen: it.node.membership().id(), target };
    it.give(Input::Change(Box::new(change))).persist();
    assert!(!it.node.membership().contains(NodeId(3)));
    assert_eq!((contacts(&it), it.node.membership_is_committed()), (vec![2, 3], false));
    it.hear(2, 2, answer(matches(3), 1));
    assert_eq!((contacts(&it), it.node.membership_is_committed()), (vec![2], true));
    let last: Vec<_> = it.appends().into_iter().filter(|(to, _)| *to == NodeId(3)).collect();
    assert_eq!(last.len(), 1, "{last:?}");
    assert_eq!(last[0].1.commit, LogIndex(3));
}
