//! The leader's side of replication: what to send to each peer, and how to take its answers (paper, section
//! 5.3; thesis, sections 10.2.1 and 6.2).

use alloc::vec::Vec;
use core::time::Duration;

use crate::common::Common;
use crate::progress::{Progress, ProgressState};
use crate::raft::Node;
use crate::role::{Leader, Leading, Tenure};
use crate::sender::{Peers, Sender};
use crate::{
    AppendEntriesResponse, AppendOutcome, Effects, Fatal, FetchId, Fetched, Health, Incarnation, LogId,
    LogIndex, NodeId, Time,
};

impl Leading<'_> {
    /// Sends each peer everything that its state and window allow. Called at the end of each input, so that
    /// the proposals of one input become one append.
    pub(crate) fn replicate(&mut self, effects: &mut Effects) {
        self.sync_progress(effects);
        let peers = Peers::of(self.common);
        let Common { log, config, last_number, .. } = &mut *self.common;
        let Leader { progress, rounds, .. } = &mut *self.leader;
        for (to, peer) in progress {
            let mut next_fetch = || {
                *last_number += 1;
                FetchId(*last_number)
            };
            let mut sender = Sender { log, config, peers, to: *to, peer, rounds, effects };
            sender.send(&mut next_fetch);
        }
    }

    /// Tells all peers the commit index at once, as this leader is about to step down or to hand over. No
    /// append of it follows that could carry the index, and the next leader must first commit an entry of its
    /// own.
    pub(crate) fn tell_commit(&mut self, effects: &mut Effects) {
        let peers = Peers::of(self.common);
        let Common { log, config, .. } = &*self.common;
        let Leader { progress, rounds, .. } = &mut *self.leader;
        for (to, peer) in progress {
            Sender { log, config, peers, to: *to, peer, rounds, effects }.tell_commit();
        }
    }

    /// Keeps a progress for every other member, and for a removed one until its removal is committed. Removed
    /// peers that never learnt of it would go on campaigning (thesis, section 4.2.3).
    fn sync_progress(&mut self, effects: &mut Effects) {
        let Common { log, config, memberships, .. } = &*self.common;
        let current = memberships.current();
        if self.leader.progress_of == Some(current.id()) {
            return;
        }
        let (own, last, now) = (config.node, log.last_index(), self.common.now);
        let peers = Peers::of(self.common);
        let settled = memberships.is_committed(self.common.commit);
        let parting = if settled { current } else { memberships.previous() };
        self.leader.progress_of = settled.then(|| current.id());
        let Leader { progress, rounds, .. } = &mut *self.leader;
        let stays = |id: &NodeId, peer: &Progress| {
            current.store(*id).or(parting.store(*id)).is_some_and(|store| store == peer.store)
        };
        let gone: Vec<NodeId> =
            progress.iter().filter(|(id, peer)| !stays(id, peer)).map(|(id, _)| *id).collect();
        for to in gone {
            if let Some(mut peer) = progress.remove(&to) {
                Sender { log, config, peers, to, peer: &mut peer, rounds, effects }.send_final_commit();
            }
        }
        for (id, member) in current.members().iter().filter(|(id, _)| **id != own) {
            progress.entry(*id).or_insert_with(|| Progress::new(member.store, last, now, config));
        }
    }

    /// Handles the deadlines of a leader.
    pub(crate) fn tick(&mut self, effects: &mut Effects) -> Tenure {
        if self.gives_up_leading() {
            // Check-quorum: a leader that hears from no quorum may have been replaced already (thesis,
            // section 6.2). Its clients would wait for commits that cannot happen.
            self.tell_commit(effects);
            return Tenure::Ends;
        }
        if self.is_stalled() {
            self.hand_over(effects);
            return Tenure::Ends;
        }
        let now = self.common.now;
        if self.leader.progress.values().any(|peer| peer.heartbeat_at <= now) {
            // Peers that are due soon get their heartbeat now, so that one wake-up serves all.
            let soon = now.after(self.common.config.heartbeat_interval / 8);
            self.send_heartbeats(Heartbeats::Due(soon), effects);
            self.yield_to_priority(effects);
        }
        Tenure::Continues
    }

    /// True when check-quorum has failed: no quorum was heard for too long, although this node was running to
    /// hear it.
    fn gives_up_leading(&mut self) -> bool {
        let Self { common, leader } = self;
        let is_due = |common: &Common| common.quorum_deadline(leader).is_some_and(|at| at <= common.now);
        let heard = common.quorum_heard(leader);
        if is_due(common) && heard.is_some_and(|heard| common.standstill.resumed > heard) {
            // The time-out restarts at the end of the standstill, not now. Otherwise a short standstill long
            // ago would keep a leader in office that nobody hears for another whole time-out.
            common.excuse(heard, common.standstill.resumed);
        }
        is_due(common)
    }

    /// True when no write has completed for too long, although this node was running to be told.
    fn is_stalled(&mut self) -> bool {
        let common = &mut self.common;
        let Some(due) = common.stall_deadline().filter(|due| *due <= common.now) else { return false };
        let since = common.writes.stuck_since();
        !common.excuses_itself(due, since)
    }

    /// Takes a follower's answer to an append.
    pub(crate) fn on_append_response(
        &mut self,
        from: NodeId,
        incarnation: Incarnation,
        answer: AppendEntriesResponse,
        effects: &mut Effects,
    ) {
        let Common { config, now, .. } = &*self.common;
        if answer.to_incarnation != config.incarnation {
            return; // An answer to an earlier incarnation, which numbered its own rounds.
        }
        let Leader { progress, rounds, .. } = &mut *self.leader;
        let Some(peer) = progress.get_mut(&from).filter(|_| answer.round <= rounds.current()) else { return };
        peer.answered = Some(*now);
        let wants_snapshot = matches!(peer.state, ProgressState::Snapshot { asked: false, .. });
        let healed = (peer.health, answer.health) == (Health::Damaged, Health::Sound);
        peer.note_health(answer.health);
        peer.acked_round = peer.acked_round.max(answer.round);
        if let Some(sent) = rounds.sent_at(answer.round) {
            // The promise counts from the sending of the round, never from the receipt of its answer (see
            // `lease.rs`). A peer may promise more than this node's time-out, by a setting of its own. But
            // `clock_error` bounds the drift of two clocks only over this node's time-out, so a longer
            // promise is relied on only that far.
            let promise = answer.promise.min(config.leader_timeout);
            peer.promised_until = peer.promised_until.max(sent.after(promise));
            peer.heartbeat_at = peer.heartbeat_at.max(sent.after(config.heartbeat_interval));
        }
        match answer.outcome {
            AppendOutcome::Heard => {}
            AppendOutcome::Match(index) if index <= self.common.log.last_index() => {
                self.on_match(from, index, incarnation, effects);
            }
            AppendOutcome::Match(_) => {} // Beyond the end of this log.
            AppendOutcome::Conflict { refused, hint } => self.on_conflict(from, refused, hint, incarnation),
        }
        if healed {
            self.advance_leader_commit(effects);
        }
        if wants_snapshot {
            self.ask_snapshot_again(from);
        }
        self.confirm_reads(effects);
        self.continue_transfer(from, effects);
    }

    fn on_match(&mut self, from: NodeId, index: LogIndex, incarnation: Incarnation, effects: &mut Effects) {
        let base = self.common.log.base().index;
        let Some(peer) = self.leader.progress.get_mut(&from) else { return };
        if let ProgressState::Snapshot { at_least, asked, .. } = peer.state
            && index >= base
            && index >= at_least
        {
            if asked {
                effects.snapshots.push(crate::SnapshotEffect::Cancel { to: from });
            }
            peer.probe_from(index.next(), false);
        }
        if peer.acknowledge(self.common.now, index, incarnation) && index > self.common.commit {
            self.advance_leader_commit(effects);
        }
    }

    /// Takes a refusal: probes at the last entry that could still match, which the hint names by term.
    ///
    /// No entry of the follower between the hint and the refused index is of a term that the leader's log has
    /// there, and the leader in turn skips its own entries of terms above the hint's. Both skip whole terms,
    /// so the number of round trips is bounded by the number of terms in which the logs differ, and not by
    /// the number of entries (paper, end of section 5.3).
    ///
    /// The result never goes below `match_index`. A delayed refusal would otherwise make the leader send
    /// again what the peer has acknowledged since. The exception is a peer that refuses what it had
    /// acknowledged: it has lost part of its log, and must not be counted for that part until it has
    /// acknowledged it again.
    fn on_conflict(&mut self, from: NodeId, refused: LogIndex, hint: LogId, incarnation: Incarnation) {
        let concerned = |peer: &&mut Progress| peer.concerns(refused, incarnation);
        let Some(peer) = self.leader.progress.get_mut(&from).filter(concerned) else { return };
        let limit = hint.index.min(refused.previous().unwrap_or_default());
        let agrees = self.common.log.last_not_above(limit, hint.term);
        let agrees = agrees.map_or(LogIndex::ZERO, |found| found.index);
        if refused <= peer.match_index {
            peer.regressed = true; // It acknowledged this in an earlier incarnation, and has lost it.
        }
        let floor = if peer.regressed { LogIndex::ZERO } else { peer.match_index };
        peer.probe_from(agrees.max(floor).next(), false);
    }

    /// Takes all appends in flight to this peer as lost, and probes again.
    pub(crate) fn probe_again(&mut self, from: NodeId, paused: bool) {
        if let Some(peer) = self.leader.progress.get_mut(&from)
            && !matches!(peer.state, ProgressState::Snapshot { .. })
        {
            // Without a known match, the index to probe at is still the best guess.
            let known = peer.match_index > LogIndex::ZERO && !peer.regressed;
            let next = if known { peer.match_index.next() } else { peer.next_index };
            peer.probe_from(next, paused);
        }
    }

    /// The connection to a peer is lost: probes again with the next heartbeat.
    pub(crate) fn on_unreachable(&mut self, from: NodeId) {
        self.probe_again(from, true);
    }

    /// Takes the answer to a fetch.
    ///
    /// # Errors
    /// The log cannot be read, and the node has to end. What cannot be read is never sent on, and a node that
    /// lost part of its log must not vote.
    pub(crate) fn on_fetched(
        &mut self,
        id: FetchId,
        result: Fetched,
        effects: &mut Effects,
    ) -> Result<(), Fatal> {
        let peers = Peers::of(self.common);
        let Common { log, config, .. } = &*self.common;
        let Leader { progress, rounds, .. } = &mut *self.leader;
        let Some((to, peer)) = progress.iter_mut().find(|(_, peer)| peer.fetch == Some(id)) else {
            return Ok(());
        };
        peer.fetch = None;
        let mut sender = Sender { log, config, peers, to: *to, peer, rounds, effects };
        match result {
            Fetched::Entries(entries) => sender.send_fetched(entries),
            Fetched::Compacted => {
                let next = sender.peer.next_index;
                sender.send_snapshot(next);
            }
            Fetched::Damaged => return Err(Fatal::LogDamaged { first: sender.peer.next_index }),
        }
        Ok(())
    }

    /// Sends heartbeats to the peers that are meant.
    pub(crate) fn send_heartbeats(&mut self, whom: Heartbeats, effects: &mut Effects) {
        let peers = Peers::of(self.common);
        let Common { log, config, memberships, now, .. } = &*self.common;
        let membership = memberships.current();
        let Leader { progress, rounds, .. } = &mut *self.leader;
        if matches!(whom, Heartbeats::Due(_)) {
            rounds.begin(*now);
        }
        for (to, peer) in progress {
            let is_meant = match whom {
                Heartbeats::Due(soon) => peer.heartbeat_at <= soon,
                Heartbeats::Voters => membership.is_voter(*to),
            };
            if is_meant {
                Sender { log, config, peers, to: *to, peer, rounds, effects }.heartbeat();
            }
        }
    }
}

impl Node {
    /// Takes the answer to a fetch.
    pub(crate) fn on_fetched(&mut self, id: FetchId, result: Fetched, effects: &mut Effects) {
        if let Some(mut leading) = self.leading()
            && let Err(fatal) = leading.on_fetched(id, result, effects)
        {
            self.end(fatal, effects);
        }
    }
}

impl Common {
    /// The next deadline of a leader.
    pub(crate) fn leader_deadline(&self, leader: &Leader) -> Time {
        let heartbeat = leader.progress.values().map(|peer| peer.heartbeat_at).min();
        let heard = leader.progress.values().map(|peer| peer.counted_answer(leader.since)).min();
        // The quorum was heard no earlier than the peer heard least recently. While even that peer's silence
        // ends after the next heartbeat, the exact check-quorum deadline need not be computed.
        let quorum = match (heartbeat, heard) {
            (Some(heartbeat), Some(heard)) if heartbeat <= heard.after(self.silence_max()) => None,
            (Some(_), _) | (None, _) => self.quorum_deadline(leader),
        };
        let (index, base) = (self.commit, self.log.base().index);
        let untold = leader.progress.values().filter(|peer| peer.lacks_commit(index, base));
        let commit = untold.filter_map(|peer| peer.commit_due).min();
        let all = [self.stall_deadline(), quorum, heartbeat, commit];
        all.into_iter().flatten().min().unwrap_or(Time(u64::MAX))
    }

    /// When a leader gives up because its disk is stuck.
    fn stall_deadline(&self) -> Option<Time> {
        let since = self.writes.stuck_since()?.max(self.standstill.excused.unwrap_or_default());
        Some(since.after(self.config.write_stall))
    }

    /// When a leader steps down if it hears nothing more: after its followers may have asked for pre-votes.
    /// None if it is its own quorum.
    fn quorum_deadline(&self, leader: &Leader) -> Option<Time> {
        let heard = self.quorum_heard(leader)?.max(self.standstill.excused.unwrap_or_default());
        Some(heard.after(self.silence_max()))
    }

    /// When a leader last heard from a quorum. None if it is its own quorum.
    fn quorum_heard(&self, leader: &Leader) -> Option<Time> {
        let answered = |node| {
            if node == self.config.node {
                return Time(u64::MAX);
            }
            leader.progress.get(&node).map_or(leader.since, |peer| peer.counted_answer(leader.since))
        };
        let heard = self.agreed(answered)?;
        (heard != Time(u64::MAX)).then_some(heard)
    }

    /// How long a leader keeps leading without hearing from a quorum.
    fn silence_max(&self) -> Duration {
        let timeout = self.config.leader_timeout;
        (timeout + timeout / 2).min(self.config.election_timeout)
    }
}

/// The receivers of heartbeats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heartbeats {
    /// The peers whose heartbeat is due by this time, in a new round.
    Due(Time),
    /// All voters, in the newest round.
    Voters,
}
