//! The roles, and how a node moves from one to another. A role's state is dropped with the role, so that
//! nothing of it outlives the role by mistake.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use core::mem;

use crate::lease::Rounds;
use crate::membership_change::OpenChange;
use crate::progress::Progress;
use crate::raft::Node;
use crate::read_index::LeaderReads;
use crate::{
    Body, CampaignReason, Effects, Incarnation, LogId, LogIndex, NodeId, Payload, PreVote, RequestId,
    RequestVote, Term, Ticket, Time, Vote,
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
    /// Leads its term.
    Leader,
}

/// A node's role, with the state that only this role has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Follows a leader, or waits for one.
    Follower(Following),
    /// Asks for pre-votes: whether it would be elected.
    PreCandidate(Election),
    /// Asks for votes in its term.
    Candidate(Election),
    /// Leads its term.
    Leader(Box<Leader>),
}

/// A follower's view of the leader of its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Following {
    /// The leader, if known.
    pub(crate) leader: Option<NodeId>,
    /// The leader's incarnation.
    pub(crate) incarnation: Incarnation,
    /// The newest round received from the leader.
    pub(crate) round: u64,
    /// The newest round that was answered.
    pub(crate) answered: u64,
    /// Everything up to this index is known to match the leader's log.
    pub(crate) verified: LogIndex,
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
    pub(crate) open: VecDeque<Open>,
    /// Sum of the weights of the `open` entries, in bytes.
    pub(crate) open_bytes: usize,
    /// When each round was sent.
    pub(crate) rounds: Rounds,
    /// Reads that wait for a round or for the first commit of the term.
    pub(crate) reads: LeaderReads,
    /// The membership change that a caller waits for.
    pub(crate) change: Option<OpenChange>,
    /// True once the change that removed this leader is committed: it then steps down.
    pub(crate) resigns: bool,
    /// Earliest time to offer leadership to a peer of higher priority.
    pub(crate) offer_at: Time,
    /// True once a `TimeoutNow` was sent in this term. The receiver may be elected at once, whatever was
    /// promised, so this leader has no lease any more.
    pub(crate) lease_over: bool,
}

/// An uncommitted entry of this leader's term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// The index of the entry.
    pub(crate) index: LogIndex,
    /// The entry's weight in bytes.
    pub(crate) weight: usize,
    /// The proposal's ticket; none for entries that the core appended by itself.
    pub(crate) ticket: Option<Ticket>,
}

impl Node {
    /// Becomes a follower of `leader`, or one that waits for a leader, in `term`, which is not below the
    /// current term.
    pub(crate) fn become_follower(
        &mut self,
        term: Term,
        leader: Option<(NodeId, Incarnation)>,
        effects: &mut Effects,
    ) {
        let (known, led_term) = (self.leader(), self.term);
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.vote_store = None;
            self.grant = None;
        }
        let (leader, incarnation) = leader.unzip();
        let following =
            Following { leader, incarnation: incarnation.unwrap_or_default(), ..Following::default() };
        let before = mem::replace(&mut self.role, Role::Follower(following));
        if let Role::Leader(led) = before {
            self.backlog.clear();
            self.last_round = led.rounds.current();
            led.leave(led_term, leader, effects);
        }
        if leader != known {
            self.forwarded.fail(leader, effects);
            self.forget_heal_question();
        }
        self.settle_transfer(effects);
        self.wait_for_leader();
    }

    /// Asks for pre-votes, without a new term (thesis, section 9.6).
    ///
    /// Without them a node that was cut off raises its term with every vain campaign. When it is connected
    /// again, its higher term deposes a healthy leader, although its log may be too short to win.
    pub(crate) fn become_pre_candidate(&mut self, effects: &mut Effects) {
        self.become_follower(self.term, None, effects);
        let request = self.next_request();
        let votes = [(self.config.node, Vote::Granted)].into_iter().collect();
        self.role = Role::PreCandidate(Election { request, votes });
        let body = PreVote { campaign_term: self.term.next(), last: self.log.last(), request };
        self.ask_voters(&Body::PreVote(body), effects);
        self.count_pre_votes(effects);
    }

    /// Starts a campaign in the next term. The candidate's own vote counts only once it is durable (thesis,
    /// section 3.8).
    ///
    /// Otherwise two nodes can lead one term: of three nodes, S1 campaigns in term 5, counts its own vote and
    /// that of S2, and leads. It crashes before its vote is on disk, restarts in term 4 without a vote, and
    /// grants S3 its vote in term 5. S3 then leads term 5 as well.
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

    /// Becomes the leader and appends a no-op. Entries of earlier terms cannot be committed by counting, so
    /// only the commit of an entry of its own term tells the leader what is committed (paper, sections 5.4.2
    /// and 8).
    pub(crate) fn become_leader(&mut self, effects: &mut Effects) {
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
            // The voter of higher priority may have lost leadership because it is faulty.
            offer_at: self.now.after(self.config.election_timeout),
            lease_over: false,
        }));
        self.leader_heard = None;
        self.append_own(Payload::Noop, None);
        self.settle_transfer(effects);
    }
}
