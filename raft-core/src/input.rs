//! What goes into the core: everything that can happen to a node.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::{Entry, LogId, LogIndex, Membership, Message, NodeId, Ticket, WriteSeq};

/// Something that happened. Order matters, and the order given is the order taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed: give it when [`next_deadline`](crate::Node::next_deadline) is reached. Harmless at any time.
    Tick,
    /// A message came in. One that is not for this node, or from a store that it does not know, is ignored.
    Message(Message),
    /// Propose commands, in this order. On a node that is not the leader each is answered `NotLeader`.
    Propose(Vec<Proposal>),
    /// Ask from which index a read may be served.
    Read {
        /// The caller's name for it.
        ticket: Ticket,
        /// How fresh.
        mode: ReadMode,
    },
    /// Hand leadership to `to`, or to the most up-to-date voter. Answered `Transferred` when another node leads.
    Transfer {
        /// The caller's name for it.
        ticket: Ticket,
        /// To whom.
        to: Option<NodeId>,
    },
    /// Change who takes part. Answered `Committed` with the last entry of the change once that is committed,
    /// [`Conflict`](crate::Outcome::Conflict) when the membership is not the one that the caller saw.
    Change(Box<MembershipChange>),
    /// Make the commit index durable by itself if no write that is under way does so.
    PersistCommit,
    /// Drop the log up to and including this index: the state machine holds it durably. Clipped to what is applied.
    Compact(LogIndex),
    /// Every write up to and including this one is durable (its fsync has returned). A name that was never handed out
    /// says nothing and is ignored.
    Persisted(WriteSeq),
    /// A write failed. The node stops taking part until it is restarted; nothing is retried.
    WriteFailed,
    /// The state machine has applied everything up to and including this index; clipped to what was handed out.
    Applied(LogIndex),
    /// The answer to a [`Fetch`](crate::Fetch). One that nobody waits for, or whose entries are not what the log holds
    /// there, is ignored.
    Fetched {
        /// As in the effect.
        request: u64,
        /// What the log said.
        result: Fetched,
    },
    /// A snapshot was installed: the state machine has switched to it durably. The log is reset in answer.
    SnapshotInstalled {
        /// The last entry that the snapshot includes.
        base: LogId,
        /// The membership as of that entry.
        membership: Box<Membership>,
    },
    /// A transfer that [`SnapshotEffect::Send`](crate::SnapshotEffect) asked for has ended.
    SnapshotSent {
        /// To whom.
        to: NodeId,
        /// How.
        result: SnapshotSent,
    },
    /// The transport lost its connection to a peer: pipelined appends may be gone, so probe again.
    Unreachable(NodeId),
}

/// A command to propose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The caller's name for it.
    pub ticket: Ticket,
    /// The command.
    pub command: Bytes,
}

/// A change from the membership that the caller saw to any other one.
///
/// One voter more or less is one entry. More go through joint consensus (paper, section 6), which the leader leaves by
/// itself, whoever leads by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipChange {
    /// The caller's name for it.
    pub ticket: Ticket,
    /// [`Membership::id`] of what the caller saw: if another one is in force by now, nothing is done.
    pub seen: LogId,
    /// The whole membership wanted, not joint. Its own id is of no interest.
    pub target: Membership,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// Linearizable while clocks keep the stated bound; no message while the lease holds, else as `Quorum`.
    Lease,
    /// Linearizable with no assumption on clocks: a quorum confirms the leader after the read came in.
    Quorum,
    /// Some prefix, at once, on any node, with or without a leader. The index is a commit index that is durable here: a
    /// state that has applied up to there is never older than what this node showed before, also after a restart. A damaged
    /// node, which may have lost part of what it showed, answers `NotLeader(None)` until it has healed durably.
    Stale,
}

/// What the log said to a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Consecutive entries from the first one asked for; fewer than asked for is fine, none is not.
    Entries(Vec<Entry>),
    /// They are compacted away.
    Compacted,
    /// They cannot be read. Never sent on as entries (openraft#1795); the node ends with
    /// [`Fatal::LogDamaged`](crate::Fatal).
    Damaged,
}

/// How a snapshot transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSent {
    /// The peer has installed it, up to this entry.
    Installed(LogId),
    /// It did not work; the core asks again when the peer answers again.
    Failed,
}
