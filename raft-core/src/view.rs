//! Read access to a node's state.

use alloc::collections::BTreeMap;

use crate::raft::Node;
use crate::role::Role;
use crate::{Health, LogIndex, Member, Membership, NodeId, RoleName, Status, Term, Time};

impl Node {
    /// The leader of the term, if known; possibly this node.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(following) => following.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.common.config.node),
        }
    }

    /// The node's role. A follower that is no voter is a learner.
    #[must_use]
    pub fn role(&self) -> RoleName {
        match &self.role {
            Role::Follower(_) if self.common.memberships.current().is_voter(self.common.config.node) => {
                RoleName::Follower
            }
            Role::Follower(_) => RoleName::Learner,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// True when this node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.common.term
    }

    /// When this node last heard from the leader that it follows or followed; none on a leader.
    #[must_use]
    pub fn leader_heard(&self) -> Option<Time> {
        self.common.leader_heard
    }

    /// The highest index known to be committed.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        self.common.commit
    }

    /// The highest commit index that is durable here, from which a restart continues.
    #[must_use]
    pub fn durable_commit(&self) -> LogIndex {
        self.common.writes.durable().commit
    }

    /// The highest index that the state machine has applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.common.applied
    }

    /// The membership in force.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.common.memberships.current()
    }

    /// The index of the entry that the membership in force comes from.
    #[must_use]
    pub fn membership_index(&self) -> LogIndex {
        self.common.memberships.current().id().index
    }

    /// True when the membership in force is committed, and so can no longer be truncated.
    #[must_use]
    pub fn membership_is_committed(&self) -> bool {
        self.common.memberships.is_committed(self.common.commit)
    }

    /// The peers that a driver should stay connected to: the other members and, until the newest change is
    /// committed, the nodes that it removes. These are replicated to until then, and the final message to
    /// them is among the effects of the input that commits their removal.
    pub fn contacts(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        let (current, own) = (self.common.memberships.current(), self.common.config.node);
        let previous = (!self.membership_is_committed()).then(|| self.common.memberships.previous());
        let removed = previous.into_iter().flat_map(Membership::members);
        let removed = removed.filter(|(id, _)| !current.contains(**id));
        current
            .members()
            .iter()
            .chain(removed)
            .map(|(id, member)| (*id, member))
            .filter(move |(id, _)| *id != own)
    }

    /// Whether this node still holds everything that it acknowledged.
    #[must_use]
    pub fn health(&self) -> Health {
        self.common.health.health()
    }

    /// The membership in force as of `index`, which belongs into a snapshot at that index. For an index
    /// before the log's base it is the base's.
    #[must_use]
    pub fn membership_as_of(&self, index: LogIndex) -> &Membership {
        self.common.memberships.as_of(index)
    }

    /// The node's status, for an operator.
    #[must_use]
    pub fn status(&self) -> Status {
        let peers = match &self.role {
            Role::Leader(leader) => leader.progress.iter().map(|(id, peer)| (*id, peer.status())).collect(),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => BTreeMap::new(),
        };
        Status {
            node: self.common.config.node,
            role: self.role(),
            term: self.common.term,
            leader: self.leader(),
            base: self.common.log.base(),
            last: self.common.log.last(),
            commit: self.common.commit,
            durable_commit: self.durable_commit(),
            applied: self.common.applied,
            lease_until: self.lease_until(),
            leader_heard: self.common.leader_heard,
            membership: self.common.memberships.current().clone(),
            health: self.health(),
            membership_index: self.membership_index(),
            peers,
        }
    }
}
