//! What comes out of the core: everything that a driver must do, each with one rule.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{Entries, HardState, LogId, LogIndex, Membership, Message, NodeId, Term, Ticket, WriteSeq};

/// What a driver must do after [`Node::handle`](crate::Node::handle). `handle` appends; the driver drains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Apply to the log in this order, each atomically; then answer [`Persisted`](crate::Input::Persisted). Several
    /// may share one fsync: then the last sequence is enough.
    pub writes: Vec<Write>,
    /// Always safe to send at once, before or after the writes: what must wait for the disk is withheld until its
    /// `Persisted` arrives.
    pub messages: Vec<Message>,
    /// Give to the state machine, in this order; then answer [`Applied`](crate::Input::Applied).
    pub apply: Vec<Apply>,
    /// Exactly one for every proposal, read, change and transfer, ever.
    pub done: Vec<Done>,
    /// Read from the log; answer [`Fetched`](crate::Input::Fetched).
    pub fetches: Vec<Fetch>,
    /// What to do about snapshots.
    pub snapshots: Vec<SnapshotEffect>,
    /// The role, term or known leader changed; the last one counts.
    pub role: Option<RoleChange>,
    /// The node has ended and says why; restart it once the cause is gone.
    pub fatal: Option<Fatal>,
}

impl Effects {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One atomic change of the log. Its parts act in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub seq: WriteSeq,
    /// Drop everything; the log then starts after this entry (a snapshot was installed).
    pub reset_to: Option<Box<Base>>,
    /// Drop this index and all after it.
    pub truncate_from: Option<LogIndex>,
    /// Append these, consecutive with what is there.
    pub append: Entries,
    /// Store this.
    pub hard_state: Option<HardState>,
    /// The log may drop everything up to and including this index, in its own time.
    pub compact_to: Option<LogIndex>,
}

/// Where a log starts: the last entry that it no longer holds, and the membership as of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The entry.
    pub id: LogId,
    /// The membership.
    pub membership: Membership,
}

/// A run of committed entries that are durable here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// The first index.
    pub first: LogIndex,
    /// The last index, inclusive.
    pub last: LogIndex,
    /// The entries where the core still holds all of them; else the driver reads them from the log.
    pub entries: Option<Entries>,
}

/// The outcome of a proposal, read, change or transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// As given in.
    pub ticket: Ticket,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a proposal, read, change or transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The proposal is committed as this entry, the change with it.
    Committed(LogId),
    /// The read may be served once everything up to this index is applied.
    ReadAt(LogIndex),
    /// Leadership has gone to this node.
    Transferred(NodeId),
    /// This node does not lead, or is handing leadership to the one named: nothing was done. Ask that one.
    NotLeader(Option<NodeId>),
    /// Too much is uncommitted, or a transfer is asked for while one is under way: nothing was done. Try again later.
    Overloaded,
    /// A transfer did not come about; this node leads on, or cannot.
    TransferFailed,
    /// Leadership was lost while the proposal, or the first entry of the change, was in flight as this entry: it may or
    /// may not come about.
    Unknown(LogId),
    /// The membership in force stands in this entry and is not the one that the caller saw: nothing was done. Look again.
    Conflict(LogId),
    /// The change is not possible: nothing was done.
    Refused(ChangeRefused),
    /// The node has ended; nothing was done.
    Stopped,
}

/// Why a change of membership is not possible, now or ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// An earlier change is under way.
    #[error("an earlier change of membership is not finished; try again when it is")]
    InProgress,
    /// The leader has committed nothing in its term yet, so it does not know what is committed
    /// (Ongaro 2015, "bug in single-server membership changes").
    #[error("the leader has not committed an entry of its term yet; try again in a moment")]
    NotReady,
    /// The target is joint itself.
    #[error("the target is a joint membership; name the one that it is to lead to")]
    Joint,
    /// Nobody would vote.
    #[error("the target has no voters")]
    NoVoters,
    /// A new voter could not vote: it is damaged.
    #[error("node {node} is damaged and would not count as a voter; wait until it has healed")]
    Damaged {
        /// Which.
        node: NodeId,
    },
    /// A voter would vote under another data folder: votes of the two could not be told apart.
    #[error("voter {node} would change its data folder; remove it first, then add it with the new one")]
    StoreChanged {
        /// Which.
        node: NodeId,
    },
}

/// Read a range of the log for replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Echoed in the answer.
    pub request: u64,
    /// The first index.
    pub first: LogIndex,
    /// The last index wanted, inclusive.
    pub last: LogIndex,
    /// Stop after so many bytes, but return at least one entry.
    pub bytes_max: usize,
}

/// What to do about snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotEffect {
    /// The log no longer holds what `to` lacks: send it a snapshot at `at_least` or later; answer
    /// [`SnapshotSent`](crate::Input::SnapshotSent). Asked for once, until that answer.
    Send {
        /// To whom.
        to: NodeId,
        /// The snapshot must include this index, or the log could not continue it.
        at_least: LogIndex,
    },
    /// The transfer to `to` is of no use any more (leadership lost, peer gone or caught up).
    Cancel {
        /// To whom.
        to: NodeId,
    },
}

/// What a node is, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// Its role.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader it knows, itself included.
    pub leader: Option<NodeId>,
}

/// A role's name (paper, Figure 4, with pre-vote and learners). The crate page has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum RoleName {
    /// Replicates and never votes.
    Learner,
    /// Follows, or waits for a leader.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Campaigns.
    Candidate,
    /// Leads.
    Leader,
}

/// Why a node has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The disk failed; what it holds of the last writes is unknown.
    #[error("a write to the log failed; restart the node when the disk is sound")]
    WriteFailed,
    /// An entry that was written cannot be read.
    #[error(
        "the log cannot be read from {first} on; restart the node: where its log is damaged, it heals from its peers"
    )]
    LogDamaged {
        /// The first index that was to be read.
        first: LogIndex,
    },
    /// A leader of this term contradicts what is committed here: one of the two lost data it had acknowledged.
    #[error(
        "node {leader} sends entries from {refused} on that contradict what is committed here up to {commit}"
    )]
    CommittedConflict {
        /// The leader that sent them.
        leader: NodeId,
        /// The first index that contradicts.
        refused: LogIndex,
        /// The commit index here.
        commit: LogIndex,
    },
}
