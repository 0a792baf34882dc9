//! Invariants between a node before and after one input.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Violation;
use crate::raft::Node;
use crate::role::{Leader, Role};
use crate::term_runs::TermRuns;
use crate::{Health, LogId, LogIndex, Membership, NodeId, RoleName, Round, StoreId, Term, Time};

/// A node's state before an input, as far as [`check_since`] compares it. Far cheaper to take than a clone of
/// the node, and cheaper still to take [again](Self::retake).
#[derive(Clone, Debug)]
pub struct Before {
    now: Time,
    term: Term,
    vote: Option<NodeId>,
    role: RoleName,
    leader: Option<NodeId>,
    health: Health,
    membership: Arc<Membership>,
    base: LogId,
    last: LogId,
    runs: TermRuns,
    commit: LogIndex,
    durable_commit: LogIndex,
    applied: LogIndex,
    own_promise_until: Time,
    /// On a leader: the values of each peer that must not go back, by id.
    peers: Vec<Peer>,
}

/// The values of a leader's view of a peer that must not go back.
#[derive(Clone, Copy, Debug)]
struct Peer {
    id: NodeId,
    store: StoreId,
    match_index: LogIndex,
    acked_round: Round,
    promised_until: Time,
}

impl Before {
    /// Takes the present state of `node`.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let (runs, peers) = (TermRuns::default(), Vec::new());
        Self::within(node, runs, peers)
    }

    /// Takes the present state of `node`, reusing the allocations.
    pub fn retake(&mut self, node: &Node) {
        let (runs, peers) = (core::mem::take(&mut self.runs), core::mem::take(&mut self.peers));
        *self = Self::within(node, runs, peers);
    }

    fn within(node: &Node, mut runs: TermRuns, mut peers: Vec<Peer>) -> Self {
        runs.copy_from(node.common.log.runs());
        peers.clear();
        if let Role::Leader(leader) = &node.role {
            peers.extend(leader.progress.iter().map(|(id, peer)| Peer {
                id: *id,
                store: peer.store,
                match_index: peer.match_index,
                acked_round: peer.acked_round,
                promised_until: peer.promised_until,
            }));
        }
        Self {
            now: node.common.now,
            term: node.common.term,
            vote: node.common.ballot.vote,
            role: node.role(),
            leader: node.leader(),
            health: node.health(),
            membership: Arc::clone(node.common.memberships.current_shared()),
            base: node.common.log.base(),
            last: node.common.log.last(),
            runs,
            commit: node.common.commit,
            durable_commit: node.durable_commit(),
            applied: node.common.applied,
            own_promise_until: node.common.promise.until,
            peers,
        }
    }

    /// The term before the input.
    #[must_use]
    pub fn term(&self) -> Term {
        self.term
    }

    /// The role before the input.
    #[must_use]
    pub fn role(&self) -> RoleName {
        self.role
    }

    /// True when the node led before the input.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == RoleName::Leader
    }

    /// The known leader before the input.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// The health before the input.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// The commit index before the input.
    #[must_use]
    pub fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The membership in force before the input.
    #[must_use]
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The index of the membership entry in force before the input.
    #[must_use]
    pub fn membership_index(&self) -> LogIndex {
        self.membership.id().index
    }
}

/// Checks that one input may have taken a node from `before` to `after`.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check_delta(before: &Node, after: &Node) -> Result<(), Violation> {
    check_since(&Before::of(before), after)
}

/// Checks the same as [`check_delta`], without a clone of the node.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check_since(before: &Before, after: &Node) -> Result<(), Violation> {
    rises("term", before.term.0, after.common.term.0)?;
    rises("commit", before.commit.0, after.common.commit.0)?;
    rises("applied", before.applied.0, after.common.applied.0)?;
    rises("base", before.base.index.0, after.common.log.base().index.0)?;
    rises("durable commit", before.durable_commit.0, after.durable_commit().0)?;
    rises("time", before.now.0, after.common.now.0)?;
    rises("promise not to vote", before.own_promise_until.0, after.common.promise.until.0)?;
    if before.health == Health::Sound && !after.common.is_sound() {
        return Err(Violation::Damaged);
    }
    if before.term == after.common.term && before.vote.is_some() && before.vote != after.common.ballot.vote {
        return Err(Violation::VoteChanged { term: after.common.term });
    }
    // The terms of the common part are compared at the ends of runs, as within a run they cannot differ.
    let ends = before.runs.as_slice().iter().chain(after.common.log.runs().as_slice()).map(|run| run.first);
    for index in ends.chain([before.commit]).filter(|index| *index <= before.commit) {
        if let (Some(was), Some(is)) =
            (before.runs.term_between(before.base, before.last.index, index), after.common.log.term(index))
            && was != is
        {
            return Err(Violation::CommittedChanged { index, before: was, after: is });
        }
    }
    match &after.role {
        Role::Leader(leader) if before.is_leader() && before.term == after.common.term => {
            check_leader_since(before, after, leader)
        }
        Role::Leader(_) | Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => Ok(()),
    }
}

fn check_leader_since(before: &Before, after: &Node, leader: &Leader) -> Result<(), Violation> {
    let index = before.last.index;
    if after.common.log.last_index() < index
        || after.common.log.base().index <= index && !after.common.log.holds(before.last)
    {
        return Err(Violation::LeaderLogChanged { index });
    }
    if before.membership_index() != after.membership_index() {
        return Ok(()); // A peer that was removed and added again meanwhile starts with a new progress.
    }
    for was in &before.peers {
        // A learner with a new data folder starts with a new progress.
        if let Some(now) = leader.progress.get(&was.id).filter(|now| now.store == was.store) {
            rises("match", was.match_index.0, now.match_index.0)?;
            rises("confirmed round", was.acked_round.0, now.acked_round.0)?;
            rises("promise of a peer", was.promised_until.0, now.promised_until.0)?;
        }
    }
    Ok(())
}

fn rises(name: &'static str, before: u64, after: u64) -> Result<(), Violation> {
    if before <= after { Ok(()) } else { Err(Violation::WentBack { name, before, after }) }
}
