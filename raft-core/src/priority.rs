//! Priorities: who is wanted as leader. They never bear on safety, nor keep a cluster from having a leader: they say who
//! campaigns first, and who leads while all is well.

use core::time::Duration;

use crate::raft::Node;
use crate::role::Role;
use crate::transfer::Transfer;
use crate::{Effects, Health, NodeId};

/// A campaign is delayed by so many steps at most.
const RANK_MAX: u32 = 3;

/// A leader offers leadership to the same rank of peers at most once in so many election time-outs: the one that it was
/// offered to may have good reasons to lose it.
const OFFER_TIMEOUTS: u32 = 10;

impl Node {
    /// How much longer than those of the highest priority this node waits before it campaigns: half a leader time-out for
    /// each priority above its own, so that their windows do not overlap.
    pub(crate) fn priority_delay(&self) -> Duration {
        let membership = self.memberships.current();
        let own = membership.priority(self.config.node);
        let mut above = own;
        let mut rank = 0;
        // The next priority above, again and again: groups are small.
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

    /// Hands leadership to a voter of a higher priority that holds the whole log. Called when a heartbeat is due.
    pub(crate) fn yield_to_priority(&mut self, effects: &mut Effects) {
        let Some(to) = self.preferred() else { return };
        let (now, timeout) = (self.now, self.config.election_timeout);
        let Role::Leader(leader) = &mut self.role else { return };
        leader.offer_at = now.after(timeout * OFFER_TIMEOUTS);
        self.transfer = Some(Transfer { ticket: None, to, deadline: now.after(timeout) });
        self.continue_transfer(to, effects);
    }

    /// The voter of the highest priority above this leader's own, if it could take over at once.
    fn preferred(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let membership = self.memberships.current();
        let settled = !membership.is_joint() && self.memberships.is_committed(self.commit);
        let waits = leader.offer_at > self.now;
        if waits || !settled || self.is_transferring() || self.commit < leader.term_start {
            return None;
        }
        let own = membership.priority(self.config.node);
        let lately = self.now.before(self.config.leader_timeout);
        let ready = |node: &NodeId| {
            leader.progress.get(node).is_some_and(|peer| {
                let sound = peer.health == Health::Sound;
                let heard = peer.answered.is_some_and(|at| at >= lately);
                sound && peer.counted_match() >= self.commit && heard
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
