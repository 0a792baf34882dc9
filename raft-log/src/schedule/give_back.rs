//! When a database file that is much larger than its content is copied into a shorter one.

use std::time::Duration;

use super::Progress;

/// The log counts as quiet when no flush has happened for this long; giving space back then delays no flush.
const QUIET_AFTER: Duration = Duration::from_millis(20);
/// Longest time that a due look or copy step waits for the log to become quiet. Under a load that never pauses, a copy
/// therefore still finishes, at one step a second.
pub(super) const OVERDUE_AFTER: Duration = Duration::from_secs(1);
/// Shortest time between two checks for space to give back, because each check reads the database's tree.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Shortest time between two copies, also after a copy that was given up.
pub(super) const COPY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Schedule for giving space back: after a change, when the log is quiet, and not too often. Times are durations since
/// an arbitrary fixed moment.
///
/// ```text
///   changed ---> look, at most every 10 s ---> copy step by step ---> rest for 60 s
///                when quiet, or a second after it is due
/// ```
#[derive(Debug)]
pub struct GiveBackPace {
    busy_at: Duration,
    giving: Giving,
}

/// Progress of giving space back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Giving {
    /// Nothing has changed since the last check. The next check happens at `again` at the earliest.
    Looked { again: Duration },
    /// Something has changed. The next check happens at `from` at the earliest.
    Wanted { from: Duration },
    /// A copy is under way.
    Copying {
        /// Time at which the last copy step ended.
        stepped: Duration,
        /// Something has changed since the copy began, so another check follows the copy.
        changed: bool,
    },
}

impl Default for GiveBackPace {
    /// Starts as if something had changed: a database just opened may have space to give back.
    fn default() -> Self {
        Self { busy_at: Duration::ZERO, giving: Giving::Wanted { from: Duration::ZERO } }
    }
}

impl GiveBackPace {
    /// Records that other work was done at this time, so the log is not quiet.
    pub fn busy(&mut self, now: Duration) {
        self.busy_at = now;
    }

    /// Records a change of the stored data.
    pub fn changed(&mut self) {
        match &mut self.giving {
            Giving::Looked { again } => self.giving = Giving::Wanted { from: *again },
            Giving::Copying { changed, .. } => *changed = true,
            Giving::Wanted { .. } => {}
        }
    }

    /// Returns when the next step is due if nothing else happens; `None` while there is nothing to do.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let from = self.from()?;
        Some((self.busy_at + QUIET_AFTER).max(from).min(from + OVERDUE_AFTER))
    }

    /// Returns true if the next step has waited too long for a quiet moment and must come before other chores.
    #[must_use]
    pub fn is_overdue(&self, now: Duration) -> bool {
        self.from().is_some_and(|from| now >= from + OVERDUE_AFTER)
    }

    /// Records the end of a step.
    pub fn did(&mut self, now: Duration, progress: Progress) {
        let changed = matches!(self.giving, Giving::Copying { changed: true, .. });
        self.giving = match progress {
            Progress::More => Giving::Copying { stepped: now, changed },
            Progress::Nothing => Giving::Looked { again: now + LOOK_AGAIN_AFTER },
            Progress::Done => Giving::Looked { again: now + COPY_AGAIN_AFTER },
            Progress::Postponed => Giving::Wanted { from: now + COPY_AGAIN_AFTER },
        };
        if changed && progress != Progress::More {
            self.changed();
        }
    }

    fn from(&self) -> Option<Duration> {
        match self.giving {
            Giving::Looked { .. } => None,
            Giving::Wanted { from } | Giving::Copying { stepped: from, .. } => Some(from),
        }
    }
}
