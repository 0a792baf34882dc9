//! Measurement of the rate at which bytes in flight arrive, as BBR measures the delivery rate of a path
//! (Cardwell and others 2016; draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Each departure records how many bytes had arrived by then. When it arrives itself, the bytes that arrived
//! in between, divided by the time it took, are a sample. So a sample covers all bytes in flight together,
//! and no time in which nothing was in flight. A sample is at most the real rate, and lower if too little was
//! in flight. Hence the greatest of the recent samples is the estimate, and samples taken under a light load
//! never lower it.
//!
//! ```text
//!            depart                       arrive
//!   bytes ----------> in flight ---------------------> sample: bytes that arrived since, by the time since
//! ```

use core::time::Duration;

use crate::Time;

/// The record of a departure, kept until it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    at: Time,
    /// When the last arrival before it was, or the departure itself if nothing else was in flight.
    measured_from: Time,
    /// Total bytes that had arrived by then.
    arrived: u64,
    load: Load,
}

/// The load on the path at a departure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So little that a low rate does not show what is possible.
    Light,
    /// So much that the rate measured is the highest possible.
    Full,
}

/// Measures a rate. Pure: the time is an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A sample counts for one to two of these periods.
    period: Duration,
    arrived: u64,
    last_arrival: Time,
    /// Greatest rate of this period and of the one before, in bytes a second.
    rates: Newest<u64>,
    /// Shortest time between departure and arrival in this period and the one before, a period being
    /// `TIME_PERIODS` long.
    times: Newest<Duration>,
    is_limit: bool,
}

/// The best sample of this period, and of the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Newest<T> {
    now: Option<T>,
    before: Option<T>,
    since: Time,
}

/// Number of periods for which the shortest time counts. It changes only with the path, and cannot be
/// measured while much is in flight.
const TIME_PERIODS: u32 = 20;

impl Pace {
    /// A measurement without samples. The estimate is the best sample of the last `period` to `2 * period`.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        let (rates, times) = (Newest::default(), Newest::default());
        Self { period, arrived: 0, last_arrival: Time(0), rates, times, is_limit: false }
    }

    /// Records a departure. `alone` means that nothing else is in flight.
    #[must_use]
    pub fn depart(&self, now: Time, alone: bool, load: Load) -> Departure {
        let measured_from = if alone { now } else { self.last_arrival };
        Departure { at: now, measured_from, arrived: self.arrived, load }
    }

    /// Records the arrival of `bytes`, the newest of them with the departure `newest`.
    pub fn arrive(&mut self, now: Time, newest: Departure, bytes: usize) {
        self.arrived = self.arrived.wrapping_add(bytes as u64);
        self.last_arrival = now;
        let rate = self.rate_since(now, newest);
        if newest.load == Load::Full {
            self.rates.turn(now, self.period);
        }
        self.rates.note(now, rate, u64::max);
        let took = now.since(newest.at);
        self.is_limit |= newest.load == Load::Full || took > self.period;
        self.times.turn(now, self.period * TIME_PERIODS);
        self.times.note(now, took, Duration::min);
    }

    /// Rate of arrivals since this departure, in bytes a second.
    fn rate_since(&self, now: Time, departure: Departure) -> u64 {
        let micros = now.since(departure.measured_from).as_micros().max(1);
        let meanwhile = self.arrived.wrapping_sub(departure.arrived);
        u64::try_from(u128::from(meanwhile) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// Drops the rates measured so far, as they no longer predict the coming ones.
    pub fn forget_rates(&mut self) {
        self.rates = Newest::default();
    }

    /// True when the estimate is an upper bound: something arrived that departed under full load, or took
    /// longer than a period. Until then it is only a lower bound, as a single small thing that took its time
    /// shows a rate far below what many can have together.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.is_limit
    }

    /// The estimated rate, in bytes a second; none before the first arrival.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        self.rates.best(u64::max)
    }

    /// The shortest recent time between departure and arrival; none before the first arrival.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        self.times.best(Duration::min)
    }

    /// The bytes that arrive within `time` at the estimated rate; none before the first arrival.
    #[must_use]
    pub fn bytes_within(&self, time: Duration) -> Option<usize> {
        Some(bytes_within(self.rate()?, time))
    }

    /// The bytes that arrive within `time` at the rate since `departure`, which has not arrived yet.
    #[must_use]
    pub fn bytes_within_since(&self, now: Time, departure: Departure, time: Duration) -> usize {
        bytes_within(self.rate_since(now, departure), time)
    }
}

fn bytes_within(rate: u64, time: Duration) -> usize {
    usize::try_from(u128::from(rate) * time.as_micros() / 1_000_000).unwrap_or(usize::MAX)
}

impl<T: Copy> Newest<T> {
    /// Begins another period if this one is over.
    fn turn(&mut self, now: Time, period: Duration) {
        if self.since.after(period) <= now {
            // If nothing was measured in this period, the earlier best sample is still the newest.
            self.before = self.now.or(self.before);
            self.now = None;
            self.since = now;
        }
    }

    fn note(&mut self, now: Time, sample: T, better: fn(T, T) -> T) {
        if self.now.is_none() && self.before.is_none() {
            self.since = now;
        }
        self.now = Some(self.now.map_or(sample, |best| better(best, sample)));
    }

    fn best(&self, better: fn(T, T) -> T) -> Option<T> {
        match (self.now, self.before) {
            (Some(now), Some(before)) => Some(better(now, before)),
            (now, before) => now.or(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const MS: u64 = 1000;

    fn pace() -> Pace {
        Pace::new(Duration::from_millis(500))
    }

    /// Sends `count` times `bytes` at once over a path of `per_ms` bytes a millisecond and a delay. Returns
    /// when the last one has arrived.
    fn transfer(pace: &mut Pace, from: u64, count: u64, bytes: usize, per_ms: u64, delay_ms: u64) -> u64 {
        let departures: Vec<Departure> =
            (0..count).map(|nth| pace.depart(Time(from), nth == 0, Load::Full)).collect();
        let mut at = from + delay_ms * MS;
        for departure in departures {
            at += bytes as u64 * MS / per_ms;
            pace.arrive(Time(at), departure, bytes);
        }
        at
    }

    #[test]
    fn what_is_on_its_way_together_shows_the_rate_of_the_way() {
        let mut pace = pace();
        assert_eq!((pace.rate(), pace.shortest()), (None, None));
        transfer(&mut pace, 0, 100, 1000, 100, 5);
        // 100 KB in 1005 ms.
        assert_eq!(pace.rate(), Some(99_502));
        assert_eq!(pace.shortest(), Some(Duration::from_millis(15)));
        assert_eq!(pace.bytes_within(Duration::from_millis(500)), Some(49_751));
    }

    #[test]
    fn time_in_which_nothing_was_on_its_way_does_not_count() {
        let mut pace = pace();
        let end = transfer(&mut pace, 0, 10, 1000, 100, 0);
        transfer(&mut pace, end + 60_000 * MS, 10, 1000, 100, 0);
        assert_eq!(pace.rate(), Some(100_000));
    }

    #[test]
    fn a_slower_way_is_noticed_within_two_periods_and_a_faster_one_at_once() {
        let mut pace = pace();
        let mut at = transfer(&mut pace, 0, 10, 1000, 1000, 1);
        assert_eq!(pace.rate(), Some(909_090));
        at = transfer(&mut pace, at, 120, 1000, 100, 1);
        assert!(pace.rate() < Some(101_000), "{:?} after 1.2 s", pace.rate());
        transfer(&mut pace, at, 10, 1000, 1000, 1);
        assert_eq!(pace.rate(), Some(909_090));
    }

    #[test]
    fn little_on_its_way_says_nothing_of_what_would_be_possible() {
        let mut pace = pace();
        let mut at = transfer(&mut pace, 0, 10, 1000, 1000, 0);
        for _ in 0..100 {
            let departure = pace.depart(Time(at), true, Load::Light);
            at += 100 * MS;
            pace.arrive(Time(at), departure, 10);
        }
        assert_eq!(pace.rate(), Some(1_000_000));
    }

    #[test]
    fn arrivals_that_were_held_up_and_come_at_once_are_no_higher_rate() {
        let mut pace = pace();
        let held: Vec<Departure> = (0..50).map(|nth| pace.depart(Time(0), nth == 0, Load::Full)).collect();
        // The last one departs right before the others arrive, and arrives with them.
        let last = pace.depart(Time(99 * MS), false, Load::Full);
        for departure in held {
            pace.arrive(Time(100 * MS), departure, 1000);
        }
        pace.arrive(Time(100 * MS), last, 1000);
        assert!(pace.rate() <= Some(510_000), "{:?}", pace.rate());
    }
}
