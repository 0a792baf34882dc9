//! Where a request goes: to this node where it leads, else to the leader; held while there is none.

use bytes::Bytes;
use raftkit_core::{MembershipChange, NodeId, Proposal, ReadMode, Time};

use super::options::{PROPOSALS_MAX, WAY_BACK};
use super::waiters::{Asker, State, What};
use super::wire::{self, PeerRequest};
use super::{CallId, CallerId, Consistency, Reply, Request, RequestError, RequestId, Service, ServiceAction};
use crate::{Answer, Event};

impl Service {
    /// A client asks.
    pub(super) fn ask(&mut self, now: Time, request: RequestId, what: Request, out: &mut Vec<ServiceAction>) {
        if let Some(error) = self.refusal(&what) {
            return out.push(ServiceAction::Reply { request, reply: Reply::Failed(error) });
        }
        let what = match what {
            Request::Propose(command) => What::Propose(command),
            Request::Read(Consistency::Default) => What::Read(ReadMode::Lease),
            Request::Read(Consistency::Consistent) => What::Read(ReadMode::Quorum),
            Request::Read(Consistency::Stale) => What::ReadStale,
            Request::Transfer(to) => What::Transfer(to),
            Request::Change { seen, target } => What::Change(Box::new((seen, target))),
        };
        let asker = Asker::Client(request);
        self.waiters.add(asker, what, now.after(self.options.hold_timeout));
        self.route(now, asker, out);
    }

    fn refusal(&self, what: &Request) -> Option<RequestError> {
        let limit = self.options.command_bytes_max;
        match what {
            Request::Propose(command) if command.len() > limit => {
                Some(RequestError::TooLarge { got: command.len(), limit })
            }
            Request::Propose(_) | Request::Read(_) | Request::Transfer(_) | Request::Change { .. } => {
                if !self.phase.takes_requests() {
                    return Some(RequestError::Stopping);
                }
                self.is_full().then_some(RequestError::Overloaded)
            }
        }
    }

    fn is_full(&self) -> bool {
        self.waiters.len() >= self.options.waiters_max
    }

    /// A peer asks for what only the leader does: this node does it, or says that it does not lead.
    pub(super) fn asked(&mut self, now: Time, caller: CallerId, body: Bytes, out: &mut Vec<ServiceAction>) {
        let what = wire::decode_request(body).map(|asked| match asked {
            PeerRequest::Propose(command) => What::Propose(command),
            PeerRequest::Transfer(to) => What::Transfer(to),
        });
        let refusal = match what {
            // Of a version that this one does not know.
            None => Bytes::new(),
            Some(_) if !self.phase.takes_requests() => wire::encode_answer(&Answer::Stopped),
            // The peer may have been given another limit than this node.
            Some(What::Propose(command)) if command.len() > self.options.command_bytes_max => {
                let (got, limit) = (command.len(), self.options.command_bytes_max);
                wire::encode_answer(&Answer::TooLarge { got, limit })
            }
            Some(_) if self.is_full() => wire::encode_answer(&Answer::Overloaded),
            Some(what) => {
                let asker = Asker::Peer(caller);
                self.waiters.add(asker, what.clone(), now);
                return self.ask_replica(now, asker, self.node, what, out);
            }
        };
        out.push(ServiceAction::Respond { caller, body: refusal });
    }

    /// Sends a client's request to where it can be carried out now.
    pub(super) fn route(&mut self, now: Time, asker: Asker, out: &mut Vec<ServiceAction>) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        let (what, hold_until) = (waiter.what.clone(), waiter.hold_until);
        match (what, self.leader()) {
            (What::ReadStale, _) => self.read_stale(asker, hold_until, now, out),
            (What::Change(_), leader) if leader != Some(self.node) => {
                self.fail(asker, RequestError::NotLeader(leader), out);
            }
            (_, None) => self.waiters.set(asker, State::Held, Some(hold_until)),
            // A follower's replica asks the leader for the index to read at by itself.
            (what @ What::Read(_), Some(leader)) => self.ask_replica(now, asker, leader, what, out),
            (what, Some(leader)) if leader == self.node => self.ask_replica(now, asker, leader, what, out),
            (What::Propose(command), Some(_)) if !self.forwarding.has_room(now, command.len()) => {
                self.fail(asker, RequestError::Overloaded, out);
            }
            (What::Propose(command), Some(leader)) => {
                let until = now.after(self.options.commit_timeout + WAY_BACK);
                let call = self.ask_leader(asker, leader, wire::encode_propose(&command), until, out);
                self.forwarding.sent(now, call, command.len());
            }
            (What::Transfer(to), Some(leader)) => {
                let until = now.after(self.options.election_timeout * 2);
                self.ask_leader(asker, leader, wire::encode_transfer(to), until, out);
            }
            (What::Change(_), Some(_)) => unreachable!("it is refused where this node does not lead"),
        }
    }

    fn ask_leader(
        &mut self,
        asker: Asker,
        leader: NodeId,
        body: Bytes,
        until: Time,
        out: &mut Vec<ServiceAction>,
    ) -> CallId {
        self.next_call += 1;
        let call = CallId(self.next_call);
        self.waiters.set(asker, State::There { call, leader }, Some(until));
        out.push(ServiceAction::Call { call, to: leader, body });
        call
    }

    /// Asks this node's replica, as long as the node takes anything.
    fn ask_replica(
        &mut self,
        now: Time,
        asker: Asker,
        leader: NodeId,
        what: What,
        out: &mut Vec<ServiceAction>,
    ) {
        if !self.phase.takes_requests() {
            return self.fail(asker, RequestError::Stopping, out);
        }
        let ticket = self.ticket();
        let until = self.patience(now, asker, &what);
        self.waiters.set(asker, State::Here { ticket, leader }, Some(until));
        match what {
            What::Propose(command) => {
                self.proposals.push(Proposal { ticket, command });
                if self.proposals.len() >= PROPOSALS_MAX {
                    self.propose(now, out);
                }
            }
            What::Read(mode) => self.hand(now, Event::Read { ticket, mode }, out),
            What::Transfer(to) => self.hand(now, Event::Transfer { ticket, to }, out),
            What::Change(change) => {
                let (seen, target) = *change;
                let change = MembershipChange { ticket, seen, target };
                self.hand(now, Event::Change(Box::new(change)), out);
            }
            What::ReadStale => unreachable!("it asks nobody"),
        }
    }

    /// Until when the replica's answer is waited for.
    fn patience(&self, now: Time, asker: Asker, what: &What) -> Time {
        match what {
            What::Propose(_) | What::Change(_) => now.after(self.options.commit_timeout),
            What::Transfer(_) => now.after(self.options.election_timeout * 2),
            // Asking again does no harm, so a lost answer costs one election time-out and not the request.
            What::Read(_) | What::ReadStale => {
                let hold_until = self.waiters.get(asker).map_or(now, |waiter| waiter.hold_until);
                hold_until.min(now.after(self.options.election_timeout))
            }
        }
    }

    /// A client does not wait any more. What was asked for may be done all the same.
    pub(super) fn forget(&mut self, request: RequestId, out: &mut Vec<ServiceAction>) {
        self.drop_waiter(Asker::Client(request), out);
    }
}
