//! The membership: voters, outgoing voters during joint consensus, and learners (thesis, chapter 4).

mod codec;
mod history;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use crate::{LogId, NodeId, StoreId};

pub use codec::DecodeError;
pub(crate) use history::MembershipHistory;

/// One member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// The data folder whose votes and acknowledgements count for this node id. A node that lost its disk
    /// comes back with another folder, and must not be taken for the voter that remembered its votes and
    /// entries.
    pub store: StoreId,
    /// The address of its transport, `host:port`. The protocol does not interpret it.
    pub address: String,
    /// Priority of this voter in becoming the leader. A voter of lower priority campaigns later, and
    /// transfers leadership to one of higher priority that has caught up. A voter of priority 0 campaigns
    /// last and is no target of a transfer: it leads only while nobody else can. See [`Member::PRIORITY`].
    #[cfg_attr(feature = "serde", serde(default = "Member::default_priority"))]
    pub priority: u8,
}

impl Member {
    /// The priority of a member for which none was chosen.
    pub const PRIORITY: u8 = 100;

    /// A member of default priority.
    pub fn new(store: StoreId, address: impl Into<String>) -> Self {
        Self { store, address: address.into(), priority: Self::PRIORITY }
    }

    #[cfg(feature = "serde")]
    fn default_priority() -> u8 {
        Self::PRIORITY
    }
}

/// A member's right to vote.
///
/// ```text
///                      caught up (promoted by the leader)
///   NonVoter <-> Staging -----------------------------> Voter       every other transition is a requested change
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Suffrage {
    /// Votes, and counts in quorums.
    Voter,
    /// A learner that the leader makes a voter once it has caught up (thesis, section 4.2.1).
    Staging,
    /// A permanent learner: it replicates and serves reads, but counts in no quorum.
    NonVoter,
}

/// A group's membership. Every voter is a member; a member that is not a voter is a learner.
///
/// While `outgoing` is not empty the membership is joint: elections and commits need a majority of `voters`
/// and a majority of `outgoing` (thesis, section 4.3).
///
/// To request a change, derive the target from a copy, `membership.clone().with(node, member,
/// Suffrage::Staging)` or `.without(node)`, and give it to a [`MembershipChange`](crate::MembershipChange).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Membership {
    id: LogId,
    members: BTreeMap<NodeId, Member>,
    voters: BTreeSet<NodeId>,
    outgoing: BTreeSet<NodeId>,
    staging: BTreeSet<NodeId>,
    leaving: BTreeSet<NodeId>,
}

impl Default for Membership {
    /// The empty membership of a node that belongs to no cluster yet.
    fn default() -> Self {
        Self {
            id: LogId::GENESIS,
            members: BTreeMap::new(),
            voters: BTreeSet::new(),
            outgoing: BTreeSet::new(),
            staging: BTreeSet::new(),
            leaving: BTreeSet::new(),
        }
    }
}

impl Membership {
    /// A membership that is not joint: `members`, of which `voters` vote.
    ///
    /// # Errors
    /// A voter is not among the members.
    pub fn new(members: BTreeMap<NodeId, Member>, voters: BTreeSet<NodeId>) -> Result<Self, DecodeError> {
        Self::joint(members, voters, BTreeSet::new())
    }

    /// The membership that a cluster is founded with, in which every member votes.
    #[must_use]
    pub fn founding(members: BTreeMap<NodeId, Member>) -> Self {
        let voters = members.keys().copied().collect();
        Self { members, voters, ..Self::default() }
    }

    /// A membership that may be joint.
    ///
    /// # Errors
    /// A voter, incoming or outgoing, is not among the members.
    pub fn joint(
        members: BTreeMap<NodeId, Member>,
        voters: BTreeSet<NodeId>,
        outgoing: BTreeSet<NodeId>,
    ) -> Result<Self, DecodeError> {
        match voters.union(&outgoing).find(|node| !members.contains_key(node)) {
            Some(node) => Err(DecodeError::VoterIsNoMember { node: *node }),
            None => Ok(Self { members, voters, outgoing, ..Self::default() }),
        }
    }

    /// This membership with `node` added, or changed.
    #[must_use]
    pub fn with(self, node: NodeId, member: Member, suffrage: Suffrage) -> Self {
        let mut changed = self.without(node);
        changed.members.insert(node, member);
        match suffrage {
            Suffrage::Voter => changed.voters.insert(node),
            Suffrage::Staging => changed.staging.insert(node),
            Suffrage::NonVoter => false,
        };
        changed
    }

    /// This membership without `node`.
    #[must_use]
    pub fn without(mut self, node: NodeId) -> Self {
        self.members.remove(&node);
        for set in [&mut self.voters, &mut self.outgoing, &mut self.staging, &mut self.leaving] {
            set.remove(&node);
        }
        self
    }

    /// The membership entry that it comes from; [`LogId::GENESIS`] for the founding membership. It survives
    /// compaction, snapshots and restarts, and a [`MembershipChange`](crate::MembershipChange) is compared by
    /// it.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.id
    }

    /// All members, by id.
    #[must_use]
    pub fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The voters (the incoming half while joint).
    #[must_use]
    pub fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// The outgoing half while joint; empty otherwise.
    #[must_use]
    pub fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.outgoing
    }

    /// The staging learners; while joint, also outgoing voters that become staging learners.
    #[must_use]
    pub fn staging(&self) -> &BTreeSet<NodeId> {
        &self.staging
    }

    /// While joint: outgoing voters that are removed when it ends. Other outgoing voters stay as learners.
    #[must_use]
    pub fn leaving(&self) -> &BTreeSet<NodeId> {
        &self.leaving
    }

    /// True during joint consensus.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// True when `node` is a voter, in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// The suffrage of `node`, a voter of either half counting as one; none when it is not a member.
    #[must_use]
    pub fn suffrage(&self, node: NodeId) -> Option<Suffrage> {
        let member = self.members.contains_key(&node);
        member.then(|| match (self.is_voter(node), self.staging.contains(&node)) {
            (true, _) => Suffrage::Voter,
            (false, true) => Suffrage::Staging,
            (false, false) => Suffrage::NonVoter,
        })
    }

    /// True when `node` is a member, voter or learner.
    #[must_use]
    pub fn contains(&self, node: NodeId) -> bool {
        self.members.contains_key(&node)
    }

    /// The data folder that counts for `node`; none when it is not a member.
    #[must_use]
    pub fn store(&self, node: NodeId) -> Option<StoreId> {
        self.members.get(&node).map(|member| member.store)
    }

    /// The priority of `node`; 0 when it is not a member.
    #[must_use]
    pub fn priority(&self, node: NodeId) -> u8 {
        self.members.get(&node).map_or(0, |member| member.priority)
    }

    /// This membership with the id of the entry that it is appended as.
    #[must_use]
    pub(crate) fn at(self, id: LogId) -> Self {
        Self { id, ..self }
    }

    /// True when both are equal but for their ids.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.clone().at(other.id) == *other
    }

    /// The joint membership from this one to `target` (C_old,new): both sets of voters, and the members of
    /// both.
    pub(crate) fn join(&self, target: &Self) -> Self {
        let mut members = self.members.clone();
        members.extend(target.members.iter().map(|(node, member)| (*node, member.clone())));
        let leaving = members.keys().filter(|node| !target.contains(**node)).copied().collect();
        Self {
            id: target.id,
            members,
            voters: target.voters.clone(),
            outgoing: self.voters.clone(),
            staging: target.staging.clone(),
            leaving,
        }
    }

    /// The membership that ends this joint one (C_new): the incoming half alone.
    pub(crate) fn leave(&self) -> Self {
        let mut members = self.members.clone();
        members.retain(|node, _| !self.leaving.contains(node));
        Self {
            members,
            outgoing: BTreeSet::new(),
            leaving: BTreeSet::new(),
            voters: self.voters.clone(),
            staging: self.staging.clone(),
            id: self.id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founding(ids: &[u64]) -> Membership {
        let member = |id: &u64| (NodeId(*id), Member::new(StoreId(u128::from(*id)), ""));
        Membership::founding(ids.iter().map(member).collect())
    }

    #[test]
    fn a_joint_membership_leads_to_its_target() {
        let from = founding(&[1, 2, 3]);
        let four = Member::new(StoreId(4), "four");
        let target = from
            .clone()
            .without(NodeId(1))
            .with(NodeId(2), Member::new(StoreId(2), ""), Suffrage::NonVoter)
            .with(NodeId(4), four.clone(), Suffrage::Voter)
            .with(NodeId(5), four, Suffrage::Staging);
        let joint = from.join(&target);
        assert!(joint.is_joint() && joint.contains(NodeId(1)) && joint.leaving().contains(&NodeId(1)));
        assert_eq!(joint.suffrage(NodeId(2)), Some(Suffrage::Voter), "in the outgoing half");
        assert_eq!(joint.suffrage(NodeId(5)), Some(Suffrage::Staging));
        assert_eq!(joint.leave(), target);
        assert_eq!(target.suffrage(NodeId(2)), Some(Suffrage::NonVoter));
        assert_eq!(target.suffrage(NodeId(1)), None);
    }

    #[test]
    fn two_that_differ_only_in_their_entry_say_the_same() {
        let one = founding(&[1, 2]);
        assert!(one.says_the_same(&one.clone().at(LogId::new(3, 7))));
        assert!(!one.says_the_same(&one.clone().without(NodeId(2))));
    }
}
