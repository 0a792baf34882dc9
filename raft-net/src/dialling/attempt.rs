//! How long one attempt to connect is worth waiting for.

use core::time::Duration;

/// An answer to the first packet takes one round trip; after so many, packets were lost or nobody is there.
const ANSWER_ROUND_TRIPS: u32 = 3;

/// The greeting takes one round trip. QUIC repeats a lost packet after three of them (RFC 9002, section 6.2.1: the
/// smoothed round trip and four times its variation, which starts at half of it), and the repetition takes another one:
/// so many bear one loss, with a margin.
const GREETING_ROUND_TRIPS: u32 = 6;

/// Attempts that time out make the next ones wait longer, up to this: a path of some seconds is found in the end, and a
/// peer that was down is still tried often. A longer `dial_timeout` stays as it is.
pub const PATIENCE_MAX: Duration = Duration::from_secs(8);

/// Once the peer is known to be there, an attempt has the round trips that it needs and this, for a process that has
/// other things to do.
const MARGIN: Duration = Duration::from_millis(100);

/// How an attempt has come on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The other side has answered: it is there, and packets pass in both directions.
    Answered,
    /// The handshake is over, and measured this round trip. The greeting is sent.
    Connected {
        /// The measured round trip.
        round_trip: Duration,
    },
}

/// What becomes of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on; ask again at this time, or when something has happened.
    GoOn {
        /// The attempt's deadline as things are.
        until: Duration,
    },
    /// Nothing has come for too long: it has failed.
    TimedOut {
        /// How long it was waited for the last thing that should have come.
        waited: Duration,
    },
    /// The peer is there, and this attempt does not reach it: another one is to start at once.
    Again,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has been heard.
    Silent,
    /// Something has been heard.
    Answered,
}

/// One attempt. Times are counted from any one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    begun: Duration,
    /// When something was heard last; at first when the attempt began.
    heard: Duration,
    stage: Stage,
    /// How long it may take until something is heard (again).
    patience: Duration,
    /// The peer has dialled us meanwhile: it is there.
    call: Option<Call>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    at: Duration,
    round_trip: Duration,
}

impl Attempt {
    /// An attempt that begins `now`, after `timeouts` in a row that timed out. `round_trip` is the last that was
    /// measured, if one was.
    #[must_use]
    pub fn new(now: Duration, dial_timeout: Duration, timeouts: u32, round_trip: Option<Duration>) -> Self {
        let first = dial_timeout.max(round_trip.unwrap_or_default().saturating_mul(ANSWER_ROUND_TRIPS));
        let patience = first.saturating_mul(1 << timeouts.min(16)).min(PATIENCE_MAX).max(first);
        Self { begun: now, heard: now, stage: Stage::Silent, patience, call: None }
    }

    /// How long it waits for the first answer.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// It has come on: what is left to come has its time from now on.
    pub fn note(&mut self, now: Duration, progress: Progress) {
        self.heard = now;
        self.stage = Stage::Answered;
        if let Progress::Connected { round_trip } = progress {
            self.patience = self.patience.max(round_trip.saturating_mul(GREETING_ROUND_TRIPS));
        }
    }

    /// The peer has dialled us, over a path with this round trip. It is there; so this attempt is good if it comes on
    /// within the time that the path needs, and was made towards the peer's absence or an earlier life if it does not.
    ///
    /// An attempt that was answered must not be thrown away for the peer's: both sides would do so at the same moment
    /// when their dials cross, and neither would ever get through.
    pub fn called(&mut self, now: Duration, round_trip: Duration) {
        self.call = Some(Call { at: now, round_trip });
    }

    /// What is to become of it now.
    #[must_use]
    pub fn verdict(&self, now: Duration) -> Verdict {
        let patience_ends = self.heard.saturating_add(self.patience);
        let again = self.call.map(|Call { at, round_trip }| match self.stage {
            // Its first packet would have been answered within one round trip. QUIC repeats it less and less often.
            Stage::Silent => self.begun.saturating_add(round_trip),
            Stage::Answered => {
                self.heard.max(at).saturating_add(round_trip.saturating_mul(GREETING_ROUND_TRIPS))
            }
        });
        match again.map(|again| again.saturating_add(MARGIN)) {
            Some(again) if again <= now => Verdict::Again,
            Some(_) | None if patience_ends <= now => Verdict::TimedOut { waited: self.patience },
            Some(again) => Verdict::GoOn { until: patience_ends.min(again) },
            None => Verdict::GoOn { until: patience_ends },
        }
    }
}
