//! Leadership transfer (thesis, section 3.10), on request or because the disk is stuck.

use crate::progress::ProgressState;
use crate::raft::Node;
use crate::role::Role;
use crate::{
    Body, CampaignReason, Done, Effects, Health, LogIndex, NodeId, Outcome, Ticket, Time, TimeoutNow,
};

/// A transfer that was asked for. It outlives the leader's role: it ends when another node is known to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Who asked; none when the leader hands over by itself.
    pub(crate) ticket: Option<Ticket>,
    /// To whom.
    pub(crate) to: NodeId,
    /// When it has failed.
    pub(crate) deadline: Time,
}

impl Node {
    /// True while leadership is being handed over: nothing new is taken, and there is no lease.
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

    /// Whether leadership may go there: to a voter that stays one, and is not kept from leading.
    fn may_lead(&self, node: NodeId) -> bool {
        let membership = self.memberships.current();
        membership.voters().contains(&node) && membership.priority(node) > 0
    }

    /// The voter that holds most of the log, of those lately heard.
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
                // Of those that can win one of priority 0 comes last.
                (matched >= self.commit && priority > 0, matched, priority, core::cmp::Reverse(**id))
            })
            .map(|(id, _)| *id)
    }

    /// Tells the target to campaign once it holds the whole log; again with each of its answers, as a message may be
    /// lost.
    pub(crate) fn continue_transfer(&mut self, from: NodeId, effects: &mut Effects) {
        if self.transfer.as_ref().is_some_and(|transfer| transfer.to == from) {
            let last = self.log.last_index();
            self.send_timeout_now(from, last, effects);
        }
    }

    /// From here on another node may be elected at any time, whatever followers promised: the lease is over for good.
    pub(crate) fn send_timeout_now(&mut self, to: NodeId, at_least: LogIndex, effects: &mut Effects) {
        let envelope = self.envelope();
        let Role::Leader(leader) = &mut self.role else { return };
        if leader.progress.get(&to).is_some_and(|peer| peer.counted_match() >= at_least) {
            leader.lease_over = true;
            effects.messages.push(envelope.to(to, Body::TimeoutNow(TimeoutNow {})));
        }
    }

    /// Leadership is handed to this node.
    pub(crate) fn on_timeout_now(&mut self, from: NodeId, effects: &mut Effects) {
        let called = self.leader() == Some(from);
        if called && self.may_campaign() {
            self.become_candidate(CampaignReason::Transfer, effects);
        }
    }

    /// The transfer is over once a leader is known: it may be another one than was wanted.
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

    /// The transfer has taken too long: lead on.
    pub(crate) fn expire_transfer(&mut self, effects: &mut Effects) {
        if let Some(transfer) = self.transfer.take_if(|transfer| transfer.deadline <= self.now) {
            let outcome = Outcome::TransferFailed;
            effects.done.extend(transfer.ticket.map(|ticket| Done { ticket, outcome }));
        }
    }

    /// Leads no more, and has another node lead at once: this one was removed, or its disk is stuck and it can commit
    /// nothing of its own any more. It steps down whether that works or not.
    pub(crate) fn hand_over(&mut self, effects: &mut Effects) {
        let promised = self.promised_successor();
        if let Some(to) = promised.or_else(|| self.best_successor()) {
            self.send_timeout_now(to, LogIndex::ZERO, effects);
        }
        self.become_follower(self.term, None, effects);
    }

    /// The target of a transfer under way, if it can win: it may be campaigning already, and would split the votes with
    /// any other.
    fn promised_successor(&self) -> Option<NodeId> {
        let Role::Leader(leader) = &self.role else { return None };
        let to = self.transfer.as_ref()?.to;
        let peer = leader.progress.get(&to)?;
        (self.may_lead(to) && peer.counted_match() >= self.commit).then_some(to)
    }

    /// A snapshot that failed is asked for again once its peer answers.
    pub(crate) fn ask_snapshot_again(&mut self, from: NodeId) {
        if let Role::Leader(leader) = &mut self.role
            && let Some(peer) = leader.progress.get_mut(&from)
            && matches!(peer.state, ProgressState::Snapshot { asked: false, .. })
        {
            peer.probe_from(peer.next_index, false);
        }
    }
}
