//! What goes into a replica and what comes out, and the work that its three workers do.

use std::collections::BTreeSet;

use bytes::Bytes;
use raftkit_core::{
    Apply, ChangeRefused, Fatal, Fetch, FetchId, Fetched, LogId, LogIndex, Membership, MembershipChange,
    Message, NodeId, Proposal, ReadMode, RoleChange, Ticket, Write, WriteSeq,
};
use raftkit_snapshot::{Manifest, SnapshotFile};

use crate::SnapshotView;

/// The replica's name of a large frame that it wants sent, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u64);

/// Something that happened to a replica.
pub enum Event {
    /// Time has passed.
    Tick,
    /// A protocol message came in.
    Message(Message),
    /// A snapshot frame came in.
    Bulk {
        /// From whom.
        from: NodeId,
        /// An encoded [`SnapshotMessage`](raftkit_snapshot::SnapshotMessage).
        body: Bytes,
    },
    /// A snapshot frame that was to be sent takes no memory here any more: the transport has passed it on, or it is lost.
    BulkLeft(BulkId),
    /// Propose these commands.
    Propose(Vec<Proposal>),
    /// From which index can be read?
    Read {
        /// The caller's name for it.
        ticket: Ticket,
        /// How sure.
        mode: ReadMode,
    },
    /// Hand leadership over.
    Transfer {
        /// The caller's name for it.
        ticket: Ticket,
        /// To whom; none: to the most up-to-date voter.
        to: Option<NodeId>,
    },
    /// Change who takes part.
    Change(Box<MembershipChange>),
    /// Make the commit index durable.
    PersistCommit,
    /// The transport lost a peer.
    Unreachable(NodeId),
    /// The log worker has made all writes up to this one durable.
    Persisted(WriteSeq),
    /// The log cannot be written, or what is committed cannot be read; why, in words. The node stops.
    LogFailed(String),
    /// Something that the log holds is rotten; what and where, in words. The node stops: the next start finds it, and the
    /// node heals from its peers.
    LogDamaged(String),
    /// The log was read.
    Fetched {
        /// As in the work.
        request: FetchId,
        /// What it said.
        result: Fetched,
    },
    /// The log could not be read, which matters if the answer is still waited for.
    FetchFailed {
        /// As in the work.
        request: FetchId,
        /// Why, in words.
        reason: String,
    },
    /// The applier has applied a batch.
    Applied(AppliedBatch),
    /// The applier has made everything up to here durable.
    MachineDurable(LogId),
    /// The applier, or a snapshot's state, has failed; why, in words. The node stops.
    MachineFailed(String),
    /// The applier has a frozen view.
    View {
        /// The view.
        view: Box<dyn SnapshotView>,
        /// The membership as of its last entry.
        membership: Membership,
    },
    /// The snapshot worker has written a snapshot, or could not: why, in words.
    SnapshotBuilt(Result<Manifest, String>),
    /// The snapshot worker has read a chunk, or could not.
    ChunkRead {
        /// For whom.
        to: NodeId,
        /// Of which snapshot.
        snapshot: LogId,
        /// Which.
        chunk: u32,
        /// Its bytes; an error in words.
        bytes: Result<Bytes, String>,
    },
    /// The snapshot worker has a place for an incoming snapshot: these chunks are there already.
    PartialOpened(Result<BTreeSet<u32>, String>),
    /// The snapshot worker has stored a chunk of the incoming snapshot.
    ChunkStored(Result<u32, String>),
    /// The incoming snapshot is whole and durable.
    SnapshotReceived(Result<SnapshotFile, String>),
    /// The state machine has switched to a snapshot, or held all of it already; either way it does so durably.
    Restored {
        /// The snapshot's last entry.
        id: LogId,
        /// The membership as of it.
        membership: Membership,
    },
}

/// What the applier reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedBatch {
    /// Everything up to this index is applied.
    pub through: LogIndex,
    /// The state machine's answers, where the work asked for them.
    pub responses: Vec<(LogId, Bytes)>,
}

/// Something that a replica wants done, in this order.
pub enum Action {
    /// Send a protocol message; always safe at once.
    Send(Message),
    /// Send a snapshot frame on the bulk lane.
    SendBulk {
        /// To whom.
        to: NodeId,
        /// An encoded [`SnapshotMessage`](raftkit_snapshot::SnapshotMessage).
        body: Bytes,
        /// Where this is named: answer [`Event::BulkLeft`], whatever became of it.
        id: Option<BulkId>,
    },
    /// For the log worker, in order: answer [`Event::Persisted`] or [`Event::LogFailed`].
    Log(Write),
    /// For whoever reads the log: answer with what [`fetch`](crate::fetch) returns.
    Fetch(Fetch),
    /// For the applier, in order.
    Machine(MachineWork),
    /// For the snapshot worker, in order.
    Snapshot(SnapshotWork),
    /// The one answer to a ticket.
    Answer {
        /// Whose.
        ticket: Ticket,
        /// What became of it.
        answer: Answer,
    },
    /// Role, term or leader changed.
    Role(RoleChange),
    /// The node has ended: say so and stop.
    Ended(Ended),
}

/// Work for the applier, which owns the state machine.
#[derive(Debug)]
pub enum MachineWork {
    /// Apply a run of committed entries: answer [`Event::Applied`].
    Apply {
        /// The run.
        apply: Apply,
        /// Whether anybody waits for the state machine's answers.
        answers: Answers,
    },
    /// Make what is applied durable: answer [`Event::MachineDurable`].
    Persist,
    /// Freeze a view: answer [`Event::View`], or [`Event::SnapshotBuilt`] with the reason why there is none now.
    View,
    /// Switch to a snapshot, unless the state holds as much already: answer [`Event::Restored`].
    Restore(SnapshotFile),
}

/// Whether anybody waits for the answers of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Somebody may.
    Wanted,
    /// Nobody does: they need not be kept.
    Unwanted,
}

/// Work for the snapshot worker, which owns the snapshot folder.
pub enum SnapshotWork {
    /// Write a view out: answer [`Event::SnapshotBuilt`].
    Build {
        /// The view.
        view: Box<dyn SnapshotView>,
        /// The membership as of its last entry.
        membership: Membership,
    },
    /// Read a chunk: answer [`Event::ChunkRead`].
    ReadChunk {
        /// For whom.
        to: NodeId,
        /// Of which snapshot.
        snapshot: LogId,
        /// Which.
        chunk: u32,
    },
    /// Make or resume a place for an incoming snapshot: answer [`Event::PartialOpened`].
    OpenPartial(Manifest),
    /// Store a chunk of it: answer [`Event::ChunkStored`].
    StoreChunk {
        /// Which.
        chunk: u32,
        /// Its bytes.
        bytes: Bytes,
    },
    /// Make it whole and durable: answer [`Event::SnapshotReceived`].
    FinishPartial,
    /// Forget the incoming snapshot. No answer.
    DropPartial,
    /// Remove all snapshots but these. No answer.
    Keep(Vec<LogId>),
}

/// What became of a proposal, read or transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The command is committed, durable on a quorum, and applied here.
    Committed {
        /// As this entry.
        id: LogId,
        /// The state machine's answer.
        response: Bytes,
    },
    /// The read may be served once everything up to this index is applied.
    ReadAt(LogIndex),
    /// Leadership has gone to this node.
    Transferred(NodeId),
    /// The membership is as wanted, since this entry.
    Changed(LogId),
    /// A peer was asked to propose a command that is larger than it takes. Nothing was done.
    TooLarge {
        /// Its size, in bytes.
        got: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Nothing was done: the membership in force stands in this entry and is not the one that the caller saw.
    Conflict(LogId),
    /// Nothing was done: such a change is not possible.
    Refused(ChangeRefused),
    /// Nothing was done and nothing will be: this node does not lead. Safe to try elsewhere.
    NotLeader(Option<NodeId>),
    /// Nothing was done: too much is on its way.
    Overloaded,
    /// The transfer did not come about.
    TransferFailed,
    /// It was proposed; whether it is or will be applied cannot be told any more.
    Unknown,
    /// Nothing was done: the node has ended.
    Stopped,
}

/// Why a replica has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The log failed.
    #[error("the log failed: {0}")]
    Log(String),
    /// The log lost something that it may have acknowledged.
    #[error(
        "{0}; restart the node: it drops what is damaged and heals from its peers, without a vote until then"
    )]
    LogDamaged(String),
    /// The state machine failed.
    #[error("the state machine failed: {0}")]
    Machine(String),
    /// The protocol found what must not be.
    #[error(transparent)]
    Protocol(#[from] Fatal),
}
