//! Quorums: a majority of the voters, and during joint consensus also a majority of the outgoing voters
//! (paper, section 6; thesis, section 4.3). Nothing is allocated, as quorums are evaluated for nearly every
//! message.

use alloc::collections::BTreeSet;

use crate::common::Common;
use crate::{Membership, NodeId, Vote};

/// Largest number of voters whose values are sorted on the stack; practical groups are not larger.
const SORTED_MAX: usize = 9;

/// The state of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// A quorum has granted its votes.
    Won,
    /// So many have refused that no quorum can grant any more.
    Lost,
    /// Undecided: answers that are still to come can win or lose the election.
    Open,
}

impl Common {
    /// The greatest value that a quorum of the membership in force reaches.
    pub(crate) fn agreed<T: Ord + Copy>(&self, value: impl Fn(NodeId) -> T) -> Option<T> {
        agreed(self.memberships.current(), value)
    }
}

/// The greatest value that a quorum reaches: each of its members has at least this value. None without
/// voters.
///
/// During joint consensus it is the lower one of the two halves' values. One half alone must never decide:
/// some nodes do not have the joint entry yet and act by the old voters alone, and the new voters without a
/// majority of the old ones could elect a second leader in the term, or commit another entry at the same
/// index.
pub fn agreed<T: Ord + Copy>(membership: &Membership, value: impl Fn(NodeId) -> T) -> Option<T> {
    let incoming = majority(membership.voters(), &value)?;
    if !membership.is_joint() {
        return Some(incoming);
    }
    majority(membership.outgoing(), &value).map(|outgoing| incoming.min(outgoing))
}

/// True when `holds` is true for every member of some quorum.
pub fn holds(membership: &Membership, holds: impl Fn(NodeId) -> bool) -> bool {
    agreed(membership, holds) == Some(true)
}

/// The state of an election with these votes; none stands for a node that has not answered.
pub fn tally(membership: &Membership, vote: impl Fn(NodeId) -> Option<Vote>) -> Tally {
    if holds(membership, |node| vote(node) == Some(Vote::Granted)) {
        Tally::Won
    } else if !holds(membership, |node| vote(node) != Some(Vote::Refused)) {
        Tally::Lost
    } else {
        Tally::Open
    }
}

/// The greatest value that a majority of `half` reaches.
fn majority<T: Ord + Copy>(half: &BTreeSet<NodeId>, value: impl Fn(NodeId) -> T) -> Option<T> {
    let needed = half.len() / 2 + 1;
    if half.len() > SORTED_MAX {
        return majority_by_counting(half, value);
    }
    // Sort descending: element `needed - 1` is the largest value that a majority has reached.
    let mut nodes = half.iter();
    let mut values = [value(*nodes.next()?); SORTED_MAX];
    for (node, count) in nodes.zip(1..) {
        let value = value(*node);
        let mut at = count;
        while at > 0 && values[at - 1] < value {
            values[at] = values[at - 1];
            at -= 1;
        }
        values[at] = value;
    }
    Some(values[needed - 1])
}

/// The same for any number of voters, without a buffer: it counts for each value how many voters reach it.
fn majority_by_counting<T: Ord + Copy>(half: &BTreeSet<NodeId>, value: impl Fn(NodeId) -> T) -> Option<T> {
    let needed = half.len() / 2 + 1;
    half.iter()
        .map(|node| value(*node))
        .filter(|candidate| half.iter().filter(|node| value(**node) >= *candidate).count() >= needed)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, StoreId};

    fn membership(voters: &[u64], outgoing: &[u64]) -> Membership {
        let set = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<BTreeSet<_>>();
        let members =
            set(voters).union(&set(outgoing)).map(|id| (*id, Member::new(StoreId(0), ""))).collect();
        Membership::joint(members, set(voters), set(outgoing)).expect("voters are members")
    }

    #[test]
    fn a_majority_reaches_the_middle_value() {
        assert_eq!(agreed(&membership(&[1, 2, 3], &[]), |n| n.0), Some(2));
        assert_eq!(agreed(&membership(&[1, 2, 3, 4], &[]), |n| n.0), Some(2));
        assert_eq!(agreed(&membership(&[7], &[]), |n| n.0), Some(7));
        assert_eq!(agreed(&membership(&[], &[]), |n| n.0), None);
    }

    #[test]
    fn sorting_and_counting_find_the_same() {
        for voters in 0..=SORTED_MAX as u64 + 2 {
            let half: BTreeSet<NodeId> = (1..=voters).map(NodeId).collect();
            for seed in 0..50 {
                let value = |node: NodeId| (node.0 * 7 + seed) * (seed + 3) % 5;
                assert_eq!(majority(&half, value), majority_by_counting(&half, value), "{voters}, {seed}");
            }
        }
    }

    #[test]
    fn a_joint_quorum_needs_both_halves() {
        let joint = membership(&[1, 2, 3], &[3, 4, 5]);
        assert!(!holds(&joint, |n| n.0 <= 3), "one half alone is no quorum");
        assert!(holds(&joint, |n| n.0 != 1 && n.0 != 5));
    }

    #[test]
    fn an_election_is_lost_once_a_quorum_can_no_longer_grant() {
        let four = membership(&[1, 2, 3, 4], &[]);
        assert_eq!(tally(&four, |n| (n.0 == 1).then_some(Vote::Refused)), Tally::Open);
        assert_eq!(tally(&four, |n| (n.0 <= 2).then_some(Vote::Refused)), Tally::Lost);
        assert_eq!(tally(&four, |n| (n.0 <= 3).then_some(Vote::Granted)), Tally::Won);
        assert_eq!(tally(&membership(&[], &[]), |_| None), Tally::Lost);
    }
}
