//! Elections: asking before campaigning, campaigning, voting (paper, sections 5.2 and 5.4.1; thesis, sections 4.2.3
//! and 9.6).

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use crate::lease::Rounds;
use crate::progress::Progress;
use crate::quorum::{self, Tally};
use crate::raft::{COUNT_MAX, Grant, Node};
use crate::read_index::LeaderReads;
use crate::role::{Election, Leader, Role};
use crate::{
    Body, CampaignReason, Effects, Entry, LogId, NodeId, Payload, PreVote, PreVoteResponse, RequestVote,
    RequestVoteResponse, StoreId, Term, Vote,
};

impl Node {
    /// A node that waits draws anew when it does something about it: 1.0 to 1.5 leader time-outs from now.
    pub(crate) fn wait_for_leader(&mut self) {
        if self.patience_of != Some(self.memberships.current().id()) {
            self.settle_patience();
        }
        let drawn = self.rng.between(self.patience.0, self.patience.1);
        self.campaign_at = self.now.after(drawn).max(self.sticky_until);
    }

    /// How long this node waits for a leader, at least and at most, in the membership in force.
    fn settle_patience(&mut self) {
        let (timeout, delay) = (self.config.leader_timeout, self.priority_delay());
        // A single voter ties with nobody, so it need not draw.
        let high = if self.is_only_voter() { timeout } else { timeout + timeout / 2 };
        self.patience = (timeout + delay, high + delay);
        self.patience_of = Some(self.memberships.current().id());
    }

    /// After a refusal it is tried again somewhat sooner: those who refused may have heard the leader a little later.
    fn wait_after_refusal(&mut self) {
        let timeout = self.config.leader_timeout;
        self.campaign_at = self.now.after(self.rng.between(timeout / 2, timeout)).max(self.sticky_until);
    }

    /// True while a vote would break what this node promised to the last leader it heard, or may have promised before
    /// it was started. A leader promises to itself.
    pub(crate) fn is_sticky(&self) -> bool {
        self.now < self.sticky_until || self.is_leader()
    }

    /// The time to hear a leader, or to end an election, is over.
    pub(crate) fn on_campaign_time(&mut self, effects: &mut Effects) {
        if self.excuses_itself(self.campaign_at, self.leader_heard) {
            return self.wait_for_leader();
        }
        let stalled =
            self.writes.stuck_since().is_some_and(|since| since.after(self.config.write_stall) <= self.now);
        // Who does not vote, or whose own vote could not become durable, would only disrupt.
        let may = self.may_campaign();
        if !may || stalled {
            if self.leader().is_some() {
                self.become_follower(self.term, None, effects);
            } else {
                self.wait_for_leader();
            }
            return;
        }
        self.become_pre_candidate(effects);
    }

    /// Asks whether it would be elected, in its present term (thesis, section 9.6).
    fn become_pre_candidate(&mut self, effects: &mut Effects) {
        self.become_follower(self.term, None, effects);
        let request = self.next_request();
        let votes = [(self.config.node, Vote::Granted)].into_iter().collect();
        self.role = Role::PreCandidate(Election { request, votes });
        let body = PreVote { campaign_term: self.term.next(), last: self.log.last(), request };
        self.ask_voters(&Body::PreVote(body), effects);
        self.count_pre_votes(effects);
    }

    /// Campaigns in the next term. Its own vote counts only once it is durable: a candidate that forgot it could
    /// otherwise be counted for two candidates of one term (thesis, section 3.8).
    pub(crate) fn become_candidate(&mut self, reason: CampaignReason, effects: &mut Effects) {
        self.become_follower(self.term.next(), None, effects);
        self.vote = Some(self.config.node);
        self.vote_store = Some(self.config.store);
        let request = self.next_request();
        self.role = Role::Candidate(Election { request, votes: BTreeMap::new() });
        let timeout = self.config.election_timeout;
        self.campaign_at = self.now.after(self.rng.between(timeout, timeout + timeout / 2));
        let body = RequestVote { last: self.log.last(), reason, request };
        self.ask_voters(&Body::RequestVote(body), effects);
    }

    fn ask_voters(&self, body: &Body, effects: &mut Effects) {
        let envelope = self.envelope();
        let membership = self.memberships.current();
        let others =
            membership.members().keys().filter(|id| membership.is_voter(**id) && **id != self.config.node);
        effects.messages.extend(others.map(|id| envelope.to(*id, body.clone())));
    }

    /// Would this node vote for the asker? Nothing changes here (thesis, section 9.6).
    pub(crate) fn on_pre_vote(&mut self, from: NodeId, ask: PreVote, effects: &mut Effects) {
        let granted = ask.campaign_term > self.term
            && ask.campaign_term.0 <= COUNT_MAX
            && self.is_up_to_date(ask.last)
            && self.is_sound()
            && !self.is_sticky();
        let vote = if granted { Vote::Granted } else { Vote::Refused };
        let answer = PreVoteResponse { vote, campaign_term: ask.campaign_term, request: ask.request };
        effects.messages.push(self.envelope().to(from, Body::PreVoteResponse(answer)));
    }

    pub(crate) fn on_pre_vote_response(
        &mut self,
        from: NodeId,
        answer: PreVoteResponse,
        effects: &mut Effects,
    ) {
        let next = self.term.next();
        if let Role::PreCandidate(election) = &mut self.role
            && election.request == answer.request
            && answer.campaign_term == next
        {
            election.votes.entry(from).or_insert(answer.vote);
            self.count_pre_votes(effects);
        }
    }

    fn count_pre_votes(&mut self, effects: &mut Effects) {
        let Role::PreCandidate(election) = &self.role else { return };
        match self.tally(election) {
            Tally::Won => self.become_candidate(CampaignReason::LeaderTimeout, effects),
            Tally::Lost => self.give_up(effects),
            Tally::Open => {}
        }
    }

    /// Votes, or refuses (paper, RequestVote RPC). A grant waits for the disk.
    pub(crate) fn on_request_vote(
        &mut self,
        from: NodeId,
        store: StoreId,
        term: Term,
        ask: RequestVote,
        effects: &mut Effects,
    ) {
        let waits = match &self.role {
            Role::Follower(following) => following.leader.is_none(),
            Role::PreCandidate(_) => true,
            Role::Candidate(_) | Role::Leader(_) => false,
        };
        let sticky = self.is_sticky() && ask.reason == CampaignReason::LeaderTimeout;
        // The one voted for may ask again, but only from the data folder that got the vote.
        let free = self.vote.is_none_or(|vote| vote == from && self.vote_store == Some(store));
        let current = self.is_up_to_date(ask.last);
        let sound = self.is_sound();
        let granted = term == self.term && waits && free && !sticky && current && sound;
        if !granted {
            let answer = RequestVoteResponse { vote: Vote::Refused, request: ask.request };
            effects.messages.push(self.envelope().to(from, Body::RequestVoteResponse(answer)));
            return;
        }
        // The one voted for gets its time before this node campaigns against it.
        self.become_follower(term, None, effects);
        self.vote = Some(from);
        self.vote_store = Some(store);
        self.grant = Some(Grant { to: from, request: ask.request });
        self.release_grant(effects);
    }

    /// True when a log that ends with `last` lacks nothing that may be committed (paper, section 5.4.1).
    fn is_up_to_date(&self, last: LogId) -> bool {
        last >= self.log.last()
    }

    /// Sends the vote once the disk will not forget it.
    pub(crate) fn release_grant(&mut self, effects: &mut Effects) {
        let durable = self.writes.durable();
        if let Some(grant) = self.grant
            && durable.term == self.term
            && durable.vote == Some(grant.to)
        {
            self.grant = None;
            let answer = RequestVoteResponse { vote: Vote::Granted, request: grant.request };
            effects.messages.push(self.envelope().to(grant.to, Body::RequestVoteResponse(answer)));
        }
    }

    /// Counts its own vote once it is durable.
    pub(crate) fn count_own_vote(&mut self, effects: &mut Effects) {
        let durable = self.writes.durable();
        let own = self.config.node;
        if let Role::Candidate(election) = &mut self.role
            && durable.term == self.term
            && durable.vote == Some(own)
            && election.votes.insert(own, Vote::Granted).is_none()
        {
            self.count_votes(effects);
        }
    }

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
            self.count_votes(effects);
            if answer.vote == Vote::Refused && matches!(self.role, Role::Candidate(_)) {
                self.try_sooner();
            }
        }
    }

    /// Refused by one voter while others are silent: with one of three nodes down, two that campaigned at the same
    /// moment would wait for its vote for a whole election time-out. The next try comes as soon as after a lost one.
    fn try_sooner(&mut self) {
        let timeout = self.config.leader_timeout;
        let sooner = self.now.after(self.rng.between(timeout / 2, timeout));
        self.campaign_at = self.campaign_at.min(sooner);
    }

    fn count_votes(&mut self, effects: &mut Effects) {
        let Role::Candidate(election) = &self.role else { return };
        // Others may have voted before the own vote is durable; whoever leads must not be able to vote again.
        if !election.votes.contains_key(&self.config.node) {
            return;
        }
        match self.tally(election) {
            Tally::Won => self.become_leader(effects),
            Tally::Lost => self.give_up(effects),
            Tally::Open => {}
        }
    }

    /// How this election stands.
    fn tally(&self, election: &Election) -> Tally {
        let membership = self.memberships.current();
        quorum::tally(membership, |node| election.votes.get(&node).copied())
    }

    /// The election is lost: wait for who won it, and not long if nobody did.
    fn give_up(&mut self, effects: &mut Effects) {
        self.become_follower(self.term, None, effects);
        self.wait_after_refusal();
    }

    /// Leads, and says so with an entry of its own: only through one does it learn what is committed (paper, section
    /// 8).
    fn become_leader(&mut self, effects: &mut Effects) {
        let last = self.log.last_index();
        let own = self.config.node;
        let members = self.memberships.current().members();
        let others = members.iter().filter(|(id, _)| **id != own);
        let progress =
            others.map(|(id, it)| (*id, Progress::new(it.store, last, self.now, &self.config))).collect();
        self.role = Role::Leader(Box::new(Leader {
            since: self.now,
            progress,
            progress_of: None,
            term_start: last.next(),
            open: VecDeque::new(),
            open_bytes: 0,
            rounds: Rounds::new(self.last_round, self.config.leader_timeout),
            reads: LeaderReads::default(),
            change: None,
            resigns: false,
            // It may have been elected because the preferred one is ill.
            offer_at: self.now.after(self.config.election_timeout),
            lease_over: false,
        }));
        self.leader_heard = None;
        self.append_own(Payload::Noop, None);
        self.settle_transfer(effects);
    }

    /// Appends an entry of this leader's.
    pub(crate) fn append_own(&mut self, payload: Payload, ticket: Option<crate::Ticket>) {
        let entry = Entry { id: LogId { term: self.term, index: self.log.last_index().next() }, payload };
        if let Role::Leader(leader) = &mut self.role {
            leader.note_open(entry.id.index, entry.weight(), ticket);
        }
        self.append_entries(entry.into());
    }

    fn is_only_voter(&self) -> bool {
        let membership = self.memberships.current();
        membership.voters().len() == 1 && !membership.is_joint() && membership.is_voter(self.config.node)
    }
}
