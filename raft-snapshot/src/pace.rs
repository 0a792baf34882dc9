//! How many chunks a receiver asks for at a time, and how long it waits for them: both follow the link that it sees.

use std::time::Duration;

use crate::receiver::ReceiverOptions;

/// A chunk that has not come after this many turnarounds is asked for again.
const ASK_AGAIN_TURNAROUNDS: u32 = 4;
/// A transfer has failed when nothing comes for this many times what the last good chunks were apart.
const GIVE_UP_GAPS: u32 = 8;
/// A patience that was doubled more often than this is above every bound.
const DOUBLINGS_MAX: u32 = 16;

/// What a receiver has seen of its link. It outlives a transfer: the next try to the same node knows the link already.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    window: usize,
    /// How long a chunk took lately from being asked for to being here, where it was asked for once only: of one that was
    /// asked for again nobody knows which word brought it (Karn's algorithm, RFC 6298, section 3).
    turnaround: Duration,
    /// How far apart good chunks came lately.
    gap: Duration,
    /// How many transfers in a row were given up before any chunk had come.
    fruitless: u32,
}

impl Pace {
    pub(crate) fn new(options: &ReceiverOptions) -> Self {
        Self { window: options.window, turnaround: Duration::ZERO, gap: Duration::ZERO, fruitless: 0 }
    }

    /// The number of chunks of this size that may be asked for, or being stored, at a time.
    pub(crate) fn window(&self, options: &ReceiverOptions, chunk_bytes: u32) -> usize {
        let chunk_bytes = usize::try_from(chunk_bytes).unwrap_or(usize::MAX).max(1);
        let by_bytes = options.window_bytes_max / chunk_bytes;
        self.window.min(by_bytes).max(1)
    }

    /// A good chunk has come, `gap` after the one before.
    pub(crate) fn arrived(&mut self, gap: Duration) {
        self.gap = gap.max(self.gap / 2);
        self.fruitless = 0;
    }

    /// A chunk that was asked for once has come after that time. The window shrinks while its chunks wait for each other
    /// longer than they should, and grows while a longer line would not be noticed: by one a chunk, so that one that was
    /// late by chance changes little.
    pub(crate) fn took(&mut self, options: &ReceiverOptions, took: Duration) {
        self.turnaround = took.max(self.turnaround / 2);
        if took > options.turnaround * 2 {
            self.window = self.window.saturating_sub(1).max(options.window_min);
        } else if took < options.turnaround / 2 {
            self.window = (self.window + 1).min(options.window_max);
        }
    }

    /// A transfer was given up, and nothing had come of it: the next one waits for longer. A link may be so slow that the
    /// first chunk takes longer than any first guess.
    pub(crate) fn given_up(&mut self) {
        self.fruitless = (self.fruitless + 1).min(DOUBLINGS_MAX);
    }

    /// After how long a chunk is asked for again that was asked for so often: each time twice as long, as what waits on a
    /// slow link is asked for in vain.
    pub(crate) fn ask_again(&self, options: &ReceiverOptions, times: u32) -> Duration {
        let by_link = options.ask_again.max(self.turnaround * ASK_AGAIN_TURNAROUNDS);
        by_link.saturating_mul(1 << times.saturating_sub(1).min(DOUBLINGS_MAX)).min(options.give_up_max / 2)
    }

    /// After how long without a good chunk a transfer has failed.
    pub(crate) fn give_up(&self, options: &ReceiverOptions) -> Duration {
        let patience = options.give_up.saturating_mul(1 << self.fruitless);
        let by_link = self.gap.saturating_mul(GIVE_UP_GAPS);
        patience.max(by_link).clamp(options.give_up, options.give_up_max.max(options.give_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u32 = 256 << 10;

    /// The window that a link settles at which takes this long for each chunk, one after the other.
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
        // 256 MiB/s, 1 MiB/s, 250 KiB/s, 16 KiB/s.
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
