//! Rate limit for log lines that would otherwise repeat many times a second.

use std::time::{Duration, Instant};

/// Decides when a line that may be due often is logged: the first time, and after that at most once in each interval.
#[derive(Debug)]
pub(crate) struct Seldom {
    every: Duration,
    said: Option<Instant>,
    /// Number of times that the line was due and not logged since it was last logged.
    kept: u64,
}

impl Seldom {
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, said: None, kept: 0 }
    }

    /// Records that the line is due. If it is to be logged now, returns the number of times that it was due in between.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.duration_since(said) < self.every) {
            self.kept += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_said_at_once_and_then_seldom_with_the_number_of_those_between() {
        let mut seldom = Seldom::new(Duration::from_secs(30));
        let start = Instant::now();
        let tenths = |tenths: u64| start + Duration::from_millis(100) * u32::try_from(tenths).unwrap_or(0);
        assert_eq!(seldom.due(start), Some(0));
        assert!((1..300).all(|after| seldom.due(tenths(after)).is_none()));
        assert_eq!(seldom.due(tenths(300)), Some(299));
        assert_eq!(seldom.due(tenths(301)), None);
    }
}
