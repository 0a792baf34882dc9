//! The connection that a node keeps to one peer: when to dial, how long to wait, and what the peer's own dial means for
//! the connection. Decisions only, without sockets, clocks or tasks; the transport over QUIC and raft-sim's network use
//! the same ones.
//!
//! Each of two nodes dials the other and sends on the connection that it dialled itself. So two dials that cross do not
//! compete, and both sides know without a message which connections stay: **a connection belongs to the node that
//! dialled it**. As long as the incarnation that greeted at its other end runs, only its owner ends the connection, and
//! only when it is lost. (If both sides shared one connection, they would have to agree which of two dials is the
//! better one, each with a different view of how far each has come.)
//!
//! Effect of the peer's greeting on a connection of *its* own ([`Dialler::called`]):
//!
//! | this side | the peer's greeting |
//! | --- | --- |
//! | waits before it dials again | dials at once |
//! | dials, and was answered | goes on: nothing that came on is thrown away |
//! | dials, and heard nothing for as long as the path takes | dials anew: the first packet was lost, or the peer was not there yet |
//! | is connected to the same incarnation | stays so |
//! | is connected to an earlier incarnation | lets go of that connection and dials |
//!
//! ```text
//!              +-------------- due -------------+
//!              v                                | back-off; none after a call, or a loss after a while
//!         Attempting -- refused, timed out --> Idle
//!              |  ^                             ^
//!   greeted    |  | again (see `Attempt`)       |
//!              v                                |
//!          Connected ------------ lost ---------+
//! ```

mod attempt;
mod paths;

use core::time::Duration;

use raftkit_core::{Incarnation, StoreId};

pub use attempt::{ANSWER_TIMEOUT_MAX, Attempt, Progress, Verdict};
pub use paths::Paths;

/// Pause after the first failure; doubled with each failure in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// Longest pause between two attempts: the time within which a peer that does not dial by itself is found.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A connection that ends within this time counts as a failure, so that two nodes that drop each other do not dial as
/// fast as they can.
const SHORT_CONNECTION: Duration = Duration::from_secs(1);

/// An incarnation of a peer's data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerIncarnation {
    /// The id of the data folder.
    pub store: StoreId,
    /// The number of the process's run on it.
    pub incarnation: Incarnation,
}

impl PeerIncarnation {
    /// True when this is an earlier incarnation of the same data folder than `other`.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.store == other.store && self.incarnation < other.incarnation
    }
}

/// The next step for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Do nothing until then, or until an event.
    Wait {
        /// Time at which to ask again; none when time alone changes nothing.
        until: Option<Duration>,
    },
    /// Start an attempt, and drop the one before it.
    Dial {
        /// Time-out of the first answer.
        answer_timeout: Duration,
    },
    /// The attempt has failed: drop it. Another one follows after a pause.
    GiveUp {
        /// The time for which the last missing answer was awaited.
        waited: Duration,
    },
}

/// Effect of the peer's greeting, on a connection of its own, on the connection that this node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The connection is not affected.
    Stays,
    /// [`Dialler::step`] may decide differently now: ask it.
    Changed,
    /// The connection leads to an earlier incarnation of the peer, which has ended: close it.
    Outlived,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle { until: Duration },
    Attempting(Attempt),
    Connected { since: Duration, peer: PeerIncarnation },
}

/// The state of the connection to one peer. All times are durations since one fixed moment.
#[derive(Clone, Debug)]
pub struct Dialler {
    /// The peer's data folder, as the membership names it.
    store: StoreId,
    dial_timeout: Duration,
    state: State,
    /// Failed attempts and short connections in a row.
    failures: u32,
    /// Attempts in a row that timed out.
    timeouts: u32,
    round_trip: Option<Duration>,
}

impl Dialler {
    /// Starts without a connection; the first attempt is due at once. `store` is the peer's data folder as the
    /// membership names it, and `dial_timeout` is the time-out of the first attempt.
    #[must_use]
    pub fn new(store: StoreId, dial_timeout: Duration) -> Self {
        let state = State::Idle { until: Duration::ZERO };
        Self { store, dial_timeout, state, failures: 0, timeouts: 0, round_trip: None }
    }

    /// Returns the next step. `Dial` and `GiveUp` are returned once and count as done.
    ///
    /// `spread` is random, so that nodes that failed together do not dial again together.
    pub fn step(&mut self, now: Duration, spread: u8) -> Step {
        match self.state {
            State::Idle { until } if until <= now => self.begin(now),
            State::Idle { until } => Step::Wait { until: Some(until) },
            State::Attempting(attempt) => match attempt.verdict(now) {
                Verdict::GoOn { until } => Step::Wait { until: Some(until) },
                Verdict::Again => self.begin(now),
                Verdict::TimedOut { waited } => {
                    self.timed_out(now, spread);
                    Step::GiveUp { waited }
                }
            },
            State::Connected { .. } => Step::Wait { until: None },
        }
    }

    /// The last measured round trip, if there is one.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Records progress of the attempt.
    pub fn progress(&mut self, now: Duration, progress: Progress) {
        if let Progress::Connected { round_trip } = progress {
            self.round_trip = Some(round_trip);
        }
        if let State::Attempting(attempt) = &mut self.state {
            attempt.note(now, progress);
        }
    }

    /// Records that the attempt has led to this incarnation of the peer, which has greeted and was admitted
    /// ([`Incarnations::admit`], which refuses an incarnation when a later one has dialled us meanwhile).
    ///
    /// [`Incarnations::admit`]: crate::admission::Incarnations::admit
    pub fn greeted(&mut self, now: Duration, peer: PeerIncarnation) {
        self.timeouts = 0;
        self.state = State::Connected { since: now, peer };
    }

    /// Records that the attempt has failed: the other side refused, or there was an error here.
    pub fn failed(&mut self, now: Duration, spread: u8) {
        self.timeouts = 0;
        self.back_off(now, spread);
    }

    /// Records that the attempt has failed because nothing was heard for too long. [`step`](Self::step) notices that by
    /// itself.
    pub fn timed_out(&mut self, now: Duration, spread: u8) {
        self.timeouts = self.timeouts.saturating_add(1);
        self.back_off(now, spread);
    }

    /// Records that the connection has ended. `round_trip` is its last measured round trip.
    pub fn lost(&mut self, now: Duration, round_trip: Duration, spread: u8) {
        let State::Connected { since, .. } = self.state else { return };
        self.round_trip = Some(round_trip);
        // On a long path even a connection that is refused at once stands for some round trips.
        if now.saturating_sub(since) < SHORT_CONNECTION.max(round_trip.saturating_mul(4)) {
            self.back_off(now, spread);
        } else {
            self.failures = 0;
            self.state = State::Idle { until: now };
        }
    }

    /// Records that this incarnation of the peer has greeted, and was admitted, on a connection that it dialled and
    /// whose round trip this is.
    pub fn called(&mut self, now: Duration, peer: PeerIncarnation, round_trip: Duration) -> Called {
        self.round_trip = Some(round_trip);
        match &mut self.state {
            State::Idle { until } => {
                *until = now.min(*until);
                Called::Changed
            }
            State::Attempting(attempt) => {
                attempt.called(now, round_trip);
                Called::Changed
            }
            State::Connected { peer: other, .. } => {
                // A removed node on another data folder, which nobody has told, does not displace the member.
                let displaced = other.store != peer.store && peer.store == self.store;
                if other.is_before(peer) || displaced {
                    self.state = State::Idle { until: now };
                    Called::Outlived
                } else {
                    Called::Stays
                }
            }
        }
    }

    fn begin(&mut self, now: Duration) -> Step {
        let attempt = Attempt::new(now, self.dial_timeout, self.timeouts, self.round_trip);
        self.state = State::Attempting(attempt);
        Step::Dial { answer_timeout: attempt.answer_timeout() }
    }

    /// Starts a pause: 20 ms, doubled with each failure in a row up to 500 ms, less up to a quarter at random.
    fn back_off(&mut self, now: Duration, spread: u8) {
        let full = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let pause = full - full.mul_f64(0.25 * f64::from(spread) / 255.0);
        self.state = State::Idle { until: now.saturating_add(pause) };
    }
}
