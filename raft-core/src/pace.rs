//! The pace at which bytes that are on their way come to an end, measured as BBR measures the delivery rate of a path
//! (Cardwell and others 2016; draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Each departure remembers how many bytes had arrived by then. When it has arrived itself, what arrived meanwhile,
//! divided by the time that it took, is a sample: it counts what was on its way together and no time in which nothing
//! was. A sample is at most the rate that there is, and less where too little was on its way, so the greatest of the
//! newest samples is the estimate; samples of times in which little was on its way never lower it.
//!
//! ```text
//!            depart                       arrive
//!   bytes ----------> on their way -----------------> sample: bytes that arrived since, by the time since
//! ```

use core::time::Duration;

use crate::Time;

/// What is remembered of bytes that have departed, until they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Departure {
    at: Time,
    /// When the newest arrival before this was, or the departure itself where nothing was on its way.
    measured_from: Time,
    /// Bytes that had arrived by then.
    arrived: u64,
    load: Load,
}

/// How much was on its way when something departed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// So little that a low rate says nothing of what would be possible.
    Light,
    /// So much that a low rate is all that there is.
    Full,
}

/// Measures a pace. Pure: time comes in as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// A sample counts for one to two of these.
    period: Duration,
    arrived: u64,
    last_arrival: Time,
    /// Greatest rate of this period and of the one before, in bytes a second. Zero: no sample.
    rates: Newest<u64>,
    /// Shortest time between departure and arrival, likewise.
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

/// The shortest time counts for so many periods: it changes only with the path, and cannot be seen while much is on
/// its way.
const TIME_PERIODS: u32 = 20;

impl Pace {
    /// Nothing is known yet. The estimate is the best sample of the last `period` to `2 * period`.
    #[must_use]
    pub fn new(period: Duration) -> Self {
        let (rates, times) = (Newest::default(), Newest::default());
        Self { period, arrived: 0, last_arrival: Time(0), rates, times, is_limit: false }
    }

    /// Notes that something departs. `alone`: nothing else is on its way.
    #[must_use]
    pub fn depart(&self, now: Time, alone: bool, load: Load) -> Departure {
        let measured_from = if alone { now } else { self.last_arrival };
        Departure { at: now, measured_from, arrived: self.arrived, load }
    }

    /// Notes that so many bytes have arrived, the newest of them with this departure.
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

    /// Bytes a second that have arrived since this departure.
    fn rate_since(&self, now: Time, departure: Departure) -> u64 {
        let micros = now.since(departure.measured_from).as_micros().max(1);
        let meanwhile = self.arrived.wrapping_sub(departure.arrived);
        u64::try_from(u128::from(meanwhile) * 1_000_000 / micros).unwrap_or(u64::MAX)
    }

    /// The rates measured until now say nothing of those to come.
    pub fn forget_rates(&mut self) {
        self.rates = Newest::default();
    }

    /// Whether the estimate says what is possible: something arrived that departed while much was on its way, or that took
    /// longer than a period. Until then it only says that so much is possible: a single small thing that took its time
    /// shows a rate that is far below what many can have together.
    #[must_use]
    pub fn is_limit(&self) -> bool {
        self.is_limit
    }

    /// Bytes a second; none before the first arrival.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        self.rates.best(u64::max)
    }

    /// The shortest time that anything took of late; none before the first arrival.
    #[must_use]
    pub fn shortest(&self) -> Option<Duration> {
        self.times.best(Duration::min)
    }

    /// How many bytes arrive within this time; none before the first arrival.
    #[must_use]
    pub fn bytes_within(&self, time: Duration) -> Option<usize> {
        Some(bytes_within(self.rate()?, time))
    }

    /// How many bytes arrive within this time at the rate since this departure, which has not arrived yet.
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
            // Where nothing was measured for longer, the best is still the newest that is known.
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

    /// Sends `bytes` at once over a way that takes so many bytes a millisecond, and a delay; returns when the last one
    /// has arrived.
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
