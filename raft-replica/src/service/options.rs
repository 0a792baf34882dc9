//! What a service is told, and the times that are nobody's to choose.

use std::time::Duration;

/// What a service is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// How long a request waits for a leader to be there, and a read for its answer.
    pub hold_timeout: Duration,
    /// How long a proposed command, or a change of membership, may take until its outcome is reported as unknown.
    pub commit_timeout: Duration,
    /// See [`Config::election_timeout`](raftkit_core::Config::election_timeout): a read is asked again after this, a
    /// transfer has failed after twice this.
    pub election_timeout: Duration,
    /// The largest command taken, in bytes.
    pub command_bytes_max: usize,
    /// At most so many requests wait at once, of clients and of peers; more are refused as `Overloaded`.
    pub waiters_max: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            hold_timeout: Duration::from_secs(3),
            commit_timeout: Duration::from_secs(1),
            election_timeout: Duration::from_secs(1),
            command_bytes_max: 1 << 20,
            waiters_max: 65_536,
        }
    }
}

/// How long to wait at most before asking again where nothing tells that asking again helps.
pub(super) const RETRY: Duration = Duration::from_millis(25);
/// The leader answers a forwarded write within the commit time-out; the answer's way back is given this long.
pub(super) const WAY_BACK: Duration = Duration::from_millis(100);
/// A node that stops answers what it has taken, for at most so long.
pub(super) const DRAIN: Duration = Duration::from_secs(1);
/// A deadline that is met so late was not met in time because the node stood still.
pub(super) const LATE: Duration = Duration::from_millis(100);
/// So long a node that stood still takes in what waits for it, before it gives up what is overdue.
pub(super) const CATCH_UP: Duration = Duration::from_millis(25);
/// At most so many proposals are collected before the replica gets them.
pub(super) const PROPOSALS_MAX: usize = 1_024;
