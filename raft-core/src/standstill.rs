//! Standstills: the node did not run, as its host was paused or it got no processor time. What it has not
//! heard meanwhile says nothing about the others: their messages wait in its sockets.
//!
//! A driver calls by [`next_deadline`](crate::Node::next_deadline), so a call that comes much later reveals a
//! standstill. The time-outs that ended meanwhile restart once, so that waiting messages are processed first.
//! When all nodes of a cluster were paused together, they continue with the same leader. Promises and leases
//! follow the clock all the same: a standstill changes what a node concludes about others, never what it may
//! do itself.

use crate::Time;
use crate::common::Common;

/// The standstills that this node has noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standstill {
    /// When this node last detected a standstill of its own and restarted its time-outs for it.
    pub(crate) excused: Option<Time>,
    /// When `handle` was last called after a gap that no running driver leaves.
    pub(crate) resumed: Time,
}

impl Common {
    /// Records a call after a gap that no running leader leaves, as it has heartbeats to send. Called first,
    /// as the rest of the call may move the deadlines that would show the gap.
    pub(crate) fn note_gap(&mut self, now: Time) {
        if now.since(self.now) > self.config.heartbeat_interval * 2 {
            self.standstill.resumed = now;
        }
    }

    /// True when a time-out shall restart, as this node should have acted at `due` and stood still. `heard`
    /// is when it last heard the node that the time-out is about; if it never did, there is nothing to wait
    /// for.
    pub(crate) fn excuses_itself(&mut self, due: Time, heard: Option<Time>) -> bool {
        self.now.since(due) > self.config.heartbeat_interval && self.excuse(heard, self.now)
    }

    /// Restarts the time-outs from the end of a standstill, but not twice without anything heard in between:
    /// a node that is always late must act in the end.
    pub(crate) fn excuse(&mut self, heard: Option<Time>, resumed: Time) -> bool {
        let excused = heard > self.standstill.excused;
        if excused {
            self.standstill.excused = Some(resumed);
        }
        excused
    }
}
