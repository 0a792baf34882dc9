//! Settings of a service, and its fixed time-outs and limits.

use std::time::Duration;

/// Settings of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// How long a request waits for a leader to be known, and a read for its answer.
    pub hold_timeout: Duration,
    /// How long a proposed command or a change of membership may take until its outcome is reported as unknown.
    pub commit_timeout: Duration,
    /// See [`Config::election_timeout`](raftkit_core::Config::election_timeout): a read is asked again after this, a
    /// transfer has failed after twice this.
    pub election_timeout: Duration,
    /// Upper bound on the size of a command, in bytes.
    pub command_bytes_max: usize,
    /// Upper bound on the requests of clients and peers that wait at once. More are refused as `Overloaded`.
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

/// Longest pause before a request is sent again when no event shows that it would succeed.
pub(super) const RETRY: Duration = Duration::from_millis(25);
/// Time allowed for the leader's answer to come back. The leader answers a forwarded write within the commit
/// time-out.
pub(super) const WAY_BACK: Duration = Duration::from_millis(100);
/// Longest time in which a node that stops answers the requests that it has taken.
pub(super) const DRAIN: Duration = Duration::from_secs(1);
/// A deadline that is met later than this was missed because the node stood still.
pub(super) const LATE: Duration = Duration::from_millis(100);
/// Time in which a node that stood still takes in waiting events before it gives up overdue requests.
pub(super) const CATCH_UP: Duration = Duration::from_millis(25);
/// Upper bound on the proposals collected before the replica gets them.
pub(super) const PROPOSALS_MAX: usize = 1_024;
