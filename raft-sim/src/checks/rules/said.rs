//! The messages that a node may send after what it has heard.

use std::time::Duration;

use raftkit_core::{
    AppendEntriesResponse, AppendOutcome, Body, CampaignReason, Message, Node, NodeId, ReadIndexResponse,
    ReadMode, Term, Time, Vote,
};

use super::heard::{Heard, keep};
use super::{GRACE, Promised, ms};
use crate::checks::truth::is_quorum;
use crate::checks::violation::{Checked, promise};
use crate::subject::Subject;
use crate::world::World;

/// A node at the moment at which it sends a message.
struct Speaker<'a> {
    id: NodeId,
    node: &'a Node,
    heard: &'a mut Heard,
    /// The time on the node's own clock.
    now: Time,
    leader_timeout: Duration,
    /// Time until which the promise of an earlier incarnation binds the node.
    bound_until: Time,
    /// Votes of all nodes that have left.
    promised: &'a mut Promised,
}

impl<S: Subject> World<S> {
    /// Checks that a node may send a message.
    pub(crate) fn check_said(&mut self, id: NodeId, message: &Message) -> Checked {
        let host = self.hosts.get_mut(&id).expect("known");
        let now = host.local(self.now);
        let Some(process) = host.process.as_mut() else { return Ok(()) };
        let mut speaker = Speaker {
            id,
            node: process.service.replica().node(),
            heard: &mut process.heard,
            now,
            leader_timeout: ms(host.leader_timeout_ms),
            bound_until: host.bound_until,
            promised: &mut self.truth.promised,
        };
        match &message.body {
            Body::PreVote(_) => speaker.may_campaign().and_then(|()| speaker.may_probe(message.term)),
            Body::RequestVote(ask) => {
                let probed = ask.reason == CampaignReason::LeaderTimeout;
                speaker.may_campaign()?;
                if probed { speaker.may_ask_for_votes(message.term) } else { Ok(()) }
            }
            Body::PreVoteResponse(answer) if answer.vote == Vote::Granted => {
                speaker.may_promise(message)?;
                speaker.promised.insert((id, message.from_store, answer.campaign_term, message.to));
                Ok(())
            }
            Body::RequestVoteResponse(answer) if answer.vote == Vote::Granted => {
                let heard = speaker.heard;
                let asked = heard.asked.get(&(message.to, answer.request));
                heard.granted = asked.map(|at| (message.term, *at)).or(heard.granted);
                Ok(())
            }
            Body::AppendEntries(append) => {
                keep(&mut speaker.heard.rounds, append.round, now);
                Ok(())
            }
            Body::AppendEntriesResponse(answer) => speaker.may_answer_append(message, answer),
            Body::ReadIndexResponse(answer) => speaker.may_let_read(message, answer),
            Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::ReadIndex(_)
            | Body::TimeoutNow(_) => Ok(()),
        }
    }
}

impl Speaker<'_> {
    /// True unless a membership came within this round: it may have come before or after the message.
    fn knows_membership(&self) -> bool {
        self.heard.membership == self.node.membership_index()
    }

    /// True when an event of this time no longer binds the node.
    fn is_over(&self, at: Time) -> bool {
        at.after(self.leader_timeout) <= self.now.after(GRACE)
    }

    fn may_campaign(&self) -> Checked {
        let (id, at) = (self.id, self.node.membership_index());
        // A removal is in force from its append on. A voter that may be the only one to hold it campaigns until it is
        // committed.
        promise!(
            Rules,
            self.node.membership().is_voter(id) || at > self.heard.commit || !self.knows_membership(),
            "{id} campaigns, and does not vote any more since {at} (thesis, section 4.2.2)"
        );
        Ok(())
    }

    fn may_probe(&self, term: Term) -> Checked {
        promise!(
            Rules,
            self.heard.granted.is_none_or(|(of, at)| of != term || self.is_over(at)),
            "{} campaigns against the one that it voted for before that had {:?} (paper, section 5.2)",
            self.id,
            self.leader_timeout
        );
        Ok(())
    }

    fn may_promise(&self, message: &Message) -> Checked {
        let leads = self.heard.led == Some(message.term) && self.node.is_leader();
        promise!(
            Rules,
            self.bound_until <= self.now.after(GRACE),
            "{} promises a vote to {} before what its earlier life promised has ended (thesis, section 6.4.1)",
            self.id,
            message.to
        );
        promise!(
            Rules,
            !leads && self.heard.leader_at.is_none_or(|at| self.is_over(at)),
            "{} promises a vote to {} while it hears a leader (thesis, section 4.2.3)",
            self.id,
            message.to
        );
        Ok(())
    }

    fn may_ask_for_votes(&self, term: Term) -> Checked {
        let (id, membership) = (self.id, self.node.membership());
        let promised = |voter: NodeId| {
            let has = |store| self.promised.contains(&(voter, store, term, id));
            voter == id || membership.store(voter).is_some_and(has)
        };
        promise!(
            Rules,
            !self.knows_membership() || is_quorum(membership, promised),
            "{id} campaigns in term {term} without the promises of a quorum (thesis, section 9.6)"
        );
        Ok(())
    }

    fn may_answer_append(&mut self, message: &Message, answer: &AppendEntriesResponse) -> Checked {
        let heard = &mut *self.heard;
        let at = heard.appends.get(&(message.to, message.term, answer.round)).copied();
        heard.leader_at = heard.leader_at.max(at);
        let AppendOutcome::Conflict { refused, .. } = answer.outcome else { return Ok(()) };
        // A committed entry is in the log of every later leader.
        promise!(
            Rules,
            refused > heard.commit,
            "{} says that {refused} conflicts, and takes all up to {} for committed (paper, Figure 3)",
            self.id,
            heard.commit
        );
        Ok(())
    }

    fn may_let_read(&self, message: &Message, answer: &ReadIndexResponse) -> Checked {
        let (id, heard, membership) = (self.id, &*self.heard, self.node.membership());
        // The node may have learned of a later term in the same round.
        let (reader, term) = (message.to, message.term);
        let asked = heard.reads.get(&(reader, answer.request)).copied();
        let Some((asked, mode)) = asked.filter(|_| answer.index.is_some()) else { return Ok(()) };
        let sent = |peer: NodeId| heard.answer(peer, term).and_then(|answer| answer.sent);
        let confirms = |peer: NodeId| peer == id || sent(peer).is_some_and(|sent| sent >= asked);
        let has_time = |sent: Time| sent.after(self.leader_timeout + GRACE) >= self.now;
        let holds = |peer| peer == id || sent(peer).is_some_and(has_time);
        // Without a lease the leader also asks its followers.
        let by_lease = mode == ReadMode::Lease && is_quorum(membership, holds);
        promise!(
            Rules,
            !self.knows_membership() || by_lease || is_quorum(membership, confirms),
            "{id} lets {reader} read, and no quorum has confirmed that it leads ({mode:?}; thesis, section 6.4)"
        );
        Ok(())
    }
}
