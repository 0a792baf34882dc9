//! Quorums as they are counted: right, or by the bug that is switched on.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::quorum::{self, Tally, Use};
use crate::{Config, Membership, NodeId, Vote};

/// What a quorum agrees on.
pub(crate) fn agreed<T: Ord + Copy>(
    config: &Config,
    of: Use,
    membership: &Membership,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    if !cfg!(mutants) {
        return quorum::agreed(membership, value);
    }
    let voters = membership.voters();
    let needed = voters.len() / 2 + 1;
    if of == Use::Commit && mutant!(config, QuorumOffByOne) {
        return reached(voters.iter().map(|id| value(*id)), (needed - 1).max(1));
    }
    if of == Use::Commit && mutant!(config, QuorumUnsorted) {
        return voters.iter().map(|id| value(*id)).nth(voters.len() / 2);
    }
    if of == Use::Commit && mutant!(config, RemovedLeaderCounts) && !membership.is_voter(config.node) {
        return reached(voters.iter().chain([&config.node]).map(|id| value(*id)), needed);
    }
    if counts_learners(config, of) {
        return reached(membership.members().keys().map(|id| value(*id)), needed);
    }
    quorum::agreed(&half(config, of, membership), value)
}

/// How an election stands.
pub(crate) fn tally(config: &Config, membership: &Membership, votes: &BTreeMap<NodeId, Vote>) -> Tally {
    let granted = || votes.values().filter(|vote| **vote == Vote::Granted).count();
    let anyone = counts_learners(config, Use::Election) || mutant!(config, StrangerVoteCounted);
    if anyone && granted() > membership.voters().len() / 2 {
        return Tally::Won;
    }
    quorum::tally(&half(config, Use::Election, membership), |node| votes.get(&node).copied())
}

/// Whether this bug counts members that do not vote.
fn counts_learners(config: &Config, of: Use) -> bool {
    match of {
        Use::Commit => mutant!(config, LearnerAckCounted),
        Use::Election => mutant!(config, LearnerVoteCounted),
        Use::Lease => mutant!(config, LearnerPromiseCounted),
        Use::Read => mutant!(config, LearnerConfirmsRead),
        Use::Silence => false,
    }
}

/// The half of a joint membership that this bug looks at alone.
fn half<'a>(config: &Config, of: Use, membership: &'a Membership) -> Cow<'a, Membership> {
    let (incoming, outgoing) = match of {
        Use::Commit => (mutant!(config, JointCommitIncoming), mutant!(config, JointCommitOutgoing)),
        Use::Election => (mutant!(config, JointElectionIncoming), mutant!(config, JointElectionOutgoing)),
        Use::Lease => (mutant!(config, JointLeaseIncoming), mutant!(config, JointLeaseOutgoing)),
        Use::Read => (mutant!(config, JointReadIncoming), mutant!(config, JointReadOutgoing)),
        Use::Silence => (mutant!(config, JointCheckIncoming), mutant!(config, JointCheckOutgoing)),
    };
    if incoming {
        return Cow::Owned(membership.leave());
    }
    let old = || Membership::new(membership.members().clone(), membership.outgoing().clone()).ok();
    let old = if outgoing && membership.is_joint() { old() } else { None };
    old.map_or(Cow::Borrowed(membership), Cow::Owned)
}

/// The greatest value that so many of these reach.
fn reached<T: Ord + Copy>(values: impl Iterator<Item = T>, needed: usize) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.into_iter().rev().nth(needed - 1)
}
