//! The messages between nodes: one struct for each, with only its own fields (paper, Figure 2; thesis,
//! appendix A).

use core::time::Duration;

use crate::{Entries, Incarnation, LogId, LogIndex, NodeId, RequestNumber, Round, StoreId, Term};

/// A message with its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The node that sent the message.
    pub from: NodeId,
    /// The sender's data folder. A vote or acknowledgement counts only if it comes from the folder that the
    /// membership names: a voter that was wiped has forgotten its votes and entries, and returns with another
    /// folder.
    pub from_store: StoreId,
    /// The sender's incarnation. Messages of an earlier one than the newest heard are ignored.
    pub from_incarnation: Incarnation,
    /// The node that the message is for; another node ignores it.
    pub to: NodeId,
    /// The sender's current term. The term that a pre-candidate *would* campaign in is in the body of its
    /// pre-vote.
    pub term: Term,
    /// What the message asks or answers.
    pub body: Body,
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Asks whether the receiver would grant a vote. Changes no state on either side (thesis, section 9.6).
    PreVote(PreVote),
    /// The answer to a pre-vote.
    PreVoteResponse(PreVoteResponse),
    /// Asks for a vote (paper, RequestVote RPC).
    RequestVote(RequestVote),
    /// The answer to a vote request. A grant is sent only once the vote is durable.
    RequestVoteResponse(RequestVoteResponse),
    /// Replicates entries; without any it is a heartbeat or a probe (paper, AppendEntries RPC).
    AppendEntries(AppendEntries),
    /// The answer to an append. A match is sent only once the entries are durable.
    AppendEntriesResponse(AppendEntriesResponse),
    /// A follower asks the leader from which index it may serve a read (thesis, section 6.4).
    ReadIndex(ReadIndex),
    /// The answer to a read-index request.
    ReadIndexResponse(ReadIndexResponse),
    /// The leader tells a voter to campaign at once: a leadership transfer (thesis, section 3.10).
    TimeoutNow(TimeoutNow),
}

/// Asks whether the receiver would grant a vote in `campaign_term`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreVote {
    /// The term that the sender would campaign in.
    pub campaign_term: Term,
    /// The last entry in the sender's log.
    pub last: LogId,
    /// Request id, echoed in the answer.
    pub request: RequestId,
}

/// The answer to a [`PreVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreVoteResponse {
    /// Whether a vote would be granted now.
    pub vote: Vote,
    /// The `campaign_term` of the question.
    pub campaign_term: Term,
    /// Request id of the question.
    pub request: RequestId,
}

/// Asks for a vote in the term of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVote {
    /// The last entry in the candidate's log.
    pub last: LogId,
    /// Why the candidate campaigns.
    pub reason: CampaignReason,
    /// Request id, echoed in the answer.
    pub request: RequestId,
}

/// The answer to a [`RequestVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVoteResponse {
    /// Whether the vote was granted.
    pub vote: Vote,
    /// Request id of the question.
    pub request: RequestId,
}

/// The answer of a voter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    /// The vote is granted.
    Granted,
    /// The vote is refused.
    Refused,
}

/// Why a candidate campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CampaignReason {
    /// The candidate has not heard from a leader. A node that has heard from one lately refuses (thesis,
    /// section 4.2.3).
    LeaderTimeout,
    /// The leader transferred leadership to the candidate, so a voter's promise to that leader does not stand
    /// in the way.
    Transfer,
}

/// Entries for a follower; without any, a heartbeat or a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntries {
    /// The entry right before `entries`, which the follower must hold (`prevLogIndex` and `prevLogTerm`).
    pub prev: LogId,
    /// Consecutive entries, the first at `prev.index + 1`.
    pub entries: Entries,
    /// The leader's commit index. The follower adopts it only as far as its log is known to match the
    /// leader's.
    pub commit: LogIndex,
    /// The leader's round number, rising within its incarnation. The answer confirms this round, and leases
    /// and quorum reads count from the time the round was *sent*.
    pub round: Round,
}

/// The answer to [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendEntriesResponse {
    /// The part of the follower's log that matches the leader's.
    pub outcome: AppendOutcome,
    /// The newest round that the follower has received from this leader.
    pub round: Round,
    /// The leader's incarnation that numbered the round. Answers to an earlier incarnation are dropped.
    pub to_incarnation: Incarnation,
    /// The follower's promise: how long from the receipt of that round it grants no vote. Leases are made of
    /// these.
    pub promise: Duration,
    /// The follower's health. A damaged follower is replicated to, but counts in no quorum.
    pub health: crate::Health,
}

/// The result of an append: the part of the follower's log that matches the leader's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Everything up to this index matches and is durable on the follower.
    Match(LogIndex),
    /// The round is confirmed, but nothing is acknowledged of the log, as its entries are not durable yet.
    Heard,
    /// The follower does not hold `prev`. The hint is its last entry before `prev` whose term is not above
    /// that of `prev`: all entries in between are of terms that the leader's log cannot have there. So a
    /// divergent log takes one round trip for each term, and not one for each entry (paper, end of section
    /// 5.3).
    Conflict {
        /// The index of the `prev` that was refused.
        refused: LogIndex,
        /// The entry to continue at: the leader looks for its own last entry that is not above this one.
        hint: LogId,
    },
}

/// A follower asks from which index it may serve a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndex {
    /// The consistency required, and so the way in which the leader confirms its leadership.
    pub mode: crate::ReadMode,
    /// The sender's health. A damaged node asks up to which index it must recover; from the receipt of this
    /// message on the leader counts it in no quorum, and so not in the quorum that confirms the answer
    /// either.
    pub asker: crate::Health,
    /// Request id, echoed in the answer.
    pub request: RequestId,
}

/// The answer to [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndexResponse {
    /// The read index; none if the receiver does not lead or could not confirm that it does.
    pub index: Option<LogIndex>,
    /// Request id of the question.
    pub request: RequestId,
}

/// Tells the receiver to campaign at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeoutNow {}

/// Identifies a request; unique over all incarnations of the sender. An answer with another id is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The incarnation of the node that sent the request.
    pub incarnation: Incarnation,
    /// The number of the request within that incarnation.
    pub number: RequestNumber,
}
