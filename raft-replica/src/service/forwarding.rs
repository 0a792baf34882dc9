//! Forwarded writes that are not answered, and the bound on them: a node forwards no more than the leader answers in
//! time, at the pace measured so far. The link to the leader may be slower than everything behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use raftkit_core::Time;
use raftkit_core::pace::{Departure, Load, Pace};

use super::CallId;

/// Bytes that may be under way before the pace is known.
const UNKNOWN_PACE_BYTES: usize = 4 << 20;
/// Bytes of commands that may be under way while the pace is known from light load only, which says little of the
/// maximum: a small command of each of a thousand clients.
const CROWD_BYTES: usize = 256 << 10;
/// Bytes that may be under way at any pace, however slow. Over a link of 1 Mbit/s they take 0.5 s if the commands are large; the
/// leader's own floor may take as long again, and together they must not exceed `commit_timeout`.
const BYTES_MIN: usize = 64 << 10;
/// Bytes that each call counts for beside those of its command.
const CALL_BYTES: usize = 4 << 10;

/// The calls that are under way to the leader.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// Time within which everything that is under way should be answered.
    budget: Duration,
    pace: Pace,
    calls: BTreeMap<CallId, Forwarded>,
    given_up: BTreeMap<CallId, GivenUp>,
    /// Bytes that count for all calls under way.
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Forwarded {
    bytes: usize,
    departure: Departure,
}

/// A call that nobody waits for any more. It may still be under way, so it counts until a later call is answered, or
/// for a while. Otherwise one flood after another would be sent to a leader that answers none of them in time.
#[derive(Clone, Copy, Debug)]
struct GivenUp {
    bytes: usize,
    /// The time until which it counts; set when it is first looked at.
    until: Option<Time>,
}

impl Forwarding {
    /// Plans for a quarter of `commit_timeout`, as what the leader accepts may wait there for up to half of it.
    pub(super) fn new(commit_timeout: Duration) -> Self {
        let budget = commit_timeout / 4;
        Self { budget, pace: Pace::new(budget), calls: BTreeMap::new(), given_up: BTreeMap::new(), bytes: 0 }
    }

    /// Whether a command of this length would be answered in time. A single command is always sent.
    pub(super) fn has_room(&mut self, now: Time, len: usize) -> bool {
        if !self.given_up.is_empty() {
            self.expire(now);
        }
        let fits = self.bytes.saturating_add(weight(len)) <= self.bytes_max();
        self.bytes == 0 || fits || !self.pace.is_limit() && self.commands().saturating_add(len) <= CROWD_BYTES
    }

    /// Bytes of the commands of all calls, without what counts for the calls themselves.
    fn commands(&self) -> usize {
        self.bytes - (self.calls.len() + self.given_up.len()) * CALL_BYTES
    }

    /// Records that a command of this length is sent.
    pub(super) fn sent(&mut self, now: Time, call: CallId, len: usize) {
        let with = self.bytes.saturating_add(weight(len));
        let load = if with >= self.bytes_max() / 2 { Load::Full } else { Load::Light };
        let departure = self.pace.depart(now, self.calls.is_empty(), load);
        self.calls.insert(call, Forwarded { bytes: weight(len), departure });
        self.bytes = with;
    }

    /// The leader has answered, with any answer: this call has arrived, and so has everything sent before it.
    pub(super) fn answered(&mut self, now: Time, call: CallId) {
        let Some(Forwarded { bytes, departure }) = self.calls.remove(&call) else { return };
        self.bytes -= bytes;
        self.pace.arrive(now, departure, bytes);
        while let Some(earlier) = self.given_up.first_entry().filter(|earlier| *earlier.key() < call) {
            self.bytes -= earlier.remove().bytes;
        }
    }

    /// No answer will come, and nothing is under way any more.
    pub(super) fn lost(&mut self, call: CallId) {
        if let Some(Forwarded { bytes, .. }) = self.calls.remove(&call) {
            self.bytes -= bytes;
        }
    }

    /// Nobody waits for the answer any more, but the call may still be under way.
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
