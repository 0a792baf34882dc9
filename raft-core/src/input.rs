//! Inputs of the core: everything that can happen to a node.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::{Entry, FetchId, LogId, LogIndex, Membership, Message, NodeId, Ticket, WriteSeq};

/// An event. Inputs are processed in the order in which they are given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed. Due when [`next_deadline`](crate::Node::next_deadline) is reached; harmless at any
    /// other time.
    Tick,
    /// A message has arrived. It is ignored if it is for another node, or comes from a data folder that may
    /// not be heard.
    Message(Message),
    /// Propose commands, in this order. Any node but the leader answers each with `NotLeader`.
    Propose(Vec<Proposal>),
    /// Request the index from which a read may be served.
    Read {
        /// The caller's name for the request; returned with its outcome.
        ticket: Ticket,
        /// The consistency that the read requires, and so how it is confirmed.
        mode: ReadMode,
    },
    /// Transfer leadership to `to`, or to the most up-to-date voter. Answered `Transferred` once another node
    /// leads.
    Transfer {
        /// The caller's name for the request; returned with its outcome.
        ticket: Ticket,
        /// The node that shall lead; none leaves the choice to the core.
        to: Option<NodeId>,
    },
    /// Change the membership. Answered `Committed` with the last entry of the change once that is committed,
    /// and [`Conflict`](crate::Outcome::Conflict) if the membership is no longer the one that the caller saw.
    Change(Box<MembershipChange>),
    /// Make the commit index durable, in a write of its own unless one under way already carries it.
    PersistCommit,
    /// Compact the log up to and including this index, which the state machine holds durably. Clipped to the
    /// applied index.
    Compact(LogIndex),
    /// Every write up to and including this one is durable: its fsync has returned. A sequence number that
    /// was never handed out is ignored.
    Persisted(WriteSeq),
    /// A write has failed. The node stops taking part until it is restarted; nothing is retried.
    WriteFailed,
    /// The state machine has applied everything up to and including this index. Clipped to what was handed
    /// out.
    Applied(LogIndex),
    /// The answer to a [`Fetch`](crate::Fetch). It is ignored if nobody waits for it any more, or if its
    /// entries are not those that the log holds now.
    Fetched {
        /// The id of the [`Fetch`](crate::Fetch).
        id: FetchId,
        /// The result of the read.
        result: Fetched,
    },
    /// A snapshot was installed: the state machine has switched to it durably. The core resets the log in
    /// answer.
    SnapshotInstalled {
        /// The last entry that the snapshot covers.
        base: LogId,
        /// The membership as of that entry.
        membership: Box<Membership>,
    },
    /// A snapshot transfer requested by [`SnapshotEffect::Send`](crate::SnapshotEffect) has ended.
    SnapshotSent {
        /// The peer that the snapshot was sent to.
        to: NodeId,
        /// The result of the transfer.
        result: SnapshotSent,
    },
    /// The transport lost its connection to a peer. Pipelined appends may be lost, so the leader probes
    /// again.
    Unreachable(NodeId),
}

/// A command to propose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The caller's name for the request; returned with its outcome.
    pub ticket: Ticket,
    /// The command, opaque to the core.
    pub command: Bytes,
}

/// A membership change: from the one that the caller saw to any other.
///
/// Adding or removing one voter takes one entry. A change of several voters goes through joint consensus
/// (paper, section 6); whoever leads once the joint entry is committed completes it without being asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// The caller's name for the request; returned with its outcome.
    pub ticket: Ticket,
    /// [`Membership::id`] of the membership that the caller saw. If another one is in force by now, nothing
    /// is done, so that two operators who act at the same time cannot undo each other's change unawares.
    pub seen: LogId,
    /// The complete target membership, which must not be joint. Its own id is ignored.
    pub target: Membership,
}

/// Consistency of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Linearizable as long as clocks stay within `clock_error`. No message while the lease holds, else as
    /// `Quorum`.
    Lease,
    /// Linearizable without any assumption on clocks: a quorum confirms the leader after the read has come
    /// in.
    Quorum,
    /// A committed prefix, at once, on any node, with or without a leader. The index is a commit index that
    /// is durable here: a state that has applied up to it is never older than one that this node showed
    /// before, not even after a restart. A damaged node, which may have lost part of what it showed, answers
    /// `NotLeader(None)` until its recovery is durable.
    Stale,
}

/// The result of a [`Fetch`](crate::Fetch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Consecutive entries from the first one requested: at least one, and possibly fewer than requested.
    Entries(Vec<Entry>),
    /// The entries have been compacted.
    Compacted,
    /// The entries cannot be read. They are never replaced or skipped (openraft#1795); the node ends with
    /// [`Fatal::LogDamaged`](crate::Fatal).
    Damaged,
}

/// Result of a snapshot transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSent {
    /// The peer has installed the snapshot, which covers the log up to this entry.
    Installed(LogId),
    /// The transfer failed. The core requests another one when the peer answers again.
    Failed,
}
