//! Checks of a node after an event on it: its log, its commits, its leadership, its messages.

pub(crate) mod explained;
pub(crate) mod files;
pub(crate) mod liveness;
pub(crate) mod marks;
pub(crate) mod rules;
pub(crate) mod shadow;
pub(crate) mod states;
pub(crate) mod steady;
pub(crate) mod transfers;
pub(crate) mod truth;
pub(crate) mod twin;
pub(crate) mod violation;

use raftkit_core::invariants::{Before, check_since, check_state};
use raftkit_core::{
    AppendOutcome, Body, Entry, Health, LogId, LogIndex, Message, NodeId, Payload, StoreId, Vote,
};
use raftkit_replica::{Action, ServiceAction, ServiceEvent};

use crate::Mark;
use crate::checks::rules::check_write;
use crate::checks::truth::is_quorum;
use crate::checks::violation::{Checked, Promise, promise};
use crate::subject::Subject;
use crate::world::World;

/// Bounds are checked in the round of a leader whose event number is a multiple of this.
const BOUNDS_EVERY: u64 = 8;
/// The state's own check is run after each commit whose index is a multiple of this.
const STATE_CHECK_EVERY: u64 = 16;

impl<S: Subject> World<S> {
    /// Applies the writes that a node submits to the shadow of its log.
    pub(crate) fn shadow_writes(&mut self, id: NodeId, actions: &[ServiceAction]) {
        for action in actions {
            let ServiceAction::Do(Action::Log(write)) = action else { continue };
            let Self { hosts, truth, .. } = self;
            let host = hosts.get_mut(&id).expect("known");
            let last = host.view.last();
            let mut checked = check_write(id, &host.view, write);
            if let Some(base) = &write.reset_to {
                if truth.chain(base.id).is_none() {
                    let what = format!("{id} resets its log to {}, which is not committed", base.id);
                    checked = Err((Promise::CommittedForever, what));
                }
                self.marks.hit(Mark::SnapshotInstalled);
            }
            self.marks.hit_if(write.truncate_from.is_some_and(|from| from <= last.index), Mark::Truncated);
            self.marks.hit_if(write.compact_to.is_some(), Mark::Compacted);
            host.view.apply(write, |base| truth.chain(base));
            host.pending.push_back(write.clone());
            host.submitted.push_back(host.clock.local(self.now));
            for entry in write.append.iter() {
                if let Some(chain) = host.view.chain(entry.id.index) {
                    checked = checked.and_then(|()| truth.note_appended(entry, chain));
                }
            }
            self.ensure(checked);
            for entry in write.append.iter() {
                let checked = self.check_appended(id, entry);
                self.ensure(checked);
            }
        }
    }

    /// Checks every promise that a round may have broken.
    pub(crate) fn check_round(&mut self, id: NodeId, before: &Before) {
        let Some(process) = self.hosts[&id].process.as_ref() else { return };
        let node = process.service.replica().node();
        let sound = check_state(node).and_then(|()| check_since(before, node));
        let checked = sound.map_err(|what| (Promise::NodeState, format!("{id}: {what}")));
        let healed = before.health() == Health::Damaged && node.health() == Health::Sound;
        let committed = node.commit() > before.commit();
        let (leads, led) = (node.is_leader(), before.is_leader());
        let elected = leads && (!led || before.term() < node.term());
        self.ensure(checked);
        if healed {
            self.healed_node(id);
        }
        if committed {
            self.check_commits(id, before);
        }
        if elected {
            let checked = self.check_elected(id).and_then(|()| self.check_votes(id));
            self.ensure(checked);
        }
        let checked = self.check_rules(id, before).and_then(|()| self.check_outdated(id));
        self.ensure(checked);
        let stuck = self.now < self.hosts[&id].stalled_until;
        self.marks.hit_if(led && !leads, Mark::Deposed);
        self.marks.hit_if(led && !leads && stuck, Mark::StallGaveWay);
        if leads && self.trace.events().is_multiple_of(BOUNDS_EVERY) {
            let checked = self.check_bounds(id);
            self.ensure(checked);
        }
    }

    /// Checks that the appends in flight from a leader, and the number of waiting requests, are within their configured limits.
    fn check_bounds(&self, id: NodeId) -> Checked {
        let Some(process) = self.hosts[&id].process.as_ref() else { return Ok(()) };
        let most = usize::try_from(self.settings.inflight_messages).unwrap_or(usize::MAX);
        for (peer, status) in process.service.replica().status().peers {
            let inflight = status.inflight_messages;
            promise!(
                Bounded,
                inflight <= most,
                "{id} has {inflight} appends on their way to {peer}; {most} are allowed"
            );
            self.check_acknowledged(id, peer, status.match_index)?;
        }
        // The service learns only in the next round of clients that gave up during this one.
        let unheard = process.inbox.iter().filter(|it| matches!(it, ServiceEvent::Forget(_))).count();
        let open = process.open.len() + process.callers.len() + unheard;
        let waiting = process.service.waiting();
        promise!(
            Bounded,
            waiting <= open,
            "{id} keeps {waiting} requests, and only {open} wait for an answer"
        );
        Ok(())
    }

    fn healed_node(&mut self, id: NodeId) {
        let store = self.hosts[&id].store;
        self.ghosts.remove(&(id, store));
        self.hit(Mark::Healed);
        let last = self.truth.id(self.truth.last()).unwrap_or_default();
        let on_quorum = self.truth.in_play().into_iter().any(|membership| {
            is_quorum(membership, |id| membership.store(id).is_some_and(|store| self.holds(id, store, last)))
        });
        if !on_quorum {
            let what = format!("{id} counts again, and {last} is on no quorum any more");
            self.ensure(Err((Promise::DamagedCountsNot, what)));
        }
    }

    /// True when a data folder holds an entry durably, and a leader may count it.
    fn holds(&self, id: NodeId, store: StoreId, entry: LogId) -> bool {
        match self.ghosts.get(&(id, store)) {
            Some(ghost) => ghost.holds(entry),
            None => self.hosts.get(&id).is_some_and(|host| host.store == store && host.durable.holds(entry)),
        }
    }

    fn check_commits(&mut self, id: NodeId, before: &Before) {
        let host = &self.hosts[&id];
        let Some(process) = &host.process else { return };
        let node = process.service.replica().node();
        let term = node.term();
        let mut index = before.commit();
        let mut fresh: Vec<Entry> = Vec::new();
        while index < node.commit() {
            index = index.next();
            let Some(entry) = host.view.entry(index) else {
                // A snapshot has replaced the entry. Everything up to the base is committed.
                let known = index <= host.view.base().index && self.truth.id(index).is_some();
                if !known {
                    let what = format!(
                        "{id} takes {index} for committed, and neither holds it nor does anyone know it"
                    );
                    return self.ensure(Err((Promise::CommittedForever, what)));
                }
                continue;
            };
            if index <= self.truth.last() {
                let checked = self.truth.check_committed(entry).map(|_| ());
                if checked.is_err() {
                    return self.ensure(checked);
                }
            } else {
                fresh.push(entry.clone());
            }
        }
        let memberships = [before.membership().clone(), node.membership().clone()];
        let leads = before.is_leader() || node.is_leader();
        let current = node.term();
        for entry in fresh {
            let checked = self.check_first_commit(id, &entry, leads, &memberships);
            let is_violation = checked.is_err();
            self.ensure(checked);
            if is_violation && self.violation().is_some() {
                return;
            }
            self.commit(id, &entry, term);
            self.marks.hit_if(entry.id.term < current, Mark::CommitOfOldTerm);
        }
    }

    fn check_first_commit(
        &self,
        id: NodeId,
        entry: &Entry,
        leads: bool,
        memberships: &[raftkit_core::Membership; 2],
    ) -> Checked {
        promise!(DurableQuorum, leads, "{} is first committed by {id}, which does not lead", entry.id);
        let on_quorum = memberships.iter().any(|membership| {
            is_quorum(membership, |peer| {
                membership.store(peer).is_some_and(|store| self.holds(peer, store, entry.id))
            })
        });
        promise!(
            DurableQuorum,
            on_quorum,
            "{id} takes {} for committed, and it is durable on no quorum of {:?}",
            entry.id,
            memberships[0].voters()
        );
        self.truth.check_committed(entry).map(|_| ())
    }

    fn commit(&mut self, id: NodeId, entry: &Entry, term: raftkit_core::Term) {
        let applied = match self.twin.apply(entry) {
            Ok(applied) => applied,
            Err(error) => {
                let what = format!("a machine on a sound disk fails at {}: {error}", entry.id);
                return self.ensure(Err((Promise::StateCheck, what)));
            }
        };
        let once = matches!(&entry.payload, Payload::Command(command) if self.clients.is_once(command));
        let unknown = matches!(&entry.payload, Payload::Command(command) if self.clients.is_unknown(command));
        self.marks.hit_if(unknown, Mark::UnknownCommitted);
        let checked = self.truth.commit(entry, term, once, applied);
        self.ensure(checked);
        if let Payload::Membership(membership) = &entry.payload {
            self.mark_membership(id, entry.id, membership);
        }
        if entry.id.index.0.is_multiple_of(STATE_CHECK_EVERY) {
            self.check_twin();
        }
    }

    fn mark_membership(&mut self, by: NodeId, at: LogId, membership: &raftkit_core::Membership) {
        self.marks.hit_if(membership.is_joint(), Mark::JointCommitted);
        let earlier = self.truth.membership_as_of(LogIndex(at.index.0 - 1)).clone();
        let promoted = earlier.staging().iter().any(|id| membership.voters().contains(id));
        self.marks.hit_if(promoted, Mark::Promoted);
        let back = membership.voters().iter().any(|id| {
            membership.store(*id).is_some_and(|store| store.0 > 100) && !earlier.voters().contains(id)
        });
        self.marks.hit_if(back, Mark::WipedIsBack);
        let removed = earlier.members().keys().any(|id| !membership.contains(*id));
        self.marks.hit_if(removed, Mark::Removed);
        self.marks.hit_if(!membership.is_voter(by), Mark::LeaderRemoved);
    }

    fn check_elected(&mut self, id: NodeId) -> Checked {
        self.hit(Mark::Elected);
        let now = self.now;
        let host = &self.hosts[&id];
        let Some(process) = &host.process else { return Ok(()) };
        let node = process.service.replica().node();
        let (store, term) = (host.store, node.term());
        let vote = (host.durable.hard.term, host.durable.hard.vote);
        promise!(
            OneVote,
            vote == (term, Some(id)),
            "{id} leads in term {term}, and its own vote is not durable: that is {vote:?}"
        );
        for other in self.hosts.values().filter(|other| other.id != id) {
            let Some(peer) = &other.process else { continue };
            let peer = peer.service.replica().node();
            if !peer.is_leader() {
                continue;
            }
            self.marks.hit(Mark::TwoLeaders);
            let (holder, of) = if peer.term() < term { (peer, other) } else { (node, host) };
            let holds = holder.lease_until().is_some_and(|until| of.local(now) < until);
            promise!(
                Lease,
                !holds,
                "{id} leads in term {term} while {} of term {} still has a lease",
                other.id,
                peer.term()
            );
        }
        let Self { hosts, truth, .. } = self;
        let host = &hosts[&id];
        truth.check_leader((id, store, host.life), term, &host.view)
    }

    /// Checks that the contents of a message are true.
    pub(crate) fn check_sent(&mut self, id: NodeId, message: &Message) -> Checked {
        let host = &self.hosts[&id];
        let Some(process) = &host.process else { return Ok(()) };
        let health = process.service.replica().node().health();
        let (durable, view) = (&host.durable, &host.view);
        match &message.body {
            Body::RequestVoteResponse(answer) if answer.vote == Vote::Granted => {
                let vote = (durable.hard.term, durable.hard.vote);
                promise!(
                    OneVote,
                    vote == (message.term, Some(message.to)),
                    "{id} votes for {} in term {}, and that is not durable: what is, is {vote:?}",
                    message.to,
                    message.term
                );
                promise!(
                    DamagedCountsNot,
                    health == Health::Sound,
                    "{id} is damaged and votes for {}",
                    message.to
                );
                let from = (message.from, message.from_store);
                return self.truth.check_vote(from, message.term, message.to, answer.request);
            }
            Body::AppendEntriesResponse(answer) => {
                promise!(
                    DurableAck,
                    answer.promise <= durable.hard.promise,
                    "{id} promises to vote for nobody for {:?}, and what is durable says {:?}",
                    answer.promise,
                    durable.hard.promise
                );
                if let AppendOutcome::Match(index) = answer.outcome {
                    // A message of a later term in the same round may have truncated the log after this message was made.
                    let stands = |entry: &Entry| message.term < view.hard.term || view.holds(entry.id);
                    let held = index <= durable.base().index || durable.entry(index).is_some_and(stands);
                    promise!(
                        DurableAck,
                        held,
                        "{id} says that it holds all up to {index}, and what is durable ends with {}",
                        durable.last()
                    );
                }
            }
            Body::PreVote(_) | Body::RequestVote(_) => {
                promise!(DamagedCountsNot, health == Health::Sound, "{id} is damaged and campaigns");
            }
            Body::PreVoteResponse(answer) => {
                let grants = answer.vote == Vote::Granted;
                promise!(
                    DamagedCountsNot,
                    !grants || health == Health::Sound,
                    "{id} is damaged and promises a vote"
                );
            }
            Body::RequestVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {}
        }
        Ok(())
    }
}
