//! Log entries and the hard state stored beside them (paper, Figure 2, "State").

use alloc::sync::Arc;
use core::time::Duration;

use bytes::Bytes;

use crate::{LogId, LogIndex, Membership, NodeId, Term};

/// One entry of the log: its position, and what it carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The entry's term and index.
    pub id: LogId,
    /// What the entry carries: a command, a membership, or nothing.
    pub payload: Payload,
}

impl Entry {
    /// Fixed allowance for an entry's header, in bytes.
    const HEADER: usize = 32;

    /// Weight of an entry with this command, in bytes.
    #[inline]
    pub(crate) fn command_weight(command: &Bytes) -> usize {
        Self::HEADER + command.len()
    }

    /// Weight of the entry for limits and windows, in bytes: the payload plus a fixed allowance for the
    /// header.
    #[must_use]
    #[inline]
    pub fn weight(&self) -> usize {
        match &self.payload {
            Payload::Noop => Self::HEADER,
            Payload::Command(command) => Self::command_weight(command),
            Payload::Membership(membership) => Self::HEADER + membership.encoded_len(),
        }
    }
}

/// The content of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// No content: a new leader's first entry, whose commit tells it what is committed (paper, section 8).
    Noop,
    /// A command for the state machine, opaque to the core.
    Command(Bytes),
    /// A membership, in force as soon as it is appended, committed or not (thesis, section 4.1). Shared, so
    /// that an entry stays small.
    Membership(Arc<Membership>),
}

impl Payload {
    /// Encodes the payload as a kind byte and bytes, the encoding shared by log, transport and snapshots.
    #[must_use]
    pub fn to_parts(&self) -> (u8, Bytes) {
        match self {
            Self::Noop => (0, Bytes::new()),
            Self::Command(bytes) => (1, bytes.clone()),
            Self::Membership(membership) => (2, membership.encode()),
        }
    }

    /// Decodes what [`to_parts`](Self::to_parts) made.
    ///
    /// # Errors
    /// The kind is unknown, or the bytes are not valid for it.
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

/// The durable state of a node beside its entries: what it must not forget (paper, Figure 2: `currentTerm`,
/// `votedFor`; thesis, section 6.4.1: its promise), and the commit index. The latter need not be durable for
/// safety, but lets a node apply committed entries right after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this node has seen.
    pub term: Term,
    /// The candidate that got this node's vote in that term.
    pub vote: Option<NodeId>,
    /// The highest index known to be committed. At a start on a damaged log it is lowered to what is certain:
    /// a truncation may be among the lost writes, and then entries that it removed are still in the log.
    pub commit: LogIndex,
    /// The node's health: whether its log may have lost acknowledged entries.
    pub health: Health,
    /// The longest promise not to vote that may still be in force. Leases are made of such promises, so after
    /// a restart the node grants no vote for this long, even with a shorter
    /// [`Config::leader_timeout`](crate::Config::leader_timeout). Raised durably before the first promise of
    /// that length is given, lowered once all longer ones have ended.
    pub promise: Duration,
}

/// A node's health: whether it still holds everything that it acknowledged.
///
/// ```text
///           rot found: the log is cut before it, `Damaged` is stored with the cut
///   Sound -------------------------------------------------------------------------> Damaged
///     ^                                                                                 |
///     +--- durable up to a commit index that a quorum confirmed after the node asked ---+
/// ```
///
/// A damaged node grants no vote, does not campaign and counts in no quorum: with its vote a candidate could
/// be elected that lacks entries which this node helped to commit. It fetches them again from the leader and
/// becomes sound by itself. If the hard state is lost as well, its votes and promises are unknown, and the
/// node may return only as a new member, under a new [`StoreId`](crate::StoreId).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Health {
    /// The node holds everything that it acknowledged.
    #[default]
    Sound,
    /// The node may have lost acknowledged entries, and has not recovered yet.
    Damaged,
}
