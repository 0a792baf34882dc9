//! What nodes say to each other: one struct a message, only its own fields (paper, Figure 2 and thesis, appendix A).

use core::time::Duration;

use crate::{Entries, Incarnation, LogId, LogIndex, NodeId, StoreId, Term};

/// A message in its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub from: NodeId,
    /// The sender's data folder. A vote or acknowledgement from another store than the membership names is ignored.
    pub from_store: StoreId,
    /// The sender's life.
    pub from_incarnation: Incarnation,
    /// Whom it is for.
    pub to: NodeId,
    /// The sender's term. For a pre-vote the term it *would* campaign in is in the body; its own is here.
    pub term: Term,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Would you vote for me? Changes nothing on either side (thesis, section 9.6).
    PreVote(PreVote),
    /// The answer.
    PreVoteResponse(PreVoteResponse),
    /// Vote for me (paper, RequestVote RPC).
    RequestVote(RequestVote),
    /// The answer; a grant is sent only once the vote is durable.
    RequestVoteResponse(RequestVoteResponse),
    /// Entries, or none as a heartbeat (paper, AppendEntries RPC).
    AppendEntries(AppendEntries),
    /// The answer; a match is sent only once the entries are durable.
    AppendEntriesResponse(AppendEntriesResponse),
    /// From which index can I read? (thesis, section 6.4, asked by a follower)
    ReadIndex(ReadIndex),
    /// The answer.
    ReadIndexResponse(ReadIndexResponse),
    /// Campaign at once: leadership is handed to you (thesis, section 3.10).
    TimeoutNow(TimeoutNow),
}

/// Would you vote for me?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreVote {
    /// The term that the asker would campaign in.
    pub campaign_term: Term,
    /// The asker's last entry.
    pub last: LogId,
    /// Echoed in the answer.
    pub request: RequestId,
}

/// The answer to a [`PreVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreVoteResponse {
    /// Whether a vote would be granted.
    pub vote: Vote,
    /// The term asked about.
    pub campaign_term: Term,
    /// As in the question.
    pub request: RequestId,
}

/// Vote for me; the term is that of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVote {
    /// The candidate's last entry.
    pub last: LogId,
    /// Why there is an election.
    pub reason: CampaignReason,
    /// Echoed in the answer.
    pub request: RequestId,
}

/// The answer to a [`RequestVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVoteResponse {
    /// Whether the vote is given.
    pub vote: Vote,
    /// As in the question.
    pub request: RequestId,
}

/// A vote's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// Given.
    Granted,
    /// Not given.
    Refused,
}

/// Why a candidate campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CampaignReason {
    /// It heard no leader. A node that lately heard one refuses (leader stickiness, thesis section 4.2.3).
    LeaderTimeout,
    /// The leader handed leadership over; stickiness does not apply.
    Transfer,
}

/// Entries for a follower; with none, a heartbeat or a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntries {
    /// The entry right before `entries`.
    pub prev: LogId,
    /// Consecutive entries, the first at `prev.index + 1`.
    pub entries: Entries,
    /// The leader's commit index. The follower takes at most the index that this message proves to match.
    pub commit: LogIndex,
    /// The leader's round: rising within its incarnation. What the answer confirms: leases and quorum reads count
    /// from when the round was *sent*.
    pub round: u64,
}

/// The answer to [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendEntriesResponse {
    /// How far the logs agree.
    pub outcome: AppendOutcome,
    /// The newest round heard of this leader.
    pub round: u64,
    /// The incarnation of the leader that the round belongs to; an answer to an earlier life is dropped.
    pub to_incarnation: Incarnation,
    /// How long, from the receipt of that round, the follower grants no vote: what the leader's lease is made of.
    pub promise: Duration,
    /// A damaged follower is served as any other, and counts in no quorum.
    pub health: crate::Health,
}

/// How far a follower's log agrees with the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Everything up to this index matches and is durable on the follower.
    Match(LogIndex),
    /// The round is confirmed and nothing is said of the log: its entries are not durable yet.
    Heard,
    /// `prev` does not match. The hint is the follower's highest entry that could still agree: its last entry, or the
    /// last of the greatest term not above that of `prev` (quick backtracking, paper section 5.3, by terms).
    Conflict {
        /// The index that was refused.
        refused: LogIndex,
        /// Where to try next: the leader looks for its own last entry that is not above this one.
        hint: LogId,
    },
}

/// From which index can I read?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndex {
    /// How sure the leader must be.
    pub mode: crate::ReadMode,
    /// A damaged asker wants to know how far it must heal: from here on it counts in no quorum, that of the answer
    /// included.
    pub asker: crate::Health,
    /// Echoed in the answer.
    pub request: RequestId,
}

/// The answer to [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndexResponse {
    /// The index, or none: not the leader, or leadership was not confirmed.
    pub index: Option<LogIndex>,
    /// As in the question.
    pub request: RequestId,
}

/// Campaign at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutNow {}

/// A request's name, unique over nodes and lives: what is answered under another name is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The asker's life.
    pub incarnation: Incarnation,
    /// Rising within that life.
    pub number: u64,
}
