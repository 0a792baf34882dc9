//! Prediction: would a membership change survive the loss of some nodes? It is answered before the change, by
//! counting quorums. Replacing servers has brought down clusters that would have survived each failure by
//! itself (consul#8964, "3 -> 6 -> 3 servers").

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::common::Common;
use crate::membership_change::{check_target, is_single};
use crate::progress::ProgressState;
use crate::raft::Node;
use crate::role::{Leader, Role};
use crate::{ChangeRefused, Health, LogIndex, Membership, NodeId};

/// A quorum that a change needs at some point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The voters before the change, which commit its first entry.
    Before,
    /// The outgoing voters during joint consensus.
    Outgoing,
    /// The incoming voters during joint consensus.
    Incoming,
    /// The voters after the change.
    After,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "the voters before the change",
            Self::Outgoing => "the outgoing half of the joint membership",
            Self::Incoming => "the incoming half of the joint membership",
            Self::After => "the voters after the change",
        })
    }
}

/// The change would complete, and the cluster could commit throughout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survival {
    /// Number of further voters, no matter which, that may be lost at any stage.
    pub spare: usize,
    /// The stage that bears no further loss than that.
    pub weakest: Stage,
}

/// Why the change would not complete, or would leave a cluster that cannot commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// The change would be refused.
    #[error(transparent)]
    Refused(#[from] ChangeRefused),
    /// A stage would have no quorum.
    #[error(
        "{stage}: {needed} of {voters} are needed and {alive} are left; down: {}, not caught up: {}",
        list(down),
        list(behind)
    )]
    NoQuorum {
        /// The stage of the change at which the quorum is lost.
        stage: Stage,
        /// Number of voters at that stage.
        voters: usize,
        /// Number of voters needed for a quorum.
        needed: usize,
        /// Number of voters left.
        alive: usize,
        /// Voters that are down.
        down: Vec<NodeId>,
        /// Voters that do not hold the log yet; writes would wait until they do.
        behind: Vec<NodeId>,
    },
}

/// Predicts whether the change from `current` to `target` would survive the loss of the nodes `down`, from
/// its first entry on. Voters in `behind` count as lost as well, as they cannot acknowledge entries until
/// they have the log before them.
///
/// # Errors
/// The reason why it would not.
pub fn what_if(
    current: &Membership,
    target: &Membership,
    down: &BTreeSet<NodeId>,
    behind: &BTreeSet<NodeId>,
) -> Result<Survival, Loss> {
    if current.is_joint() {
        return Err(ChangeRefused::InProgress.into());
    }
    check_target(current, target)?;
    let halves = [(Stage::Outgoing, current.voters()), (Stage::Incoming, target.voters())];
    let joint = halves.into_iter().filter(|_| !is_single(current, target));
    let stages =
        [(Stage::Before, current.voters())].into_iter().chain(joint).chain([(Stage::After, target.voters())]);
    let mut weakest = None;
    for (stage, voters) in stages {
        let spare = spare(stage, voters, down, behind)?;
        if weakest.is_none_or(|found: Survival| spare < found.spare) {
            weakest = Some(Survival { spare, weakest: stage });
        }
    }
    Ok(weakest.expect("there is a stage before the change"))
}

/// Formats node ids, separated by commas.
fn list(nodes: &[NodeId]) -> String {
    if nodes.is_empty() {
        return "none".to_string();
    }
    nodes.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
}

/// Number of these voters that can be lost without losing the quorum.
fn spare(
    stage: Stage,
    voters: &BTreeSet<NodeId>,
    down: &BTreeSet<NodeId>,
    behind: &BTreeSet<NodeId>,
) -> Result<usize, Loss> {
    let down: Vec<NodeId> = voters.intersection(down).copied().collect();
    let behind: Vec<NodeId> =
        voters.intersection(behind).filter(|node| !down.contains(node)).copied().collect();
    let needed = voters.len() / 2 + 1;
    let alive = voters.len() - down.len() - behind.len();
    let lost = Loss::NoQuorum { stage, voters: voters.len(), needed, alive, down, behind };
    alive.checked_sub(needed).ok_or(lost)
}

impl Node {
    /// Predicts whether a change to `target` would survive the loss of the nodes `down`. The leader knows
    /// which voters lack committed entries and counts them as lost; any other node assumes that all have
    /// caught up.
    ///
    /// # Errors
    /// The reason why it would not.
    pub fn what_if(&self, target: &Membership, down: &BTreeSet<NodeId>) -> Result<Survival, Loss> {
        if !self.common.memberships.is_committed(self.common.commit) {
            return Err(ChangeRefused::InProgress.into());
        }
        let current = self.common.memberships.current();
        let voters = current.voters().union(target.voters());
        let behind = match &self.role {
            Role::Leader(leader) => {
                voters.filter(|node| self.common.is_behind(leader, **node)).copied().collect()
            }
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => BTreeSet::new(),
        };
        what_if(current, target, down, &behind)
    }
}

impl Common {
    /// True when this leader knows that `node` lacks committed entries or counts in no quorum.
    fn is_behind(&self, leader: &Leader, node: NodeId) -> bool {
        if node == self.config.node {
            return false;
        }
        leader.progress.get(&node).is_none_or(|peer| {
            peer.state != ProgressState::Replicate
                || peer.health == Health::Damaged
                || peer.counted_match() == LogIndex::ZERO
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, StoreId, Suffrage};

    fn of(ids: &[u64]) -> Membership {
        let member = |id: &u64| (NodeId(*id), Member::new(StoreId(u128::from(*id)), ""));
        Membership::founding(ids.iter().map(member).collect())
    }

    fn nodes(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().map(|id| NodeId(*id)).collect()
    }

    fn ask(from: &[u64], to: &[u64], down: &[u64], behind: &[u64]) -> Result<Survival, Loss> {
        what_if(&of(from), &of(to), &nodes(down), &nodes(behind))
    }

    #[test]
    fn a_change_bears_what_its_weakest_stage_bears() {
        assert_eq!(
            ask(&[1, 2, 3], &[1, 2, 3, 4], &[], &[]),
            Ok(Survival { spare: 1, weakest: Stage::Before })
        );
        assert_eq!(ask(&[1, 2, 3], &[1, 2], &[], &[]), Ok(Survival { spare: 0, weakest: Stage::After }));
        assert_eq!(
            ask(&[1, 2, 3, 4, 5], &[5, 6, 7], &[], &[]),
            Ok(Survival { spare: 1, weakest: Stage::Incoming })
        );
        assert_eq!(
            ask(&[1, 2, 3], &[1, 2, 3, 4, 5], &[1], &[]),
            Ok(Survival { spare: 0, weakest: Stage::Before })
        );
    }

    #[test]
    fn three_fresh_voters_at_once_leave_no_quorum_until_they_have_caught_up() {
        let lost = ask(&[1, 2, 3], &[1, 2, 3, 4, 5, 6], &[], &[4, 5, 6]).expect_err("it is lost");
        assert_eq!(
            lost.to_string(),
            "the incoming half of the joint membership: 4 of 6 are needed and 3 are left; down: none, not caught up: \
             4, 5, 6"
        );
    }

    #[test]
    fn a_lost_quorum_is_named_with_its_stage() {
        let lost = ask(&[1, 2, 3], &[1, 2], &[2], &[]).expect_err("it is lost");
        assert!(matches!(lost, Loss::NoQuorum { stage: Stage::After, needed: 2, alive: 1, .. }), "{lost}");
        let lost = ask(&[1, 2, 3], &[1], &[2, 3], &[]).expect_err("it is lost");
        assert!(matches!(lost, Loss::NoQuorum { stage: Stage::Before, .. }), "{lost}");
        let none = of(&[1]).with(NodeId(1), Member::new(StoreId(1), ""), Suffrage::NonVoter);
        let refused = what_if(&of(&[1]), &none, &nodes(&[]), &nodes(&[])).expect_err("it is lost");
        assert_eq!(refused, Loss::Refused(ChangeRefused::NoVoters));
    }
}
