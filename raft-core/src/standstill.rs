//! A node that stood still: its host was paused, or it got no processor. What it then holds against others, that it heard
//! nothing of them, is its own doing, and what they said meanwhile waits in its sockets.
//!
//! A driver calls by [`next_deadline`](crate::Node::next_deadline). A call that comes much later than that says that the
//! driver stood still; the time-outs that ended meanwhile then begin anew, once, so that what waits is heard first. All
//! nodes of a cluster that stood still together go on as they were. Promises and leases are bound to the clock all the
//! same: what a node *may* do does not change, only what it holds others to have failed to do.

use crate::Time;
use crate::raft::Node;

impl Node {
    /// Notes a call after a gap that a leader never leaves by itself: it has heartbeats to send. Before anything else is done,
    /// as what a call leads to may move the deadlines that would tell.
    pub(crate) fn note_gap(&mut self, now: Time) {
        if now.since(self.now) > self.config.heartbeat_interval * 2 {
            self.resumed = now;
        }
    }

    /// Whether a time-out is to begin anew because this node should have acted at `due` and stood still. `heard` is when
    /// it last heard whom the time-out is about; where it never did, nothing is there to be kept.
    pub(crate) fn excuses_itself(&mut self, due: Time, heard: Option<Time>) -> bool {
        self.now.since(due) > self.config.heartbeat_interval && self.excuse(heard, self.now)
    }

    /// Lets time-outs begin anew at the end of a standstill, but not twice in a row: a node that is always late must act in
    /// the end.
    pub(crate) fn excuse(&mut self, heard: Option<Time>, resumed: Time) -> bool {
        let excused = heard > self.excused;
        if excused {
            self.excused = Some(resumed);
        }
        excused
    }
}
