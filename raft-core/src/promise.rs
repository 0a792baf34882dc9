//! The promise not to vote that a follower gives with each acknowledgement (thesis, section 6.4.1), and how
//! it survives a restart with other settings.
//!
//! A leader serves reads from its lease for as long as a quorum has promised to vote for nobody. A voter that
//! restarts has forgotten its promises, so it first waits for as long as the longest one it may have given.
//! Today's setting does not tell how long that is: S2 promises 500 ms, is restarted with `leader_timeout` =
//! 100 ms, and after 100 ms votes for S3. S3 commits a write, while S1 still serves reads from a lease of 500
//! ms. So the length is stored in the hard state:
//!
//! ```text
//!   the first append of a leader   the length is raised in the next write; until that is durable, answers carry
//!                                  only the durable length
//!   a restart                      no vote for the stored length or today's setting, whichever is longer
//!   after that time                only promises of today's setting are in force: the length is lowered
//! ```

use core::time::Duration;

use crate::Time;
use crate::common::Common;
use crate::raft::Node;

/// The promises that this node has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// No vote is granted before this time, except in a leadership transfer.
    pub(crate) until: Time,
    /// Length of the longest promise that may be in force, as stored by the newest write.
    pub(crate) longest: Duration,
    /// When the promises end that an earlier incarnation gave under a longer `leader_timeout`; none if there
    /// are none.
    pub(crate) lower_at: Option<Time>,
}

impl Node {
    /// The end of this node's promise, on its own clock: until then it grants no vote, except in a leadership
    /// transfer. A leader grants none while it leads.
    #[must_use]
    pub fn promised_until(&self) -> Time {
        self.common.promise.until
    }
}

impl Common {
    /// Renews the promise to the leader: no vote for a whole `leader_timeout` from now.
    pub(crate) fn promise_leader(&mut self) {
        // A longer promise of an earlier incarnation stays in force.
        self.promise.until = self.promise.until.max(self.now.after(self.config.leader_timeout));
        self.promise.longest = self.promise.longest.max(self.config.leader_timeout);
    }

    /// The promise that an acknowledgement may carry: no more than a restart would honour.
    pub(crate) fn durable_promise(&self) -> Duration {
        self.config.leader_timeout.min(self.writes.durable().promise)
    }

    /// Lowers the stored promise once the longer ones of earlier incarnations have ended. Called at the end
    /// of each input.
    pub(crate) fn lower_promise(&mut self) {
        if self.promise.lower_at.take_if(|at| *at <= self.now).is_some() {
            self.promise.longest = self.config.leader_timeout;
        }
    }
}
