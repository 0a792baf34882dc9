//! Elections: when to campaign, pre-votes and votes (paper, sections 5.2 and 5.4.1; thesis, sections 4.2.3 and
//! 9.6).

use core::time::Duration;

use crate::common::Common;
use crate::quorum::{self, Tally};
use crate::raft::{COUNT_MAX, Node};
use crate::role::{Election, Role};
use crate::{
    Body, CampaignReason, Effects, LogId, NodeId, PreVote, PreVoteResponse, RequestId, RequestVote,
    RequestVoteResponse, StoreId, Term, Time, Vote,
};

/// This node's vote in the current term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ballot {
    /// The candidate that got the vote; none while this node has not voted in the term.
    pub(crate) vote: Option<NodeId>,
    /// The candidate's data folder that got the vote; none after a restart, as it is not stored.
    pub(crate) store: Option<StoreId>,
    /// A vote that was granted and is sent once it is durable.
    pub(crate) grant: Option<Grant>,
}

/// A vote that was granted and is not durable yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) to: NodeId,
    pub(crate) request: RequestId,
}

/// When a node other than the leader starts or restarts a campaign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CampaignTimer {
    /// The time of the next campaign.
    pub(crate) at: Time,
    /// Range the delay before a campaign is drawn from; valid for the membership entry in `delay_of`.
    pub(crate) delay: (Duration, Duration),
    /// The membership entry that `delay` was computed for; none when it has to be computed again.
    pub(crate) delay_of: Option<LogId>,
}

impl Common {
    /// Draws the next campaign time: 1.0 to 1.5 times the leader time-out from now, and not before this
    /// node's own promise ends.
    pub(crate) fn wait_for_leader(&mut self) {
        if self.campaign.delay_of != Some(self.memberships.current().id()) {
            self.update_campaign_delay();
        }
        let drawn = self.rng.between(self.campaign.delay.0, self.campaign.delay.1);
        self.campaign.at = self.now.after(drawn).max(self.promise.until);
    }

    /// Computes the range of the campaign delay for the membership in force.
    fn update_campaign_delay(&mut self) {
        let (timeout, delay) = (self.config.leader_timeout, self.priority_delay());
        // A single voter cannot tie with another candidate, so it need not draw.
        let high = if self.is_only_voter() { timeout } else { timeout + timeout / 2 };
        self.campaign.delay = (timeout + delay, high + delay);
        self.campaign.delay_of = Some(self.memberships.current().id());
    }

    /// Draws the next campaign time after a lost election: 0.5 to 1.0 times the leader time-out. Voters that
    /// refused may have heard the leader a little later than this node, and their promises end soon.
    fn wait_after_refusal(&mut self) {
        let timeout = self.config.leader_timeout;
        self.campaign.at = self.now.after(self.rng.between(timeout / 2, timeout)).max(self.promise.until);
    }

    /// True when no write has completed for too long.
    fn has_stalled(&self) -> bool {
        self.writes.stuck_since().is_some_and(|since| since.after(self.config.write_stall) <= self.now)
    }

    /// Draws the time after which an undecided election starts again: 1.0 to 1.5 times the election time-out.
    pub(crate) fn await_election(&mut self) {
        let timeout = self.config.election_timeout;
        self.campaign.at = self.now.after(self.rng.between(timeout, timeout + timeout / 2));
    }

    /// Brings the next campaign forward after a refusal while other voters are silent. If one of three nodes
    /// is down and the other two campaigned at the same time, each has refused the other; both would wait a
    /// whole election time-out for the vote of the node that is down.
    fn try_sooner(&mut self) {
        let timeout = self.config.leader_timeout;
        let sooner = self.now.after(self.rng.between(timeout / 2, timeout));
        self.campaign.at = self.campaign.at.min(sooner);
    }

    fn is_only_voter(&self) -> bool {
        let membership = self.memberships.current();
        membership.voters().len() == 1 && !membership.is_joint() && membership.is_voter(self.config.node)
    }

    /// Sends a question to all other voters.
    pub(crate) fn ask_voters(&self, body: &Body, effects: &mut Effects) {
        let envelope = self.envelope();
        let membership = self.memberships.current();
        let others =
            membership.members().keys().filter(|id| membership.is_voter(**id) && **id != self.config.node);
        effects.messages.extend(others.map(|id| envelope.to(*id, body.clone())));
    }

    /// True when a log that ends with `last` is at least as up to date as this one (paper, section 5.4.1).
    /// Every committed entry is on a majority, so a candidate that passes this test at a majority has all of
    /// them.
    fn is_up_to_date(&self, last: LogId) -> bool {
        last >= self.log.last()
    }

    /// Sends the granted vote once it is durable (thesis, section 3.8).
    ///
    /// If it left earlier: S1 grants S2 its vote in term 5 and crashes before the fsync. Restarted, it knows
    /// of no vote in term 5 and grants S3 its vote. S2 and S3, each with its own vote, both have a majority
    /// of three and lead term 5.
    pub(crate) fn release_grant(&mut self, effects: &mut Effects) {
        let durable = self.writes.durable();
        if let Some(grant) = self.ballot.grant
            && durable.term == self.term
            && durable.vote == Some(grant.to)
        {
            self.ballot.grant = None;
            let answer = RequestVoteResponse { vote: Vote::Granted, request: grant.request };
            effects.messages.push(self.envelope().to(grant.to, Body::RequestVoteResponse(answer)));
        }
    }

    /// The state of this election.
    pub(crate) fn tally(&self, election: &Election) -> Tally {
        let membership = self.memberships.current();
        quorum::tally(membership, |node| election.votes.get(&node).copied())
    }

    /// The state of a candidate's election. Others may have granted their votes before the candidate's own
    /// vote is durable; until then the election stays open, as a leader must not be able to vote again.
    fn tally_of_candidate(&self, election: &Election) -> Tally {
        if election.votes.contains_key(&self.config.node) { self.tally(election) } else { Tally::Open }
    }
}

impl Node {
    /// True while a vote would break a promise: to the leader heard last, or one that an earlier incarnation
    /// may have given. A leader counts as having promised to itself, for as long as it leads.
    pub(crate) fn is_sticky(&self) -> bool {
        self.common.now < self.common.promise.until || self.is_leader()
    }

    /// Handles the campaign time: no leader was heard, or the election was not decided in time.
    pub(crate) fn on_campaign_time(&mut self, effects: &mut Effects) {
        let common = &mut self.common;
        if common.excuses_itself(common.campaign.at, common.leader_heard) {
            return common.wait_for_leader();
        }
        // A node that is no voter cannot win, and one with a stuck disk cannot make its own vote durable:
        // their campaigns would only disrupt the others.
        let stalled = common.has_stalled();
        let may = common.may_campaign();
        if !may || stalled {
            if self.leader().is_some() {
                self.become_follower(self.common.term, None, effects);
            } else {
                self.common.wait_for_leader();
            }
            return;
        }
        self.become_pre_candidate(effects);
    }

    /// Answers a pre-vote: whether this node would grant a vote now. No state changes (thesis, section 9.6).
    ///
    /// The conditions are those of a real vote, the promise included. Otherwise one follower with a broken
    /// link to the leader would win the pre-vote, and the higher term of its campaign would depose a leader
    /// that all others still hear.
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, ask: PreVote, effects: &mut Effects) {
        let granted = ask.campaign_term > self.common.term
            && ask.campaign_term.0 <= COUNT_MAX
            && self.common.is_up_to_date(ask.last)
            && self.common.is_sound()
            && !self.is_sticky();
        let vote = if granted { Vote::Granted } else { Vote::Refused };
        let answer = PreVoteResponse { vote, campaign_term: ask.campaign_term, request: ask.request };
        effects.messages.push(self.common.envelope().to(from, Body::PreVoteResponse(answer)));
    }

    /// Counts the answer to a pre-vote of this node.
    pub(crate) fn on_pre_vote_response(
        &mut self,
        from: NodeId,
        answer: PreVoteResponse,
        effects: &mut Effects,
    ) {
        let next = self.common.term.next();
        if let Role::PreCandidate(election) = &mut self.role
            && election.request == answer.request
            && answer.campaign_term == next
        {
            election.votes.entry(from).or_insert(answer.vote);
            let tally = self.common.tally(election);
            self.decide_pre_vote(tally, effects);
        }
    }

    /// Acts on the state of this node's round of pre-votes.
    pub(crate) fn decide_pre_vote(&mut self, tally: Tally, effects: &mut Effects) {
        match tally {
            Tally::Won => self.become_candidate(CampaignReason::LeaderTimeout, effects),
            Tally::Lost => self.give_up(effects),
            Tally::Open => {}
        }
    }

    /// Grants or refuses a vote (paper, RequestVote RPC). A grant is sent by `release_grant` once it is
    /// durable.
    ///
    /// The vote is repeated, as the first answer may be lost, but only for the data folder that got it. A
    /// candidate that was wiped meanwhile has forgotten what it appended if it led this term already. Elected
    /// again in the same term, it could put different entries at the same term and index, and log matching
    /// (paper, section 5.3) would not hold.
    pub(crate) fn on_request_vote(
        &mut self,
        from: NodeId,
        store: StoreId,
        term: Term,
        ask: RequestVote,
        effects: &mut Effects,
    ) {
        let waits = match &self.role {
            Role::Follower(follower) => follower.leader.is_none(),
            Role::PreCandidate(_) => true,
            Role::Candidate(_) | Role::Leader(_) => false,
        };
        let sticky = self.is_sticky() && ask.reason == CampaignReason::LeaderTimeout;
        // Repeating a vote is limited to the data folder that got it.
        let ballot = &self.common.ballot;
        let free = ballot.vote.is_none_or(|vote| vote == from && ballot.store == Some(store));
        let current = self.common.is_up_to_date(ask.last);
        let sound = self.common.is_sound();
        let granted = term == self.common.term && waits && free && !sticky && current && sound;
        if !granted {
            let answer = RequestVoteResponse { vote: Vote::Refused, request: ask.request };
            effects.messages.push(self.common.envelope().to(from, Body::RequestVoteResponse(answer)));
            return;
        }
        // A new campaign time: the candidate gets a chance to win before this node campaigns against it.
        self.become_follower(term, None, effects);
        self.common.ballot.vote = Some(from);
        self.common.ballot.store = Some(store);
        self.common.ballot.grant = Some(Grant { to: from, request: ask.request });
        self.common.release_grant(effects);
    }

    /// Counts the candidate's own vote once it is durable.
    pub(crate) fn count_own_vote(&mut self, effects: &mut Effects) {
        let durable = self.common.writes.durable();
        let own = self.common.config.node;
        if let Role::Candidate(election) = &mut self.role
            && durable.term == self.common.term
            && durable.vote == Some(own)
            && election.votes.insert(own, Vote::Granted).is_none()
        {
            let tally = self.common.tally_of_candidate(election);
            self.decide_election(tally, effects);
        }
    }

    /// Counts the answer to a vote request of this candidate.
    pub(crate) fn on_vote_response(
        &mut self,
        from: NodeId,
        answer: RequestVoteResponse,
        effects: &mut Effects,
    ) {
        if let Role::Candidate(election) = &mut self.role
            && election.request == answer.request
        {
            election.votes.entry(from).or_insert(answer.vote);
            let tally = self.common.tally_of_candidate(election);
            self.decide_election(tally, effects);
            if answer.vote == Vote::Refused && matches!(self.role, Role::Candidate(_)) {
                self.common.try_sooner();
            }
        }
    }

    /// Acts on the state of this candidate's election.
    fn decide_election(&mut self, tally: Tally, effects: &mut Effects) {
        match tally {
            Tally::Won => self.become_leader(effects),
            Tally::Lost => self.give_up(effects),
            Tally::Open => {}
        }
    }

    /// Gives up a lost election, and waits for the winner, or a shorter time than usual if there is none.
    fn give_up(&mut self, effects: &mut Effects) {
        self.become_follower(self.common.term, None, effects);
        self.common.wait_after_refusal();
    }
}
