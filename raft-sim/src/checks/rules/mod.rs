//! The promise `rules`: the rules of the protocol, checked on each node by the messages that it has received and sent and by its
//! own clock. Most breaches of a rule do a cluster no harm, so that other promises would notice one in a thousand.

mod heard;
mod said;

use std::collections::BTreeSet;
use std::time::Duration;

use raftkit_core::invariants::Before;
use raftkit_core::{Entry, HardState, LogIndex, Membership, NodeId, Payload, StoreId, Term, Write};

use crate::checks::shadow::Shadow;
use crate::checks::truth::is_quorum;
use crate::checks::violation::{Checked, promise};
use crate::subject::Subject;
use crate::world::World;

pub(crate) use heard::Heard;

/// Tolerance: clocks run at fractional rates but are read in whole microseconds.
const GRACE: Duration = Duration::from_micros(10);

/// Votes that have left a node, each with its term.
pub(crate) type Promised = BTreeSet<(NodeId, StoreId, Term, NodeId)>;

impl<S: Subject> World<S> {
    /// Checks after a round that the node may still lead, and may have committed what it committed.
    pub(crate) fn check_rules(&mut self, id: NodeId, before: &Before) -> Checked {
        let now = self.now;
        let settings = &self.settings;
        let (election_timeout, stall) = (ms(settings.election_timeout_ms), ms(settings.write_stall_ms));
        let host = self.hosts.get_mut(&id).expect("known");
        let leader_timeout = ms(host.leader_timeout_ms);
        let silence = (leader_timeout + leader_timeout / 2).min(election_timeout.max(leader_timeout));
        let local = host.local(now);
        // A leader that stood still may go on leading until it has had time to take the answers that came meanwhile.
        let resumed = host.local(host.resumed_at.max(host.paused_until).min(now));
        let Some(process) = host.process.as_mut() else { return Ok(()) };
        let node = process.service.replica().node();
        if !node.is_leader() {
            return Ok(());
        }
        process.heard.knows(node.membership(), local);
        if !before.is_leader() || before.term() != node.term() {
            process.heard.leads(local);
            return Ok(());
        }
        let (heard, term) = (&process.heard, node.term());
        let is_heard = |peer: NodeId| {
            peer == id || heard.answered_at(peer, term).max(resumed).after(silence + GRACE) >= local
        };
        promise!(
            Rules,
            either(before.membership(), node.membership(), is_heard),
            "{id} leads on, and no quorum has answered it for {silence:?} (thesis, section 6.2)"
        );
        let oldest = host.submitted.front().filter(|_| !host.pending.is_empty()).copied();
        promise!(
            Rules,
            oldest.is_none_or(|oldest| oldest.max(resumed).after(stall + GRACE) >= local),
            "{id} leads on, and its disk has finished no write for {stall:?} (hashicorp/raft#503)"
        );
        let committed = host.view.entry(node.commit()).map(|entry| entry.id.term);
        promise!(
            Rules,
            node.commit() == before.commit() || committed.is_none_or(|committed| committed == term),
            "{id} leads in term {term} and commits {} of term {} by counting (paper, section 5.4.2)",
            node.commit(),
            committed.unwrap_or_default()
        );
        Ok(())
    }

    /// Checks that answers of an earlier term do not count in this one.
    pub(crate) fn check_outdated(&mut self, id: NodeId) -> Checked {
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(process) = host.process.as_mut() else { return Ok(()) };
        let node = process.service.replica().node();
        let outdated = std::mem::take(&mut process.heard.outdated);
        if outdated.is_empty() || !node.is_leader() {
            return Ok(());
        }
        let peers = node.status().peers;
        for peer in outdated {
            let counted = peers.get(&peer).and_then(|status| status.heard);
            promise!(
                Rules,
                counted <= process.heard.answer(peer, node.term()).map(|answer| answer.at),
                "{id} leads in term {} and counts an answer of {peer} to an earlier one (paper, section 5.1)",
                node.term()
            );
        }
        Ok(())
    }

    /// Checks that a change of the membership ends with an unknown outcome only if it was begun; others must be refused.
    pub(crate) fn check_unknown_change(&self, id: NodeId, called: u64, seen: LogIndex) -> Checked {
        let host = &self.hosts[&id];
        let Some(process) = &host.process else { return Ok(()) };
        let (heard, node) = (&process.heard, process.service.replica().node());
        let led = node.is_leader() && heard.led == Some(node.term()) && heard.since < host.local(called);
        promise!(
            OneAnswer,
            !led || self.truth.has_appended_membership(node.term(), seen),
            "{id} led in term {} all the while and began no change after {seen}, and says only after a time-out that it \
             does not know what became of one",
            node.term()
        );
        Ok(())
    }

    /// Checks that a leader appends a membership only after it has committed an entry of its term.
    pub(crate) fn check_appended(&self, id: NodeId, entry: &Entry) -> Checked {
        let host = &self.hosts[&id];
        let Some(process) = &host.process else { return Ok(()) };
        let node = process.service.replica().node();
        let of_own = matches!(entry.payload, Payload::Membership(_)) && entry.id.term == node.term();
        if !of_own || !node.is_leader() {
            return Ok(());
        }
        let committed = host.view.entry(node.commit()).map_or(host.view.base(), |entry| entry.id);
        promise!(
            Rules,
            committed.term == node.term(),
            "{id} appends the membership {} before anything of its term is committed: that is {committed} (Ongaro, \
             raft-dev 2015, single-server changes)",
            entry.id
        );
        Ok(())
    }

    /// Checks that a leader has the votes of a quorum.
    pub(crate) fn check_votes(&self, id: NodeId) -> Checked {
        let host = &self.hosts[&id];
        let Some(process) = &host.process else { return Ok(()) };
        let node = process.service.replica().node();
        let (term, membership) = (node.term(), node.membership());
        let votes = |voter: NodeId| {
            let store = membership.store(voter);
            voter == id || store.is_some_and(|store| self.truth.has_voted((voter, store), term, id))
        };
        promise!(
            Rules,
            is_quorum(membership, votes),
            "{id} leads in term {term} without the votes of a quorum of {:?} (paper, section 5.2)",
            membership.voters()
        );
        Ok(())
    }

    /// Checks that what a leader counts as acknowledged is durable at the peer.
    pub(crate) fn check_acknowledged(&self, id: NodeId, peer: NodeId, matched: LogIndex) -> Checked {
        let (host, other) = (&self.hosts[&id], &self.hosts[&peer]);
        let Some(process) = &host.process else { return Ok(()) };
        let node = process.service.replica().node();
        // A peer in a later term may have other entries there already, one with rot may have lost them, and one that has
        // installed a snapshot has everything up to it in its state.
        let comparable = node.membership().store(peer) == Some(other.store)
            && !other.has_rotted
            && other.durable.hard.term <= node.term()
            && matched > other.view.base().index;
        let entry = host.view.entry(matched).map(|entry| entry.id).or_else(|| self.truth.id(matched));
        promise!(
            Rules,
            !comparable || entry.is_none_or(|entry| other.durable.holds(entry)),
            "{id} leads in term {} and takes {matched} for acknowledged by {peer}, which does not hold it (paper, \
             section 5.3)",
            node.term()
        );
        Ok(())
    }
}

/// Checks that a term never goes back, and that the vote in it never changes.
fn check_hard_state(id: NodeId, was: &HardState, is: &HardState) -> Checked {
    promise!(NodeState, is.term >= was.term, "{id} goes back from term {} to {}", was.term, is.term);
    promise!(
        OneVote,
        is.term > was.term || was.vote.is_none() || is.vote == was.vote,
        "{id} has voted for {:?} in term {}, and now its vote is {:?}",
        was.vote,
        is.term,
        is.vote
    );
    Ok(())
}

/// Checks a write that a node submits against its earlier writes.
pub(crate) fn check_write(id: NodeId, before: &Shadow, write: &Write) -> Checked {
    if let Some(hard) = &write.hard_state {
        check_hard_state(id, &before.hard, hard)?;
    }
    // A truncation and the entries that replace the truncated ones belong in one write. A crash between two writes would leave a log
    // that is shorter than before and after.
    let shrinks =
        write.reset_to.is_none() && write.truncate_from.is_some_and(|from| from <= before.last().index);
    promise!(
        Rules,
        !shrinks || write.append.iter().next().map(|entry| entry.id.index) == write.truncate_from,
        "{id} cuts its log at {:?} in one write and appends what replaces it in another (paper, section 5.3)",
        write.truncate_from
    );
    Ok(())
}

fn either(one: &Membership, two: &Membership, has: impl Fn(NodeId) -> bool) -> bool {
    is_quorum(one, &has) || is_quorum(two, &has)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
