//! When the settling half settles, frees compacted entries, and gives space back.

use std::time::Duration;

use super::{Chore, GiveBackPace, Next, Progress, SETTLE_BYTES};

/// Longest time between a flush and its settling. Settling later means fewer redb transactions.
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// Schedule of the settling half. Times are durations since an arbitrary fixed moment.
///
/// ```text
///   flushed ---- 1 MiB, or 1 s ----> settle until all is ----> compact until done ----> give space back
/// ```
///
/// Compacted entries that are not freed yet are bounded under any load: a settling that adds some bytes frees twice as
/// many, if available, in the same transaction.
#[derive(Debug)]
pub struct SettleSchedule {
    unsettled_bytes: u64,
    unsettled_since: Option<Duration>,
    /// A settling has begun and is not finished.
    settling: bool,
    /// Something was settled since compaction last freed everything.
    compacting: bool,
    give_back: GiveBackPace,
}

impl Default for SettleSchedule {
    /// Schedule for a log just opened.
    fn default() -> Self {
        Self {
            unsettled_bytes: 0,
            unsettled_since: None,
            settling: false,
            compacting: true,
            give_back: GiveBackPace::default(),
        }
    }
}

impl SettleSchedule {
    /// Returns the next chore, given the number of journal bytes that are not in the database yet.
    #[must_use]
    pub fn next(&mut self, now: Duration, unsettled_bytes: u64) -> Next<Chore> {
        if unsettled_bytes > self.unsettled_bytes {
            self.give_back.busy(now);
        }
        self.unsettled_bytes = unsettled_bytes;
        if self.give_back.is_overdue(now) {
            return Next::Do(Chore::GiveBack);
        }
        let settle = self.settle_at(now, unsettled_bytes);
        if settle.is_some_and(|at| now >= at) {
            return Next::Do(Chore::Settle);
        }
        if self.compacting {
            return Next::Do(Chore::Compact);
        }
        match (settle, self.give_back.due()) {
            (_, Some(at)) if now >= at => Next::Do(Chore::GiveBack),
            (Some(a), Some(b)) => Next::At(a.min(b)),
            (Some(at), None) | (None, Some(at)) => Next::At(at),
            (None, None) => Next::WhenWoken,
        }
    }

    /// Records the end of a chore.
    pub fn did(&mut self, now: Duration, chore: Chore, progress: Progress) {
        match (chore, progress) {
            (Chore::Settle, Progress::More) => self.settling = true,
            (Chore::Settle, Progress::Done | Progress::Nothing | Progress::Postponed) => {
                self.settling = false;
                self.unsettled_since = None;
                self.unsettled_bytes = 0;
                self.compacting = true;
                self.give_back.changed();
            }
            (Chore::Compact, progress) => self.compacting = progress == Progress::More,
            (Chore::GiveBack, progress) => self.give_back.did(now, progress),
        }
    }

    fn settle_at(&mut self, now: Duration, unsettled_bytes: u64) -> Option<Duration> {
        if unsettled_bytes == 0 {
            self.unsettled_since = None;
            self.settling = false;
            return None;
        }
        let since = *self.unsettled_since.get_or_insert(now);
        let at_once = self.settling || unsettled_bytes >= SETTLE_BYTES;
        Some(if at_once { now } else { since + SETTLE_AFTER })
    }
}

#[cfg(test)]
mod tests {
    use super::super::give_back::{COPY_AGAIN_AFTER, LOOK_AGAIN_AFTER, OVERDUE_AFTER};
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    /// A schedule with nothing left to do at time 0.
    fn idle() -> SettleSchedule {
        let mut schedule = SettleSchedule::default();
        schedule.did(Duration::ZERO, Chore::Compact, Progress::Done);
        schedule.did(Duration::ZERO, Chore::GiveBack, Progress::Nothing);
        assert_eq!(schedule.next(Duration::ZERO, 0), Next::WhenWoken);
        schedule
    }

    #[test]
    fn a_log_that_was_opened_is_compacted_and_looked_at() {
        let mut schedule = SettleSchedule::default();
        assert_eq!(schedule.next(30 * MS, 0), Next::Do(Chore::Compact));
        schedule.did(30 * MS, Chore::Compact, Progress::Done);
        assert_eq!(schedule.next(30 * MS, 0), Next::Do(Chore::GiveBack));
        schedule.did(30 * MS, Chore::GiveBack, Progress::Nothing);
        assert_eq!(schedule.next(60 * SECOND, 0), Next::WhenWoken);
    }

    #[test]
    fn little_is_settled_after_a_second_and_much_at_once() {
        let mut schedule = idle();
        assert_eq!(schedule.next(SECOND, 512), Next::At(2 * SECOND));
        assert_eq!(schedule.next(SECOND + 900 * MS, 1024), Next::At(2 * SECOND));
        assert_eq!(schedule.next(2 * SECOND, 1024), Next::Do(Chore::Settle));
        schedule.did(2 * SECOND, Chore::Settle, Progress::Done);
        assert_eq!(schedule.next(2 * SECOND, SETTLE_BYTES), Next::Do(Chore::Settle));
        schedule.did(2 * SECOND, Chore::Settle, Progress::More);
        assert_eq!(schedule.next(2 * SECOND, 1), Next::Do(Chore::Settle), "until all is");
        schedule.did(2 * SECOND, Chore::Settle, Progress::Done);
        assert_eq!(schedule.next(2 * SECOND, 0), Next::Do(Chore::Compact));
        schedule.did(2 * SECOND, Chore::Compact, Progress::More);
        assert_eq!(schedule.next(2 * SECOND, 0), Next::Do(Chore::Compact), "until all is");
    }

    #[test]
    fn a_look_comes_after_a_change_and_not_too_often() {
        let mut schedule = idle();
        assert_eq!(schedule.next(SECOND, 0), Next::WhenWoken);
        schedule.did(SECOND, Chore::Settle, Progress::Done);
        schedule.did(SECOND, Chore::Compact, Progress::Done);
        assert_eq!(schedule.next(SECOND, 0), Next::At(LOOK_AGAIN_AFTER));
        assert_eq!(schedule.next(LOOK_AGAIN_AFTER, 0), Next::Do(Chore::GiveBack));
        assert_eq!(schedule.next(LOOK_AGAIN_AFTER, SETTLE_BYTES), Next::Do(Chore::Settle), "that first");
        let late = LOOK_AGAIN_AFTER + OVERDUE_AFTER;
        assert_eq!(schedule.next(late, SETTLE_BYTES), Next::Do(Chore::GiveBack), "or never under load");
        schedule.did(LOOK_AGAIN_AFTER, Chore::GiveBack, Progress::Postponed);
        let again = LOOK_AGAIN_AFTER + COPY_AGAIN_AFTER;
        assert_eq!(schedule.next(LOOK_AGAIN_AFTER, 0), Next::At(again));
    }

    #[test]
    fn a_copy_goes_on_in_quiet_moments_and_each_second_under_load() {
        let mut schedule = idle();
        schedule.did(SECOND, Chore::GiveBack, Progress::More);
        assert_eq!(schedule.next(SECOND, 0), Next::Do(Chore::GiveBack), "it is quiet");
        schedule.did(SECOND, Chore::GiveBack, Progress::More);
        // A load that never pauses and crosses the settling threshold each time.
        let mut steps = 0;
        for ms in 1..=5000_u32 {
            let now = SECOND + ms * MS;
            match schedule.next(now, SETTLE_BYTES + u64::from(ms)) {
                Next::Do(Chore::GiveBack) => {
                    steps += 1;
                    schedule.did(now, Chore::GiveBack, Progress::More);
                }
                next @ (Next::Do(_) | Next::At(_) | Next::WhenWoken) => {
                    assert_eq!(next, Next::Do(Chore::Settle));
                    schedule.did(now, Chore::Settle, Progress::More);
                }
            }
        }
        assert_eq!(steps, 5);
        // A small load that never pauses.
        for ms in 5001..=8000_u32 {
            let now = SECOND + ms * MS;
            match schedule.next(now, u64::from(ms)) {
                Next::Do(Chore::GiveBack) => {
                    steps += 1;
                    schedule.did(now, Chore::GiveBack, Progress::More);
                }
                Next::Do(Chore::Settle) => schedule.did(now, Chore::Settle, Progress::Done),
                Next::Do(Chore::Compact) => schedule.did(now, Chore::Compact, Progress::Done),
                Next::WhenWoken => panic!("there is a copy to go on with"),
                Next::At(at) => assert!(at > now && at <= now + SECOND),
            }
        }
        assert_eq!(steps, 8);
        schedule.did(10 * SECOND, Chore::GiveBack, Progress::Done);
        schedule.did(10 * SECOND, Chore::Compact, Progress::Done);
        assert_eq!(schedule.next(11 * SECOND, 0), Next::At(10 * SECOND + COPY_AGAIN_AFTER));
    }
}
