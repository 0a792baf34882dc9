//! Promotion of staging learners to voters once they have caught up (thesis, section 4.2.1). If an empty node
//! were added as a voter at once, a group of three would become four that need three: with one of the old
//! voters down, nothing could be committed until the new one has the whole log.

use crate::progress::{Progress, ProgressState};
use crate::role::Leading;
use crate::{Health, LogIndex, NodeId, Suffrage, Time};

/// A catch-up round: the peer is sent everything that the log held when the round began. It has caught up
/// when a round took less than an election time-out. Then a write waits for the new voter no longer than it
/// would for an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CatchUp {
    to: LogIndex,
    since: Time,
}

impl Leading<'_> {
    /// Makes the first staging learner that has caught up a voter. Called at the end of each input.
    pub(crate) fn promote_staging(&mut self) {
        let Self { common, leader } = self;
        let membership = common.memberships.current();
        if membership.staging().is_empty() || membership.is_joint() || common.is_transferring() {
            return;
        }
        let (now, last, limit) = (common.now, common.log.last_index(), common.config.election_timeout);
        let started = common.commit >= leader.term_start;
        if !started || !common.memberships.is_committed(common.commit) || leader.resigns {
            return;
        }
        let caught_up = |node: &&NodeId| {
            leader.progress.get_mut(node).is_some_and(|peer| has_caught_up(peer, last, now, limit))
        };
        let Some(node) = membership.staging().iter().find(caught_up).copied() else { return };
        if let Some(member) = membership.members().get(&node).cloned() {
            let promoted = membership.clone().with(node, member, Suffrage::Voter);
            self.append_membership(promoted);
        }
    }
}

/// True when a catch-up round of this peer has just ended in time. Begins a round if none is under way.
fn has_caught_up(peer: &mut Progress, last: LogIndex, now: Time, limit: core::time::Duration) -> bool {
    let damaged = peer.regressed || peer.health == Health::Damaged;
    if peer.state != ProgressState::Replicate || damaged {
        peer.catch_up = None;
        return false;
    }
    let round = peer.catch_up.get_or_insert(CatchUp { to: last, since: now });
    if peer.match_index < round.to {
        return false;
    }
    let in_time = now.since(round.since) <= limit;
    peer.catch_up = None;
    in_time
}
