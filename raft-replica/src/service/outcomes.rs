//! What became of a request: the replica's answer, the leader's, or none in time; and what follows from it.

use bytes::Bytes;
use raftkit_core::{NodeId, Ticket, Time};

use super::options::RETRY;
use super::waiters::{Asker, State, Waiter, What};
use super::{CallFailed, CallId, Reply, RequestError, Service, ServiceAction, wire};
use crate::Answer;

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    Replica,
    Leader,
}

impl Service {
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
        // Without a waiter: nobody waits for it any more.
        let Some((asker, State::Here { leader, .. })) = self.waiters.take_ticket(ticket) else { return };
        match asker {
            Asker::Client(_) => self.outcome(now, asker, (From::Replica, leader), answer, out),
            Asker::Peer(caller) => {
                self.waiters.remove(asker);
                out.push(ServiceAction::Respond { caller, body: wire::encode_answer(&answer) });
            }
        }
    }

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
        let taken = self.waiters.take_call(call);
        let Some((asker, State::There { leader, .. } | State::Deposed { leader, .. })) = taken else {
            return;
        };
        let answer = match result {
            // What this version does not know may be anything.
            Ok(body) => wire::decode_answer(body).unwrap_or(Answer::Unknown),
            Err(CallFailed::NotSent) => Answer::NotLeader(None),
            Err(CallFailed::Lost) => Answer::Unknown,
        };
        self.outcome(now, asker, (From::Leader, leader), answer, out);
    }

    /// A client's request was answered by this node's replica or by the leader, as `leader` was the one known then.
    fn outcome(
        &mut self,
        now: Time,
        asker: Asker,
        (from, leader): (From, NodeId),
        answer: Answer,
        out: &mut Vec<ServiceAction>,
    ) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        match &waiter.what {
            What::Propose(_) => self.proposed(now, asker, (from, leader), answer, out),
            What::Read(_) | What::ReadStale => self.read_answered(now, asker, leader, answer, out),
            What::Transfer(_) => self.transferred(asker, answer, out),
            What::Change(_) => self.changed(asker, answer, out),
        }
    }

    fn proposed(
        &mut self,
        now: Time,
        asker: Asker,
        (from, leader): (From, NodeId),
        answer: Answer,
        out: &mut Vec<ServiceAction>,
    ) {
        match answer {
            Answer::Committed { id, response } => {
                self.finish(asker, Reply::Committed { id, response }, out);
            }
            Answer::Overloaded => self.fail(asker, RequestError::Overloaded, out),
            Answer::TooLarge { got, limit } => self.fail(asker, RequestError::TooLarge { got, limit }, out),
            Answer::Stopped if from == From::Replica => self.fail(asker, RequestError::Stopping, out),
            // Nothing was done there: safe to try elsewhere, or again.
            Answer::NotLeader(_) | Answer::Stopped => self.pause(now, asker, leader),
            Answer::Unknown
            | Answer::ReadAt(_)
            | Answer::Transferred(_)
            | Answer::TransferFailed
            | Answer::Changed(_)
            | Answer::Conflict(_)
            | Answer::Refused(_) => self.fail(asker, self.unknown(), out),
        }
    }

    fn transferred(&mut self, asker: Asker, answer: Answer, out: &mut Vec<ServiceAction>) {
        let error = match answer {
            Answer::Transferred(node) => return self.finish(asker, Reply::Transferred(node), out),
            Answer::NotLeader(None) => RequestError::NoLeader,
            Answer::NotLeader(Some(_))
            | Answer::TransferFailed
            | Answer::Overloaded
            | Answer::TooLarge { .. }
            | Answer::Unknown
            | Answer::Stopped
            | Answer::Committed { .. }
            | Answer::ReadAt(_)
            | Answer::Changed(_)
            | Answer::Conflict(_)
            | Answer::Refused(_) => RequestError::TransferFailed,
        };
        self.fail(asker, error, out);
    }

    fn changed(&mut self, asker: Asker, answer: Answer, out: &mut Vec<ServiceAction>) {
        let error = match answer {
            Answer::Changed(id) => return self.finish(asker, Reply::Changed(id), out),
            Answer::Conflict(id) => RequestError::Conflict(id),
            Answer::Refused(why) => RequestError::Refused(why),
            Answer::NotLeader(leader) => RequestError::NotLeader(leader),
            Answer::Overloaded => RequestError::Overloaded,
            Answer::Stopped => RequestError::Stopping,
            Answer::Unknown
            | Answer::TooLarge { .. }
            | Answer::Committed { .. }
            | Answer::ReadAt(_)
            | Answer::Transferred(_)
            | Answer::TransferFailed => self.unknown(),
        };
        self.fail(asker, error, out);
    }

    /// Waits until another leader may be known, or for a moment.
    pub(super) fn pause(&mut self, now: Time, asker: Asker, tried: NodeId) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        let soon = waiter.hold_until.min(now.after(RETRY));
        self.waiters.set(asker, State::Paused { tried }, Some(soon));
    }

    pub(super) fn unknown(&self) -> RequestError {
        RequestError::Unknown(self.options.commit_timeout)
    }

    /// Why a request that is given up now has no result: what was asked for may have been done.
    pub(super) fn given_up(&self, waiter: &Waiter, or_else: RequestError) -> RequestError {
        match waiter.state {
            State::Here { .. } | State::There { .. } | State::Deposed { .. } => match waiter.what {
                What::Propose(_) | What::Change(_) => self.unknown(),
                What::Transfer(_) => RequestError::TransferFailed,
                What::Read(_) | What::ReadStale => or_else,
            },
            State::Idle
            | State::Held
            | State::Paused { .. }
            | State::Applying { .. }
            | State::Replaying
            | State::Showing { .. } => or_else,
        }
    }

    /// A client gets its last reply.
    pub(super) fn finish(&mut self, asker: Asker, reply: Reply, out: &mut Vec<ServiceAction>) {
        if self.drop_waiter(asker, out).is_some()
            && let Asker::Client(request) = asker
        {
            out.push(ServiceAction::Reply { request, reply });
        }
    }

    /// Whoever asked is told that there is no result.
    pub(super) fn fail(&mut self, asker: Asker, error: RequestError, out: &mut Vec<ServiceAction>) {
        match asker {
            Asker::Client(_) => self.finish(asker, Reply::Failed(error), out),
            Asker::Peer(caller) => {
                if self.waiters.remove(asker).is_some() {
                    out.push(ServiceAction::Respond { caller, body: wire::encode_answer(&to_peer(error)) });
                }
            }
        }
    }

    /// Nobody waits for it any more.
    pub(super) fn drop_waiter(&mut self, asker: Asker, out: &mut Vec<ServiceAction>) -> Option<Waiter> {
        let waiter = self.waiters.remove(asker)?;
        if let State::There { call, .. } | State::Deposed { call, .. } = waiter.state {
            self.forwarding.give_up(call);
            out.push(ServiceAction::HangUp(call));
        }
        Some(waiter)
    }
}

/// What the asking service does next follows from whether something may have been done.
fn to_peer(error: RequestError) -> Answer {
    match error {
        RequestError::Unknown(_) => Answer::Unknown,
        RequestError::TransferFailed => Answer::TransferFailed,
        RequestError::Overloaded => Answer::Overloaded,
        RequestError::Stopping => Answer::Stopped,
        RequestError::TooLarge { got, limit } => Answer::TooLarge { got, limit },
        RequestError::NoLeader
        | RequestError::NotConfirmed
        | RequestError::Conflict(_)
        | RequestError::Refused(_)
        | RequestError::NotLeader(_) => Answer::NotLeader(None),
    }
}
