//! What is done for one peer that needs a snapshot.

use std::time::Duration;

use raftkit_core::{LogId, LogIndex, Time};
use raftkit_snapshot::Sender;

/// A peer that could not be given a snapshot is tried again after so long: one that is busy installing another, or whose
/// disk is full, says so at once, and each try costs both sides a look at what is there.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// So long the snapshot is kept for a peer that could not be given one and is not asked for again, and the log for one
/// that has installed it and comes no further: enough for a restart.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// What is done for a peer that needs a snapshot.
///
/// ```text
///                        the newest one will do
///                     +-------------------------+
///                     |                         v
///   (none) -- asked --+--> Waiting -- made --> Sending -- installed --> CatchingUp -- it has, or stalls --> (none)
///                     ^       | cannot be       |
///         RETRY_AFTER |       v made            | failed
///         and asked   +---- Failed <------------+
///                             |
///                             +--- not asked for KEPT_FOR ---> (none)
/// ```
#[derive(Debug)]
pub(crate) enum Peer {
    /// One that includes at least this index is being made.
    Waiting(LogIndex),
    /// It is being sent one.
    Sending(Box<Sender>),
    /// That failed.
    Failed {
        /// When.
        at: Time,
        /// It was asked for again meanwhile, to include at least this index.
        asked: Option<LogIndex>,
    },
    /// It has a snapshot and needs the log behind it, which has grown while it came: would that be cut now, it needed
    /// another one, and so on as long as there is load (hashicorp/raft#212).
    CatchingUp {
        /// It needs what comes after this index.
        from: LogIndex,
        /// When it got there.
        since: Time,
    },
}

impl Peer {
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        match self {
            Self::Waiting(_) => None,
            Self::Sending(sender) => sender.next_deadline(),
            Self::Failed { at, asked: Some(_) } => Some(at.after(RETRY_AFTER)),
            Self::Failed { at, asked: None } => Some(at.after(KEPT_FOR)),
            Self::CatchingUp { since, .. } => Some(since.after(KEPT_FOR)),
        }
    }

    pub(crate) fn waits_for(&self) -> Option<LogIndex> {
        match self {
            Self::Waiting(at_least) => Some(*at_least),
            Self::Sending(_) | Self::Failed { .. } | Self::CatchingUp { .. } => None,
        }
    }

    /// The snapshot that it is being sent.
    pub(crate) fn sent(&self) -> Option<LogId> {
        match self {
            Self::Sending(sender) => Some(sender.manifest().id),
            Self::Waiting(_) | Self::Failed { .. } | Self::CatchingUp { .. } => None,
        }
    }

    /// The index from which on it needs the log.
    pub(crate) fn needs_log_from(&self) -> Option<LogIndex> {
        match self {
            Self::Sending(sender) => Some(sender.manifest().id.index),
            Self::CatchingUp { from, .. } => Some(*from),
            Self::Waiting(_) | Self::Failed { .. } => None,
        }
    }

    /// True when the newest snapshot may be of use to it.
    pub(crate) fn needs_latest(&self) -> bool {
        match self {
            Self::Waiting(_) | Self::Sending(_) | Self::Failed { .. } => true,
            Self::CatchingUp { .. } => false,
        }
    }

    /// Takes note of how far it has come, if it is catching up; none where this node does not lead it. False when it has
    /// come up to `held`, which is as far as the log may be cut at all, or comes no further.
    pub(crate) fn still_behind(&mut self, now: Time, held: LogIndex, matches: Option<LogIndex>) -> bool {
        let Self::CatchingUp { from, since } = self else { return true };
        let Some(index) = matches else { return false };
        if index > *from {
            (*from, *since) = (index, now);
        }
        *from < held && now < since.after(KEPT_FOR)
    }
}
