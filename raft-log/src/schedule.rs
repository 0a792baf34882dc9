//! Schedules of the two halves: what each does next, and when. Pure functions of the time and of what happened, so that
//! [`Flushing`](crate::Flushing) and [`Settling`](crate::Settling) behave alike under threads and in a simulator.

use std::time::Duration;

/// Maximum number of writes in one flush. Without a limit, the first write of a long queue would wait until all are
/// written.
const WRITES_MAX: usize = 4096;
/// The witness is updated when no flush has happened for this long.
const WITNESS_AFTER: Duration = Duration::from_millis(20);
/// Longest time between a flush and its settling. Settling later means fewer redb transactions.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// Settle at once when this many bytes of the journal are unsettled.
const SETTLE_BYTES: u64 = 1 << 20;
/// The log counts as quiet when no flush has happened for this long; giving space back then delays no flush.
const QUIET_AFTER: Duration = Duration::from_millis(20);
/// Longest time that a due look or copy step waits for the log to become quiet. Under a load that never pauses, a copy
/// therefore still finishes, at one step a second.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);
/// Shortest time between two checks for space to give back, because each check reads the database's tree.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Shortest time between two copies, also after a copy that was given up.
const COPY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// One bounded step of the flushing half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushChore {
    /// Makes the queued writes durable.
    Flush,
    /// Brings the witness up to date.
    Witness,
}

/// One bounded step of the settling half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Moves the oldest flushed writes into redb, and frees some compacted entries in the same transaction.
    Settle,
    /// Frees some compacted entries.
    Compact,
    /// Checks whether the database file is much larger than its content, and if so copies some of the content into a
    /// new file.
    GiveBack,
}

/// Result of a chore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The chore is finished.
    Done,
    /// The chore has more steps to do.
    More,
    /// There was nothing to do.
    Nothing,
    /// The chore was given up and will be tried again later: the disk has no space for it, or too much changed
    /// meanwhile.
    Postponed,
}

/// Next action of a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<C> {
    /// Do this chore now.
    Do(C),
    /// Wait until this time, or until woken by a write or by a [nudge](Nudge).
    At(Duration),
    /// Wait until woken.
    WhenWoken,
}

/// Whether a flush must wake the settling half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// Wake the settling half: it may be asleep, unaware that there is something to settle.
    Wake,
    /// Leave the settling half alone: it knows when to look next.
    Leave,
}

/// Schedule of the flushing half. Times are durations since an arbitrary fixed moment.
///
/// ```text
///   queued ---- at once ----> flush ---- 20 ms without another ----> witness
/// ```
#[derive(Debug, Default)]
pub struct FlushSchedule {
    /// Time of the last flush.
    flushed_at: Duration,
}

impl FlushSchedule {
    /// Returns how many more writes fit into the next flush when `queued` are already taken.
    #[must_use]
    pub fn room(&self, queued: usize) -> usize {
        WRITES_MAX.saturating_sub(queued)
    }

    /// Returns the next action. Queued writes come before the witness, because callers wait for them.
    #[must_use]
    pub fn next(&self, now: Duration, queued: usize, wants_witness: bool) -> Next<FlushChore> {
        let witness_at = self.flushed_at + WITNESS_AFTER;
        match (queued, wants_witness) {
            (1.., _) => Next::Do(FlushChore::Flush),
            (0, true) if now >= witness_at => Next::Do(FlushChore::Witness),
            (0, true) => Next::At(witness_at),
            (0, false) => Next::WhenWoken,
        }
    }

    /// Records the end of a flush.
    pub fn flushed(&mut self, now: Duration) {
        self.flushed_at = now;
    }

    /// Decides whether to wake the settling half after a record of `bytes` bytes was flushed, with `unsettled_before`
    /// bytes unsettled right before. Not every flush wakes it, because waking a thread costs more processor time than
    /// the flush itself.
    #[must_use]
    pub fn nudge(unsettled_before: u64, bytes: u64) -> Nudge {
        // Wake it for the first unsettled record, when it sleeps without a deadline, and for the record that crosses
        // the threshold, when its deadline of one second is too late. `unsettled_before` must be read at the end of the
        // flush: the value at its start is stale if a settling finished meanwhile, and a needed wake-up would be
        // missed.
        let is_first = unsettled_before == 0;
        let makes_much = unsettled_before < SETTLE_BYTES && unsettled_before + bytes >= SETTLE_BYTES;
        if is_first || makes_much { Nudge::Wake } else { Nudge::Leave }
    }
}

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
    fn the_witness_waits_for_quiet_and_a_flush_for_nothing() {
        let mut schedule = FlushSchedule::default();
        schedule.flushed(SECOND);
        assert_eq!(schedule.next(SECOND + 19 * MS, 0, true), Next::At(SECOND + 20 * MS));
        assert_eq!(schedule.next(SECOND + 20 * MS, 0, true), Next::Do(FlushChore::Witness));
        assert_eq!(schedule.next(SECOND + 20 * MS, 1, true), Next::Do(FlushChore::Flush));
        assert_eq!(schedule.next(SECOND + 20 * MS, 0, false), Next::WhenWoken);
        assert_eq!(schedule.room(0), WRITES_MAX);
        assert_eq!(schedule.room(WRITES_MAX), 0);
    }

    #[test]
    fn the_other_half_is_woken_where_it_may_sleep_over_what_there_is() {
        let nudge = FlushSchedule::nudge;
        assert_eq!(nudge(0, 512), Nudge::Wake, "it knows of nothing");
        assert_eq!(nudge(512, 512), Nudge::Leave, "it settles in a second");
        assert_eq!(nudge(SETTLE_BYTES - 512, 512), Nudge::Wake, "at once, now");
        assert_eq!(nudge(SETTLE_BYTES, 512), Nudge::Leave, "it is at it");
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
