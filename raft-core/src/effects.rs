//! Effects of the core: everything that a driver must do, each with its rule.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::{
    Entries, FetchId, HardState, LogId, LogIndex, Membership, Message, NodeId, RoleName, Term, Ticket,
    WriteSeq,
};

/// The work for a driver after [`Node::handle`](crate::Node::handle). `handle` appends to it; the driver
/// drains it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Apply these to the log in this order, each atomically, then answer
    /// [`Persisted`](crate::Input::Persisted). Several may share one fsync; then answering with the last
    /// sequence number is enough.
    pub writes: Vec<Write>,
    /// Send these at once, before or after the writes. What must not leave before a write is durable is not
    /// in here until `Persisted` arrives for that write.
    pub messages: Vec<Message>,
    /// Give these to the state machine in this order, then answer [`Applied`](crate::Input::Applied).
    pub apply: Vec<Apply>,
    /// Outcomes: exactly one for every proposal, read, change and transfer.
    pub done: Vec<Done>,
    /// Read these ranges from the log, and answer each with [`Fetched`](crate::Input::Fetched).
    pub fetches: Vec<Fetch>,
    /// Snapshot transfers to start or to cancel.
    pub snapshots: Vec<SnapshotEffect>,
    /// The node's role, term or known leader has changed. If several calls append here, the last value
    /// counts.
    pub role: Option<RoleChange>,
    /// Why the node has ended. Restart it once the cause is gone.
    pub fatal: Option<Fatal>,
}

impl Effects {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One atomic change of the log. The fields are applied in the order in which they are declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Sequence number, echoed in [`Persisted`](crate::Input::Persisted).
    pub seq: WriteSeq,
    /// Drop the whole log, which then starts after this entry. Used when a snapshot was installed.
    pub reset_to: Option<Box<Base>>,
    /// Drop the entries from this index on.
    pub truncate_from: Option<LogIndex>,
    /// Entries to append. They continue the log as the parts above leave it.
    pub append: Entries,
    /// The hard state to store; none leaves it as it is.
    pub hard_state: Option<HardState>,
    /// The log may drop everything up to and including this index, whenever it suits it.
    pub compact_to: Option<LogIndex>,
}

/// Where a log starts: the last entry that it no longer holds, and the membership as of that entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// The last compacted entry.
    pub id: LogId,
    /// The membership in force as of that entry.
    pub membership: Membership,
}

impl Base {
    /// Where the log of every founding member starts: after the founding membership, which is
    /// [`LogId::GENESIS`].
    #[must_use]
    pub fn founding(membership: Membership) -> Self {
        Self { id: LogId::GENESIS, membership }
    }
}

/// A range of committed entries that are durable on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Apply {
    /// The index of the first entry to apply.
    pub first: LogIndex,
    /// The index of the last entry to apply, inclusive.
    pub last: LogIndex,
    /// The entries, if the core still holds all of them in memory; otherwise the driver reads them from the
    /// log.
    pub entries: Option<Entries>,
}

/// The outcome of a proposal, read, change or transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The ticket that the caller gave.
    pub ticket: Ticket,
    /// What has become of the request.
    pub outcome: Outcome,
}

/// The result of a proposal, read, change or transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The proposal, or the last entry of the change, is committed as this entry.
    Committed(LogId),
    /// The read may be served once everything up to this index is applied.
    ReadAt(LogIndex),
    /// Leadership has gone to this node.
    Transferred(NodeId),
    /// This node does not lead, or is transferring leadership to the node named. Nothing was done; ask that
    /// node.
    NotLeader(Option<NodeId>),
    /// Too much is uncommitted, or another transfer is under way. Nothing was done; try again later.
    Overloaded,
    /// The transfer failed: this node still leads, or the target cannot lead.
    TransferFailed,
    /// Leadership was lost while the proposal, or the first entry of the change, was uncommitted as this
    /// entry. A later leader may commit it or overwrite it.
    Unknown(LogId),
    /// The membership in force comes from this entry and is not the one that the caller saw. Nothing was
    /// done; read it again.
    Conflict(LogId),
    /// The change is not possible. Nothing was done.
    Refused(ChangeRefused),
    /// The node has ended.
    Stopped,
}

/// Why a membership change is refused, for now or for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// An earlier change is not committed yet, or still joint.
    #[error("an earlier change of membership is not finished; try again when it is")]
    InProgress,
    /// The leader has not committed an entry of its own term yet, so an uncommitted change of an earlier
    /// leader could still win (Ongaro 2015, "bug in single-server membership changes").
    #[error("the leader has not committed an entry of its term yet; try again in a moment")]
    NotReady,
    /// The target is itself a joint membership.
    #[error("the target is a joint membership; name the one that it is to lead to")]
    Joint,
    /// The target has no voters.
    #[error("the target has no voters")]
    NoVoters,
    /// A node that would become a voter is damaged, and would count in no quorum.
    #[error("node {node} is damaged and would not count as a voter; wait until it has healed")]
    Damaged {
        /// The node concerned.
        node: NodeId,
    },
    /// A voter would get another data folder. The votes of the two folders under one node id could not be
    /// told apart, so the voter has to be removed first.
    #[error("voter {node} would change its data folder; remove it first, then add it with the new one")]
    StoreChanged {
        /// The node concerned.
        node: NodeId,
    },
}

/// A request to read a range of the log for replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The id of this fetch, echoed in the answer.
    pub id: FetchId,
    /// The index of the first entry to read.
    pub first: LogIndex,
    /// The last index requested, inclusive.
    pub last: LogIndex,
    /// Upper bound on the bytes of the entries returned. At least one entry is returned, however large it is.
    pub bytes_max: usize,
}

/// A snapshot transfer to start or to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotEffect {
    /// The log no longer holds what `to` lacks: send it a snapshot, and answer
    /// [`SnapshotSent`](crate::Input::SnapshotSent). Requested once, until that answer.
    Send {
        /// The peer to receive the snapshot.
        to: NodeId,
        /// The snapshot must cover at least this index, or the log could not continue where it ends.
        at_least: LogIndex,
    },
    /// The transfer to `to` is no longer needed: leadership was lost, or the peer was removed or has caught
    /// up.
    Cancel {
        /// The peer to receive the snapshot.
        to: NodeId,
    },
}

/// A node's role, term and leader, as it reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// The node's role.
    pub role: RoleName,
    /// The node's current term.
    pub term: Term,
    /// The leader of the term, if known; possibly the node itself.
    pub leader: Option<NodeId>,
}

/// Why a node has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// A write failed. Which of the latest writes the disk holds is unknown.
    #[error("a write to the log failed; restart the node when the disk is sound")]
    WriteFailed,
    /// An entry that was written cannot be read.
    #[error(
        "the log cannot be read from {first} on; restart the node: where its log is damaged, it heals from its peers"
    )]
    LogDamaged {
        /// The first index that could not be read.
        first: LogIndex,
    },
    /// The leader sent entries that contradict committed ones. One of the two nodes lost data that it had
    /// acknowledged.
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
