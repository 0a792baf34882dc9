//! Writes that were forwarded to the leader and are not answered, and how many more may be: what the leader answers in
//! time at the pace at which it did so until now. The link to it may be slower than everything behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use raftkit_core::Time;
use raftkit_core::pace::{Departure, Load, Pace};

use super::CallId;

/// So many bytes are sent before the pace is known.
const UNKNOWN_PACE_BYTES: usize = 4 << 20;
/// So many bytes of commands are sent as long as no more is known than the pace of little: a small one of each of a thousand
/// clients.
const CROWD_BYTES: usize = 256 << 10;
/// So many bytes are sent at any pace.
const BYTES_MIN: usize = 128 << 10;
/// What a call counts for beside its bytes.
const CALL_BYTES: usize = 4 << 10;

/// The calls that are on their way.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// How long what is sent may take.
    budget: Duration,
    pace: Pace,
    calls: BTreeMap<CallId, Forwarded>,
    given_up: BTreeMap<CallId, GivenUp>,
    /// What all of these weigh.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Forwarded {
    bytes: usize,
    departure: Departure,
}

/// Nobody waits for this call any more, but it may be on its way: it counts until a later one is answered, or for a while.
/// Otherwise one flood after the other would be sent to a leader that answers none of them in time.
#[derive(Clone, Copy, Debug)]
struct GivenUp {
    bytes: usize,
    /// Set when it is first looked at.
    until: Option<Time>,
}

impl Forwarding {
    /// Writes may take as long as `commit_timeout`. A quarter of it is planned for: what the leader takes waits there for
    /// up to a half.
    pub(super) fn new(commit_timeout: Duration) -> Self {
        let budget = commit_timeout / 4;
        Self { budget, pace: Pace::new(budget), calls: BTreeMap::new(), given_up: BTreeMap::new(), bytes: 0 }
    }

    /// Whether a command of this length would be answered in time. One alone is always sent.
    pub(super) fn has_room(&mut self, now: Time, len: usize) -> bool {
        if !self.given_up.is_empty() {
            self.expire(now);
        }
        let fits = self.bytes.saturating_add(weight(len)) <= self.bytes_max();
        self.bytes == 0 || fits || !self.pace.is_limit() && self.commands().saturating_add(len) <= CROWD_BYTES
    }

    /// What the commands of all calls weigh.
    fn commands(&self) -> usize {
        self.bytes - (self.calls.len() + self.given_up.len()) * CALL_BYTES
    }

    /// A command of this length is sent.
    pub(super) fn sent(&mut self, now: Time, call: CallId, len: usize) {
        let with = self.bytes.saturating_add(weight(len));
        let load = if with >= self.bytes_max() / 2 { Load::Full } else { Load::Light };
        let departure = self.pace.depart(now, self.calls.is_empty(), load);
        self.calls.insert(call, Forwarded { bytes: weight(len), departure });
        self.bytes = with;
    }

    /// The leader has answered, whatever it said: what was sent has arrived, and what was sent before it.
    pub(super) fn answered(&mut self, now: Time, call: CallId) {
        let Some(Forwarded { bytes, departure }) = self.calls.remove(&call) else { return };
        self.bytes -= bytes;
        self.pace.arrive(now, departure, bytes);
        while let Some(earlier) = self.given_up.first_entry().filter(|earlier| *earlier.key() < call) {
            self.bytes -= earlier.remove().bytes;
        }
    }

    /// No answer comes, and nothing is on its way.
    pub(super) fn lost(&mut self, call: CallId) {
        if let Some(Forwarded { bytes, .. }) = self.calls.remove(&call) {
            self.bytes -= bytes;
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn give_up(&mut self, call: CallId) {
        if let Some(Forwarded { bytes, .. }) = self.calls.remove(&call) {
            self.given_up.insert(call, GivenUp { bytes, until: None });
        }
    }

    fn expire(&mut self, now: Time) {
        let (bytes, later) = (&mut self.bytes, now.after(self.budget * 8));
        self.given_up.retain(|_, call| {
            let stays = now < *call.until.get_or_insert(later);
            if !stays {
                *bytes -= call.bytes;
            }
            stays
        });
    }

    fn bytes_max(&self) -> usize {
        self.pace.bytes_within(self.budget).map_or(UNKNOWN_PACE_BYTES, |paced| paced.max(BYTES_MIN))
    }
}

fn weight(len: usize) -> usize {
    len.saturating_add(CALL_BYTES)
}
