//! A node's clock, with an offset and a rate of its own.

use raftkit_core::Time;

/// Converts virtual time to a node's time and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    offset: u64,
    /// Rate of the clock: its seconds in a thousand seconds of virtual time.
    rate: u64,
}

impl Clock {
    pub(crate) fn new(offset: u64, rate: u64) -> Self {
        Self { offset, rate }
    }

    /// The clock's reading at a virtual time.
    pub(crate) fn local(self, now: u64) -> Time {
        Time(self.offset + now * self.rate / 1000)
    }

    /// The first virtual time at which the clock shows a reading.
    pub(crate) fn moment(self, local: Time) -> u64 {
        let span = u128::from(local.0.saturating_sub(self.offset)) * 1000;
        u64::try_from(span.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_met_at_its_moment_and_not_before() {
        for rate in [954, 1000, 1046] {
            let clock = Clock::new(12_345, rate);
            for local in [12_345, 12_346, 500_000, 77_777_777] {
                let moment = clock.moment(Time(local));
                assert!(clock.local(moment) >= Time(local), "rate {rate}, {local}");
                assert!(moment == 0 || clock.local(moment - 1) < Time(local), "rate {rate}, {local}");
            }
        }
    }
}
