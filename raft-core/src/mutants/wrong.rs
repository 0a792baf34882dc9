//! Wrong code that does not fit into the line where its bug lives. Without the bugs built in nothing reaches it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::{Config, Membership, NodeId, Vote, Write, quorum};

/// Whom a repeated answer counts for, where answers are counted instead of nodes: any voter not heard yet.
pub(crate) fn count_twice(membership: &Membership, votes: &BTreeMap<NodeId, Vote>, from: NodeId) -> NodeId {
    let mut others = membership.voters().iter().copied().filter(|id| !votes.contains_key(id));
    if votes.contains_key(&from) { others.next().unwrap_or(from) } else { from }
}

/// What a quorum agrees on, by the counting that is switched on.
pub(crate) fn agreed<T: Ord + Copy>(
    config: &Config,
    membership: &Membership,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    if mutant!(config, QuorumOffByOne) {
        return too_small_majority(membership, value);
    }
    mutant!(config, QuorumUnsorted, unsorted_middle(membership, value), quorum::agreed(membership, value))
}

/// The greatest value that half of the voters reach, where one more is needed.
fn too_small_majority<T: Ord + Copy>(membership: &Membership, value: impl Fn(NodeId) -> T) -> Option<T> {
    let voters = membership.voters();
    let mut values = all(voters, value);
    values.sort_unstable();
    values.iter().rev().nth((voters.len() / 2).saturating_sub(1)).copied()
}

/// The value in the middle of the voters as they come, where they had to be sorted by value.
fn unsorted_middle<T: Ord + Copy>(membership: &Membership, value: impl Fn(NodeId) -> T) -> Option<T> {
    let voters = membership.voters();
    all(voters, value).get(voters.len() / 2).copied()
}

/// Takes the truncation out of the newest write and puts it before, as a write of its own.
pub(crate) fn truncate_apart(writes: &mut Vec<Write>) {
    let Some(mut newest) = writes.pop() else { return };
    if !newest.append.is_empty()
        && let Some(from) = newest.truncate_from.take()
    {
        writes.push(Write { seq: newest.seq, truncate_from: Some(from), ..Write::default() });
    }
    writes.push(newest);
}

fn all<T>(voters: &BTreeSet<NodeId>, value: impl Fn(NodeId) -> T) -> Vec<T> {
    voters.iter().map(|id| value(*id)).collect()
}
