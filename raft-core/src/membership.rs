//! Who takes part: voters, outgoing voters while a change is joint, and those that do not vote (thesis, chapter 4).

mod codec;
mod history;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;

use crate::{LogId, NodeId, StoreId};

pub use codec::DecodeError;
pub(crate) use history::MembershipHistory;

/// What is known of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Member {
    /// The data folder that votes and acknowledges under this node's id; another one does not count.
    pub store: StoreId,
    /// Where its transport is reached, `host:port`. The protocol never looks at it.
    pub address: String,
    /// How much this voter is wanted as leader. One with a lower priority campaigns later, and hands leadership to one
    /// with a higher one that has caught up. One of priority 0 campaigns last of all, and no transfer goes to it: it
    /// leads only while nobody else can. See [`Member::PRIORITY`].
    #[cfg_attr(feature = "serde", serde(default = "Member::default_priority"))]
    pub priority: u8,
}

impl Member {
    /// The priority of members that nobody gave one.
    pub const PRIORITY: u8 = 100;

    /// A member of the usual priority.
    pub fn new(store: StoreId, address: impl Into<String>) -> Self {
        Self { store, address: address.into(), priority: Self::PRIORITY }
    }

    #[cfg(feature = "serde")]
    fn default_priority() -> u8 {
        Self::PRIORITY
    }
}

/// Whether a member votes.
///
/// ```text
///                      caught up (the leader sees to it)
///   NonVoter <-> Staging -----------------------------> Voter       every other move is a change that someone asks for
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Suffrage {
    /// Votes and counts.
    Voter,
    /// A learner that becomes a voter by itself once it has caught up (thesis, section 4.2.1).
    Staging,
    /// A learner for good: it replicates and serves reads, and never counts.
    NonVoter,
}

/// A group's membership. Every voter is a member; a member that is no voter is a learner.
///
/// While `outgoing` is not empty the membership is joint: elections and commits need a majority of `voters` and a
/// majority of `outgoing` (thesis, section 4.3).
///
/// A change starts from a copy: `membership.clone().with(node, member, Suffrage::Staging)`, `.without(node)`; the result
/// is the target of a [`MembershipChange`](crate::MembershipChange).
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
    /// Nobody: that of a node which belongs to no cluster yet.
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
    /// A membership that is not joint: `members`, of whom `voters` vote.
    ///
    /// # Errors
    /// A voter is not among the members.
    pub fn new(members: BTreeMap<NodeId, Member>, voters: BTreeSet<NodeId>) -> Result<Self, DecodeError> {
        Self::joint(members, voters, BTreeSet::new())
    }

    /// A membership in which every member votes: what a cluster is founded with.
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

    /// This membership with `node` in it, new or changed.
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

    /// The entry that it stands in; [`LogId::GENESIS`] for the founding one. Stays the same through compaction,
    /// snapshots and restarts: what a [`MembershipChange`](crate::MembershipChange) compares.
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

    /// Learners that become voters once they have caught up; while joint also outgoing voters that are to be such.
    #[must_use]
    pub fn staging(&self) -> &BTreeSet<NodeId> {
        &self.staging
    }

    /// While joint: outgoing voters that are no members any more once it ends. Others stay as learners.
    #[must_use]
    pub fn leaving(&self) -> &BTreeSet<NodeId> {
        &self.leaving
    }

    /// True while a change is joint.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// True when `node` votes, in either half.
    #[must_use]
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether `node` votes (in either half, while joint); none when it is no member.
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

    /// The store id under which `node` takes part.
    #[must_use]
    pub fn store(&self, node: NodeId) -> Option<StoreId> {
        self.members.get(&node).map(|member| member.store)
    }

    /// How much `node` is wanted as leader; 0 when it is no member.
    #[must_use]
    pub fn priority(&self, node: NodeId) -> u8 {
        self.members.get(&node).map_or(0, |member| member.priority)
    }

    /// The same, as it stands in this entry.
    #[must_use]
    pub(crate) fn at(self, id: LogId) -> Self {
        Self { id, ..self }
    }

    /// True when both say the same, whatever entries they stand in.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.clone().at(other.id) == *other
    }

    /// What leads from this membership to `target`: both halves of voters, and the members of both.
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

    /// What a joint membership leads to: the incoming half alone.
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
