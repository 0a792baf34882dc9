//! Invariants of a node at any time, and between a node before and after one input. Tests and simulation
//! check them after every step. A violation is a bug of this crate, never of the input.
//!
//! ```text
//! let before = Before::of(&node);          // or retake() the last one, which allocates nothing
//! node.handle(now, input, &mut effects);
//! check_state(&node)?;
//! check_since(&before, &node)?;
//! ```

mod delta;
mod state;

use crate::{LogId, LogIndex, NodeId, Term};

pub use delta::{Before, check_delta, check_since};
pub use state::check_state;

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Indexes are out of order: `low` must not be above `high`.
    #[error("{low_name} {low} is above {high_name} {high}")]
    Order {
        /// Name of the value that must not be higher.
        low_name: &'static str,
        /// The index found.
        low: LogIndex,
        /// Name of the value that must not be lower.
        high_name: &'static str,
        /// The index found.
        high: LogIndex,
    },
    /// The term runs do not rise from the base to the end of the log.
    #[error("the term runs do not rise from the base to the last index {last}")]
    TermRuns {
        /// The last index of the log.
        last: LogIndex,
    },
    /// An entry's term is above the node's.
    #[error("the last entry is of term {last}, above the node's {term}")]
    LastTerm {
        /// The term of the last entry.
        last: Term,
        /// The term of the node.
        term: Term,
    },
    /// The entries in memory do not fit the bounds of the log.
    #[error("the tail in memory does not fit the cursors of the log")]
    Tail,
    /// The membership entries are outside of the log, or out of order.
    #[error("the memberships do not rise within the log")]
    Memberships,
    /// A membership contradicts itself.
    #[error("the membership of {at} contradicts itself: a voter or learner is no member, or is both")]
    Membership {
        /// The entry that the membership comes from.
        at: LogId,
    },
    /// A leader has started a change before the last one was committed.
    #[error("the leader has more than one membership after its commit index {commit}")]
    TwoChanges {
        /// The leader's commit index.
        commit: LogIndex,
    },
    /// A damaged node campaigns or leads, or a node became damaged while it ran.
    #[error("the node is damaged, and campaigns, leads, or was sound before")]
    Damaged,
    /// Term or vote has changed without being written.
    #[error("term {term} and its vote are not in the newest write")]
    UnwrittenVote {
        /// The node's current term.
        term: Term,
    },
    /// A node has promised not to vote for longer than its newest write stores.
    #[error("a promise not to vote for {promise:?} is not in the newest write")]
    UnwrittenPromise {
        /// The length of the promise.
        promise: core::time::Duration,
    },
    /// A node campaigns or leads without its own vote.
    #[error("the node campaigns or leads in term {term} without its own vote")]
    NoOwnVote {
        /// The node's current term.
        term: Term,
    },
    /// A leader leads with a vote that is not durable.
    #[error("the node leads term {term} while its vote is not durable")]
    VoteNotDurable {
        /// The node's current term.
        term: Term,
    },
    /// A leader's view of a peer contradicts itself.
    #[error("the view of peer {peer} contradicts itself: match {matched}, next {next}")]
    Progress {
        /// The peer that the view is of.
        peer: NodeId,
        /// The peer's match index.
        matched: LogIndex,
        /// The peer's next index.
        next: LogIndex,
    },
    /// A leader's list of uncommitted entries contradicts itself.
    #[error("the uncommitted entries do not rise, or do not weigh {bytes} bytes")]
    Uncommitted {
        /// The weight recorded, in bytes.
        bytes: usize,
    },
    /// A value that only rises has gone back.
    #[error("{name} went back from {before} to {after}")]
    WentBack {
        /// Name of the value.
        name: &'static str,
        /// The value before the input.
        before: u64,
        /// The value after the input.
        after: u64,
    },
    /// A vote changed within a term.
    #[error("the vote of term {term} was changed")]
    VoteChanged {
        /// The node's current term.
        term: Term,
    },
    /// A committed entry changed.
    #[error("the committed entry {index} changed from term {before} to {after}")]
    CommittedChanged {
        /// The index of the entry.
        index: LogIndex,
        /// The entry's term before the input.
        before: Term,
        /// The value after the input.
        after: Term,
    },
    /// A leader has truncated or changed its own log.
    #[error("a leader's log shrank or changed at {index} within its term")]
    LeaderLogChanged {
        /// The first index that differs.
        index: LogIndex,
    },
}
