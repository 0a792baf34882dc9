//! The snapshot transfer to one peer.

use std::time::Duration;

use raftkit_core::{LogId, LogIndex, Time};
use raftkit_snapshot::Sender;

/// Pause before a failed transfer is tried again. A peer that is busy installing another snapshot, or whose disk is
/// full, says so at once, and each try costs both sides disk reads.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long a snapshot is kept for a peer whose transfer failed and that is not asked for again, and the log for a
/// peer that has installed a snapshot and reads no further. It is enough time for a restart.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// The state of the snapshot transfer to one peer.
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
    /// A snapshot that includes at least this index is being made.
    Waiting(LogIndex),
    /// A snapshot is being sent to the peer.
    Sending(Box<Sender>),
    /// The transfer has failed.
    Failed {
        /// The time of the failure.
        at: Time,
        /// The core has asked again meanwhile, for a snapshot that includes at least this index.
        asked: Option<LogIndex>,
    },
    /// The peer has installed the snapshot and needs the log behind it, which has grown during the transfer. If that
    /// were cut now, the peer would need another snapshot, and so on as long as there is load (hashicorp/raft#212).
    CatchingUp {
        /// The peer needs the log after this index.
        from: LogIndex,
        /// The time at which the peer reached this index.
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

    /// The snapshot that is being sent to the peer.
    pub(crate) fn sent(&self) -> Option<LogId> {
        match self {
            Self::Sending(sender) => Some(sender.manifest().id),
            Self::Waiting(_) | Self::Failed { .. } | Self::CatchingUp { .. } => None,
        }
    }

    /// The index after which the peer needs the log.
    pub(crate) fn needs_log_from(&self) -> Option<LogIndex> {
        match self {
            Self::Sending(sender) => Some(sender.manifest().id.index),
            Self::CatchingUp { from, .. } => Some(*from),
            Self::Waiting(_) | Self::Failed { .. } => None,
        }
    }

    /// True if the peer may need the newest snapshot.
    pub(crate) fn needs_latest(&self) -> bool {
        match self {
            Self::Waiting(_) | Self::Sending(_) | Self::Failed { .. } => true,
            Self::CatchingUp { .. } => false,
        }
    }

    /// Records how far a peer that catches up has read; `matches` is none if this node does not lead it. False if the
    /// peer has reached `held`, up to which the log may be cut at most, or makes no progress.
    pub(crate) fn still_behind(&mut self, now: Time, held: LogIndex, matches: Option<LogIndex>) -> bool {
        let Self::CatchingUp { from, since } = self else { return true };
        let Some(index) = matches else { return false };
        if index > *from {
            (*from, *since) = (index, now);
        }
        *from < held && now < since.after(KEPT_FOR)
    }
}
