//! When the flushing half flushes, updates the witness, and wakes the settling half.

use std::time::Duration;

use super::{FlushChore, Next, Nudge, SETTLE_BYTES};

/// Maximum number of writes in one flush. Without a limit, the first write of a long queue would wait until all are
/// written.
const WRITES_MAX: usize = 4096;
/// The witness is updated when no flush has happened for this long.
const WITNESS_AFTER: Duration = Duration::from_millis(20);

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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

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
}
