//! Wrong code that does not fit into the line where its bug lives. Without the bugs built in nothing reaches it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::quorum::{self, Tally};
use crate::raft::Node;
use crate::role::Role;
use crate::{
    Config, Done, Effects, LogIndex, Membership, NodeId, Outcome, Payload, Stage, Suffrage, Vote, Write,
};

/// Whom a repeated answer counts for, where answers are counted instead of nodes: any voter not heard yet.
pub(crate) fn count_twice(membership: &Membership, votes: &BTreeMap<NodeId, Vote>, from: NodeId) -> NodeId {
    let mut others = membership.voters().iter().copied().filter(|id| !votes.contains_key(id));
    if votes.contains_key(&from) { others.next().unwrap_or(from) } else { from }
}

/// What a quorum agrees on, by the counting that is switched on.
pub(crate) fn agreed<T: Ord + Copy>(
    config: &Config,
    membership: &Membership,
    value: impl Fn(NodeId) -> T + Copy,
) -> Option<T> {
    let voters = membership.voters();
    if mutant!(config, QuorumOffByOne) {
        return reached(voters.iter().map(|id| value(*id)), (voters.len() / 2).max(1));
    }
    if mutant!(config, QuorumUnsorted) {
        return voters.iter().map(|id| value(*id)).nth(voters.len() / 2);
    }
    if mutant!(config, LearnerAckCounted) {
        return agreed_by_anyone(membership, value);
    }
    if mutant!(config, RemovedLeaderCounts) && !membership.is_voter(config.node) {
        let all = voters.iter().chain([&config.node]).map(|id| value(*id));
        return reached(all, voters.len() / 2 + 1);
    }
    let membership = mutant!(
        config,
        JointCommitIncoming,
        &incoming_half(membership),
        mutant!(config, JointCommitOutgoing, &outgoing_half(membership), membership)
    );
    quorum::agreed(membership, value)
}

/// The greatest value that so many of these reach.
fn reached<T: Ord + Copy>(values: impl Iterator<Item = T>, needed: usize) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.into_iter().rev().nth(needed - 1)
}

/// The greatest value that so many members reach as a majority of the voters has, voters or not.
pub(crate) fn agreed_by_anyone<T: Ord + Copy>(
    membership: &Membership,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    let all = membership.members().keys().map(|id| value(*id));
    reached(all, membership.voters().len() / 2 + 1)
}

/// An election in which the votes are counted, whoever they are from.
pub(crate) fn tally_of_anyone(membership: &Membership, votes: &BTreeMap<NodeId, Vote>) -> Tally {
    let granted = votes.values().filter(|vote| **vote == Vote::Granted).count();
    if granted > membership.voters().len() / 2 {
        return Tally::Won;
    }
    quorum::tally(membership, |node| votes.get(&node).copied())
}

/// The incoming half of a joint membership alone.
pub(crate) fn incoming_half(membership: &Membership) -> Membership {
    membership.leave()
}

/// The outgoing half of a joint membership alone.
pub(crate) fn outgoing_half(membership: &Membership) -> Membership {
    let half = Membership::new(membership.members().clone(), membership.outgoing().clone());
    half.ok().filter(|_| membership.is_joint()).unwrap_or_else(|| membership.clone())
}

/// All that do not vote.
pub(crate) fn learners(membership: &Membership) -> BTreeSet<NodeId> {
    let votes = |id: &NodeId| membership.suffrage(*id) == Some(Suffrage::Voter);
    membership.members().keys().copied().filter(|id| !votes(id)).collect()
}

/// Whether the forecast of a change leaves out this stage.
pub(crate) fn is_forgotten(stage: Stage) -> bool {
    match stage {
        Stage::Before => mutant!(WhatIfForgetsBefore),
        Stage::Outgoing => false, // It has the voters of the stage before.
        Stage::Incoming => mutant!(WhatIfForgetsIncoming),
        Stage::After => mutant!(WhatIfForgetsAfter),
    }
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

impl Node {
    /// Puts the memberships that are committed by this index into force.
    pub(crate) fn act_when_committed(&mut self, commit: LogIndex) {
        let news = self.commit.next()..=commit;
        for entry in self.log.tail().iter().filter(|entry| news.contains(&entry.id.index)) {
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.append(entry.id.index, Arc::clone(membership));
            }
        }
    }

    /// Leaves the joint membership that is committed, whether or not that was proposed before.
    pub(crate) fn leave_joint_again(&mut self) -> bool {
        let committed = self.memberships.as_of(self.commit);
        let joint = committed.is_joint();
        if joint {
            let left = committed.leave();
            self.append_membership(left);
        }
        joint
    }

    /// Answers who waits for a change as if it were complete.
    pub(crate) fn answer_change(&mut self, effects: &mut Effects) {
        let id = self.memberships.current().id();
        if let Role::Leader(leader) = &mut self.role
            && let Some(change) = leader.change.take()
        {
            effects.done.push(Done { ticket: change.ticket, outcome: Outcome::Committed(id) });
        }
    }
}
