//! Reads. A linearizable read waits for an index to be applied; a stale read waits until what it shows cannot be
//! taken back.

use std::time::Duration;

use raftkit_core::{Health, LogIndex, Time};

use super::waiters::{Asker, State};
use super::{ClientRequestId, Freshness, ReadRefused, Reply, Service, ServiceAction};

impl Service {
    /// A read may be served once everything up to `index` is applied.
    pub(super) fn read_at(&mut self, asker: Asker, index: LogIndex, out: &mut Vec<ServiceAction>) {
        if index <= self.replica.applied() {
            return self.read_now(asker, out);
        }
        let hold_until = self.waiters.get(asker).map(|waiter| waiter.hold_until);
        self.waiters.set(asker, State::Applying { index }, hold_until);
    }

    /// Answers a read that the leader vouches for.
    pub(super) fn read_now(&mut self, asker: Asker, out: &mut Vec<ServiceAction>) {
        self.reply(asker, Reply::ReadNow(Freshness::VOUCHED), out);
    }

    /// The reason why a read that is given up has no result.
    pub(super) fn unconfirmed(&self) -> ReadRefused {
        if self.leader().is_some() { ReadRefused::NotConfirmed } else { ReadRefused::NoLeader }
    }

    /// The freshness of a stale read that has looked before it asked, if a state up to `at` may be shown right now.
    /// None if the read has to wait: then give [`ServiceEvent::Read`](crate::ServiceEvent::Read). This saves a driver
    /// two events.
    #[must_use]
    pub fn show_now(&self, now: Time, at: LogIndex) -> Option<Freshness> {
        let durable = self.replica.node().durable_commit();
        // Compared with the index that was seen, not with what is applied now: the state may have been read before
        // that.
        let shows_all = self.stale_from.is_some_and(|from| from <= at);
        (shows_all && at <= durable).then(|| self.freshness(now))
    }

    /// Serves a stale read: the state of this node, never below one that it has shown, even after a power cut. So
    /// after a start the read waits until the node has applied what it knows to be committed, with a damaged log
    /// until that has healed; and what it finds is shown only once a commit index that covers it is durable here.
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
            let reply = Reply::ReadNow(self.freshness(now));
            out.push(ServiceAction::Reply { request, reply });
        }
    }

    pub(super) fn seen(
        &mut self,
        now: Time,
        request: ClientRequestId,
        at: LogIndex,
        out: &mut Vec<ServiceAction>,
    ) {
        let asker = Asker::Client(request);
        // A read that was answered meanwhile does not wait any more.
        let Some(waiter) = self.waiters.get(asker).filter(|waiter| waiter.state == State::Idle) else {
            return;
        };
        let hold_until = waiter.hold_until;
        if at <= self.replica.node().durable_commit() {
            return self.show(now, asker, out);
        }
        self.waiters.set(asker, State::Showing { at }, Some(hold_until));
        self.with_replica(now, out, |replica, out| replica.persist_commit(now, out));
    }

    pub(super) fn show(&mut self, now: Time, asker: Asker, out: &mut Vec<ServiceAction>) {
        self.reply(asker, Reply::Show(self.freshness(now)), out);
    }

    fn freshness(&self, now: Time) -> Freshness {
        let node = self.replica.node();
        let heard = node.leader_heard().map(|heard| now.since(heard));
        let last_contact = if node.is_leader() { Some(Duration::ZERO) } else { heard };
        Freshness { known_leader: node.leader().is_some(), last_contact }
    }

    /// From the moment at which a node is sound, stale reads wait for the commit index known at that moment.
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
