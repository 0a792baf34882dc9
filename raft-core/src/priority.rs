//! Priorities: which voter is preferred as leader. They affect who campaigns first and who leads while all is
//! well, never safety, nor whether the cluster has a leader at all.

use core::time::Duration;

use crate::common::Common;
use crate::role::Leading;
use crate::transfer::Transfer;
use crate::{Effects, Health, NodeId};

/// Upper bound on the delay of a campaign, in steps of half a leader time-out.
const RANK_MAX: u32 = 3;

/// Least time between two offers of leadership, in election time-outs. A peer that lost leadership soon after
/// an earlier offer may have a good reason for it.
const OFFER_TIMEOUTS: u32 = 10;

impl Common {
    /// The extra time that this node waits before it campaigns: half a leader time-out for each higher
    /// priority among the voters, so that their time-outs do not overlap.
    pub(crate) fn priority_delay(&self) -> Duration {
        let membership = self.memberships.current();
        let own = membership.priority(self.config.node);
        let mut above = own;
        let mut rank = 0;
        // Finds the next higher priority again and again, which is cheap as groups are small.
        while rank < RANK_MAX
            && let Some(next) =
                membership.voters().iter().map(|node| membership.priority(*node)).filter(|p| *p > above).min()
        {
            above = next;
            rank += 1;
        }
        if own == 0 && rank > 0 {
            rank = RANK_MAX + 1; // It leads only where nobody else does.
        }
        self.config.leader_timeout / 2 * rank
    }
}

impl Leading<'_> {
    /// Transfers leadership to a voter of higher priority that holds all that is committed. Called when a
    /// heartbeat is due.
    pub(crate) fn yield_to_priority(&mut self, effects: &mut Effects) {
        let Some(to) = self.preferred() else { return };
        let (now, timeout) = (self.common.now, self.common.config.election_timeout);
        self.leader.offer_at = now.after(timeout * OFFER_TIMEOUTS);
        self.common.transfer = Some(Transfer { ticket: None, to, deadline: now.after(timeout) });
        self.continue_transfer(to, effects);
    }

    /// The voter of the highest priority above this leader's own, if it could take over at once.
    fn preferred(&self) -> Option<NodeId> {
        let Self { common, leader } = self;
        let membership = common.memberships.current();
        let settled = !membership.is_joint() && common.memberships.is_committed(common.commit);
        let waits = leader.offer_at > common.now;
        if waits || !settled || common.is_transferring() || common.commit < leader.term_start {
            return None;
        }
        let own = membership.priority(common.config.node);
        let lately = common.now.before(common.config.leader_timeout);
        let ready = |node: &NodeId| {
            leader.progress.get(node).is_some_and(|peer| {
                let sound = peer.health == Health::Sound;
                let heard = peer.answered.is_some_and(|at| at >= lately);
                sound && peer.counted_match() >= common.commit && heard
            })
        };
        membership
            .voters()
            .iter()
            .map(|node| (membership.priority(*node), core::cmp::Reverse(*node)))
            .filter(|(priority, node)| *priority > own && ready(&node.0))
            .max()
            .map(|(_, node)| node.0)
    }
}
