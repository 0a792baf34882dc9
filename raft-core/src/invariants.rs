//! What must hold of a node at any time, and between a node before and after one input. Tests and simulation ask after
//! every step; a violation is a bug of ours, never of the input.

use crate::progress::ProgressState;
use crate::raft::Node;
use crate::role::{Leader, Role};
use crate::{LogId, LogIndex, NodeId, Term};
use alloc::collections::BTreeSet;

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Indexes are out of order: `low` must not be above `high`.
    #[error("{low_name} {low} is above {high_name} {high}")]
    Order {
        /// What must be lower.
        low_name: &'static str,
        /// Its value.
        low: LogIndex,
        /// What must be higher.
        high_name: &'static str,
        /// Its value.
        high: LogIndex,
    },
    /// The term runs do not rise from the base to the end of the log.
    #[error("the term runs do not rise from the base to the last index {last}")]
    TermRuns {
        /// The last index.
        last: LogIndex,
    },
    /// An entry's term is above the node's.
    #[error("the last entry is of term {last}, above the node's {term}")]
    LastTerm {
        /// The last entry's.
        last: Term,
        /// The node's.
        term: Term,
    },
    /// The tail is not what the cursors say.
    #[error("the tail in memory does not fit the cursors of the log")]
    Tail,
    /// The memberships are not in the log, in order.
    #[error("the memberships do not rise within the log")]
    Memberships,
    /// A membership contradicts itself.
    #[error("the membership of {at} contradicts itself: a voter or learner is no member, or is both")]
    Membership {
        /// Its entry.
        at: LogId,
    },
    /// A leader has begun a change before the last one was committed.
    #[error("the leader has more than one membership after its commit index {commit}")]
    TwoChanges {
        /// The commit index.
        commit: LogIndex,
    },
    /// A node that is damaged campaigns or leads, or became damaged while it ran.
    #[error("the node is damaged, and campaigns, leads, or was sound before")]
    Damaged,
    /// Term and vote were changed without a write.
    #[error("term {term} and its vote are not in the newest write")]
    UnwrittenVote {
        /// The term.
        term: Term,
    },
    /// A node campaigns or leads without its own vote.
    #[error("the node campaigns or leads in term {term} without its own vote")]
    NoOwnVote {
        /// The term.
        term: Term,
    },
    /// A leader leads with a vote that is not durable.
    #[error("the node leads term {term} while its vote is not durable")]
    VoteNotDurable {
        /// The term.
        term: Term,
    },
    /// A leader's view of a peer contradicts itself.
    #[error("the view of peer {peer} contradicts itself: match {matched}, next {next}")]
    Progress {
        /// The peer.
        peer: NodeId,
        /// Its match index.
        matched: LogIndex,
        /// Its next index.
        next: LogIndex,
    },
    /// A leader's list of open proposals contradicts itself.
    #[error("the open proposals do not rise, or do not weigh {bytes} bytes")]
    Open {
        /// What they are said to weigh.
        bytes: usize,
    },
    /// Something went back that only rises.
    #[error("{name} went back from {before} to {after}")]
    WentBack {
        /// What.
        name: &'static str,
        /// Its value before.
        before: u64,
        /// And after.
        after: u64,
    },
    /// A vote changed within a term.
    #[error("the vote of term {term} was changed")]
    VoteChanged {
        /// The term.
        term: Term,
    },
    /// A committed entry changed.
    #[error("the committed entry {index} changed from term {before} to {after}")]
    CommittedChanged {
        /// Its index.
        index: LogIndex,
        /// Its term before.
        before: Term,
        /// And after.
        after: Term,
    },
    /// A leader took back entries of its own log.
    #[error("a leader's log shrank or changed at {index} within its term")]
    LeaderLogChanged {
        /// The first index that differs.
        index: LogIndex,
    },
}

/// Checks one node by itself.
///
/// # Errors
/// The first invariant that does not hold.
pub fn check_state(node: &Node) -> Result<(), Violation> {
    let log = &node.log;
    let (base, last) = (log.base(), log.last());
    in_order("base", base.index, "commit", node.commit)?;
    in_order("base", base.index, "applied", node.applied)?;
    in_order("applied", node.applied, "handed out", node.handed)?;
    in_order("handed out", node.handed, "commit", node.commit)?;
    in_order("commit", node.commit, "last", last.index)?;
    in_order("durable", log.durable(), "last", last.index)?;
    check_runs(node)?;
    if !log.tail_is_consistent() {
        return Err(Violation::Tail);
    }
    check_memberships(node)?;
    if last.term > node.term && !node.ended {
        return Err(Violation::LastTerm { last: last.term, term: node.term });
    }
    if !node.is_sound() && !matches!(node.role, Role::Follower(_)) {
        return Err(Violation::Damaged);
    }
    let (queued, health) = (node.writes.queued(), node.health.health());
    if (queued.term, queued.vote, queued.health) != (node.term, node.vote, health) && !node.ended {
        return Err(Violation::UnwrittenVote { term: node.term });
    }
    match &node.role {
        Role::Follower(_) | Role::PreCandidate(_) => Ok(()),
        Role::Candidate(_) => own_vote(node),
        Role::Leader(leader) => own_vote(node).and_then(|()| check_leader(node, leader)),
    }
}

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

fn check_memberships(node: &Node) -> Result<(), Violation> {
    let mut before = node.log.base().index;
    for at in node.memberships.later_indexes() {
        if at <= before || at > node.log.last_index() {
            return Err(Violation::Memberships);
        }
        before = at;
    }
    let current = node.memberships.current();
    let known = |set: &BTreeSet<NodeId>| set.iter().all(|node| current.contains(*node));
    let sets = [current.voters(), current.outgoing(), current.staging(), current.leaving()];
    // An outgoing voter may be a staging learner from the end of the change on.
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
    let (base, last) = (node.log.base(), node.log.last_index());
    let runs = node.log.runs().as_slice();
    let starts = match runs.first() {
        Some(first) => first.first == base.index.next() && first.term >= base.term,
        None => base.index == last,
    };
    let rises = runs.iter().zip(runs.iter().skip(1)).all(|(a, b)| a.first < b.first && a.term < b.term);
    let ends = runs.last().is_none_or(|run| run.first <= last);
    if starts && rises && ends { Ok(()) } else { Err(Violation::TermRuns { last }) }
}

fn check_leader(node: &Node, leader: &Leader) -> Result<(), Violation> {
    let durable = node.writes.durable();
    if (durable.term, durable.vote) != (node.term, node.vote) {
        return Err(Violation::VoteNotDurable { term: node.term });
    }
    // Those of earlier terms may be committed without its knowing.
    let own = leader.term_start.max(node.commit.next());
    let uncommitted = node.memberships.later_indexes().filter(|at| *at >= own).count();
    if uncommitted > 1 {
        return Err(Violation::TwoChanges { commit: node.commit });
    }
    let last = node.log.last_index();
    in_order("start of term", leader.term_start, "last", last)?;
    for (id, peer) in &leader.progress {
        let ordered = peer.match_index < peer.next_index || peer.regressed;
        let window = peer.inflights.is_consistent()
            && (peer.inflights.is_empty() || peer.state == ProgressState::Replicate);
        if !ordered || !window || peer.match_index > last || peer.next_index > last.next() {
            return Err(Violation::Progress { peer: *id, matched: peer.match_index, next: peer.next_index });
        }
    }
    let weight: usize = leader.open.iter().map(|open| open.weight).sum();
    let rises = leader.open.iter().zip(leader.open.iter().skip(1)).all(|(a, b)| a.index < b.index);
    let open = leader.open.front().is_none_or(|open| open.index > node.commit);
    if weight == leader.open_bytes && rises && open {
        Ok(())
    } else {
        Err(Violation::Open { bytes: leader.open_bytes })
    }
}

fn own_vote(node: &Node) -> Result<(), Violation> {
    if node.vote == Some(node.config.node) { Ok(()) } else { Err(Violation::NoOwnVote { term: node.term }) }
}

fn in_order(
    low_name: &'static str,
    low: LogIndex,
    high_name: &'static str,
    high: LogIndex,
) -> Result<(), Violation> {
    if low <= high { Ok(()) } else { Err(Violation::Order { low_name, low, high_name, high }) }
}

fn rises(name: &'static str, before: u64, after: u64) -> Result<(), Violation> {
    if before <= after { Ok(()) } else { Err(Violation::WentBack { name, before, after }) }
}
