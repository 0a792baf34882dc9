//! Why a node cannot start from the state of its log.

use crate::{ConfigError, LogId, LogIndex, Term};

/// Why [`Node::restore`](crate::Node::restore) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The settings are inconsistent.
    #[error("the configuration is not sound: {0}")]
    Config(#[from] ConfigError),
    /// The last index is below the base.
    #[error("the log ends at {last}, before its base {base}")]
    LastBelowBase {
        /// The log's last index.
        last: LogIndex,
        /// The log's base.
        base: LogId,
    },
    /// The term runs do not cover the log from its base to its end in rising order.
    #[error(
        "the term runs do not rise from base {base} to {last}: the one at {at} is out of place or missing"
    )]
    TermRuns {
        /// The log's base.
        base: LogId,
        /// The log's last index.
        last: LogIndex,
        /// The first index at which they are wrong.
        at: LogIndex,
    },
    /// A membership entry lies outside of the log, or out of order.
    #[error("the membership at {at} is out of order or outside of the log, which ends at {last}")]
    Memberships {
        /// The index of the membership entry.
        at: LogIndex,
        /// The log's last index.
        last: LogIndex,
    },
    /// The hard state's term is below that of the last entry: the hard state was lost while the log was kept.
    /// The votes of the terms in between are unknown.
    #[error("the hard state is of term {term}, but the log ends in term {log}: the hard state was lost")]
    TermBelowLog {
        /// The hard state's term.
        term: Term,
        /// The last entry's term.
        log: Term,
    },
    /// A term or an index is so large that incrementing it could overflow.
    #[error("term {term} or last index {last} is beyond what can be counted")]
    TooLarge {
        /// The hard state's term.
        term: Term,
        /// The log's last index.
        last: LogIndex,
    },
    /// The commit index is beyond the log: committed entries were lost.
    #[error("entries up to {commit} were committed, but the log ends at {last}")]
    CommitBeyondLog {
        /// The commit index.
        commit: LogIndex,
        /// The log's last index.
        last: LogIndex,
    },
    /// The state machine is ahead of the log. After an interrupted install, reset the log to the snapshot first.
    #[error(
        "the state machine has applied {applied}, but the log ends at {last}; reset the log to the snapshot"
    )]
    AppliedBeyondLog {
        /// The applied index.
        applied: LogIndex,
        /// The log's last index.
        last: LogIndex,
    },
    /// The state machine is behind the log's base: what it lacks is compacted away.
    #[error("the state machine has applied {applied}, but the log starts after {base}")]
    AppliedBelowBase {
        /// The applied index.
        applied: LogIndex,
        /// The log's base.
        base: LogId,
    },
}
