//! The promise not to vote that a follower makes with each acknowledgement (thesis, section 6.4.1), and how it outlives a
//! restart with other settings.
//!
//! A leader reads by its lease for as long as a quorum has promised to vote for nobody. A voter that is restarted has
//! forgotten whom it promised what and until when, so it waits once for as long as the longest promise that it may have
//! made. That cannot be today's setting: an operator who lowers `leader_timeout` in a rolling restart would have a voter
//! elect another leader while the old one still holds its lease. So the length stands in the hard state:
//!
//! ```text
//!   first word of a leader      the length is raised in the next write; until that is durable, answers carry only what is
//!   a restart                   no vote for the stored length or today's setting, whichever is longer
//!   that time is over           nothing longer than today's setting is in force: the length is lowered
//! ```

use core::time::Duration;

use crate::Time;
use crate::raft::Node;

impl Node {
    /// Until when, on this node's clock, it grants no vote, but for a transfer. A leader grants none while it leads.
    #[must_use]
    pub fn promised_until(&self) -> Time {
        self.sticky_until
    }

    /// The leader was heard: no vote for a whole time-out from now.
    pub(crate) fn promise_leader(&mut self) {
        // What an earlier life promised for longer stands.
        self.sticky_until = self.sticky_until.max(self.now.after(self.config.leader_timeout));
        self.promise = self.promise.max(self.config.leader_timeout);
    }

    /// How much an acknowledgement may promise: no more than a restart will remember.
    pub(crate) fn durable_promise(&self) -> Duration {
        self.config.leader_timeout.min(self.writes.durable().promise)
    }

    /// Forgets the promises of earlier lives once they have ended. Called at the end of each input.
    pub(crate) fn lower_promise(&mut self) {
        if self.lower_promise_at.take_if(|at| *at <= self.now).is_some() {
            self.promise = self.config.leader_timeout;
        }
    }
}
