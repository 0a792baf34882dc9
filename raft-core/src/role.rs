//! The state of each role. It is dropped with the role, so that nothing of it outlives the role by mistake.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};

use crate::lease::Rounds;
use crate::membership_change::OpenChange;
use crate::progress::Progress;
use crate::read_index::LeaderReads;
use crate::{Incarnation, LogId, LogIndex, NodeId, RequestId, Ticket, Time, Vote};

/// A node's role (paper, Figure 4, with pre-vote).
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
