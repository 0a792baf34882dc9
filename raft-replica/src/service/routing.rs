//! Routing of requests: to this node if it leads, else to the leader; held while no leader is known.

use bytes::Bytes;
use raftkit_core::{LogId, Membership, MembershipChange, NodeId, Proposal, ReadMode, Ticket, Time};

use super::options::{PROPOSALS_MAX, WAY_BACK};
use super::waiters::{Asker, Forwarded, State, Wanted};
use super::wire::{self, PeerRequest};
use super::{
    CallId, CallerId, ChangeError, ClientRequestId, Consistency, ProposeError, Reply, Service, ServiceAction,
};
use crate::NotDone;

impl Service {
    /// Takes a command of a client of this node.
    pub(super) fn client_proposes(
        &mut self,
        now: Time,
        request: ClientRequestId,
        command: Bytes,
        out: &mut Vec<ServiceAction>,
    ) {
        let (got, limit) = (command.len(), self.options.command_bytes_max);
        let refused = if got > limit {
            Some(ProposeError::TooLarge { got, limit })
        } else {
            self.refusal().map(ProposeError::from)
        };
        if let Some(error) = refused {
            return out.push(ServiceAction::Reply { request, reply: Reply::Proposed(Err(error)) });
        }
        let asker = self.take(now, request, Wanted::Proposal(command.clone()));
        self.route_proposal(now, asker, command, out);
    }

    /// Takes a read of a client of this node.
    pub(super) fn client_reads(
        &mut self,
        now: Time,
        request: ClientRequestId,
        consistency: Consistency,
        out: &mut Vec<ServiceAction>,
    ) {
        if let Some(why) = self.refusal() {
            return out.push(ServiceAction::Reply { request, reply: Reply::ReadRefused(why.into()) });
        }
        let wanted = match consistency {
            Consistency::Default => Wanted::Read(ReadMode::Lease),
            Consistency::Consistent => Wanted::Read(ReadMode::Quorum),
            Consistency::Stale => Wanted::StaleRead,
        };
        let asker = self.take(now, request, wanted);
        self.route(now, asker, out);
    }

    /// Takes a client's request to hand leadership over.
    pub(super) fn client_transfers(
        &mut self,
        now: Time,
        request: ClientRequestId,
        to: Option<NodeId>,
        out: &mut Vec<ServiceAction>,
    ) {
        if let Some(why) = self.refusal() {
            return out.push(ServiceAction::Reply { request, reply: Reply::Transferred(Err(why.into())) });
        }
        let asker = self.take(now, request, Wanted::Transfer(to));
        self.route_transfer(now, asker, to, out);
    }

    /// Takes a client's change of membership.
    pub(super) fn client_changes(
        &mut self,
        now: Time,
        request: ClientRequestId,
        (seen, target): (LogId, Membership),
        out: &mut Vec<ServiceAction>,
    ) {
        if let Some(why) = self.refusal() {
            return out.push(ServiceAction::Reply { request, reply: Reply::Changed(Err(why.into())) });
        }
        let asker = self.take(now, request, Wanted::Change(Box::new((seen, target.clone()))));
        self.route_change(now, asker, (seen, target), out);
    }

    /// The reason why no request is taken at present, if there is one.
    fn refusal(&self) -> Option<NotDone> {
        if !self.phase.takes_requests() {
            return Some(NotDone::Stopped);
        }
        (self.waiters.len() >= self.options.waiters_max).then_some(NotDone::Overloaded)
    }

    /// Adds a client's request, which may wait for a leader from now on.
    fn take(&mut self, now: Time, request: ClientRequestId, wanted: Wanted) -> Asker {
        let asker = Asker::Client(request);
        self.waiters.add(asker, wanted, now.after(self.options.hold_timeout));
        asker
    }

    /// Takes a request of a peer, which only the leader can carry out: this node does so, or answers that it does not
    /// lead.
    pub(super) fn asked(&mut self, now: Time, caller: CallerId, body: Bytes, out: &mut Vec<ServiceAction>) {
        let refusal = self.refusal();
        let asker = Asker::Peer(caller);
        let body = match (wire::decode_request(body), refusal) {
            // The request comes from a version that this one does not know.
            (None, _) => Bytes::new(),
            (Some(_), Some(NotDone::Stopped)) => wire::encode_not_done(NotDone::Stopped),
            // The peer may have been given another limit than this node.
            (Some(PeerRequest::Propose(command)), _) if command.len() > self.options.command_bytes_max => {
                let (got, limit) = (command.len(), self.options.command_bytes_max);
                wire::encode_proposed(&Err(ProposeError::TooLarge { got, limit }))
            }
            (Some(_), Some(why)) => wire::encode_not_done(why),
            (Some(PeerRequest::Propose(command)), None) => {
                self.waiters.add(asker, Wanted::Proposal(command.clone()), now);
                return self.propose_here(now, asker, self.node, command, out);
            }
            (Some(PeerRequest::Transfer(to)), None) => {
                self.waiters.add(asker, Wanted::Transfer(to), now);
                return self.transfer_here(now, asker, self.node, to, out);
            }
        };
        out.push(ServiceAction::Respond { caller, body });
    }

    /// Sends a client's request to the node that can carry it out now.
    pub(super) fn route(&mut self, now: Time, asker: Asker, out: &mut Vec<ServiceAction>) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        let hold_until = waiter.hold_until;
        match waiter.wanted.clone() {
            Wanted::Proposal(command) => self.route_proposal(now, asker, command, out),
            Wanted::Read(mode) => self.route_read(now, asker, mode, out),
            Wanted::StaleRead => self.read_stale(asker, hold_until, now, out),
            Wanted::Transfer(to) => self.route_transfer(now, asker, to, out),
            Wanted::Change(change) => self.route_change(now, asker, *change, out),
        }
    }

    fn route_proposal(&mut self, now: Time, asker: Asker, command: Bytes, out: &mut Vec<ServiceAction>) {
        match self.leader() {
            None => self.hold(asker),
            Some(leader) if leader == self.node => self.propose_here(now, asker, leader, command, out),
            Some(_) if !self.forwarding.has_room(now, command.len()) => {
                self.not_done(asker, NotDone::Overloaded, out);
            }
            Some(leader) => {
                let until = now.after(self.options.commit_timeout + WAY_BACK);
                let body = wire::encode_propose(&command);
                let call = self.ask_leader(asker, (Forwarded::Proposal, leader), body, until, out);
                self.forwarding.sent(now, call, command.len());
            }
        }
    }

    /// Reads always go to this node's replica: a follower's replica asks the leader for the index by itself.
    fn route_read(&mut self, now: Time, asker: Asker, mode: ReadMode, out: &mut Vec<ServiceAction>) {
        let Some(leader) = self.leader() else { return self.hold(asker) };
        let hold_until = self.waiters.get(asker).map_or(now, |waiter| waiter.hold_until);
        // Asking again does no harm, so a lost answer costs one election time-out and not the request.
        let until = hold_until.min(now.after(self.options.election_timeout));
        if let Some(ticket) = self.ask_replica(asker, leader, until, out) {
            self.with_replica(now, out, |replica, out| replica.read(now, ticket, mode, out));
        }
    }

    fn route_transfer(&mut self, now: Time, asker: Asker, to: Option<NodeId>, out: &mut Vec<ServiceAction>) {
        match self.leader() {
            None => self.hold(asker),
            Some(leader) if leader == self.node => self.transfer_here(now, asker, leader, to, out),
            Some(leader) => {
                let until = now.after(self.options.election_timeout * 2);
                let body = wire::encode_transfer(to);
                self.ask_leader(asker, (Forwarded::Transfer, leader), body, until, out);
            }
        }
    }

    /// Gives a change of membership to this node's replica, if this node leads: a change is not forwarded.
    fn route_change(
        &mut self,
        now: Time,
        asker: Asker,
        (seen, target): (LogId, Membership),
        out: &mut Vec<ServiceAction>,
    ) {
        let leader = self.leader();
        if leader != Some(self.node) {
            return self.answer_change(asker, Err(ChangeError::NotLeader(leader)), out);
        }
        let until = now.after(self.options.commit_timeout);
        if let Some(ticket) = self.ask_replica(asker, self.node, until, out) {
            let change = MembershipChange { ticket, seen, target };
            self.with_replica(now, out, |replica, out| replica.change(now, change, out));
        }
    }

    /// Holds a request until a leader is known.
    fn hold(&mut self, asker: Asker) {
        let hold_until = self.waiters.get(asker).map(|waiter| waiter.hold_until);
        self.waiters.set(asker, State::Held, hold_until);
    }

    fn ask_leader(
        &mut self,
        asker: Asker,
        (kind, leader): (Forwarded, NodeId),
        body: Bytes,
        until: Time,
        out: &mut Vec<ServiceAction>,
    ) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        self.waiters.set(asker, State::There { call, kind, leader }, Some(until));
        out.push(ServiceAction::Call { call, to: leader, body });
        call
    }

    fn propose_here(
        &mut self,
        now: Time,
        asker: Asker,
        leader: NodeId,
        command: Bytes,
        out: &mut Vec<ServiceAction>,
    ) {
        let until = now.after(self.options.commit_timeout);
        if let Some(ticket) = self.ask_replica(asker, leader, until, out) {
            self.proposals.push(Proposal { ticket, command });
            if self.proposals.len() >= PROPOSALS_MAX {
                self.propose(now, out);
            }
        }
    }

    fn transfer_here(
        &mut self,
        now: Time,
        asker: Asker,
        leader: NodeId,
        to: Option<NodeId>,
        out: &mut Vec<ServiceAction>,
    ) {
        let until = now.after(self.options.election_timeout * 2);
        if let Some(ticket) = self.ask_replica(asker, leader, until, out) {
            self.with_replica(now, out, |replica, out| replica.transfer(now, ticket, to, out));
        }
    }

    /// Has a request wait until `until` for the answer of this node's replica, under the ticket returned. None, and the
    /// request is refused, if the node is stopping.
    fn ask_replica(
        &mut self,
        asker: Asker,
        leader: NodeId,
        until: Time,
        out: &mut Vec<ServiceAction>,
    ) -> Option<Ticket> {
        if !self.phase.takes_requests() {
            self.not_done(asker, NotDone::Stopped, out);
            return None;
        }
        let ticket = self.ticket();
        self.waiters.set(asker, State::Here { ticket, leader }, Some(until));
        Some(ticket)
    }

    /// A client does not wait any more. Its request may be carried out all the same.
    pub(super) fn forget(&mut self, request: ClientRequestId, out: &mut Vec<ServiceAction>) {
        self.drop_waiter(Asker::Client(request), out);
    }
}
