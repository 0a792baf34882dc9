//! The appends in flight to one peer: a window bounded in messages and in bytes (thesis, section 10.2.1).

use alloc::collections::VecDeque;

use crate::pace::Departure;
use crate::{LogIndex, Time};

/// Appends sent and not yet acknowledged, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inflights {
    sent: VecDeque<Inflight>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inflight {
    last: LogIndex,
    bytes: usize,
    at: Time,
    departure: Departure,
}

impl Inflights {
    /// Records an append whose last entry is `last`.
    pub(crate) fn add(&mut self, last: LogIndex, bytes: usize, at: Time, departure: Departure) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.sent.push_back(Inflight { last, bytes, at, departure });
    }

    /// Removes the appends that an acknowledgement up to `index` covers. Returns their bytes and the newest
    /// departure among them; none when it covers none.
    pub(crate) fn free_to(&mut self, index: LogIndex) -> Option<(usize, Departure)> {
        let mut freed = None;
        while let Some(first) = self.sent.pop_front_if(|first| first.last <= index) {
            self.bytes -= first.bytes;
            let before = freed.map_or(0, |(bytes, _)| bytes);
            freed = Some((first.bytes.saturating_add(before), first.departure));
        }
        freed
    }

    /// Removes all appends, as they are taken as lost.
    pub(crate) fn clear(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }

    /// Bytes of entries in flight.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Number of appends in flight.
    pub(crate) fn len(&self) -> usize {
        self.sent.len()
    }

    /// True when no append is in flight.
    pub(crate) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// When the oldest append in flight was sent.
    pub(crate) fn oldest(&self) -> Option<Time> {
        self.sent.front().map(|first| first.at)
    }

    /// True when the recorded sum of bytes is right and the indexes rise, for the invariants.
    pub(crate) fn is_consistent(&self) -> bool {
        self.bytes == self.sent.iter().map(|inflight| inflight.bytes).sum::<usize>()
            && self.sent.iter().zip(self.sent.iter().skip(1)).all(|(a, b)| a.last < b.last)
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::pace::{Load, Pace};

    #[test]
    fn an_acknowledgement_frees_all_that_it_covers_and_no_more() {
        let mut window = Inflights::default();
        let pace = Pace::new(Duration::from_secs(1));
        let departure = |at| pace.depart(Time(at), true, Load::Light);
        for (last, bytes) in [(3, 10), (5, 20), (9, 40)] {
            window.add(LogIndex(last), bytes, Time(last), departure(last));
        }
        assert_eq!(window.free_to(LogIndex(4)), Some((10, departure(3))));
        assert_eq!((window.len(), window.bytes(), window.oldest()), (2, 60, Some(Time(5))));
        assert_eq!(window.free_to(LogIndex(2)), None);
        assert_eq!((window.len(), window.bytes()), (2, 60));
        assert!(window.is_consistent());
        assert_eq!(window.free_to(LogIndex(9)), Some((60, departure(9))));
        assert!(window.is_empty() && window.bytes() == 0 && window.oldest().is_none());
    }
}
