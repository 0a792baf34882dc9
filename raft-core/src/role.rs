//! The data of each role: what a node holds only while it is in that role, so that nothing of it outlives the role.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use crate::lease::Rounds;
use crate::membership_change::OpenChange;
use crate::progress::Progress;
use crate::read_index::LeaderReads;
use crate::{Incarnation, LogId, LogIndex, NodeId, RequestId, Ticket, Time, Vote};

/// What a node is (paper, Figure 4, with pre-vote).
///
/// ```text
///                  heard no leader              a quorum would vote
///   Follower ----------------------> PreCandidate ----------------> Candidate
///    ^ ^  |                               |     ^                    |  |
///    | |  +--- TimeoutNow (transfer) -----|-----|------------------->|  | a quorum voted,
///    | |                                  |     +--- time-out -------+  | all durable
///    | +--- leader heard, refused, higher term ----------------------+  v
///    +--------- higher term, no quorum heard, disk stalled --------- Leader
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Follows a leader, or waits for one.
    Follower(Following),
    /// Asks whether it would be elected.
    PreCandidate(Election),
    /// Campaigns in its term.
    Candidate(Election),
    /// Leads its term.
    Leader(Box<Leader>),
}

/// What a follower knows of the leader of its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Following {
    /// Who it is.
    pub(crate) leader: Option<NodeId>,
    /// Its life.
    pub(crate) incarnation: Incarnation,
    /// The newest round heard of it.
    pub(crate) round: u64,
    /// The newest round answered.
    pub(crate) answered: u64,
    /// Everything up to this index is known to be as in the leader's log.
    pub(crate) verified: LogIndex,
    /// The greatest match that it was sent.
    pub(crate) acked: LogIndex,
}

/// An election or the asking before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Election {
    /// The name that answers must carry.
    pub(crate) request: RequestId,
    /// The answers so far; a node's first one stands.
    pub(crate) votes: BTreeMap<NodeId, Vote>,
}

/// What a leader holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// When it became leader: a peer counts as heard then.
    pub(crate) since: Time,
    /// Its view of every other member.
    pub(crate) progress: BTreeMap<NodeId, Progress>,
    /// The membership whose members those are; none while a change of it is not committed.
    pub(crate) progress_of: Option<LogId>,
    /// Its first entry of this term; nothing is known to be committed for readers before that one is.
    pub(crate) term_start: LogIndex,
    /// Its entries that are not committed yet, in order.
    pub(crate) open: VecDeque<Open>,
    /// Their weight in bytes.
    pub(crate) open_bytes: usize,
    /// When rounds were sent.
    pub(crate) rounds: Rounds,
    /// Reads that wait for a round.
    pub(crate) reads: LeaderReads,
    /// A change of membership that someone waits for.
    pub(crate) change: Option<OpenChange>,
    /// The change that removed this leader is committed: its last act is to step down.
    pub(crate) resigns: bool,
    /// Not before this moment is leadership offered to a peer of a higher priority.
    pub(crate) offer_at: Time,
    /// A `TimeoutNow` was sent in this term: another node may be elected at once, so there is no lease any more.
    pub(crate) lease_over: bool,
}

/// An entry of this term that is not committed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Open {
    /// Its index.
    pub(crate) index: LogIndex,
    /// Its weight in bytes.
    pub(crate) weight: usize,
    /// Who waits for it; none for the core's own.
    pub(crate) ticket: Option<Ticket>,
}
