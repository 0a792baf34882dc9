//! Leadership transfer (thesis, section 3.10): on request, or because this leader's disk is stuck.

use crate::common::Common;
use crate::progress::ProgressState;
use crate::raft::Node;
use crate::role::Leading;
use crate::{
    Body, CampaignReason, Done, Effects, Health, LogIndex, NodeId, Outcome, Ticket, Time, TimeoutNow,
};

/// A leadership transfer under way. It outlives the leader role, as it ends when another node is known to
/// lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The caller's ticket; none when the leader started the transfer by itself.
    pub(crate) ticket: Option<Ticket>,
    /// The node that shall lead.
    pub(crate) to: NodeId,
    /// When the transfer has failed.
    pub(crate) deadline: Time,
}

impl Common {
    /// True during a transfer. Proposals are refused then, as the target could never catch up with a log that
    /// grows, and there is no lease.
    pub(crate) fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    /// Ends a transfer that has taken too long; this node leads on.
    pub(crate) fn expire_transfer(&mut self, effects: &mut Effects) {
        if let Some(transfer) = self.transfer.take_if(|transfer| transfer.deadline <= self.now) {
            let outcome = Outcome::TransferFailed;
            effects.done.extend(transfer.ticket.map(|ticket| Done { ticket, outcome }));
        }
    }

    /// Ends the transfer, as the leader is known now. It may be another node than the target.
    pub(crate) fn settle_transfer(&mut self, leader: NodeId, effects: &mut Effects) {
        if let Some(transfer) = self.transfer.take() {
            let outcome = if leader == self.config.node {
                Outcome::TransferFailed
            } else {
                Outcome::Transferred(leader)
            };
            effects.done.extend(transfer.ticket.map(|ticket| Done { ticket, outcome }));
        }
    }

    /// True when `node` may be the target of a transfer: a voter that remains one, of a priority above 0.
    pub(crate) fn may_lead(&self, node: NodeId) -> bool {
        let membership = self.memberships.current();
        membership.voters().contains(&node) && membership.priority(node) > 0
    }
}

impl Node {
    /// Takes a `TimeoutNow`: campaigns at once, if it comes from the leader of this term.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId, effects: &mut Effects) {
        let called = self.leader() == Some(from);
        if called && self.common.may_campaign() {
            self.become_candidate(CampaignReason::Transfer, effects);
        }
    }
}

impl Leading<'_> {
    /// Begins a transfer that a caller asked for.
    pub(crate) fn on_transfer(&mut self, ticket: Ticket, to: Option<NodeId>, effects: &mut Effects) {
        let common = &*self.common;
        let outcome = if common.is_transferring() {
            Outcome::Overloaded
        } else {
            match to.or_else(|| self.best_successor()) {
                Some(to) if to == common.config.node => Outcome::Transferred(to),
                Some(to) if common.may_lead(to) => {
                    let deadline = common.now.after(common.config.election_timeout);
                    self.tell_commit(effects);
                    self.common.transfer = Some(Transfer { ticket: Some(ticket), to, deadline });
                    return self.continue_transfer(to, effects);
                }
                Some(_) | None => Outcome::TransferFailed,
            }
        };
        effects.done.push(Done { ticket, outcome });
    }

    /// The best target: of the sound voters heard lately, the one with the highest match index.
    fn best_successor(&self) -> Option<NodeId> {
        let Self { common, leader } = self;
        let membership = common.memberships.current();
        let voters = membership.voters();
        let lately = common.now.before(common.config.leader_timeout);
        leader
            .progress
            .iter()
            .filter(|(id, peer)| voters.contains(id) && peer.answered.is_some_and(|at| at >= lately))
            .filter(|(_, peer)| peer.health == Health::Sound)
            .max_by_key(|(id, peer)| {
                let (matched, priority) = (peer.counted_match(), membership.priority(**id));
                // Among voters that can win, one of priority 0 comes last.
                (matched >= common.commit && priority > 0, matched, priority, core::cmp::Reverse(**id))
            })
            .map(|(id, _)| *id)
    }

    /// Sends the target a `TimeoutNow` once it holds the whole log, and again with each of its answers, as
    /// the message may be lost.
    pub(crate) fn continue_transfer(&mut self, from: NodeId, effects: &mut Effects) {
        if self.common.transfer.as_ref().is_some_and(|transfer| transfer.to == from) {
            let last = self.common.log.last_index();
            self.send_timeout_now(from, last, effects);
        }
    }

    /// Sends `TimeoutNow`, and ends the lease for the rest of the term. The target is elected in spite of the
    /// promises that the lease is made of, perhaps long after the transfer is given up, as the message may be
    /// delayed. If the lease went on, this leader would serve reads that miss what the new leader has
    /// committed.
    fn send_timeout_now(&mut self, to: NodeId, at_least: LogIndex, effects: &mut Effects) {
        if self.leader.progress.get(&to).is_some_and(|peer| peer.counted_match() >= at_least) {
            self.leader.lease_over = true;
            effects.messages.push(self.common.envelope().to(to, Body::TimeoutNow(TimeoutNow {})));
        }
    }

    /// Tells the best successor to campaign, right before this leader steps down: it was removed, or its disk
    /// is stuck so that it can make nothing durable. It steps down whether or not the successor wins.
    pub(crate) fn hand_over(&mut self, effects: &mut Effects) {
        self.tell_commit(effects);
        let promised = self.promised_successor();
        if let Some(to) = promised.or_else(|| self.best_successor()) {
            self.send_timeout_now(to, LogIndex::ZERO, effects);
        }
    }

    /// The target of the transfer under way, if it can win. It may be campaigning already, and a second
    /// candidate would split the votes.
    fn promised_successor(&self) -> Option<NodeId> {
        let common = &*self.common;
        let to = common.transfer.as_ref()?.to;
        let peer = self.leader.progress.get(&to)?;
        (common.may_lead(to) && peer.counted_match() >= common.commit).then_some(to)
    }

    /// Requests another snapshot after a failed transfer, once the peer answers.
    pub(crate) fn ask_snapshot_again(&mut self, from: NodeId) {
        if let Some(peer) = self.leader.progress.get_mut(&from)
            && matches!(peer.state, ProgressState::Snapshot { asked: false, .. })
        {
            peer.probe_from(peer.next_index, false);
        }
    }
}
