//! Congestion control of the bulk connection: what goes there gives way to everything else on the same link.
//!
//! QUIC's usual control fills the queue of the slowest link until something is lost. On a slow link with a deep queue that
//! is a second and more, and heartbeats of the other connection wait in the same queue: a leader that sends a snapshot would
//! be unseated by it. This one keeps the *delay* that it causes small, as LEDBAT (RFC 6817) and FAST TCP do: it knows the
//! round trip of an empty link, and steers its window so that the round trip is [`QUEUE_TARGET`] longer.

use core::any::Any;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use quinn::congestion::{Controller, ControllerFactory};
use quinn_proto::RttEstimator;

/// Longest time that a packet should wait in queues because of bulk data on its way: a small part of the shortest
/// leader time-out that is sensible (500 ms by default), and enough to keep a link busy in spite of jitter.
const QUEUE_TARGET: Duration = Duration::from_millis(40);

/// Initial and smallest window, in bytes: what QUIC allows any new connection (RFC 9002, section 7.2). Below this bulk would
/// starve beside another sender that fills the queue; on a link of 250 KiB/s it is 60 ms.
const WINDOW_MIN: u64 = 14_720;

/// Largest window, in bytes: the bytes on their way on a link of 1 Gbit/s and 130 ms.
const WINDOW_MAX: u64 = 16 << 20;

/// The round trip of an empty link is the shortest in this time or in the one before; paths change.
const BASE_AGE: Duration = Duration::from_secs(300);

/// After this many round trips at the smallest window the delay is not of bulk's making: it counts as the path's own.
const FOREIGN_ROUNDS: u32 = 16;

/// The share of the window that remains after a loss, in tenths.
const AFTER_LOSS: u64 = 7;

/// Makes a [`Gentle`] for each connection.
#[derive(Debug, Default)]
pub(crate) struct GentleFactory;

impl ControllerFactory for GentleFactory {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(Gentle::new(now, mtu))
    }
}

/// The controller of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Gentle {
    window: u64,
    mtu: u64,
    /// The window doubles each round trip until a queue builds up, or something is lost.
    is_starting: bool,
    /// The shortest round trips of an age and of the one before.
    base: [Option<Duration>; 2],
    base_since: Instant,
    /// The round in progress: it ends with the first packet that was sent after this.
    round_began: Instant,
    /// The shortest round trip during the round.
    round_least: Option<Duration>,
    /// True if data waited for the window during the round, and not the window for data.
    round_was_full: bool,
    /// Rounds in a row at the smallest window in which the delay was above the target.
    crowded: u32,
    /// Losses of packets that were sent before this are one event.
    recovered_after: Instant,
}

impl Gentle {
    fn new(now: Instant, mtu: u16) -> Self {
        Self {
            window: WINDOW_MIN,
            mtu: mtu.into(),
            is_starting: true,
            base: [None, None],
            base_since: now,
            round_began: now,
            round_least: None,
            round_was_full: false,
            crowded: 0,
            recovered_after: now,
        }
    }

    fn window_min(&self) -> u64 {
        WINDOW_MIN.max(2 * self.mtu)
    }

    fn set_window(&mut self, window: u64) {
        self.window = window.clamp(self.window_min(), WINDOW_MAX);
    }

    /// The round trip of an empty link, as far as it is known.
    fn base(&self) -> Option<Duration> {
        self.base.iter().flatten().min().copied()
    }

    fn note_base(&mut self, now: Instant, trip: Duration) {
        if now.saturating_duration_since(self.base_since) >= BASE_AGE {
            self.base = [None, self.base[0]];
            self.base_since = now;
        }
        self.base[0] = Some(self.base[0].map_or(trip, |least| least.min(trip)));
    }

    /// A round trip is over: steers the window by its shortest one, which waited least for acknowledgements.
    fn end_round(&mut self, now: Instant) {
        self.round_began = now;
        let was_full = std::mem::replace(&mut self.round_was_full, false);
        let (Some(least), Some(base)) = (self.round_least.take(), self.base()) else { return };
        let queued = least.saturating_sub(base);
        if queued > QUEUE_TARGET / 2 {
            self.is_starting = false;
        }
        if queued > QUEUE_TARGET {
            self.shrink(least, base);
        } else {
            self.crowded = 0;
            if was_full && !self.is_starting {
                // An eighth more where there is no queue, less the nearer it comes to the target.
                let room = (QUEUE_TARGET - queued).as_micros() * 1024 / QUEUE_TARGET.as_micros();
                let more = self.window / 8 * u64::try_from(room).unwrap_or(1024) / 1024;
                self.set_window(self.window + more.max(self.mtu / 4));
            }
        }
    }

    fn acknowledged(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool) {
        let trip = now.saturating_duration_since(sent);
        self.note_base(now, trip);
        self.round_least = Some(self.round_least.map_or(trip, |least| least.min(trip)));
        self.round_was_full |= !app_limited;
        let queued = trip.saturating_sub(self.base().unwrap_or(trip));
        if self.is_starting && !app_limited && queued <= QUEUE_TARGET / 2 {
            self.set_window(self.window + bytes);
        }
        if sent >= self.round_began {
            self.end_round(now);
        }
    }

    fn lost(&mut self, now: Instant, sent: Instant, is_persistent: bool) {
        if sent < self.recovered_after {
            return;
        }
        self.recovered_after = now;
        self.is_starting = false;
        self.set_window(if is_persistent { 0 } else { self.window * AFTER_LOSS / 10 });
    }

    /// The window at which this round trip would have been the wanted one, but at least half of what it was.
    fn shrink(&mut self, trip: Duration, base: Duration) {
        let wanted = (base + QUEUE_TARGET).as_micros() * u128::from(self.window) / trip.as_micros().max(1);
        let wanted = u64::try_from(wanted).unwrap_or(self.window);
        self.crowded = if self.window == self.window_min() { self.crowded + 1 } else { 0 };
        self.set_window(wanted.max(self.window / 2));
        if self.crowded >= FOREIGN_ROUNDS {
            (self.base, self.crowded) = ([Some(trip), None], 0);
        }
    }
}

impl Controller for Gentle {
    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, _rtt: &RttEstimator) {
        self.acknowledged(now, sent, bytes, app_limited);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent: bool, _lost_bytes: u64) {
        self.lost(now, sent, is_persistent);
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        self.mtu = mtu.into();
        self.set_window(self.window);
    }

    fn window(&self) -> u64 {
        self.window
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.window_min()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const MTU: u16 = 1200;

    /// A link, with one sender that has always more to send.
    #[derive(Clone, Copy)]
    struct Link {
        bytes_per_second: u64,
        round_trip: Duration,
        queue_bytes: u64,
        /// What others keep in the queue.
        others: Duration,
        /// One packet in so many is lost.
        loss: Option<u64>,
    }

    impl Default for Link {
        fn default() -> Self {
            let (round_trip, others) = (Duration::from_millis(20), Duration::ZERO);
            Self { bytes_per_second: 256_000, round_trip, queue_bytes: 1 << 20, others, loss: None }
        }
    }

    /// What became of it after the first second.
    struct Seen {
        /// Of what the link carries.
        share: f64,
        /// The longest wait in the queue.
        delay_max: Duration,
    }

    fn seconds(bytes: u64, rate: u64) -> Duration {
        Duration::from_nanos(bytes * 1_000_000_000 / rate)
    }

    /// Runs a sender on a link for this many seconds of virtual time.
    fn run(link: Link, length: u64, mut change: impl FnMut(Duration, &mut Link)) -> Seen {
        let (start, mtu) = (Instant::now(), u64::from(MTU));
        let (mut link, mut gentle) = (link, Gentle::new(start, MTU));
        // When each packet's end is known, whether it arrived, and when it was sent.
        let mut ends: BTreeMap<(Duration, u64), (bool, Duration)> = BTreeMap::new();
        let (mut now, mut free, mut in_flight, mut number) = (Duration::ZERO, Duration::ZERO, 0, 0);
        let (mut arrived, mut delay_max) = (0, Duration::ZERO);
        let warm = Duration::from_secs(1);
        while now < Duration::from_secs(length) {
            change(now, &mut link);
            while in_flight + mtu <= gentle.window() {
                let wait = free.saturating_sub(now) + link.others;
                number += 1;
                in_flight += mtu;
                let full = wait > seconds(link.queue_bytes, link.bytes_per_second);
                let lost = full || link.loss.is_some_and(|one_in| number % one_in == 0);
                if !full {
                    free = free.max(now) + seconds(mtu, link.bytes_per_second);
                }
                if now > warm {
                    delay_max = delay_max.max(wait);
                }
                ends.insert((now + wait + link.round_trip, number), (!lost, now));
            }
            let ((at, _), (came, sent)) = ends.pop_first().expect("something is on its way");
            now = at;
            in_flight -= mtu;
            if came {
                arrived += if now > warm { mtu } else { 0 };
                gentle.acknowledged(start + now, start + sent, mtu, false);
            } else {
                gentle.lost(start + now, start + sent, false);
            }
        }
        let could = link.bytes_per_second * (length - 1);
        #[expect(clippy::cast_precision_loss, reason = "a ratio for a test")]
        let share = arrived as f64 / could as f64;
        Seen { share, delay_max }
    }

    #[test]
    fn slow_links_with_deep_queues_are_kept_busy_and_nearly_empty() {
        for (rate, trip) in [(64_000, 20), (256_000, 1), (256_000, 20), (1_000_000, 100), (12_500_000, 10)] {
            let round_trip = Duration::from_millis(trip);
            let seen = run(Link { bytes_per_second: rate, round_trip, ..Link::default() }, 30, |_, _| {});
            assert!(seen.share > 0.9, "{rate} bytes a second, {trip} ms: {} of the link", seen.share);
            let bound = QUEUE_TARGET.max(seconds(WINDOW_MIN, rate)) + 2 * QUEUE_TARGET;
            assert!(seen.delay_max < bound, "{rate} bytes a second, {trip} ms: {:?}", seen.delay_max);
        }
    }

    #[test]
    fn a_fast_and_far_link_is_filled_in_spite_of_losses() {
        let (round_trip, queue_bytes) = (Duration::from_millis(100), 256 << 10);
        let far = Link { bytes_per_second: 12_500_000, round_trip, queue_bytes, ..Link::default() };
        let seen = run(far, 20, |_, _| {});
        assert!(seen.share > 0.8, "{} of the link", seen.share);
        let seen = run(Link { loss: Some(2_000), ..far }, 20, |_, _| {});
        assert!(seen.share > 0.5, "{} of the link", seen.share);
    }

    #[test]
    fn beside_others_that_fill_the_queue_a_transfer_goes_on() {
        // From 5 s on somebody else keeps 200 ms in the queue.
        let seen = run(Link::default(), 30, |now, link| {
            link.others = Duration::from_millis(if now.as_secs() >= 5 { 200 } else { 0 });
        });
        assert!(seen.share > 0.2, "{} of the link", seen.share);
    }

    #[test]
    fn a_path_that_became_longer_is_filled_again() {
        let seen = run(Link { bytes_per_second: 1_000_000, ..Link::default() }, 60, |now, link| {
            link.round_trip = Duration::from_millis(if now.as_secs() >= 5 { 150 } else { 20 });
        });
        assert!(seen.share > 0.7, "{} of the link", seen.share);
    }

    #[test]
    fn the_window_has_bounds() {
        let start = Instant::now();
        let mut gentle = Gentle::new(start, MTU);
        let mut now = start;
        for _ in 0..100 {
            now += Duration::from_millis(1);
            gentle.lost(now, now, true);
        }
        assert_eq!(gentle.window(), WINDOW_MIN);
        let mut gentle = Gentle::new(start, MTU);
        for _ in 0..100_000 {
            let sent = now;
            now += Duration::from_millis(1);
            gentle.acknowledged(now, sent, u64::from(MTU) * 100, false);
        }
        assert_eq!(gentle.window(), WINDOW_MAX);
        let mut idle = Gentle::new(start, MTU);
        for _ in 0..1000 {
            let sent = now;
            now += Duration::from_millis(1);
            idle.acknowledged(now, sent, u64::from(MTU), true);
        }
        assert_eq!(idle.window(), WINDOW_MIN, "who has nothing to send learns nothing of the link");
    }
}
