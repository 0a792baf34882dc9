//! Leases: for how long no other node can have been elected (thesis, section 6.4.1).
//!
//! A follower promises with each answer that it grants no vote for so long from the receipt of a round. Receipt is
//! after sending, so counting from the *send* time is safe whatever the network does; counting from the receipt of the
//! answer would not be.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::raft::Node;
use crate::role::{Leader, Role};
use crate::{Health, Time};

/// When the rounds of this term were sent.
///
/// Rounds that follow each other closely share one record, dated by the first: later ones then count as sent a little
/// earlier than they were, which shortens a lease and never lengthens it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// The newest round.
    current: u64,
    /// First round and send time of each record, rising in both.
    sent: VecDeque<(u64, Time)>,
    /// Records are at least this far apart.
    grain: Duration,
    /// A record older than this is of no use for a lease.
    horizon: Duration,
}

impl Rounds {
    /// No round sent yet; numbers go on after `last`.
    pub(crate) fn new(last: u64, leader_timeout: Duration) -> Self {
        Self { current: last, sent: VecDeque::new(), grain: leader_timeout / 64, horizon: leader_timeout * 2 }
    }

    /// The newest round, for an append: a new one when the newest is so old that leases would suffer.
    pub(crate) fn for_append(&mut self, now: Time) -> u64 {
        match self.sent.back() {
            Some((_, at)) if now < at.after(self.grain) => self.current,
            Some(_) | None => self.begin(now),
        }
    }

    /// A new round, sent now.
    pub(crate) fn begin(&mut self, now: Time) -> u64 {
        self.current = self.current.wrapping_add(1);
        if self.sent.back().is_none_or(|(_, at)| at.after(self.grain) <= now) {
            while self.sent.len() > 1 && self.sent[1].1.after(self.horizon) <= now {
                self.sent.pop_front();
            }
            self.sent.push_back((self.current, now));
        }
        self.current
    }

    /// The newest round.
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    /// A moment not after the one when `round` was sent; none when it is too old or was never sent.
    pub(crate) fn sent_at(&self, round: u64) -> Option<Time> {
        if round > self.current {
            return None;
        }
        let after = self.sent.partition_point(|(first, _)| *first <= round);
        after.checked_sub(1).map(|at| self.sent[at].1)
    }
}

impl Node {
    /// On the leader: until when, on this node's clock, no other node can lead; none without a lease. A driver that
    /// publishes it can answer reads without asking, as long as it reads the clock after the commit index.
    #[must_use]
    pub fn lease_until(&self) -> Option<Time> {
        let Role::Leader(leader) = &self.role else { return None };
        let handed_over = leader.lease_over || self.is_transferring();
        let started = self.commit >= leader.term_start;
        if handed_over || !started {
            return None;
        }
        // A leader grants no vote while it leads, so its own promise has no end.
        let until =
            |node| if node == self.config.node { Time(u64::MAX) } else { promised_until(leader, node) };
        let promised = self.agreed(until)?;
        Some(if promised == Time(u64::MAX) { promised } else { promised.before(self.config.clock_error) })
    }

    /// True when no other node can lead now.
    pub(crate) fn holds_lease(&self) -> bool {
        self.lease_until().is_some_and(|until| self.now < until)
    }
}

fn promised_until(leader: &Leader, node: crate::NodeId) -> Time {
    let sound = leader.progress.get(&node).filter(|peer| peer.health == Health::Sound);
    sound.map_or(Time(0), |peer| peer.promised_until)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_never_dated_after_it_was_sent() {
        let mut rounds = Rounds::new(7, Duration::from_micros(640));
        assert_eq!(rounds.sent_at(8), None);
        assert_eq!(rounds.begin(Time(100)), 8);
        assert_eq!(rounds.begin(Time(105)), 9);
        assert_eq!(rounds.for_append(Time(109)), 9);
        assert_eq!(rounds.for_append(Time(110)), 10);
        assert_eq!(rounds.sent_at(7), None);
        assert_eq!(rounds.sent_at(8), Some(Time(100)));
        assert_eq!(rounds.sent_at(9), Some(Time(100)), "dated by the first of its record");
        assert_eq!(rounds.sent_at(10), Some(Time(110)));
        assert_eq!(rounds.sent_at(11), None);
    }

    #[test]
    fn the_record_of_rounds_is_bounded() {
        let mut rounds = Rounds::new(0, Duration::from_micros(640));
        for at in 0..100_000 {
            rounds.begin(Time(at));
        }
        assert!(rounds.sent.len() <= 130, "{} records", rounds.sent.len());
    }
}
