//! Input and output of a replica, and the work of its three workers.

use std::collections::BTreeSet;

use bytes::Bytes;
use raftkit_core::{
    Apply, Fatal, Fetch, FetchId, Fetched, LogId, LogIndex, Membership, Message, NodeId, RoleChange, Ticket,
    Write, WriteSeq,
};
use raftkit_snapshot::{ChunkNumber, Manifest, SnapshotFile};

use crate::{ChangeError, SnapshotView, TransferError};

/// The replica's name for a large frame that it sends, unique in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BulkId(pub u64);

/// A report to a replica, grouped by its source. Requests and the passing of time are methods of
/// [`Replica`](crate::Replica), so a report can be neither.
pub enum Event {
    /// A report of the transport.
    Transport(TransportReport),
    /// A report on the log.
    Log(LogReport),
    /// A report of the applier, which owns the state machine.
    Machine(MachineReport),
    /// A report of the snapshot worker, which owns the snapshot folder.
    Snapshot(SnapshotReport),
}

/// A report of the transport.
pub enum TransportReport {
    /// A protocol message arrived.
    Message(Message),
    /// The connection to a peer was lost, or the peer could not be reached.
    Unreachable(NodeId),
    /// A snapshot frame arrived on the bulk lane.
    Bulk {
        /// The node that sent the frame.
        from: NodeId,
        /// An encoded [`SnapshotMessage`](raftkit_snapshot::SnapshotMessage).
        body: Bytes,
    },
    /// A snapshot frame of this node occupies no memory here any more: the transport has passed it on, or has lost it.
    BulkLeft(BulkId),
}

/// A report on the log: writes that became durable, and reads.
pub enum LogReport {
    /// All writes up to this one are durable.
    Persisted(WriteSeq),
    /// The log cannot be written, or committed entries cannot be read. The reason is in words. The node stops.
    Failed(String),
    /// Data that the log holds is rotten: the data and its place, in words. The node stops; the next start finds the
    /// damage, and the node heals from its peers.
    Damaged(String),
    /// The log was read.
    Fetched {
        /// The id of the [`Fetch`] that this answers.
        id: FetchId,
        /// The result of the read.
        result: Fetched,
    },
    /// The log could not be read. The node stops if a peer still needs the entries.
    FetchFailed {
        /// The id of the [`Fetch`] that this answers.
        id: FetchId,
        /// The reason, in words.
        reason: String,
    },
}

/// A report of the applier on the state machine.
pub enum MachineReport {
    /// A batch was applied.
    Applied(AppliedBatch),
    /// Everything up to this entry is durable in the state machine.
    Durable(LogId),
    /// The state machine has failed, for the reason given in words. The node stops.
    Failed(String),
    /// A frozen view of the state, to make a snapshot from.
    View {
        /// The view.
        view: Box<dyn SnapshotView>,
        /// The membership as of the view's last entry.
        membership: Membership,
    },
    /// There is no view to make a snapshot from at present, for the reason given in words.
    NoView(String),
    /// The state machine has switched to a snapshot, or held all of the snapshot's entries already; either way durably.
    Restored {
        /// The snapshot's last entry.
        id: LogId,
        /// The membership as of that entry.
        membership: Membership,
    },
}

/// A report of the snapshot worker. Errors are in words.
pub enum SnapshotReport {
    /// A snapshot was written out, or could not be.
    Built(Result<Manifest, String>),
    /// A chunk was read, or could not be.
    ChunkRead {
        /// The peer that the chunk is for.
        to: NodeId,
        /// The snapshot's last entry.
        snapshot: LogId,
        /// The chunk's number.
        chunk: ChunkNumber,
        /// The chunk's bytes.
        bytes: Result<Bytes, String>,
    },
    /// There is a place for the incoming snapshot, which holds these chunks already.
    PartialOpened(Result<BTreeSet<ChunkNumber>, String>),
    /// A chunk of the incoming snapshot was stored.
    ChunkStored(Result<ChunkNumber, String>),
    /// The incoming snapshot is complete and durable.
    Received(Result<SnapshotFile, String>),
}

macro_rules! from_reports {
    ($($source:ident: $report:ident),+) => {
        $(impl From<$report> for Event {
            fn from(report: $report) -> Self {
                Self::$source(report)
            }
        })+
    };
}

from_reports!(Transport: TransportReport, Log: LogReport, Machine: MachineReport, Snapshot: SnapshotReport);

/// A batch that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedBatch {
    /// The last index of the batch: everything up to it is applied.
    pub through: LogIndex,
    /// The state machine's responses with their entries, if the work asked for them.
    pub responses: Vec<(LogId, Bytes)>,
}

/// The output of a replica: actions, which are to be done in this order, and answers.
pub enum Output {
    /// An action for the driver.
    Do(Action),
    /// The one answer to a ticket.
    Answer {
        /// The ticket that the request was given under.
        ticket: Ticket,
        /// The answer.
        answer: Answer,
    },
}

impl From<Action> for Output {
    fn from(action: Action) -> Self {
        Self::Do(action)
    }
}

/// An action that a replica's driver shall do.
pub enum Action {
    /// Send a protocol message. This is safe at once: the core withholds what must wait for the disk.
    Send(Message),
    /// Send a snapshot frame on the bulk lane.
    SendBulk {
        /// The node to send the frame to.
        to: NodeId,
        /// An encoded [`SnapshotMessage`](raftkit_snapshot::SnapshotMessage).
        body: Bytes,
        /// The frame's name, if the replica must know when the frame has left this node: answer
        /// [`TransportReport::BulkLeft`], whether it was sent or lost.
        id: Option<BulkId>,
    },
    /// Make this write durable, in order: answer [`LogReport::Persisted`] or [`LogReport::Failed`].
    Log(Write),
    /// Read the log: answer with what [`fetch`](crate::fetch) returns.
    Fetch(Fetch),
    /// Work for the applier, in order.
    Machine(MachineWork),
    /// Work for the snapshot worker, in order.
    Snapshot(SnapshotWork),
    /// The role, the term or the known leader has changed.
    Role(RoleChange),
    /// The node has ended: report the reason and stop.
    Ended(Ended),
}

/// Work for the applier, which owns the state machine.
#[derive(Debug)]
pub enum MachineWork {
    /// Apply a run of committed entries: answer [`MachineReport::Applied`].
    Apply {
        /// The run of entries.
        apply: Apply,
        /// Whether a request waits for one of the responses.
        answers: Answers,
    },
    /// Make what is applied durable: answer [`MachineReport::Durable`].
    Persist,
    /// Freeze a view: answer [`MachineReport::View`] or [`MachineReport::NoView`].
    View,
    /// Switch to a snapshot, unless the state holds as much already: answer [`MachineReport::Restored`].
    Restore(SnapshotFile),
}

/// Whether the responses of a batch are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// A request may wait for one of them.
    Wanted,
    /// No request waits for any of them: they need not be kept.
    Unwanted,
}

/// Work for the snapshot worker, which owns the snapshot folder.
pub enum SnapshotWork {
    /// Write a view out: answer [`SnapshotReport::Built`].
    Build {
        /// The view.
        view: Box<dyn SnapshotView>,
        /// The membership as of the view's last entry.
        membership: Membership,
    },
    /// Read a chunk: answer [`SnapshotReport::ChunkRead`].
    ReadChunk {
        /// The peer that the chunk is for.
        to: NodeId,
        /// The last entry of the snapshot.
        snapshot: LogId,
        /// The chunk's number.
        chunk: ChunkNumber,
    },
    /// Make or resume a place for an incoming snapshot: answer [`SnapshotReport::PartialOpened`].
    OpenPartial(Manifest),
    /// Store a chunk of the incoming snapshot: answer [`SnapshotReport::ChunkStored`].
    StoreChunk {
        /// The chunk's number.
        chunk: ChunkNumber,
        /// The chunk's bytes.
        bytes: Bytes,
    },
    /// Complete the incoming snapshot and make it durable: answer [`SnapshotReport::Received`].
    FinishPartial,
    /// Forget the incoming snapshot. There is no report.
    DropPartial,
    /// Remove all snapshots but these. There is no report.
    Keep(Vec<LogId>),
}

/// The one answer to a ticket. Each request has its own variants; the first two fit every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To any request: nothing was done, and nothing will be.
    NotDone(NotDone),
    /// To a proposal or a change: it is or was in a log, and whether it is or will be applied cannot be told any more.
    InDoubt,
    /// To a proposal.
    Committed(Committed),
    /// To a read: it may be served once everything up to this index is applied.
    ReadAt(LogIndex),
    /// To a transfer: the new leader.
    Transferred(Result<NodeId, TransferError>),
    /// To a change: the entry since which the membership is as wanted.
    Changed(Result<LogId, ChangeError>),
}

/// A command that is committed, durable on a quorum, and applied on the node that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The entry that the command became. Its index is the version of what the command changed.
    pub id: LogId,
    /// The state machine's response.
    pub response: Bytes,
}

/// Why nothing was done. The same request may safely be sent elsewhere, or again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDone {
    /// This node does not lead; the leader, if it is known.
    NotLeader(Option<NodeId>),
    /// Too many requests are under way.
    Overloaded,
    /// The node has ended, or is stopping.
    Stopped,
}

/// Why a replica has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The log failed.
    #[error("the log failed: {0}")]
    Log(String),
    /// The log lost entries that it may have acknowledged.
    #[error(
        "{0}; restart the node: it drops what is damaged and heals from its peers, without a vote until then"
    )]
    LogDamaged(String),
    /// The state machine failed.
    #[error("the state machine failed: {0}")]
    Machine(String),
    /// The protocol found a state that must not be.
    #[error(transparent)]
    Protocol(#[from] Fatal),
}
