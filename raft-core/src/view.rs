//! What a node shows of itself.

use alloc::collections::BTreeMap;

use crate::raft::Node;
use crate::role::Role;
use crate::{Health, LogIndex, Member, Membership, NodeId, RoleName, Status, Term, Time};

impl Node {
    /// The leader it knows, itself included.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        match &self.role {
            Role::Follower(following) => following.leader,
            Role::PreCandidate(_) | Role::Candidate(_) => None,
            Role::Leader(_) => Some(self.config.node),
        }
    }

    /// Its role. A follower that does not vote is a learner.
    #[must_use]
    pub fn role(&self) -> RoleName {
        match &self.role {
            Role::Follower(_) if self.memberships.current().is_voter(self.config.node) => RoleName::Follower,
            Role::Follower(_) => RoleName::Learner,
            Role::PreCandidate(_) => RoleName::PreCandidate,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Leader(_) => RoleName::Leader,
        }
    }

    /// True when it leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// Its term.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// When it last heard the leader that it follows or followed; none on a leader.
    #[must_use]
    pub fn leader_heard(&self) -> Option<Time> {
        self.leader_heard
    }

    /// The highest index known to be committed.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The highest commit index that is durable here: what a restart starts from.
    #[must_use]
    pub fn durable_commit(&self) -> LogIndex {
        self.writes.durable().commit
    }

    /// The highest index that the state machine has applied.
    #[must_use]
    pub fn applied(&self) -> LogIndex {
        self.applied
    }

    /// The membership in force.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    /// The index of the entry that the membership in force stands in.
    #[must_use]
    pub fn membership_index(&self) -> LogIndex {
        self.memberships.current().id().index
    }

    /// True when the membership in force is committed, and thus cannot be truncated any more.
    #[must_use]
    pub fn membership_is_committed(&self) -> bool {
        self.memberships.is_committed(self.commit)
    }

    /// The other nodes that this one may have something to tell: the members and, until that is committed, those that
    /// the newest change removes. They are served until then, and their last message is among the effects of the input
    /// that commits their removal.
    pub fn contacts(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        let (current, own) = (self.memberships.current(), self.config.node);
        let previous = (!self.membership_is_committed()).then(|| self.memberships.previous());
        let removed = previous.into_iter().flat_map(Membership::members);
        let removed = removed.filter(|(id, _)| !current.contains(**id));
        current
            .members()
            .iter()
            .chain(removed)
            .map(|(id, member)| (*id, member))
            .filter(move |(id, _)| *id != own)
    }

    /// Whether it still holds everything that it ever acknowledged.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.health()
    }

    /// The membership that was in force right after `index`: what a snapshot at that index names. For an index before
    /// the log's base it is the base's.
    #[must_use]
    pub fn membership_as_of(&self, index: LogIndex) -> &Membership {
        self.memberships.as_of(index)
    }

    /// What an operator sees.
    #[must_use]
    pub fn status(&self) -> Status {
        let peers = match &self.role {
            Role::Leader(leader) => leader.progress.iter().map(|(id, peer)| (*id, peer.status())).collect(),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => BTreeMap::new(),
        };
        Status {
            node: self.config.node,
            role: self.role(),
            term: self.term,
            leader: self.leader(),
            base: self.log.base(),
            last: self.log.last(),
            commit: self.commit,
            durable_commit: self.durable_commit(),
            applied: self.applied,
            lease_until: self.lease_until(),
            leader_heard: self.leader_heard,
            membership: self.memberships.current().clone(),
            health: self.health(),
            membership_index: self.membership_index(),
            peers,
        }
    }
}
