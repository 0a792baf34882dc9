//! What the log holds: entries and the hard state beside them (paper, Figure 2, "State").

use alloc::sync::Arc;
use core::time::Duration;

use bytes::Bytes;

use crate::{LogId, LogIndex, Membership, NodeId, Term};

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: term and index.
    pub id: LogId,
    /// What it does when it is committed.
    pub payload: Payload,
}

impl Entry {
    /// What an entry weighs beside its payload, in bytes.
    const HEADER: usize = 32;

    /// What an entry with this command weighs.
    pub(crate) fn command_weight(command: &Bytes) -> usize {
        Self::HEADER + command.len()
    }

    /// The size that limits and windows count, in bytes: the payload and a fixed allowance for the header.
    #[must_use]
    pub fn weight(&self) -> usize {
        match &self.payload {
            Payload::Noop => Self::HEADER,
            Payload::Command(command) => Self::command_weight(command),
            Payload::Membership(membership) => Self::HEADER + membership.encoded_len(),
        }
    }
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry, through which it learns what is committed (paper, section 8).
    Noop,
    /// A command for the state machine; opaque here.
    Command(Bytes),
    /// A new membership. It acts as soon as it is appended, committed or not (thesis, section 4.1). Shared, so that an
    /// entry stays small.
    Membership(Arc<Membership>),
}

impl Payload {
    /// The payload as a kind byte and bytes: the one encoding that log, transport and snapshots share.
    #[must_use]
    pub fn to_parts(&self) -> (u8, Bytes) {
        match self {
            Self::Noop => (0, Bytes::new()),
            Self::Command(bytes) => (1, bytes.clone()),
            Self::Membership(membership) => (2, membership.encode()),
        }
    }

    /// Reads what [`to_parts`](Self::to_parts) made.
    ///
    /// # Errors
    /// The kind is unknown, or the bytes are not what that kind holds.
    pub fn from_parts(kind: u8, bytes: Bytes) -> Result<Self, crate::DecodeError> {
        match kind {
            0 if bytes.is_empty() => Ok(Self::Noop),
            0 => Err(crate::DecodeError::TrailingBytes { got: bytes.len() }),
            1 => Ok(Self::Command(bytes)),
            2 => Ok(Self::Membership(Arc::new(Membership::decode(&bytes)?))),
            kind => Err(crate::DecodeError::UnknownKind { kind }),
        }
    }
}

/// What a node must not forget beside its entries (paper, Figure 2: `currentTerm`, `votedFor`; thesis, section 6.4.1: what
/// it promised its leader), and the commit index, which need not be durable for safety but lets a restart apply at once
/// what it knows to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// Who got this node's vote in that term.
    pub vote: Option<NodeId>,
    /// The highest index known to be committed. At a start on a damaged log: as far as the entries that are left are known
    /// to be the committed ones, and not ones that were truncated in what is lost.
    pub commit: LogIndex,
    /// Whether the log lost something that it may have acknowledged.
    pub health: Health,
    /// The longest promise not to vote that may still be in force. A leader's lease is made of such promises, so after a
    /// restart the node grants no vote for this long, even if it is restarted with a shorter
    /// [`Config::leader_timeout`](crate::Config::leader_timeout). Raised durably before the first promise of that length
    /// is made, lowered once every longer one has ended.
    pub promise: Duration,
}

/// Whether a node still holds everything that it ever acknowledged.
///
/// ```text
///           rot found: the log is cut before it, `Damaged` is stored with the cut
///   Sound -------------------------------------------------------------------------> Damaged
///     ^                                                                                 |
///     +--- durable up to a commit index that a quorum confirmed after the node asked ---+
/// ```
///
/// A damaged node grants no vote, does not campaign and counts in no quorum: with its vote a leader could be elected
/// that lacks what this node helped to commit. It refetches from the leader and becomes sound by itself. With the hard
/// state itself lost it cannot know what it promised: then it returns only as a new member, under a new
/// [`StoreId`](crate::StoreId).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Health {
    /// It does.
    #[default]
    Sound,
    /// It may not, until it has healed.
    Damaged,
}
