//! The time at which a datagram leaves the link, or the reason for its loss: a pure calculation on the time of its
//! arrival.

use std::time::{Duration, Instant};

use crate::conditions::{Conditions, Counters};

/// At most this many bytes are held on one direction, whatever its delay and its queue.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The conditions of one direction, and the schedule of its datagrams.
#[derive(Debug)]
pub(crate) struct Link {
    conditions: Conditions,
    pub(crate) counters: Counters,
    /// Time at which the link has sent all that is queued in front of it.
    idle_at: Option<Instant>,
    held_bytes: usize,
    /// State of the generator that decides on losses (xorshift64*; never zero).
    random: u64,
}

impl Link {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            conditions: Conditions::default(),
            counters: Counters::default(),
            idle_at: None,
            held_bytes: 0,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    pub(crate) fn set(&mut self, conditions: Conditions) {
        self.conditions = conditions;
    }

    /// Admits a datagram of `len` bytes that arrived at `now`. Returns the time at which to pass it on, or `None` if it
    /// is dropped.
    pub(crate) fn admit(&mut self, now: Instant, len: usize) -> Option<Instant> {
        if self.conditions.cut {
            self.counters.dropped_cut += 1;
            return None;
        }
        if self.loses() {
            self.counters.lost += 1;
            return None;
        }
        let Some(sent_at) = self.sent_at(now, len) else {
            self.counters.dropped_full += 1;
            return None;
        };
        self.held_bytes += len;
        Some(sent_at + self.conditions.delay)
    }

    /// Decides whether a datagram of `len` bytes that has reached the end of the link is passed on.
    pub(crate) fn arrives(&mut self, len: usize) -> bool {
        self.held_bytes -= len;
        if self.conditions.cut {
            self.counters.dropped_cut += 1;
        }
        !self.conditions.cut
    }

    /// Counts a datagram that the socket was given; `sent` is false if it refused.
    pub(crate) fn passed_on(&mut self, sent: bool, len: usize) {
        if sent {
            self.counters.delivered += 1;
            self.counters.delivered_bytes += len as u64;
        } else {
            self.counters.dropped_cut += 1;
        }
    }

    /// Time at which the link has sent a datagram that it gets now, or `None` if its queue is full.
    fn sent_at(&mut self, now: Instant, len: usize) -> Option<Instant> {
        if self.held_bytes + len > HELD_BYTES_MAX {
            return None;
        }
        let Some(rate) = self.conditions.bytes_per_second else {
            return Some(now);
        };
        let rate = rate.max(1);
        let starts = self.idle_at.map_or(now, |idle| idle.max(now));
        let queued = bytes_sent_in(starts - now, rate);
        if queued > 0 && queued + len as u64 > self.conditions.queue_bytes as u64 {
            return None;
        }
        let sent = starts + Duration::from_nanos((len as u64).saturating_mul(1_000_000_000) / rate);
        self.idle_at = Some(sent);
        Some(sent)
    }

    fn loses(&mut self) -> bool {
        if self.conditions.loss_permille == 0 {
            return false;
        }
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let drawn = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        drawn % 1000 < u64::from(self.conditions.loss_permille)
    }
}

fn bytes_sent_in(time: Duration, bytes_per_second: u64) -> u64 {
    let bytes = time.as_nanos() * u128::from(bytes_per_second) / 1_000_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{HELD_BYTES_MAX, Link};
    use crate::conditions::Conditions;

    fn link(conditions: Conditions) -> Link {
        let mut link = Link::new(1);
        link.set(conditions);
        link
    }

    #[test]
    fn a_perfect_link_passes_a_datagram_on_at_once() {
        let now = Instant::now();
        assert_eq!(Link::new(1).admit(now, 1200), Some(now));
    }

    #[test]
    fn datagrams_are_sent_one_after_the_other_at_the_rate_and_then_delayed() {
        let now = Instant::now();
        let delay = Duration::from_millis(20);
        let mut link = link(Conditions { delay, bytes_per_second: Some(1_000_000), ..Conditions::default() });
        let milli = Duration::from_millis(1);
        assert_eq!(link.admit(now, 1000), Some(now + delay + milli));
        assert_eq!(link.admit(now, 2000), Some(now + delay + 3 * milli));
        // A link that was idle meanwhile has saved nothing up.
        let later = now + Duration::from_secs(1);
        assert_eq!(link.admit(later, 1000), Some(later + delay + milli));
    }

    #[test]
    fn a_datagram_that_finds_the_queue_full_is_dropped() {
        let now = Instant::now();
        let mut link = link(Conditions {
            bytes_per_second: Some(1_000_000),
            queue_bytes: 3000,
            ..Conditions::default()
        });
        let admitted: Vec<bool> = (0..4).map(|_| link.admit(now, 1000).is_some()).collect();
        assert_eq!(admitted, [true, true, true, false]);
        assert_eq!(link.counters.dropped_full, 1);
        assert!(link.admit(now + Duration::from_millis(1), 1000).is_some());
    }

    #[test]
    fn a_datagram_larger_than_the_queue_passes_when_the_queue_is_empty() {
        let mut link =
            link(Conditions { bytes_per_second: Some(1000), queue_bytes: 100, ..Conditions::default() });
        assert!(link.admit(Instant::now(), 1200).is_some());
    }

    #[test]
    fn losses_are_as_frequent_as_was_asked_and_the_same_for_the_same_seed() {
        let draw = |seed| {
            let mut link = Link::new(seed);
            link.set(Conditions { loss_permille: 100, ..Conditions::default() });
            let now = Instant::now();
            let fates: Vec<bool> = (0..10_000).map(|_| link.admit(now, 1).is_some()).collect();
            (fates, link.counters.lost)
        };
        let (fates, lost) = draw(7);
        assert!((900..1100).contains(&lost), "{lost} of 10,000 lost at 100 permille");
        assert_eq!(fates, draw(7).0);
        assert_ne!(fates, draw(8).0);
    }

    #[test]
    fn a_cut_link_takes_nothing_and_loses_what_is_on_it() {
        let now = Instant::now();
        let mut link = Link::new(1);
        assert!(link.admit(now, 10).is_some());
        link.set(Conditions { cut: true, ..Conditions::default() });
        assert!(!link.arrives(10));
        assert_eq!(link.admit(now, 10), None);
        assert_eq!(link.counters.dropped_cut, 2);
    }

    #[test]
    fn what_a_link_holds_is_bounded() {
        let mut link = link(Conditions { delay: Duration::from_secs(9), ..Conditions::default() });
        assert!(link.admit(Instant::now(), HELD_BYTES_MAX).is_some());
        assert_eq!(link.admit(Instant::now(), 1), None);
    }
}
