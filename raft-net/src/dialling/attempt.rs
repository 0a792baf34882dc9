//! One attempt to connect: how long it may take, and what ends it early.

use core::time::Duration;

/// Time-out of the first answer, in round trips. An answer takes one; after three, packets were lost or nobody is
/// there.
const ANSWER_ROUND_TRIPS: u32 = 3;

/// Time-out of the greeting, in round trips. The greeting takes one. QUIC repeats a lost packet after three (RFC 9002,
/// section 6.2.1: the smoothed round trip and four times its variation, which starts at half of it), and the repetition
/// takes another one: six bear one loss, with a margin.
const GREETING_ROUND_TRIPS: u32 = 6;

/// Upper bound on an attempt's time-out. Each attempt that times out doubles the time-out of the next one, so that
/// a path of some seconds is found in the end; the bound keeps attempts at a peer that is down frequent. A longer
/// `dial_timeout` is not cut.
pub const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(8);

/// Extra time for an attempt at a peer that is known to be there, beside the round trips that the path needs: the
/// peer's process may be busy.
const MARGIN: Duration = Duration::from_millis(100);

/// Progress of an attempt: the other side was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The other side has answered: the node is there, and packets pass in both directions.
    Answered,
    /// The handshake is complete, and the greeting is sent.
    Connected {
        /// The round trip that the handshake measured.
        round_trip: Duration,
    },
}

/// Decision on an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The attempt goes on. Ask again at this time, or after an event.
    GoOn {
        /// The attempt's deadline as of now.
        until: Duration,
    },
    /// Nothing has been heard for too long: the attempt has failed.
    TimedOut {
        /// The time for which the last missing answer was awaited.
        waited: Duration,
    },
    /// The peer is there and this attempt does not reach it: start another one at once.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been heard from the other side.
    Silent,
    /// The other side has been heard.
    Answered,
}

/// An attempt to connect. All times are durations since one fixed moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    begun: Duration,
    /// Time at which the other side was last heard; at first the time at which the attempt began.
    heard: Duration,
    stage: Stage,
    /// Upper bound on the time from `heard` until the other side is heard again.
    answer_timeout: Duration,
    /// The peer's own dial during this attempt, which shows that the peer is there.
    call: Option<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    at: Duration,
    round_trip: Duration,
}

impl Attempt {
    /// Starts an attempt `now`, after `timeouts` attempts in a row that timed out. `round_trip` is the last measured
    /// round trip of the path, if there is one.
    #[must_use]
    pub fn new(now: Duration, dial_timeout: Duration, timeouts: u32, round_trip: Option<Duration>) -> Self {
        let first = dial_timeout.max(round_trip.unwrap_or_default().saturating_mul(ANSWER_ROUND_TRIPS));
        let answer_timeout = first.saturating_mul(1 << timeouts.min(16)).min(ANSWER_TIMEOUT_MAX).max(first);
        Self { begun: now, heard: now, stage: Stage::Silent, answer_timeout, call: None }
    }

    /// Returns the time-out of the first answer.
    #[must_use]
    pub fn answer_timeout(&self) -> Duration {
        self.answer_timeout
    }

    /// Records progress: the next answer has its full time from now on.
    pub fn note(&mut self, now: Duration, progress: Progress) {
        self.heard = now;
        self.stage = Stage::Answered;
        if let Progress::Connected { round_trip } = progress {
            self.answer_timeout = self.answer_timeout.max(round_trip.saturating_mul(GREETING_ROUND_TRIPS));
        }
    }

    /// Records that the peer has dialled us over a path with this round trip. The peer is there. So this attempt is
    /// good if it comes forward within the time that the path needs; if it does not, it was made towards the peer's
    /// absence or an earlier incarnation.
    ///
    /// An attempt that was answered must not be thrown away for the peer's: both sides would do so at the same moment
    /// when their dials cross, and neither would ever get through.
    pub fn called(&mut self, now: Duration, round_trip: Duration) {
        self.call = Some(Call { at: now, round_trip });
    }

    /// Decides on the attempt at time `now`.
    #[must_use]
    pub fn verdict(&self, now: Duration) -> Verdict {
        let timeout_ends = self.heard.saturating_add(self.answer_timeout);
        let again = self.call.map(|Call { at, round_trip }| match self.stage {
            // Its first packet would have been answered within one round trip. QUIC repeats it less and less often.
            Stage::Silent => self.begun.saturating_add(round_trip),
            Stage::Answered => {
                self.heard.max(at).saturating_add(round_trip.saturating_mul(GREETING_ROUND_TRIPS))
            }
        });
        match again.map(|again| again.saturating_add(MARGIN)) {
            Some(again) if again <= now => Verdict::Again,
            Some(_) | None if timeout_ends <= now => Verdict::TimedOut { waited: self.answer_timeout },
            Some(again) => Verdict::GoOn { until: timeout_ends.min(again) },
            None => Verdict::GoOn { until: timeout_ends },
        }
    }
}
