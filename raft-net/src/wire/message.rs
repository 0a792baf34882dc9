//! The headers of Raft messages and of the entries in them.
#![allow(
    unsafe_code,
    reason = "rkyv's derives implement its unsafe marker traits; no unsafe is written by hand"
)]

use core::time::Duration;

use raftkit_core as core_types;
use raftkit_core::{
    AppendEntriesResponse, AppendOutcome, Body, CampaignReason, Health, Incarnation, LogId, LogIndex, NodeId,
    PreVote, PreVoteResponse, ReadIndex, ReadIndexResponse, ReadMode, RequestId, RequestNumber, RequestVote,
    RequestVoteResponse, StoreId, Term, TimeoutNow, Vote,
};
use rkyv::{Archive, Serialize};

use super::{U32, U64, U128};

/// Sender, receiver, term and body of a message; followed by one [`EntryHeader`] an entry where the body is
/// [`BodyHeader::AppendEntries`].
#[derive(Archive, Serialize)]
pub(crate) struct Envelope {
    from: U64,
    from_store: U128,
    from_incarnation: U64,
    to: U64,
    term: U64,
    body: BodyHeader,
}

/// An entry without its payload.
#[derive(Archive, Serialize)]
pub(crate) struct EntryHeader {
    pub(crate) term: U64,
    pub(crate) index: U64,
    pub(crate) kind: u8,
    pub(crate) length: U32,
}

/// The fields of a message's body, by kind; the entries of an append follow the envelope.
#[derive(Archive, Serialize)]
enum BodyHeader {
    /// Fields: campaign term, last entry, request id.
    PreVote(U64, LogIdHeader, RequestIdHeader),
    /// Fields: vote, campaign term, request id.
    PreVoteResponse(VoteHeader, U64, RequestIdHeader),
    /// Fields: last entry, reason of the campaign, request id.
    RequestVote(LogIdHeader, ReasonHeader, RequestIdHeader),
    /// Fields: vote, request id.
    RequestVoteResponse(VoteHeader, RequestIdHeader),
    /// Fields: entry before the first one, commit index, round.
    AppendEntries(LogIdHeader, U64, U64),
    /// Fields: outcome, round, leader's incarnation, promise in nanoseconds, health.
    AppendEntriesResponse(OutcomeHeader, U64, U64, U64, HealthHeader),
    /// Fields: mode, the sender's health, request id.
    ReadIndex(ModeHeader, HealthHeader, RequestIdHeader),
    /// Fields: read index, request id.
    ReadIndexResponse(IndexHeader, RequestIdHeader),
    /// This message has no fields.
    TimeoutNow(()),
}

#[derive(Archive, Serialize)]
struct LogIdHeader(U64, U64);

#[derive(Archive, Serialize)]
struct RequestIdHeader(U64, U64);

#[derive(Archive, Serialize)]
enum VoteHeader {
    Granted,
    Refused,
}

#[derive(Archive, Serialize)]
enum ReasonHeader {
    LeaderTimeout,
    Transfer,
}

#[derive(Archive, Serialize)]
enum ModeHeader {
    Lease,
    Quorum,
    Stale,
}

#[derive(Archive, Serialize)]
enum HealthHeader {
    Sound,
    Damaged,
}

#[derive(Archive, Serialize)]
enum IndexHeader {
    Absent,
    Present(U64),
}

#[derive(Archive, Serialize)]
enum OutcomeHeader {
    Match(U64),
    Heard,
    /// Fields: the refused index, the conflict hint.
    Conflict(U64, LogIdHeader),
}

impl Envelope {
    /// The header of a message.
    pub(crate) fn of(message: &core_types::Message) -> Self {
        Self {
            from: message.from.0.into(),
            from_store: message.from_store.0.into(),
            from_incarnation: message.from_incarnation.0.into(),
            to: message.to.0.into(),
            term: message.term.0.into(),
            body: BodyHeader::of(&message.body),
        }
    }
}

impl ArchivedEnvelope {
    /// The message, with no entries yet.
    pub(crate) fn to_message(&self) -> core_types::Message {
        core_types::Message {
            from: NodeId(self.from.to_native()),
            from_store: StoreId(self.from_store.to_native()),
            from_incarnation: Incarnation(self.from_incarnation.to_native()),
            to: NodeId(self.to.to_native()),
            term: Term(self.term.to_native()),
            body: self.body.to_body(),
        }
    }
}

impl BodyHeader {
    fn of(body: &Body) -> Self {
        match body {
            Body::PreVote(it) => {
                Self::PreVote(it.campaign_term.0.into(), log_id(it.last), request_id(it.request))
            }
            Body::PreVoteResponse(it) => {
                Self::PreVoteResponse(vote(it.vote), it.campaign_term.0.into(), request_id(it.request))
            }
            Body::RequestVote(it) => {
                let reason = match it.reason {
                    CampaignReason::LeaderTimeout => ReasonHeader::LeaderTimeout,
                    CampaignReason::Transfer => ReasonHeader::Transfer,
                };
                Self::RequestVote(log_id(it.last), reason, request_id(it.request))
            }
            Body::RequestVoteResponse(it) => Self::RequestVoteResponse(vote(it.vote), request_id(it.request)),
            Body::AppendEntries(it) => {
                Self::AppendEntries(log_id(it.prev), it.commit.0.into(), it.round.0.into())
            }
            Body::AppendEntriesResponse(it) => {
                let outcome = match it.outcome {
                    AppendOutcome::Match(index) => OutcomeHeader::Match(index.0.into()),
                    AppendOutcome::Heard => OutcomeHeader::Heard,
                    AppendOutcome::Conflict { refused, hint } => {
                        OutcomeHeader::Conflict(refused.0.into(), log_id(hint))
                    }
                };
                // A promise of more than 500 years says no less when it is cut.
                let promise = u64::try_from(it.promise.as_nanos()).unwrap_or(u64::MAX);
                Self::AppendEntriesResponse(
                    outcome,
                    it.round.0.into(),
                    it.to_incarnation.0.into(),
                    promise.into(),
                    health(it.health),
                )
            }
            Body::ReadIndex(it) => {
                let mode = match it.mode {
                    ReadMode::Lease => ModeHeader::Lease,
                    ReadMode::Quorum => ModeHeader::Quorum,
                    ReadMode::Stale => ModeHeader::Stale,
                };
                Self::ReadIndex(mode, health(it.asker), request_id(it.request))
            }
            Body::ReadIndexResponse(it) => {
                let index =
                    it.index.map_or(IndexHeader::Absent, |index| IndexHeader::Present(index.0.into()));
                Self::ReadIndexResponse(index, request_id(it.request))
            }
            Body::TimeoutNow(TimeoutNow {}) => Self::TimeoutNow(()),
        }
    }
}

impl ArchivedOutcomeHeader {
    fn read(&self) -> AppendOutcome {
        match self {
            Self::Match(index) => AppendOutcome::Match(LogIndex(index.to_native())),
            Self::Heard => AppendOutcome::Heard,
            Self::Conflict(refused, hint) => {
                AppendOutcome::Conflict { refused: LogIndex(refused.to_native()), hint: hint.read() }
            }
        }
    }
}

impl ArchivedModeHeader {
    fn read(&self) -> ReadMode {
        match self {
            Self::Lease => ReadMode::Lease,
            Self::Quorum => ReadMode::Quorum,
            Self::Stale => ReadMode::Stale,
        }
    }
}

impl ArchivedBodyHeader {
    fn to_body(&self) -> Body {
        match self {
            Self::PreVote(campaign_term, last, request) => Body::PreVote(PreVote {
                campaign_term: Term(campaign_term.to_native()),
                last: last.read(),
                request: request.read(),
            }),
            Self::PreVoteResponse(vote, campaign_term, request) => Body::PreVoteResponse(PreVoteResponse {
                vote: vote.read(),
                campaign_term: Term(campaign_term.to_native()),
                request: request.read(),
            }),
            Self::RequestVote(last, reason, request) => Body::RequestVote(RequestVote {
                last: last.read(),
                reason: match reason {
                    ArchivedReasonHeader::LeaderTimeout => CampaignReason::LeaderTimeout,
                    ArchivedReasonHeader::Transfer => CampaignReason::Transfer,
                },
                request: request.read(),
            }),
            Self::RequestVoteResponse(vote, request) => {
                Body::RequestVoteResponse(RequestVoteResponse { vote: vote.read(), request: request.read() })
            }
            Self::AppendEntries(prev, commit, round) => Body::AppendEntries(core_types::AppendEntries {
                prev: prev.read(),
                entries: core_types::Entries::EMPTY,
                commit: LogIndex(commit.to_native()),
                round: core_types::Round(round.to_native()),
            }),
            Self::AppendEntriesResponse(outcome, round, to_incarnation, promise, health) => {
                Body::AppendEntriesResponse(AppendEntriesResponse {
                    outcome: outcome.read(),
                    round: core_types::Round(round.to_native()),
                    to_incarnation: Incarnation(to_incarnation.to_native()),
                    promise: Duration::from_nanos(promise.to_native()),
                    health: health.read(),
                })
            }
            Self::ReadIndex(mode, asker, request) => {
                Body::ReadIndex(ReadIndex { mode: mode.read(), asker: asker.read(), request: request.read() })
            }
            Self::ReadIndexResponse(index, request) => Body::ReadIndexResponse(ReadIndexResponse {
                index: match index {
                    ArchivedIndexHeader::Absent => None,
                    ArchivedIndexHeader::Present(index) => Some(LogIndex(index.to_native())),
                },
                request: request.read(),
            }),
            Self::TimeoutNow(()) => Body::TimeoutNow(TimeoutNow {}),
        }
    }
}

fn log_id(id: LogId) -> LogIdHeader {
    LogIdHeader(id.term.0.into(), id.index.0.into())
}

fn request_id(id: RequestId) -> RequestIdHeader {
    RequestIdHeader(id.incarnation.0.into(), id.number.0.into())
}

fn vote(vote: Vote) -> VoteHeader {
    match vote {
        Vote::Granted => VoteHeader::Granted,
        Vote::Refused => VoteHeader::Refused,
    }
}

fn health(health: Health) -> HealthHeader {
    match health {
        Health::Sound => HealthHeader::Sound,
        Health::Damaged => HealthHeader::Damaged,
    }
}

impl ArchivedHealthHeader {
    fn read(&self) -> Health {
        match self {
            Self::Sound => Health::Sound,
            Self::Damaged => Health::Damaged,
        }
    }
}

impl ArchivedLogIdHeader {
    fn read(&self) -> LogId {
        LogId::new(self.0.to_native(), self.1.to_native())
    }
}

impl ArchivedRequestIdHeader {
    fn read(&self) -> RequestId {
        RequestId { incarnation: Incarnation(self.0.to_native()), number: RequestNumber(self.1.to_native()) }
    }
}

impl ArchivedVoteHeader {
    fn read(&self) -> Vote {
        match self {
            Self::Granted => Vote::Granted,
            Self::Refused => Vote::Refused,
        }
    }
}
