//! Admission of proposals: what a leader has accepted and not applied yet, and how much more it may accept,
//! so that all of it is committed and applied in time at the measured pace of quorum and disk.
//!
//! A proposal that waits longer than its client is given up by the client and replicated all the same, and
//! those behind it wait even longer. Soon no request succeeds any more although the cluster works at full
//! capacity. So such a proposal is refused at once, with the certainty that nothing was done.
//!
//! ```text
//!   propose --> accepted, if the total then still fits into `commit_budget` at the measured pace --> applied
//!                  else Overloaded                                                          a sample of the pace
//! ```

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::pace::{Departure, Load, Pace};
use crate::{Entry, LogIndex, Proposal, Time};

/// Cost of an entry in addition to its bytes. Measured: the number of 256-byte entries that a busy node
/// handles in a second is about what it handles in large entries, in bytes, divided by 5 KiB. With this
/// allowance, the pace measured with entries of one size is a useful estimate for entries of another.
const ENTRY_COST: usize = 4 << 10;

/// Bytes accepted before any pace is known, by a leader that has just been elected: a large value from each
/// of a few clients, or a small one from each of thousands. Over a link of 20 Mbit/s they take 0.8 s.
const UNKNOWN_PACE_BYTES: usize = 2 << 20;

/// Bytes accepted while the pace has only been measured under a light load: a small value from each of a
/// thousand clients.
const CROWD_BYTES: usize = 256 << 10;

/// Cost that is accepted at any pace, in bytes.
const COST_MIN: usize = 128 << 10;

/// The proposals accepted and not applied yet.
#[derive(Clone, Debug)]
pub(crate) struct Backlog {
    /// Upper bound on the time until all of them are applied.
    budget: Duration,
    pace: Pace,
    /// Runs of proposals accepted together, the oldest first.
    runs: VecDeque<Run>,
    on_its_way: Amount,
}

/// Total weight and cost of some proposals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    /// Weight of the entries, in bytes.
    bytes: usize,
    /// The weight plus `ENTRY_COST` for each entry, in bytes.
    cost: usize,
}

/// Proposals that were accepted together.
#[derive(Clone, Copy, Debug)]
struct Run {
    last: LogIndex,
    amount: Amount,
    departure: Departure,
    at: Time,
}

impl Amount {
    /// The amount of one proposal.
    pub(crate) fn of(proposal: &Proposal) -> Self {
        Self::of_entry(Entry::command_weight(&proposal.command))
    }

    fn of_entry(bytes: usize) -> Self {
        Self { bytes, cost: bytes.saturating_add(ENTRY_COST) }
    }

    /// The sum of both.
    pub(crate) fn and(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), cost: self.cost.saturating_add(other.cost) }
    }

    fn less(self, other: Self) -> Self {
        Self { bytes: self.bytes - other.bytes, cost: self.cost - other.cost }
    }
}

impl Backlog {
    pub(crate) fn new(budget: Duration) -> Self {
        Self { budget, pace: Pace::new(budget), runs: VecDeque::new(), on_its_way: Amount::default() }
    }

    /// True when `more` would still be applied within the budget.
    pub(crate) fn has_room(&self, now: Time, more: Amount) -> bool {
        let with = self.on_its_way.and(more);
        let Some(max) = self.cost_max(now) else { return with.bytes <= UNKNOWN_PACE_BYTES };
        with.cost <= max || !self.pace.is_limit() && with.bytes <= CROWD_BYTES
    }

    /// True when everything accepted is applied.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Upper bound on the cost of all accepted proposals; none while the pace is unknown.
    fn cost_max(&self, now: Time) -> Option<usize> {
        let paced = self.pace.bytes_within(self.budget)?;
        Some(self.late(now).map_or(paced, |late| late.min(paced)).max(COST_MIN))
    }

    /// The cost that fits into the budget at the pace since the oldest open proposal was accepted, if that
    /// one is late: the pace has fallen, and no sample can show it before the proposal is applied. Distance
    /// alone is not lateness, so the shortest time that a proposal took is added to the budget.
    fn late(&self, now: Time) -> Option<usize> {
        let (shortest, oldest) = self.pace.shortest().zip(self.runs.front())?;
        let is_late = oldest.at.after(self.budget + shortest) <= now;
        is_late.then(|| self.pace.bytes_within_since(now, oldest.departure, self.budget))
    }

    /// Records proposals that were accepted; `last` is the index of the last of them.
    pub(crate) fn note_taken(&mut self, now: Time, last: LogIndex, amount: Amount) {
        let with = self.on_its_way.and(amount);
        let full =
            self.cost_max(now).map_or(with.bytes >= UNKNOWN_PACE_BYTES / 2, |max| with.cost >= max / 2);
        let load = if full { Load::Full } else { Load::Light };
        let departure = self.pace.depart(now, self.runs.is_empty(), load);
        self.runs.push_back(Run { last, amount, departure, at: now });
        self.on_its_way = with;
    }

    /// Records that everything up to `index` is applied.
    pub(crate) fn note_applied(&mut self, now: Time, index: LogIndex) {
        let (mut done, mut newest) = (Amount::default(), None);
        while let Some(run) = self.runs.pop_front_if(|run| run.last <= index) {
            done = done.and(run.amount);
            newest = Some(run);
        }
        self.on_its_way = self.on_its_way.less(done);
        let Some(newest) = newest else { return };
        if now.since(newest.at) > self.budget * 2 {
            // It took far longer than predicted, so the prediction was wrong.
            self.pace.forget_rates();
        }
        self.pace.arrive(now, newest.departure, done.cost);
    }

    /// Forgets all open proposals, as this node no longer leads. The pace is kept as the best guess for
    /// another leadership.
    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.on_its_way = Amount::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1000;
    const BUDGET: Duration = Duration::from_millis(500);

    /// Offers entries of this weight, as many as are accepted, to a leader that applies `per_ms` bytes of
    /// cost a millisecond. Returns the longest wait of an entry in the second half, in milliseconds, and the
    /// bytes applied in it.
    fn flood(backlog: &mut Backlog, from_ms: u64, for_ms: u64, weight: usize, per_ms: usize) -> (u64, usize) {
        let amount = Amount::of_entry(weight);
        let cost = amount.cost;
        let (mut index, mut applied, mut due) = (LogIndex(from_ms << 20), VecDeque::new(), from_ms * MS);
        let (mut longest, mut bytes) = (0, 0);
        for ms in from_ms..from_ms + for_ms {
            let now = ms * MS;
            while backlog.is_empty() || backlog.has_room(Time(now), amount) {
                index = index.next();
                backlog.note_taken(Time(now), index, amount);
                due = due.max(now) + (cost as u64 * MS) / per_ms as u64;
                applied.push_back((index, now, due));
            }
            while let Some((index, at, done)) = applied.pop_front_if(|(_, _, done)| *done <= now + MS) {
                backlog.note_applied(Time(done), index);
                if ms > from_ms + for_ms / 2 {
                    longest = longest.max((done - at) / MS);
                    bytes += cost;
                }
            }
        }
        // The remaining entries are applied as well.
        for (index, _, done) in applied {
            backlog.note_applied(Time(done), index);
        }
        (longest, bytes)
    }

    #[test]
    fn no_more_is_taken_than_is_applied_in_time_and_no_less_than_keeps_everybody_busy() {
        for (weight, per_ms) in [(300, 60_000), (65_000, 12_500), (500_000, 12_500), (500_000, 2_500)] {
            let mut backlog = Backlog::new(BUDGET);
            let (longest, bytes) = flood(&mut backlog, 0, 10_000, weight, per_ms);
            assert!(longest <= 1000, "{weight} B at {per_ms} B/ms: one waited for {longest} ms");
            assert!(bytes >= 5000 * per_ms * 9 / 10, "{weight} B at {per_ms} B/ms: {bytes} bytes in 5 s");
        }
    }

    #[test]
    fn a_pace_that_falls_or_rises_is_noticed_soon() {
        let mut backlog = Backlog::new(BUDGET);
        flood(&mut backlog, 0, 3000, 65_000, 50_000);
        // The entries accepted at the higher pace take 5 s at the lower one.
        let (longest, bytes) = flood(&mut backlog, 10_000, 12_000, 65_000, 5_000);
        assert!(longest <= 1000, "slower: one waited for {longest} ms");
        assert!(bytes >= 6000 * 5_000 * 9 / 10);
        let (longest, bytes) = flood(&mut backlog, 40_000, 6000, 65_000, 50_000);
        assert!(longest <= 1000 && bytes >= 3000 * 50_000 * 9 / 10, "faster: {longest} ms, {bytes} bytes");
    }

    #[test]
    fn many_small_entries_after_few_large_ones_are_taken() {
        let mut backlog = Backlog::new(BUDGET);
        flood(&mut backlog, 0, 3000, 500_000, 12_500);
        let small = Amount::of_entry(300);
        let max = backlog.cost_max(Time(4000 * MS));
        assert!(max >= Some(1000 * small.cost), "{max:?} bytes");
    }

    #[test]
    fn at_a_slow_pace_a_little_is_taken_all_the_same() {
        let mut backlog = Backlog::new(BUDGET);
        backlog.note_taken(Time(0), LogIndex(1), Amount::of_entry(10_000));
        backlog.note_applied(Time(60_000 * MS), LogIndex(1));
        assert_eq!(backlog.cost_max(Time(60_000 * MS)), Some(COST_MIN));
    }

    #[test]
    fn before_the_pace_is_known_thousands_of_small_entries_or_some_large_ones_are_taken() {
        for (weight, from, to) in [(300, 2000, 10_000), (512 << 10, 2, 8)] {
            let (mut backlog, mut count) = (Backlog::new(BUDGET), 0);
            while backlog.has_room(Time(0), Amount::of_entry(weight)) {
                count += 1;
                backlog.note_taken(Time(0), LogIndex(count), Amount::of_entry(weight));
            }
            assert!((from..to).contains(&count), "{count} entries of {weight} bytes");
        }
    }

    #[test]
    fn a_first_write_that_takes_its_time_does_not_refuse_the_crowd_behind_it() {
        let (mut backlog, small) = (Backlog::new(BUDGET), Amount::of_entry(300));
        backlog.note_taken(Time(0), LogIndex(1), small);
        backlog.note_applied(Time(80 * MS), LogIndex(1));
        for index in 2..800 {
            assert!(backlog.has_room(Time(80 * MS), small), "after {index} of them");
            backlog.note_taken(Time(80 * MS), LogIndex(index), small);
        }
    }

    #[test]
    fn while_little_comes_to_an_end_little_is_taken() {
        let (mut backlog, large) = (Backlog::new(BUDGET), Amount::of_entry(1 << 20));
        flood(&mut backlog, 0, 3000, 65_000, 50_000);
        let first = LogIndex(1 << 40);
        backlog.note_taken(Time(10_000 * MS), first, large);
        backlog.note_taken(Time(10_000 * MS), first.next(), large);
        backlog.note_applied(Time(10_020 * MS), first);
        assert!(backlog.has_room(Time(10_490 * MS), large));
        assert!(!backlog.has_room(Time(10_700 * MS), large), "at one MiB in 700 ms");
        backlog.note_applied(Time(10_700 * MS), first.next());
        assert!(backlog.has_room(Time(10_700 * MS), large));
    }

    #[test]
    fn what_takes_its_time_because_it_goes_far_is_not_late() {
        let (mut backlog, small) = (Backlog::new(BUDGET), Amount::of_entry(300));
        for index in 1..100 {
            let at = index * 50 * MS;
            assert!(backlog.has_room(Time(at), small), "at {} ms", at / MS);
            backlog.note_taken(Time(at), LogIndex(index), small);
            // Each is there and back after 600 ms.
            if let Some(done) = index.checked_sub(12) {
                backlog.note_applied(Time(at), LogIndex(done));
            }
        }
    }

    #[test]
    fn nothing_is_on_its_way_any_more_once_leadership_is_lost() {
        let mut backlog = Backlog::new(BUDGET);
        backlog.note_taken(Time(0), LogIndex(1), Amount::of_entry(10_000));
        backlog.clear();
        assert_eq!(backlog.on_its_way, Amount::default());
        backlog.note_applied(Time(MS), LogIndex(1));
        assert_eq!(backlog.cost_max(Time(MS)), None);
    }
}
