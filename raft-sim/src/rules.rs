//! What the protocol allows, looked at on messages alone: what a node was told, what it says, and when on its own clock. A
//! cluster gets away with most of what breaks these rules; one in a thousand does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use raftkit_core::invariants::Before;
use raftkit_core::{
    AppendOutcome, Body, CampaignReason, Entry, HardState, LogId, LogIndex, Membership, Message, NodeId,
    Payload, ReadMode, RequestId, StoreId, Term, Time, Vote, Write,
};
use raftkit_replica::{Event, ServiceEvent};

use crate::shadow::Shadow;
use crate::subject::Subject;
use crate::truth::is_quorum;
use crate::violation::{Checked, promise};
use crate::world::World;

/// So many rounds are remembered: more than an answer comes late.
const ROUNDS: usize = 4096;
/// Clocks are read in whole microseconds, at rates that are none.
const GRACE: Duration = Duration::from_micros(10);

/// What a process has heard and said, all times on its own clock.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// When a leader that it heard was heard last.
    leader_at: Option<Time>,
    /// What it knew to be committed when its round began.
    commit: LogIndex,
    /// The term that it led then.
    led: Option<Term>,
    /// The membership in force then.
    membership: LogIndex,
    /// Appends that it took in.
    appends: BTreeMap<(NodeId, Term, u64), Time>,
    /// Requests for its vote that it took in, each when for the first time.
    asked: BTreeMap<(NodeId, RequestId), Time>,
    /// The term of the vote that it gave last, and when that was asked for.
    granted: Option<(Term, Time)>,
    /// Questions of followers from where they can read, each when it came first: it is asked again until it is answered.
    reads: BTreeMap<(NodeId, RequestId), (Time, ReadMode)>,
    /// When it first sent each round.
    rounds: BTreeMap<u64, Time>,
    /// Since when it leads in its term.
    since: Time,
    /// Since when each member is one, and in which membership that was looked at.
    known: BTreeMap<NodeId, (StoreId, Time)>,
    known_of: LogId,
    /// What answered in that term.
    answers: BTreeMap<NodeId, Answer>,
    /// In which term each peer answered last and when, whatever it answered. It may do so in the round of the election, to
    /// what it was sent long before.
    counted: BTreeMap<NodeId, (Term, Time)>,
    /// Who answered in an earlier one, within this round.
    outdated: Vec<NodeId>,
}

/// The answers of a peer to a leader.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// When the newest round that it heard was sent.
    sent: Time,
    /// When it was heard last.
    at: Time,
}

/// Promises of votes that left, each with the term that they are for.
pub(crate) type Promised = BTreeSet<(NodeId, StoreId, Term, NodeId)>;

impl Heard {
    /// A round begins.
    pub(crate) fn begin(&mut self, before: &Before) {
        self.commit = before.commit();
        self.led = before.is_leader().then(|| before.term());
        self.membership = before.membership_index();
    }

    /// Something is about to be taken in.
    pub(crate) fn note(&mut self, event: &ServiceEvent, node: &raftkit_core::Node, now: Time) {
        let ServiceEvent::Replica(Event::Message(message)) = event else { return };
        let from = message.from;
        match &message.body {
            Body::AppendEntries(append) => {
                keep(&mut self.appends, (from, message.term, append.round), now);
            }
            Body::RequestVote(ask) => keep(&mut self.asked, (from, ask.request), now),
            Body::ReadIndex(ask) => keep(&mut self.reads, (from, ask.request), (now, ask.mode)),
            Body::AppendEntriesResponse(_) if message.term < node.term() => self.outdated.push(from),
            Body::AppendEntriesResponse(answer) if node.is_leader() && message.term == node.term() => {
                self.counted.insert(from, (message.term, now));
                let Some(&sent) = self.rounds.get(&answer.round) else { return };
                let last = self.answers.entry(from).or_insert(Answer { sent, at: now });
                *last = Answer { sent: last.sent.max(sent), at: now };
            }
            Body::AppendEntriesResponse(_)
            | Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {}
        }
    }

    /// It leads from now on.
    fn leads(&mut self, now: Time) {
        self.since = now;
        self.answers.clear();
        self.known.clear();
        self.known_of = LogId::ZERO;
        self.reads.clear();
    }

    fn answered_at(&self, peer: NodeId) -> Time {
        // What it answered before it was removed and named again is older than that.
        let known = self.known.get(&peer).map_or(self.since, |(_, at)| *at);
        self.answers.get(&peer).map_or(known, |answer| answer.at.max(known))
    }

    /// It leads these members: each has the time of a voter that has just fallen silent, from when it was named.
    fn knows(&mut self, members: &Membership, now: Time) {
        if self.known_of != members.id() {
            self.known_of = members.id();
            self.known.retain(|id, (store, _)| members.store(*id) == Some(*store));
            for (id, member) in members.members() {
                self.known.entry(*id).or_insert((member.store, now));
            }
        }
    }
}

/// Keeps the first time that something came, and of all no more than are asked for.
fn keep<K: Ord, V>(times: &mut BTreeMap<K, V>, key: K, now: V) {
    times.entry(key).or_insert(now);
    if times.len() > ROUNDS {
        times.pop_first();
    }
}

impl<S: Subject> World<S> {
    /// After a round: whether the node may still lead, and may have committed what it did.
    pub(crate) fn check_rules(&mut self, id: NodeId, before: &Before) -> Checked {
        let now = self.now;
        let settings = &self.settings;
        let (leader_timeout, stall) = (ms(settings.leader_timeout_ms), ms(settings.write_stall_ms));
        let silence = (leader_timeout + leader_timeout / 2).min(ms(settings.election_timeout_ms));
        let host = self.hosts.get_mut(&id).expect("known");
        let local = host.local(now);
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
        let heard =
            |peer: NodeId| peer == id || process.heard.answered_at(peer).after(silence + GRACE) >= local;
        promise!(
            Rules,
            either(before.membership(), node.membership(), heard),
            "{id} leads on, and no quorum has answered it for {silence:?} (thesis, section 6.2)"
        );
        let oldest = host.submitted.front().filter(|_| !host.pending.is_empty()).copied();
        promise!(
            Rules,
            oldest.is_none_or(|oldest| oldest.after(stall + GRACE) >= local),
            "{id} leads on, and a write of it is not durable after {stall:?} (hashicorp/raft#503)"
        );
        let term = host.view.entry(node.commit()).map(|entry| entry.id.term);
        promise!(
            Rules,
            node.commit() == before.commit() || term.is_none_or(|term| term == node.term()),
            "{id} leads in term {} and commits {} of term {} by counting (paper, section 5.4.2)",
            node.term(),
            node.commit(),
            term.unwrap_or_default()
        );
        Ok(())
    }

    /// What was answered to a leader in an earlier term says nothing in this one.
    pub(crate) fn check_outdated(&mut self, id: NodeId) -> Checked {
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(process) = host.process.as_mut() else { return Ok(()) };
        let node = process.service.replica().node();
        let outdated = std::mem::take(&mut process.heard.outdated);
        if outdated.is_empty() || !node.is_leader() {
            return Ok(());
        }
        let peers = node.status().peers;
        let counted = |peer| match process.heard.counted.get(&peer) {
            Some((term, at)) if *term == node.term() => Some(*at),
            Some(_) | None => None,
        };
        for peer in outdated {
            let heard = peers.get(&peer).and_then(|status| status.heard);
            promise!(
                Rules,
                heard <= counted(peer),
                "{id} leads in term {} and counts an answer of {peer} to an earlier one (paper, section 5.1)",
                node.term()
            );
        }
        Ok(())
    }

    /// A change of members that was not even begun is refused at once; that its outcome is unknown is told of one that
    /// was begun.
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

    /// A membership is appended by a leader that has committed something in its term.
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

    /// Whoever leads has the votes of a quorum.
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

    /// What a node may say, after what it has heard.
    pub(crate) fn check_said(&mut self, id: NodeId, message: &Message) -> Checked {
        let now = self.now;
        let timeout = ms(self.settings.leader_timeout_ms);
        let host = self.hosts.get_mut(&id).expect("known");
        let local = host.local(now);
        let Some(process) = host.process.as_mut() else { return Ok(()) };
        let heard = &mut process.heard;
        let node = process.service.replica().node();
        let membership = node.membership();
        if matches!(message.body, Body::PreVote(_) | Body::RequestVote(_)) {
            // A removal acts from its append on; a voter that perhaps alone holds it goes on until it is committed.
            promise!(
                Rules,
                membership.is_voter(id) || node.membership_index() > heard.commit,
                "{id} campaigns, and does not vote any more since {} (thesis, section 4.2.2)",
                node.membership_index()
            );
        }
        match &message.body {
            Body::PreVote(_) => promise!(
                Rules,
                heard.granted.is_none_or(|(term, at)| {
                    term != message.term || at.after(timeout) <= local.after(GRACE)
                }),
                "{id} campaigns against the one that it voted for before that had {timeout:?} (paper, section 5.2)"
            ),
            Body::PreVoteResponse(answer) if answer.vote == Vote::Granted => {
                let last = heard.leader_at;
                let leads = heard.led == Some(message.term) && node.is_leader();
                promise!(
                    Rules,
                    !leads && last.is_none_or(|at| at.after(timeout) <= local.after(GRACE)),
                    "{id} promises a vote to {} while it hears a leader (thesis, section 4.2.3)",
                    message.to
                );
                self.truth.promised.insert((id, message.from_store, answer.campaign_term, message.to));
            }
            Body::RequestVote(ask) if ask.reason == CampaignReason::LeaderTimeout => {
                let promised = |voter: NodeId| {
                    let store = membership.store(voter);
                    let has = |store| self.truth.promised.contains(&(voter, store, message.term, id));
                    voter == id || store.is_some_and(has)
                };
                promise!(
                    Rules,
                    is_quorum(membership, promised),
                    "{id} campaigns in term {} without the promises of a quorum (thesis, section 9.6)",
                    message.term
                );
            }
            Body::RequestVoteResponse(answer) if answer.vote == Vote::Granted => {
                let asked = heard.asked.get(&(message.to, answer.request));
                heard.granted = asked.map(|at| (message.term, *at)).or(heard.granted);
            }
            Body::AppendEntries(append) => keep(&mut heard.rounds, append.round, local),
            Body::AppendEntriesResponse(answer) => {
                let at = heard.appends.get(&(message.to, message.term, answer.round)).copied();
                heard.leader_at = heard.leader_at.max(at);
                if let AppendOutcome::Conflict { refused, .. } = answer.outcome {
                    return conflicts(id, refused, heard.commit);
                }
            }
            Body::ReadIndexResponse(answer) if answer.index.is_some() => {
                let Some((asked, mode)) = heard.reads.get(&(message.to, answer.request)).copied() else {
                    return Ok(());
                };
                let sent = |peer: NodeId| heard.answers.get(&peer).map(|answer| answer.sent);
                let confirms = |peer: NodeId| peer == id || sent(peer).is_some_and(|sent| sent >= asked);
                let holds =
                    |peer| peer == id || sent(peer).is_some_and(|sent| sent.after(timeout + GRACE) >= local);
                // A membership that came within this round may have been asked before, or not.
                let is_known = heard.membership == node.membership_index();
                // Without a lease it asks its followers as well.
                let by_lease = mode == ReadMode::Lease && is_quorum(membership, holds);
                promise!(
                    Rules,
                    !is_known || by_lease || is_quorum(membership, confirms),
                    "{id} lets {} read, and no quorum has confirmed that it leads ({mode:?}; thesis, section 6.4)",
                    message.to
                );
            }
            Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::TimeoutNow(_) => {}
        }
        Ok(())
    }

    /// What a leader takes for acknowledged is there.
    pub(crate) fn check_acknowledged(&self, id: NodeId, peer: NodeId, matched: LogIndex) -> Checked {
        let (host, other) = (&self.hosts[&id], &self.hosts[&peer]);
        let Some(process) = &host.process else { return Ok(()) };
        let node = process.service.replica().node();
        // One of a later term may have other entries there already, one that rotted may have lost them, and one that took a
        // snapshot has all below it in its state.
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

/// What is committed agrees with every leader's log.
fn conflicts(id: NodeId, refused: LogIndex, commit: LogIndex) -> Checked {
    promise!(
        Rules,
        refused > commit,
        "{id} says that {refused} conflicts, and takes all up to {commit} for committed (paper, Figure 3)"
    );
    Ok(())
}

/// A term never goes back, and the vote in it never changes.
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

/// What a node wants written, after what it had written before.
pub(crate) fn check_write(id: NodeId, before: &Shadow, write: &Write) -> Checked {
    if let Some(hard) = &write.hard_state {
        check_hard_state(id, &before.hard, hard)?;
    }
    // A write is atomic, two are not: a crash in between would leave a log that is shorter than before and after.
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
