//! Reads: linearizable ones wait for an index to be applied, stale ones until what they show cannot be taken back.

use std::time::Duration;

use raftkit_core::{Health, LogIndex, NodeId, Time};

use super::waiters::{Asker, State};
use super::{Reply, RequestError, RequestId, Service, ServiceAction};
use crate::{Answer, Event};

impl Service {
    /// The replica has said from which index to read, or that it cannot say now.
    pub(super) fn read_answered(
        &mut self,
        now: Time,
        asker: Asker,
        leader: NodeId,
        answer: Answer,
        out: &mut Vec<ServiceAction>,
    ) {
        match answer {
            Answer::ReadAt(index) if index <= self.replica.applied() => {
                self.read_now(asker, out);
            }
            Answer::ReadAt(index) => {
                let hold_until = self.waiters.get(asker).map(|waiter| waiter.hold_until);
                self.waiters.set(asker, State::Applying { index }, hold_until);
            }
            Answer::Stopped => self.fail(asker, RequestError::Stopping, out),
            Answer::NotLeader(_)
            | Answer::Overloaded
            | Answer::TooLarge { .. }
            | Answer::Unknown
            | Answer::Committed { .. }
            | Answer::Transferred(_)
            | Answer::TransferFailed
            | Answer::Changed(_)
            | Answer::Conflict(_)
            | Answer::Refused(_) => self.pause(now, asker, leader),
        }
    }

    /// The leader vouches for it.
    pub(super) fn read_now(&mut self, asker: Asker, out: &mut Vec<ServiceAction>) {
        let reply = Reply::ReadNow { known_leader: true, last_contact: Some(Duration::ZERO) };
        self.finish(asker, reply, out);
    }

    /// Why a read that was given up has no result.
    pub(super) fn unconfirmed(&self) -> RequestError {
        if self.leader().is_some() { RequestError::NotConfirmed } else { RequestError::NoLeader }
    }

    /// What became of a stale read that has looked before it asked: [`Reply::Show`] if a state up to `at` may be shown
    /// right now, and none if there is something to wait for: then ask. A driver saves two events by this.
    #[must_use]
    pub fn show_now(&self, now: Time, at: LogIndex) -> Option<Reply> {
        let durable = self.replica.node().durable_commit();
        // Compared with what it has seen, not with what is applied: it may have looked before that.
        let shows_all = self.stale_from.is_some_and(|from| from <= at);
        let (known_leader, last_contact) = self.freshness(now);
        (shows_all && at <= durable).then_some(Reply::Show { known_leader, last_contact })
    }

    /// What this node has: never below what it has shown, also over a power cut. So it waits after a start until the node
    /// has applied what it knows to be committed, where its log is damaged until that has healed, and is shown only once
    /// its commit is durable here.
    pub(super) fn read_stale(
        &mut self,
        asker: Asker,
        hold_until: Time,
        now: Time,
        out: &mut Vec<ServiceAction>,
    ) {
        self.note_health();
        if !self.has_replayed() {
            return self.waiters.set(asker, State::Replaying, Some(hold_until));
        }
        self.waiters.set(asker, State::Idle, None);
        if let Asker::Client(request) = asker {
            let (known_leader, last_contact) = self.freshness(now);
            out.push(ServiceAction::Reply { request, reply: Reply::ReadNow { known_leader, last_contact } });
        }
    }

    pub(super) fn seen(&mut self, now: Time, request: RequestId, at: LogIndex, out: &mut Vec<ServiceAction>) {
        let asker = Asker::Client(request);
        // One that was answered meanwhile is not waited for any more.
        let Some(waiter) = self.waiters.get(asker).filter(|waiter| waiter.state == State::Idle) else {
            return;
        };
        let hold_until = waiter.hold_until;
        if at <= self.replica.node().durable_commit() {
            return self.show(now, asker, out);
        }
        self.waiters.set(asker, State::Showing { at }, Some(hold_until));
        self.hand(now, Event::PersistCommit, out);
    }

    pub(super) fn show(&mut self, now: Time, asker: Asker, out: &mut Vec<ServiceAction>) {
        let (known_leader, last_contact) = self.freshness(now);
        self.finish(asker, Reply::Show { known_leader, last_contact }, out);
    }

    /// Whether a leader is known, and how long ago it was heard: zero on the leader itself, none where it never was.
    fn freshness(&self, now: Time) -> (bool, Option<Duration>) {
        let node = self.replica.node();
        let heard = node.leader_heard().map(|heard| now.since(heard));
        let last_contact = if node.is_leader() { Some(Duration::ZERO) } else { heard };
        (node.leader().is_some(), last_contact)
    }

    /// From the moment that a node is sound, its stale reads wait for what it knew to be committed then.
    pub(super) fn note_health(&mut self) {
        let node = self.replica.node();
        if self.stale_from.is_none() && node.health() == Health::Sound {
            self.stale_from = Some(node.commit());
        }
    }

    pub(super) fn has_replayed(&self) -> bool {
        self.stale_from.is_some_and(|from| self.replica.applied() >= from)
    }
}
