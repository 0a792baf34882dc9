//! Decides what a log does and when, for each of its two halves. It is pure: the time comes in, and what is to be done goes out.
//! The halves ask it ([`Flushing`](crate::Flushing), [`Settling`](crate::Settling)), whether threads drive them or a simulator.

use std::time::Duration;

/// At most this many writes go into one flush, so that the first of them need not wait for all.
const WRITES_MAX: usize = 4096;
/// Without a flush for this long the witness is brought up to date.
const WITNESS_AFTER: Duration = Duration::from_millis(20);
/// What is flushed is settled at the latest after this time: the fewer transactions, the better.
const SETTLE_AFTER: Duration = Duration::from_secs(1);
/// This much unsettled, in bytes of the journal, is settled at once.
const SETTLE_BYTES: u64 = 1 << 20;
/// Without a flush for this long the log is quiet: a step that gives space back is in nobody's way.
const QUIET_AFTER: Duration = Duration::from_millis(20);
/// A look or a step that gives space back waits for quiet no longer than this: under a load that never pauses a copy comes
/// to its end as well, at one step a second.
const OVERDUE_AFTER: Duration = Duration::from_secs(1);
/// Between two looks at whether there is space to give back: a look reads the database's tree.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Between two copies, and between a copy that was given up and the next try.
const COPY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Something that the flushing half does: one bounded step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushChore {
    /// Make what is queued durable.
    Flush,
    /// Bring the witness up to date.
    Witness,
}

/// Something that the settling half does: one bounded step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Move the oldest of what is flushed into redb. That frees some of what is compacted, too.
    Settle,
    /// Free some of what is compacted.
    Compact,
    /// Look whether the database's file is much larger than what is in it, and if so copy some of it into a new file.
    GiveBack,
}

/// What a chore has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is done.
    Done,
    /// There is more of the same.
    More,
    /// There was nothing to do.
    Nothing,
    /// It was given up, and is to be tried again later: there is no space for it, or too much was changed meanwhile.
    Postponed,
}

/// What a half is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<C> {
    /// This, now.
    Do(C),
    /// Nothing until this moment, or until it is woken before: by a write, or by a [nudge](Nudge).
    At(Duration),
    /// Nothing until it is woken.
    WhenWoken,
}

/// Whether the settling half is to be woken after a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// It may sleep without knowing of what there is to settle.
    Wake,
    /// It knows when to look.
    Leave,
}

/// Decides what the flushing half does next. Times are durations since any fixed moment.
///
/// ```text
///   queued ---- at once ----> flush ---- 20 ms without another ----> witness
/// ```
#[derive(Debug, Default)]
pub struct FlushSchedule {
    /// When something was flushed last.
    flushed_at: Duration,
}

impl FlushSchedule {
    /// How many more writes go into the next flush, where this many are queued.
    #[must_use]
    pub fn room(&self, queued: usize) -> usize {
        WRITES_MAX.saturating_sub(queued)
    }

    /// What to do next: what waits to be durable comes before the witness.
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

    /// Takes note of a flush that has ended.
    pub fn flushed(&mut self, now: Duration) {
        self.flushed_at = now;
    }

    /// Whether to wake the other half after a record was flushed: of how many bytes of the journal, and how many were unsettled
    /// right before. Not each time, as waking a thread costs more than the flush itself takes of the processor.
    #[must_use]
    pub fn nudge(unsettled_before: u64, bytes: u64) -> Nudge {
        // Where all was settled the other half sleeps, and where this makes it much to be settled it sleeps for too long. Else it
        // knows when to look. What was unsettled when the flush began does not tell: that may be settled meanwhile.
        let is_first = unsettled_before == 0;
        let makes_much = unsettled_before < SETTLE_BYTES && unsettled_before + bytes >= SETTLE_BYTES;
        if is_first || makes_much { Nudge::Wake } else { Nudge::Leave }
    }
}

/// Decides when to give space back: after a change, in quiet moments, and not too often. Times are durations since any fixed
/// moment.
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

/// How far giving space back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Giving {
    /// Nothing has changed since the last look. No other look before this moment.
    Looked { again: Duration },
    /// Something has changed. Not before this moment.
    Wanted { from: Duration },
    /// A copy is under way; the last step ended then.
    Copying {
        /// When that was.
        stepped: Duration,
        /// Something has changed since the copy was begun: it is looked at again.
        changed: bool,
    },
}

impl Default for GiveBackPace {
    /// Of a database that was just opened: there may be space to give back.
    fn default() -> Self {
        Self { busy_at: Duration::ZERO, giving: Giving::Wanted { from: Duration::ZERO } }
    }
}

impl GiveBackPace {
    /// Takes note of other work that was done at this moment.
    pub fn busy(&mut self, now: Duration) {
        self.busy_at = now;
    }

    /// Takes note of a change of what is stored.
    pub fn changed(&mut self) {
        match &mut self.giving {
            Giving::Looked { again } => self.giving = Giving::Wanted { from: *again },
            Giving::Copying { changed, .. } => *changed = true,
            Giving::Wanted { .. } => {}
        }
    }

    /// When the next step is due if nothing happens before; none while there is nothing to do.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let from = self.from()?;
        Some((self.busy_at + QUIET_AFTER).max(from).min(from + OVERDUE_AFTER))
    }

    /// True when the next step has waited for quiet for too long: it comes before everything else.
    #[must_use]
    pub fn is_overdue(&self, now: Duration) -> bool {
        self.from().is_some_and(|from| now >= from + OVERDUE_AFTER)
    }

    /// Takes note of a step that has ended.
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

/// Decides what the settling half does next. Times are durations since any fixed moment.
///
/// ```text
///   flushed ---- 1 MiB, or 1 s ----> settle until all is ----> compact until done ----> give space back
/// ```
///
/// What is compacted and not freed has a bound under any load: a settling that adds so many bytes frees twice as many, if
/// there are any, in the same transaction.
#[derive(Debug)]
pub struct SettleSchedule {
    unsettled_bytes: u64,
    unsettled_since: Option<Duration>,
    /// A settling has begun and has more to do.
    settling: bool,
    /// Something was settled since all that was compacted was freed.
    compacting: bool,
    give_back: GiveBackPace,
}

impl Default for SettleSchedule {
    /// Of a log that was just opened.
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
    /// What to do next for the database, of which `unsettled_bytes` of the journal are missing.
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

    /// Takes note of a chore that was done for the database.
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

    /// A schedule of a log in which nothing is left to do, at the moment 0.
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
        // A load that never pauses: something more is flushed each time, and much of it.
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
        // And little of it, but without a pause.
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
