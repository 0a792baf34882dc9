//! What must hold between a node before and after one input.

use super::Violation;
use crate::raft::Node;
use crate::role::{Leader, Role};

/// Checks that one input took a node from `before` to `after`.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check_delta(before: &Node, after: &Node) -> Result<(), Violation> {
    rises("term", before.term.0, after.term.0)?;
    rises("commit", before.commit.0, after.commit.0)?;
    rises("applied", before.applied.0, after.applied.0)?;
    rises("base", before.log.base().index.0, after.log.base().index.0)?;
    rises("durable commit", before.durable_commit().0, after.durable_commit().0)?;
    rises("time", before.now.0, after.now.0)?;
    rises("promise not to vote", before.sticky_until.0, after.sticky_until.0)?;
    if before.is_sound() && !after.is_sound() {
        return Err(Violation::Damaged);
    }
    if before.term == after.term && before.vote.is_some() && before.vote != after.vote {
        return Err(Violation::VoteChanged { term: after.term });
    }
    // Terms of a common stretch are compared at the ends of runs: within a run they cannot differ.
    let ends = before.log.runs().as_slice().iter().chain(after.log.runs().as_slice()).map(|run| run.first);
    for index in ends.chain([before.commit]).filter(|index| *index <= before.commit) {
        if let (Some(was), Some(is)) = (before.log.term(index), after.log.term(index))
            && was != is
        {
            return Err(Violation::CommittedChanged { index, before: was, after: is });
        }
    }
    match (&before.role, &after.role) {
        (Role::Leader(was), Role::Leader(is)) if before.term == after.term => {
            check_leader_delta(before, after, was, is)
        }
        _ => Ok(()),
    }
}

fn check_leader_delta(before: &Node, after: &Node, was: &Leader, is: &Leader) -> Result<(), Violation> {
    let index = before.log.last_index();
    if after.log.last_index() < index
        || after.log.base().index <= index && !after.log.holds(before.log.last())
    {
        return Err(Violation::LeaderLogChanged { index });
    }
    for (id, peer) in &was.progress {
        // A learner that got another data folder starts anew.
        if let Some(now) = is.progress.get(id).filter(|now| now.store == peer.store) {
            rises("match", peer.match_index.0, now.match_index.0)?;
            rises("confirmed round", peer.acked_round, now.acked_round)?;
            rises("promise of a peer", peer.promised_until.0, now.promised_until.0)?;
        }
    }
    Ok(())
}

fn rises(name: &'static str, before: u64, after: u64) -> Result<(), Violation> {
    if before <= after { Ok(()) } else { Err(Violation::WentBack { name, before, after }) }
}
