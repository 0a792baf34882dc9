//! How many chunks a receiver asks for at a time and how long it waits for them, adapted to the link.

use std::time::Duration;

use crate::receiver::ReceiverOptions;

/// A chunk is requested again when it has not arrived after this many turnarounds.
const ASK_AGAIN_TURNAROUNDS: u32 = 4;
/// A transfer fails when nothing arrives for this many times the recent gap between good chunks.
const GIVE_UP_GAPS: u32 = 8;
/// Maximum number of doublings of a waiting time. More would exceed every limit on it.
const DOUBLINGS_MAX: u32 = 16;

/// A receiver's measurements of its link. They outlive a transfer, so the next attempt starts with what is known.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    window: usize,
    /// Recent time from the request of a chunk to its arrival. Only chunks requested once count: after a repeated
    /// request, nobody knows which of the requests was answered (Karn's algorithm, RFC 6298, section 3).
    turnaround: Duration,
    /// Recent time between the arrivals of good chunks.
    gap: Duration,
    /// Number of transfers in a row that were given up before any chunk arrived.
    fruitless: u32,
}

impl Pace {
    pub(crate) fn new(options: &ReceiverOptions) -> Self {
        Self { window: options.window, turnaround: Duration::ZERO, gap: Duration::ZERO, fruitless: 0 }
    }

    /// Returns how many chunks of this size may be requested or being stored at a time.
    pub(crate) fn window(&self, options: &ReceiverOptions, chunk_bytes: u32) -> usize {
        let chunk_bytes = usize::try_from(chunk_bytes).unwrap_or(usize::MAX).max(1);
        let by_bytes = options.window_bytes_max / chunk_bytes;
        self.window.min(by_bytes).max(1)
    }

    /// Records that a good chunk arrived, `gap` after the one before.
    pub(crate) fn arrived(&mut self, gap: Duration) {
        self.gap = gap.max(self.gap / 2);
        self.fruitless = 0;
    }

    /// Records the turnaround of a chunk that was requested once. The window shrinks if turnarounds are too long,
    /// because chunks then queue behind each other, and grows if they are so short that a larger window would make no
    /// difference. It changes by one chunk at a time, so that a single late chunk has little effect.
    pub(crate) fn took(&mut self, options: &ReceiverOptions, took: Duration) {
        self.turnaround = took.max(self.turnaround / 2);
        if took > options.turnaround * 2 {
            self.window = self.window.saturating_sub(1).max(options.window_min);
        } else if took < options.turnaround / 2 {
            self.window = (self.window + 1).min(options.window_max);
        }
    }

    /// Records that a transfer was given up without having received a chunk. The next one waits longer, because a link
    /// may be so slow that the first chunk takes longer than any initial estimate.
    pub(crate) fn given_up(&mut self) {
        self.fruitless = (self.fruitless + 1).min(DOUBLINGS_MAX);
    }

    /// Returns how long to wait before requesting a chunk again after `times` requests. The time doubles with each
    /// request, because repeating requests does not help on a slow link.
    pub(crate) fn ask_again(&self, options: &ReceiverOptions, times: u32) -> Duration {
        let by_link = options.ask_again.max(self.turnaround * ASK_AGAIN_TURNAROUNDS);
        by_link.saturating_mul(1 << times.saturating_sub(1).min(DOUBLINGS_MAX)).min(options.give_up_max / 2)
    }

    /// Returns how long a transfer may go without a good chunk before it fails.
    pub(crate) fn give_up(&self, options: &ReceiverOptions) -> Duration {
        let by_attempts = options.give_up.saturating_mul(1 << self.fruitless);
        let by_link = self.gap.saturating_mul(GIVE_UP_GAPS);
        by_attempts.max(by_link).clamp(options.give_up, options.give_up_max.max(options.give_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u32 = 256 << 10;

    /// Returns the window reached on a link that takes this long for each chunk, one after the other.
    fn settled(per_chunk: Duration) -> usize {
        let options = ReceiverOptions::default();
        let mut pace = Pace::new(&options);
        for _ in 0..100 {
            let window = u32::try_from(pace.window(&options, CHUNK)).unwrap_or(u32::MAX);
            pace.took(&options, per_chunk * window);
        }
        pace.window(&options, CHUNK)
    }

    #[test]
    fn a_fast_link_is_asked_for_much_at_a_time_and_a_slow_one_for_two_chunks() {
        // 256 MiB/s, 1 MiB/s, 250 KiB/s and 16 KiB/s.
        assert_eq!(settled(Duration::from_millis(1)), ReceiverOptions::default().window_max);
        assert_eq!(settled(Duration::from_millis(250)), 4, "about a second of what the link carries");
        assert_eq!(settled(Duration::from_millis(1024)), 2);
        assert_eq!(settled(Duration::from_secs(16)), 2);
    }

    #[test]
    fn time_outs_follow_a_slow_link_and_have_bounds() {
        let options = ReceiverOptions::default();
        let mut pace = Pace::new(&options);
        let ask_again = |pace: &Pace| [1, 2, 3, 99].map(|times| pace.ask_again(&options, times).as_secs());
        assert_eq!(ask_again(&pace), [4, 8, 16, 300]);
        pace.took(&options, Duration::from_millis(1));
        assert_eq!(ask_again(&pace), [4, 8, 16, 300]);
        pace.took(&options, Duration::from_secs(32));
        assert_eq!(ask_again(&pace), [128, 256, 300, 300]);
        pace.took(&options, Duration::from_secs(8));
        assert_eq!(ask_again(&pace)[0], 64, "what was slow a moment ago counts half");

        assert_eq!(pace.give_up(&options), options.give_up);
        pace.arrived(Duration::from_millis(1));
        assert_eq!(pace.give_up(&options), options.give_up);
        pace.arrived(Duration::from_secs(32));
        assert_eq!(pace.give_up(&options), Duration::from_secs(256));
        pace.arrived(Duration::from_secs(8));
        assert_eq!(pace.give_up(&options), Duration::from_secs(128));
        pace.arrived(Duration::from_secs(3600));
        assert_eq!(pace.give_up(&options), options.give_up_max);
    }

    #[test]
    fn a_link_on_which_not_even_one_chunk_came_is_given_twice_the_time_until_one_does() {
        let options = ReceiverOptions::default();
        let mut pace = Pace::new(&options);
        pace.given_up();
        assert_eq!(pace.give_up(&options), options.give_up * 2);
        for _ in 0..40 {
            pace.given_up();
        }
        assert_eq!(pace.give_up(&options), options.give_up_max);
        pace.arrived(Duration::from_millis(1));
        assert_eq!(pace.give_up(&options), options.give_up);
    }

    #[test]
    fn the_window_is_bounded_by_bytes_for_large_chunks() {
        let options = ReceiverOptions { window: 16, ..ReceiverOptions::default() };
        let pace = Pace::new(&options);
        assert_eq!(pace.window(&options, CHUNK), 16);
        assert_eq!(pace.window(&options, 1 << 20), 4);
        assert_eq!(pace.window(&options, 16 << 20), 1);
    }
}
