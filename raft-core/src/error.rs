//! Why a node cannot start from what the log says.

use crate::{ConfigError, LogId, LogIndex, Term};

/// Why [`Node::restore`](crate::Node::restore) refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The settings do not make sense together.
    #[error("the configuration is not sound: {0}")]
    Config(#[from] ConfigError),
    /// The log ends before it starts.
    #[error("the log ends at {last}, before its base {base}")]
    LastBelowBase {
        /// Its last index.
        last: LogIndex,
        /// Where it starts.
        base: LogId,
    },
    /// The term runs do not cover the log from its base to its end, rising.
    #[error(
        "the term runs do not rise from base {base} to {last}: the one at {at} is out of place or missing"
    )]
    TermRuns {
        /// Where the log starts.
        base: LogId,
        /// Its last index.
        last: LogIndex,
        /// The first index that is wrong.
        at: LogIndex,
    },
    /// A membership stands outside of the log, or out of order.
    #[error("the membership at {at} is out of order or outside of the log, which ends at {last}")]
    Memberships {
        /// Its index.
        at: LogIndex,
        /// The log's last index.
        last: LogIndex,
    },
    /// The hard state's term is below that of the last entry: it was lost while the log was kept.
    #[error("the hard state is of term {term}, but the log ends in term {log}: the hard state was lost")]
    TermBelowLog {
        /// The hard state's.
        term: Term,
        /// The last entry's.
        log: Term,
    },
    /// A term or an index is so large that counting on would overflow.
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
        /// What was committed.
        commit: LogIndex,
        /// The log's last index.
        last: LogIndex,
    },
    /// The state machine is ahead of the log. After an interrupted install, reset the log to the snapshot first.
    #[error(
        "the state machine has applied {applied}, but the log ends at {last}; reset the log to the snapshot"
    )]
    AppliedBeyondLog {
        /// What is applied.
        applied: LogIndex,
        /// The log's last index.
        last: LogIndex,
    },
    /// The state machine is behind the log's base: what it lacks is compacted away.
    #[error("the state machine has applied {applied}, but the log starts after {base}")]
    AppliedBelowBase {
        /// What is applied.
        applied: LogIndex,
        /// Where the log starts.
        base: LogId,
    },
}
