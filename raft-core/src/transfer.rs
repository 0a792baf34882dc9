//! Leadership transfer (thesis, section 3.10): on request, or because this leader's disk is stuck.

use crate::progress::ProgressState;
use crate::raft::Node;
use crate::role::Role;
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

impl Node {
    /// True during a transfer. Proposals are refused then, as the target could never catch up with a log that
    /// grows, and there is no lease.
    pub(crate) fn is_transferring(&self) -> bool {
        self.transfer.is_some()
    }

    pub(crate) fn on_transfer(&mut self, ticket: Ticket, to: Option<NodeId>, effects: &mut Effects) {
        let outcome = if !self.is_leader() {
            Outcome::NotLeader(self.leader())
        } else if self.is_transferring() {
            Outcome::Overloaded
        } else {
            match to.or_else(|| self.best_successor()) {
                Some(to) if to == self.config.node => Outcome::Transferred(to),
                Some(to) if self.may_lead(to) => {
                    let deadline = self.now.after(self.config.election_timeout);
                    self.transfer = Some(Transfer { ticket: Some(ticket), to, deadline });
                    return self.continue_transfer(to, effects);
                }
                Some(_) | None => Outcome::TransferFailed,
            }
        };
        effects.done.push(Done { ticket, outcome });
    }

    /// True when `node` may be the target of a transfer: a voter that remains one, of a priority above 0.
    fn may_lead(&self, node: NodeId) -> bool {
        let membership = self.memberships.current();
        membership.voters().contains(&node) && membership.priority(node) > 0
    }

    /// The best target: of the sound voters heard lately, the one with the highest match index.
    pub(crate) fn best_successor(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let membership = self.memberships.current();
        let voters = membership.voters();
        let lately = self.now.before(self.config.leader_timeout);
        leader
            .progress
            .iter()
            .filter(|(id, peer)| voters.contains(id) && peer.answered.is_some_and(|at| at >= lately))
            .filter(|(_, peer)| peer.health == Health::Sound)
            .max_by_key(|(id, peer)| {
                let (matched, priority) = (peer.counted_match(), membership.priority(**id));
                // Among voters that can win, one of priority 0 comes last.
                (matched >= self.commit && priority > 0, matched, priority, core::cmp::Reverse(**id))
            })
            .map(|(id, _)| *id)
    }

    /// Sends the target a `TimeoutNow` once it holds the whole log, and again with each of its answers, as
    /// the message may be lost.
    pub(crate) fn continue_transfer(&mut self, from: NodeId, effects: &mut Effects) {
        if self.transfer.as_ref().is_some_and(|transfer| transfer.to == from) {
            let last = self.log.last_index();
            self.send_timeout_now(from, last, effects);
        }
    }

    /// Sends `TimeoutNow`, and ends the lease for the rest of the term. The target is elected in spite of the
    /// promises that the lease is made of, perhaps long after the transfer is given up, as the message may be
    /// delayed. If the lease went on, this leader would serve reads that miss what the new leader has
    /// committed.
    pub(crate) fn send_timeout_now(&mut self, to: NodeId, at_least: LogIndex, effects: &mut Effects) {
        let envelope = self.envelope();
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.progress.get(&to).is_some_and(|peer| peer.counted_match() >= at_least) {
            leader.lease_over = true;
            effects.messages.push(envelope.to(to, Body::TimeoutNow(TimeoutNow {})));
        }
    }

    /// Takes a `TimeoutNow`: campaigns at once, if it comes from the leader of this term.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId, effects: &mut Effects) {
        let called = self.leader() == Some(from);
        if called && self.may_campaign() {
            self.become_candidate(CampaignReason::Transfer, effects);
        }
    }

    /// Ends the transfer once a leader is known, which may be another node than the target.
    pub(crate) fn settle_transfer(&mut self, effects: &mut Effects) {
        let Some(leader) = self.leader() else { return };
        if let Some(transfer) = self.transfer.take() {
            let outcome = if leader == self.config.node {
                Outcome::TransferFailed
            } else {
                Outcome::Transferred(leader)
            };
            effects.done.extend(transfer.ticket.map(|ticket| Done { ticket, outcome }));
        }
    }

    /// Ends a transfer that has taken too long; this node leads on.
    pub(crate) fn expire_transfer(&mut self, effects: &mut Effects) {
        if let Some(transfer) = self.transfer.take_if(|transfer| transfer.deadline <= self.now) {
            let outcome = Outcome::TransferFailed;
            effects.done.extend(transfer.ticket.map(|ticket| Done { ticket, outcome }));
        }
    }

    /// Steps down after telling the best successor to campaign: this leader was removed, or its disk is stuck
    /// so that it can make nothing durable. It steps down whether or not the successor wins.
    pub(crate) fn hand_over(&mut self, effects: &mut Effects) {
        let promised = self.promised_successor();
        if let Some(to) = promised.or_else(|| self.best_successor()) {
            self.send_timeout_now(to, LogIndex::ZERO, effects);
        }
        self.become_follower(self.term, None, effects);
    }

    /// The target of the transfer under way, if it can win. It may be campaigning already, and a second
    /// candidate would split the votes.
    fn promised_successor(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let to = self.transfer.as_ref()?.to;
        let peer = leader.progress.get(&to)?;
        (self.may_lead(to) && peer.counted_match() >= self.commit).then_some(to)
    }

    /// Requests another snapshot after a failed transfer, once the peer answers.
    pub(crate) fn ask_snapshot_again(&mut self, from: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.progress.get_mut(&from)
            && matches!(peer.state, ProgressState::Snapshot { asked: false, .. })
        {
            peer.probe_from(peer.next_index, false);
        }
    }
}
