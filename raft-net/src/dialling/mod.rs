//! The connection that a node keeps to one peer: when to dial, how long to wait, and what the peer's own dial means for
//! it. Decisions only, without sockets, clocks or tasks: the transport over QUIC and raft-sim's network ask the same ones.
//!
//! Each of two nodes dials the other and sends on the connection that it dialled itself. So two dials that cross do not
//! compete, and both sides know without a word which connections stay: **a connection belongs to the node that dialled
//! it**. While the life lasts that was greeted at its other end, nobody but its owner ends it, and its owner does so only
//! when it is lost. (If both shared one, they would have to agree which of two dials is the better one, each with a
//! different view of which has come how far.)
//!
//! What the peer's greeting on a connection of *its* own means here ([`Dialler::called`]):
//!
//! | this side | the peer's greeting |
//! | --- | --- |
//! | waits before it dials again | dials at once |
//! | dials, and was answered | goes on: nothing that came on is thrown away |
//! | dials, and heard nothing for as long as the path takes | dials anew: the first packet was lost, or the peer was not there yet |
//! | is connected to the same life | stays so |
//! | is connected to an earlier life | lets go of that connection and dials |
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

pub use attempt::{Attempt, PATIENCE_MAX, Progress, Verdict};
pub use paths::Paths;

/// The first pause between two attempts; doubled with each failure in a row.
const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// The longest pause: a peer that does not dial by itself is found so soon.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// A connection that ends sooner counts as a failure, so that two nodes that drop each other do not spin.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// Which life of a peer is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLife {
    /// Its data folder.
    pub store: StoreId,
    /// How often that was opened.
    pub incarnation: Incarnation,
}

impl PeerLife {
    /// True when this life of the same data folder was over before `other` began.
    #[must_use]
    pub fn is_before(self, other: Self) -> bool {
        self.store == other.store && self.incarnation < other.incarnation
    }
}

/// What is to be done about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until then, or until something has happened.
    Wait {
        /// When to ask again; none: time alone changes nothing.
        until: Option<Duration>,
    },
    /// An attempt is to start; what is left of one before it ends.
    Dial {
        /// How long it waits for the first answer.
        patience: Duration,
    },
    /// The attempt has failed: it ends, and another one follows after a while.
    GiveUp {
        /// How long it was waited for the last thing that should have come.
        waited: Duration,
    },
}

/// What a greeting of the peer, on a connection of its own, means for the one that this node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// Nothing.
    Stays,
    /// [`Dialler::step`] may say something else now.
    Changed,
    /// The connection leads to an earlier life of the peer, and is dead: it is to be closed.
    Outlived,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle { until: Duration },
    Attempting(Attempt),
    Connected { since: Duration, life: PeerLife },
}

/// The connection to one peer. All times are counted from the same moment.
#[derive(Clone, Debug)]
pub struct Dialler {
    /// The data folder that the membership names.
    store: StoreId,
    dial_timeout: Duration,
    state: State,
    /// Attempts that failed, and connections that ended soon, in a row.
    failures: u32,
    /// Attempts that timed out, in a row.
    timeouts: u32,
    round_trip: Option<Duration>,
}

impl Dialler {
    /// Nothing is connected, and the first attempt is due. `store` is the data folder that the membership names, and
    /// `dial_timeout` how long the first attempt waits for an answer.
    #[must_use]
    pub fn new(store: StoreId, dial_timeout: Duration) -> Self {
        let state = State::Idle { until: Duration::ZERO };
        Self { store, dial_timeout, state, failures: 0, timeouts: 0, round_trip: None }
    }

    /// What is to be done now. `Dial` and `GiveUp` are said once, and done with.
    ///
    /// `spread` is random: nodes that failed together do not return together.
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

    /// The last round trip that was measured, if one was.
    #[must_use]
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// The attempt has come on.
    pub fn progress(&mut self, now: Duration, progress: Progress) {
        if let Progress::Connected { round_trip } = progress {
            self.round_trip = Some(round_trip);
        }
        if let State::Attempting(attempt) = &mut self.state {
            attempt.note(now, progress);
        }
    }

    /// The attempt has led to this life of the peer, which has greeted and was let in ([`Lives::admit`], which refuses a
    /// life that was over when a later one dialled us).
    ///
    /// [`Lives::admit`]: crate::admission::Lives::admit
    pub fn greeted(&mut self, now: Duration, life: PeerLife) {
        self.timeouts = 0;
        self.state = State::Connected { since: now, life };
    }

    /// The attempt has failed, by a word from the other side or an error here.
    pub fn failed(&mut self, now: Duration, spread: u8) {
        self.timeouts = 0;
        self.back_off(now, spread);
    }

    /// The attempt has failed because nothing came for too long. [`step`](Self::step) notices that itself.
    pub fn timed_out(&mut self, now: Duration, spread: u8) {
        self.timeouts = self.timeouts.saturating_add(1);
        self.back_off(now, spread);
    }

    /// The connection has ended. `round_trip` is what it measured last.
    pub fn lost(&mut self, now: Duration, round_trip: Duration, spread: u8) {
        let State::Connected { since, .. } = self.state else { return };
        self.round_trip = Some(round_trip);
        // On a long path even a connection that is refused at once lives for some round trips.
        if now.saturating_sub(since) < SHORT_LIFE.max(round_trip.saturating_mul(4)) {
            self.back_off(now, spread);
        } else {
            self.failures = 0;
            self.state = State::Idle { until: now };
        }
    }

    /// This life of the peer has greeted, and was let in, on a connection that it dialled and that measured this round
    /// trip.
    pub fn called(&mut self, now: Duration, life: PeerLife, round_trip: Duration) -> Called {
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
            State::Connected { life: other, .. } => {
                // A removed node on another data folder, which nobody has told, does not displace the member.
                let displaced = other.store != life.store && life.store == self.store;
                if other.is_before(life) || displaced {
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
        Step::Dial { patience: attempt.patience() }
    }

    /// 20 ms, doubled with each failure in a row up to 500 ms, less up to a quarter.
    fn back_off(&mut self, now: Duration, spread: u8) {
        let full = BACKOFF_MIN.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let pause = full - full.mul_f64(0.25 * f64::from(spread) / 255.0);
        self.state = State::Idle { until: now.saturating_add(pause) };
    }
}
