//! Invariants of a single node at any time.

use alloc::collections::BTreeSet;

use super::Violation;
use crate::progress::ProgressState;
use crate::raft::Node;
use crate::role::{Leader, Role};
use crate::{LogIndex, NodeId};

/// Checks one node by itself.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check_state(node: &Node) -> Result<(), Violation> {
    let log = &node.common.log;
    let (base, last) = (log.base(), log.last());
    in_order("base", base.index, "commit", node.common.commit)?;
    in_order("base", base.index, "applied", node.common.applied)?;
    in_order("applied", node.common.applied, "handed out", node.common.handed_out)?;
    in_order("handed out", node.common.handed_out, "commit", node.common.commit)?;
    in_order("commit", node.common.commit, "last", last.index)?;
    in_order("durable", log.durable(), "last", last.index)?;
    check_runs(node)?;
    if !log.tail_is_consistent() {
        return Err(Violation::Tail);
    }
    check_memberships(node)?;
    if last.term > node.common.term && !node.ended {
        return Err(Violation::LastTerm { last: last.term, term: node.common.term });
    }
    if !node.common.is_sound() && !matches!(node.role, Role::Follower(_)) {
        return Err(Violation::Damaged);
    }
    let (queued, health) = (node.common.writes.queued(), node.common.health.health());
    if (queued.term, queued.vote, queued.health) != (node.common.term, node.common.ballot.vote, health)
        && !node.ended
    {
        return Err(Violation::UnwrittenVote { term: node.common.term });
    }
    if queued.promise != node.common.promise.longest && !node.ended {
        return Err(Violation::UnwrittenPromise { promise: node.common.promise.longest });
    }
    match &node.role {
        Role::Follower(_) | Role::PreCandidate(_) => Ok(()),
        Role::Candidate(_) => own_vote(node),
        Role::Leader(leader) => own_vote(node).and_then(|()| check_leader(node, leader)),
    }
}

fn check_memberships(node: &Node) -> Result<(), Violation> {
    let mut before = node.common.log.base().index;
    for at in node.common.memberships.later_indexes() {
        if at <= before || at > node.common.log.last_index() {
            return Err(Violation::Memberships);
        }
        before = at;
    }
    let current = node.common.memberships.current();
    let known = |set: &BTreeSet<NodeId>| set.iter().all(|node| current.contains(*node));
    let sets = [current.voters(), current.outgoing(), current.staging(), current.leaving()];
    // An outgoing voter may become a staging learner when joint consensus ends.
    let apart = current.staging().is_disjoint(current.voters())
        && current.leaving().is_disjoint(current.voters())
        && (current.is_joint() || current.leaving().is_empty());
    if sets.into_iter().all(known) && apart {
        Ok(())
    } else {
        Err(Violation::Membership { at: current.id() })
    }
}

fn check_runs(node: &Node) -> Result<(), Violation> {
    let (base, last) = (node.common.log.base(), node.common.log.last_index());
    let runs = node.common.log.runs().as_slice();
    let starts = match runs.first() {
        Some(first) => first.first == base.index.next() && first.term >= base.term,
        None => base.index == last,
    };
    let rises = runs.iter().zip(runs.iter().skip(1)).all(|(a, b)| a.first < b.first && a.term < b.term);
    let ends = runs.last().is_none_or(|run| run.first <= last);
    if starts && rises && ends { Ok(()) } else { Err(Violation::TermRuns { last }) }
}

fn check_leader(node: &Node, leader: &Leader) -> Result<(), Violation> {
    let durable = node.common.writes.durable();
    if (durable.term, durable.vote) != (node.common.term, node.common.ballot.vote) {
        return Err(Violation::VoteNotDurable { term: node.common.term });
    }
    // Membership entries of earlier terms may be committed although this leader does not know it yet.
    let own = leader.term_start.max(node.common.commit.next());
    let uncommitted = node.common.memberships.later_indexes().filter(|at| *at >= own).count();
    if uncommitted > 1 {
        return Err(Violation::TwoChanges { commit: node.common.commit });
    }
    let last = node.common.log.last_index();
    in_order("start of term", leader.term_start, "last", last)?;
    for (id, peer) in &leader.progress {
        let ordered = peer.match_index < peer.next_index || peer.regressed;
        let window = peer.inflights.is_consistent()
            && (peer.inflights.is_empty() || peer.state == ProgressState::Replicate);
        if !ordered || !window || peer.match_index > last || peer.next_index > last.next() {
            return Err(Violation::Progress { peer: *id, matched: peer.match_index, next: peer.next_index });
        }
    }
    let weight: usize = leader.uncommitted.iter().map(|open| open.weight).sum();
    let rises =
        leader.uncommitted.iter().zip(leader.uncommitted.iter().skip(1)).all(|(a, b)| a.index < b.index);
    let open = leader.uncommitted.front().is_none_or(|open| open.index > node.common.commit);
    if weight == leader.uncommitted_bytes && rises && open {
        Ok(())
    } else {
        Err(Violation::Uncommitted { bytes: leader.uncommitted_bytes })
    }
}

fn own_vote(node: &Node) -> Result<(), Violation> {
    if node.common.ballot.vote == Some(node.common.config.node) {
        Ok(())
    } else {
        Err(Violation::NoOwnVote { term: node.common.term })
    }
}

fn in_order(
    low_name: &'static str,
    low: LogIndex,
    high_name: &'static str,
    high: LogIndex,
) -> Result<(), Violation> {
    if low <= high { Ok(()) } else { Err(Violation::Order { low_name, low, high_name, high }) }
}
