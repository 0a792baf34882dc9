//! The answer to a request, from the replica, from the leader, or none in time; and what follows from it.

use bytes::Bytes;
use raftkit_core::{LogId, NodeId, Ticket, Time};

use super::options::RETRY;
use super::waiters::{Asker, Forwarded, State, Waiter, Wanted};
use super::wire::{self, NotCommitted};
use super::{
    CallFailed, CallId, CallerId, ChangeError, ProposeError, ReadRefused, Reply, Service, ServiceAction,
    TransferError,
};
use crate::{Answer, Committed, NotDone};

impl Service {
    /// The replica answers a ticket.
    pub(super) fn ticket_answered(
        &mut self,
        now: Time,
        ticket: Ticket,
        answer: Answer,
        out: &mut Vec<ServiceAction>,
    ) {
        if self.phase.waits_for(ticket) {
            return self.handed_over(now);
        }
        // Nobody waits under it any more.
        let Some((asker, leader)) = self.waiters.take_ticket(ticket) else { return };
        match answer {
            Answer::Committed(committed) => self.answer_proposal(asker, Ok(committed), out),
            Answer::ReadAt(index) => self.read_at(asker, index, out),
            Answer::Transferred(result) => self.answer_transfer(asker, result, out),
            Answer::Changed(result) => self.answer_change(asker, result, out),
            Answer::InDoubt => self.in_doubt(asker, out),
            Answer::NotDone(why) => self.not_done_here(now, (asker, leader), why, out),
        }
    }

    /// This node's replica has done nothing, as `leader` was the leader that it knew.
    fn not_done_here(
        &mut self,
        now: Time,
        (asker, leader): (Asker, NodeId),
        why: NotDone,
        out: &mut Vec<ServiceAction>,
    ) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        let try_again = match (asker, &waiter.wanted, why) {
            // The peer decides itself what to do next.
            (Asker::Peer(_), _, _) => false,
            (Asker::Client(_), Wanted::Proposal(_), NotDone::NotLeader(_)) => true,
            (Asker::Client(_), Wanted::Read(_) | Wanted::StaleRead, why) => why != NotDone::Stopped,
            (Asker::Client(_), Wanted::Proposal(_) | Wanted::Transfer(_) | Wanted::Change(_), _) => false,
        };
        if try_again { self.pause(now, asker, leader) } else { self.not_done(asker, why, out) }
    }

    /// The leader answers what was forwarded to it, or the call has failed.
    pub(super) fn call_answered(
        &mut self,
        now: Time,
        call: CallId,
        result: Result<Bytes, CallFailed>,
        out: &mut Vec<ServiceAction>,
    ) {
        match result {
            Ok(_) => self.forwarding.answered(now, call),
            Err(CallFailed::NotSent | CallFailed::Lost) => self.forwarding.lost(call),
        }
        let Some((asker, kind, leader)) = self.waiters.take_call(call) else { return };
        match kind {
            Forwarded::Proposal => {
                let result = match result {
                    Ok(body) => wire::decode_proposed(body),
                    Err(CallFailed::NotSent) => Err(NotCommitted::NotDone(NotDone::NotLeader(None))),
                    Err(CallFailed::Lost) => Err(NotCommitted::InDoubt),
                };
                self.leader_proposed(now, (asker, leader), result, out);
            }
            Forwarded::Transfer => {
                let result = match result {
                    Ok(body) => wire::decode_transferred(body),
                    Err(CallFailed::NotSent) => Err(TransferError::NoLeader),
                    Err(CallFailed::Lost) => Err(TransferError::Failed),
                };
                self.answer_transfer(asker, result, out);
            }
        }
    }

    /// The leader says what became of a forwarded command.
    fn leader_proposed(
        &mut self,
        now: Time,
        (asker, leader): (Asker, NodeId),
        result: Result<Committed, NotCommitted>,
        out: &mut Vec<ServiceAction>,
    ) {
        let result = match result {
            Ok(committed) => Ok(committed),
            // Nothing was done there: it is safe to try another leader.
            Err(NotCommitted::NotDone(NotDone::NotLeader(_) | NotDone::Stopped)) => {
                return self.pause(now, asker, leader);
            }
            Err(NotCommitted::NotDone(NotDone::Overloaded)) => Err(ProposeError::Overloaded),
            Err(NotCommitted::TooLarge { got, limit }) => Err(ProposeError::TooLarge { got, limit }),
            Err(NotCommitted::InDoubt) => return self.in_doubt(asker, out),
        };
        self.answer_proposal(asker, result, out);
    }

    /// Waits until another leader may be known, or for a moment.
    pub(super) fn pause(&mut self, now: Time, asker: Asker, tried: NodeId) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        let soon = waiter.hold_until.min(now.after(RETRY));
        self.waiters.set(asker, State::Paused { tried }, Some(soon));
    }

    /// Ends a request that may have been carried out, or may be yet.
    pub(super) fn in_doubt(&mut self, asker: Asker, out: &mut Vec<ServiceAction>) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        let within = self.options.commit_timeout;
        match waiter.wanted {
            Wanted::Proposal(_) => self.answer_proposal(asker, Err(ProposeError::Unknown(within)), out),
            Wanted::Change(_) => self.answer_change(asker, Err(ChangeError::Unknown(within)), out),
            Wanted::Transfer(_) => self.answer_transfer(asker, Err(TransferError::Failed), out),
            Wanted::Read(_) | Wanted::StaleRead => self.refuse_read(asker, ReadRefused::NotConfirmed, out),
        }
    }

    /// Ends a request of which certainly nothing was done.
    pub(super) fn not_done(&mut self, asker: Asker, why: NotDone, out: &mut Vec<ServiceAction>) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        if let Asker::Peer(caller) = asker {
            return self.respond(caller, wire::encode_not_done(why), out);
        }
        match waiter.wanted {
            Wanted::Proposal(_) => self.answer_proposal(asker, Err(why.into()), out),
            Wanted::Change(_) => self.answer_change(asker, Err(why.into()), out),
            Wanted::Transfer(_) => self.answer_transfer(asker, Err(why.into()), out),
            Wanted::Read(_) | Wanted::StaleRead => self.refuse_read(asker, why.into(), out),
        }
    }

    /// Ends a request because the node stops.
    pub(super) fn give_up(&mut self, asker: Asker, out: &mut Vec<ServiceAction>) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        if waiter.may_be_done() {
            self.in_doubt(asker, out);
        } else {
            self.not_done(asker, NotDone::Stopped, out);
        }
    }

    pub(super) fn answer_proposal(
        &mut self,
        asker: Asker,
        result: Result<Committed, ProposeError>,
        out: &mut Vec<ServiceAction>,
    ) {
        match asker {
            Asker::Client(_) => self.reply(asker, Reply::Proposed(result), out),
            Asker::Peer(caller) => self.respond(caller, wire::encode_proposed(&result), out),
        }
    }

    pub(super) fn answer_transfer(
        &mut self,
        asker: Asker,
        result: Result<NodeId, TransferError>,
        out: &mut Vec<ServiceAction>,
    ) {
        match asker {
            Asker::Client(_) => self.reply(asker, Reply::Transferred(result), out),
            Asker::Peer(caller) => self.respond(caller, wire::encode_transferred(result), out),
        }
    }

    pub(super) fn answer_change(
        &mut self,
        asker: Asker,
        result: Result<LogId, ChangeError>,
        out: &mut Vec<ServiceAction>,
    ) {
        self.reply(asker, Reply::Changed(result), out);
    }

    pub(super) fn refuse_read(&mut self, asker: Asker, why: ReadRefused, out: &mut Vec<ServiceAction>) {
        self.reply(asker, Reply::ReadRefused(why), out);
    }

    /// Answers a peer.
    fn respond(&mut self, caller: CallerId, body: Bytes, out: &mut Vec<ServiceAction>) {
        if self.waiters.remove(Asker::Peer(caller)).is_some() {
            out.push(ServiceAction::Respond { caller, body });
        }
    }

    /// Gives a client its last reply.
    pub(super) fn reply(&mut self, asker: Asker, reply: Reply, out: &mut Vec<ServiceAction>) {
        if self.drop_waiter(asker, out).is_some()
            && let Asker::Client(request) = asker
        {
            out.push(ServiceAction::Reply { request, reply });
        }
    }

    /// Forgets a request: nobody waits for it any more.
    pub(super) fn drop_waiter(&mut self, asker: Asker, out: &mut Vec<ServiceAction>) -> Option<Waiter> {
        let waiter = self.waiters.remove(asker)?;
        if let State::There { call, .. } | State::Deposed { call, .. } = waiter.state {
            self.forwarding.give_up(call);
            out.push(ServiceAction::HangUp(call));
        }
        Some(waiter)
    }
}
