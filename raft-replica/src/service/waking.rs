//! Requests that go on: those that the replica's state wakes, looked up once a round, and those whose deadline has
//! come.

use raftkit_core::{LogIndex, Time};

use super::options::{CATCH_UP, LATE, WAY_BACK};
use super::waiters::{Asker, Cause, Forwarded, State, Wanted};
use super::{Service, ServiceAction};
use crate::NotDone;

impl Service {
    /// Goes on with requests whose condition is met.
    pub(super) fn wake(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        if let Some(leader) = self.leader() {
            for asker in self.waiters.woken(Cause::AnyLeader, Cause::AnyLeader) {
                self.route(now, asker, out);
            }
            for asker in self.waiters.woken_by_other(Cause::OtherLeader, leader) {
                self.try_again(now, asker, out);
            }
            for asker in self.waiters.woken_by_other(Cause::Deposal, leader) {
                self.leader_deposed(now, asker);
            }
        }
        let applied = self.replica.applied();
        for asker in self.waiters.woken(Cause::Applied(LogIndex::ZERO), Cause::Applied(applied)) {
            self.read_now(asker, out);
        }
        self.note_health();
        if self.has_replayed() {
            for asker in self.waiters.woken(Cause::Replayed, Cause::Replayed) {
                self.route(now, asker, out);
            }
        }
        let durable = self.replica.node().durable_commit();
        for asker in self.waiters.woken(Cause::Durable(LogIndex::ZERO), Cause::Durable(durable)) {
            self.show(now, asker, out);
        }
    }

    /// Another node leads, so the node that was asked may have failed with the request. Only an answer that is
    /// already under way can still come.
    fn leader_deposed(&mut self, now: Time, asker: Asker) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        if let State::There { call, kind: Forwarded::Proposal, leader } = waiter.state {
            let back = now.after(WAY_BACK);
            let wake = waiter.wake.map_or(back, |wake| wake.min(back));
            self.waiters.set(asker, State::Deposed { call, leader }, Some(wake));
        }
    }

    /// Goes on with requests whose deadline has come. If the earliest deadline is met far too late, the node stood
    /// still: events that waited meanwhile are taken in first.
    pub(super) fn expire(&mut self, now: Time, out: &mut Vec<ServiceAction>) {
        let Some(first) = self.waiters.first_deadline().filter(|first| *first <= now) else { return };
        if now.since(first) > LATE && self.expires_from <= first {
            self.expires_from = now.after(CATCH_UP);
        }
        if now < self.expires_from {
            return;
        }
        for asker in self.waiters.due(now) {
            let Some(waiter) = self.waiters.get(asker) else { continue };
            match (waiter.state, &waiter.wanted) {
                (State::Paused { .. }, _) | (State::Here { .. }, Wanted::Read(_)) => {
                    self.try_again(now, asker, out);
                }
                (State::Held, _) => self.not_done(asker, NotDone::NotLeader(None), out),
                (_, _) => self.in_doubt(asker, out),
            }
        }
    }

    fn try_again(&mut self, now: Time, asker: Asker, out: &mut Vec<ServiceAction>) {
        let Some(waiter) = self.waiters.get(asker) else { return };
        if now < waiter.hold_until {
            return self.route(now, asker, out);
        }
        match waiter.wanted {
            Wanted::Read(_) | Wanted::StaleRead => self.refuse_read(asker, self.unconfirmed(), out),
            Wanted::Proposal(_) | Wanted::Transfer(_) | Wanted::Change(_) => {
                self.not_done(asker, NotDone::NotLeader(None), out);
            }
        }
    }
}
