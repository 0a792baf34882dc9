//! The roles, and how a node moves from one to another. A role's state is dropped with the role, so that
//! nothing of it outlives the role by mistake.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use core::mem;

use crate::common::Common;
use crate::lease::Rounds;
use crate::membership_change::PendingChange;
use crate::progress::Progress;
use crate::raft::Node;
use crate::read_index::LeaderReads;
use crate::{
    Body, CampaignReason, Effects, Incarnation, LogId, LogIndex, NodeId, Payload, PreVote, RequestId,
    RequestVote, Round, Term, Ticket, Time, Vote,
};

/// The name of a role (paper, Figure 4, with pre-vote and learners).
///
/// ```text
///                 heard no leader               a quorum would vote
///   Follower -----------------------> PreCandidate ----------------> Candidate
///    ^ ^ |                                |    ^                       |  |
///    | | +---- TimeoutNow (transfer) -----|----|---------------------->|  | a quorum voted,
///    | |                                  |    +------- time-out ------+  | all of it durable
///    | +-- leader heard, refused, higher term -------------------------+  v
///    +---- higher term, no quorum heard, disk stuck, removed -------- Leader
/// ```
///
/// A learner is a follower that never campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum RoleName {
    /// Replicates the log without a vote.
    Learner,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for pre-votes: whether it would be elected.
    PreCandidate,
    /// Asks for votes in its term.
    Candidate,
    /// Leads its term: the only node that appends entries in it.
    Leader,
}

/// A node's role, with the state that only this role has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Follows a leader, or waits for one.
    Follower(Follower),
    /// Asks for pre-votes: whether it would be elected.
    PreCandidate(Election),
    /// Asks for votes in its term.
    Candidate(Election),
    /// Leads its term, with a view of every peer.
    Leader(Box<Leader>),
}

/// A follower's view of the leader of its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Follower {
    /// The leader, if known.
    pub(crate) leader: Option<NodeId>,
    /// The incarnation of the leader that numbers the rounds; answers name it.
    pub(crate) incarnation: Incarnation,
    /// The newest round received from the leader.
    pub(crate) round: Round,
    /// The newest round that was answered.
    pub(crate) answered: Round,
    /// Everything up to this index is known to match the leader's log.
    pub(crate) verified: LogIndex,
    /// The highest index that the leader has said to be committed. This log may not reach it yet.
    pub(crate) leader_commit: LogIndex,
    /// The highest match index acknowledged to the leader.
    pub(crate) acked: LogIndex,
}

/// A round of votes or of pre-votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Election {
    /// The request id that answers must carry.
    pub(crate) request: RequestId,
    /// The answers so far. The first answer of each node counts.
    pub(crate) votes: BTreeMap<NodeId, Vote>,
}

/// The state of a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// When it became the leader. For check-quorum, a peer counts as heard at that time.
    pub(crate) since: Time,
    /// The progress of every other member.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// The membership that `progress` was last built for; none while a membership change is uncommitted.
    pub(crate) progress_of: Option<LogId>,
    /// Index of its first entry of this term. Until that is committed, its commit index may lag behind what
    /// earlier leaders committed, so it must not serve reads.
    pub(crate) term_start: LogIndex,
    /// Its uncommitted entries of this term, in order.
    pub(crate) uncommitted: VecDeque<Uncommitted>,
    /// Sum of the weights of the `uncommitted` entries, in bytes.
    pub(crate) uncommitted_bytes: usize,
    /// When each round was sent.
    pub(crate) rounds: Rounds,
    /// Reads that wait for a round or for the first commit of the term.
    pub(crate) reads: LeaderReads,
    /// The membership change that a caller waits for.
    pub(crate) change: Option<PendingChange>,
    /// True once the change that removed this leader is committed: it then steps down.
    pub(crate) resigns: bool,
    /// Earliest time to offer leadership to a peer of higher priority.
    pub(crate) offer_at: Time,
    /// True once a `TimeoutNow` was sent in this term. The receiver may be elected at once, whatever was
    /// promised, so this leader has no lease any more.
    pub(crate) lease_over: bool,
}

/// A leader at work. Leader-only code is in methods of this type, so nothing else can call it.
///
/// Such code cannot change the role. Where the leadership has to end, it says so to [`Node`], which holds the
/// role.
pub(crate) struct Leading<'a> {
    pub(crate) common: &'a mut Common,
    pub(crate) leader: &'a mut Leader,
}

/// A follower at work, with a leader or waiting for one.
pub(crate) struct Following<'a> {
    pub(crate) common: &'a mut Common,
    pub(crate) follower: &'a mut Follower,
}

/// Whether a leader goes on leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tenure {
    /// The leader goes on.
    Continues,
    /// The leader has to step down.
    Ends,
}

/// An uncommitted entry of this leader's term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uncommitted {
    /// The index of the entry.
    pub(crate) index: LogIndex,
    /// The entry's weight in bytes.
    pub(crate) weight: usize,
    /// The proposal's ticket; none for entries that the core appended by itself.
    pub(crate) ticket: Option<Ticket>,
}

impl Node {
    /// This node as a leader, if it is one.
    pub(crate) fn leading(&mut self) -> Option<Leading<'_>> {
        match &mut self.role {
            Role::Leader(leader) => Some(Leading { common: &mut self.common, leader }),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }

    /// This node as a follower, if it is one.
    pub(crate) fn following(&mut self) -> Option<Following<'_>> {
        match &mut self.role {
            Role::Follower(follower) => Some(Following { common: &mut self.common, follower }),
            Role::PreCandidate(_) | Role::Candidate(_) | Role::Leader(_) => None,
        }
    }

    /// Becomes a follower of `leader`, or one that waits for a leader, in `term`, which is not below the
    /// current term.
    pub(crate) fn become_follower(
        &mut self,
        term: Term,
        leader: Option<(NodeId, Incarnation)>,
        effects: &mut Effects,
    ) {
        let (known, led_term) = (self.leader(), self.common.term);
        self.common.enter_term(term);
        let (leader, incarnation) = leader.unzip();
        let follower =
            Follower { leader, incarnation: incarnation.unwrap_or_default(), ..Follower::default() };
        let before = mem::replace(&mut self.role, Role::Follower(follower));
        if let Role::Leader(led) = before {
            self.common.backlog.clear();
            self.common.last_round = led.rounds.current();
            led.leave(led_term, leader, effects);
        }
        if leader != known {
            self.common.forwarded.fail(leader, effects);
            self.common.forget_heal_question();
        }
        if let Some(leader) = leader {
            self.common.settle_transfer(leader, effects);
        }
        self.common.wait_for_leader();
    }

    /// Asks for pre-votes, without a new term (thesis, section 9.6).
    ///
    /// Without them a node that was cut off raises its term with every vain campaign. When it is connected
    /// again, its higher term deposes a healthy leader, although its log may be too short to win.
    pub(crate) fn become_pre_candidate(&mut self, effects: &mut Effects) {
        self.become_follower(self.common.term, None, effects);
        let common = &mut self.common;
        let request = common.next_request();
        let votes = [(common.config.node, Vote::Granted)].into_iter().collect();
        let election = Election { request, votes };
        let tally = common.tally(&election);
        self.role = Role::PreCandidate(election);
        let body = PreVote { campaign_term: common.term.next(), last: common.log.last(), request };
        common.ask_voters(&Body::PreVote(body), effects);
        self.decide_pre_vote(tally, effects);
    }

    /// Starts a campaign in the next term. The candidate's own vote counts only once it is durable (thesis,
    /// section 3.8).
    ///
    /// Otherwise two nodes can lead one term: of three nodes, S1 campaigns in term 5, counts its own vote and
    /// that of S2, and leads. It crashes before its vote is on disk, restarts in term 4 without a vote, and
    /// grants S3 its vote in term 5. S3 then leads term 5 as well.
    pub(crate) fn become_candidate(&mut self, reason: CampaignReason, effects: &mut Effects) {
        self.become_follower(self.common.term.next(), None, effects);
        let common = &mut self.common;
        common.ballot.vote = Some(common.config.node);
        common.ballot.store = Some(common.config.store);
        let request = common.next_request();
        self.role = Role::Candidate(Election { request, votes: BTreeMap::new() });
        common.await_election();
        let body = RequestVote { last: common.log.last(), reason, request };
        common.ask_voters(&Body::RequestVote(body), effects);
    }

    /// Becomes the leader and appends a no-op. Entries of earlier terms cannot be committed by counting, so
    /// only the commit of an entry of its own term tells the leader what is committed (paper, sections 5.4.2
    /// and 8).
    pub(crate) fn become_leader(&mut self, effects: &mut Effects) {
        let common = &mut self.common;
        let mut leader = Box::new(Leader::elected(common));
        common.leader_heard = None;
        Leading { common, leader: &mut leader }.append_own(Payload::Noop, None);
        common.settle_transfer(common.config.node, effects);
        self.role = Role::Leader(leader);
    }
}

impl Leader {
    /// The state of a leader that has just been elected.
    fn elected(common: &Common) -> Self {
        let (last, own) = (common.log.last_index(), common.config.node);
        let members = common.memberships.current().members();
        let others = members.iter().filter(|(id, _)| **id != own);
        let progress =
            others.map(|(id, it)| (*id, Progress::new(it.store, last, common.now, &common.config))).collect();
        Self {
            since: common.now,
            progress,
            progress_of: None,
            term_start: last.next(),
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            rounds: Rounds::new(common.last_round, common.config.leader_timeout),
            reads: LeaderReads::default(),
            change: None,
            resigns: false,
            // The voter of higher priority may have lost leadership because it is faulty.
            offer_at: common.now.after(common.config.election_timeout),
            lease_over: false,
        }
    }
}
