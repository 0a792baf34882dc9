//! Leader leases: until when no other node can have been elected (thesis, section 6.4.1).
//!
//! Each acknowledgement carries a promise: the follower grants no vote for that long after it *received* the
//! round. The leader counts from when it *sent* the round, which was earlier, so its lease ends before the
//! promises do, whatever the network does.
//!
//! Counted from the receipt of the answer, a lease would outlive them. A follower receives the round at 0 ms
//! and promises 500 ms, but its answer is delayed by 2 s. At 600 ms the follower votes for another candidate,
//! which leads and commits a write. The old leader gets the answer at 2000 ms, believes in a lease until 2500
//! ms, and serves a read without that write.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::common::Common;
use crate::raft::Node;
use crate::role::{Leader, Leading, Role};
use crate::{Health, Round, Time};

/// The send times of this term's rounds.
///
/// Rounds sent close together share one record, dated by the first of them. The later ones then count as sent
/// a little too early, which can shorten a lease but never lengthen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rounds {
    /// The newest round's number.
    current: Round,
    /// The first round and the send time of each record; both rise.
    sent: VecDeque<(Round, Time)>,
    /// Least time between two records.
    grain: Duration,
    /// Age beyond which a record is dropped, as no promise counted from it can still be in force.
    horizon: Duration,
}

impl Rounds {
    /// No rounds yet. Their numbers continue after `last`, so that an answer of an earlier leadership
    /// confirms none of them.
    pub(crate) fn new(last: Round, leader_timeout: Duration) -> Self {
        Self { current: last, sent: VecDeque::new(), grain: leader_timeout / 64, horizon: leader_timeout * 2 }
    }

    /// The round for an append: the newest one, or a new one if that is so old that leases would be shortened
    /// noticeably.
    pub(crate) fn for_append(&mut self, now: Time) -> Round {
        match self.sent.back() {
            Some((_, at)) if now < at.after(self.grain) => self.current,
            Some(_) | None => self.begin(now),
        }
    }

    /// Begins a new round, sent now.
    pub(crate) fn begin(&mut self, now: Time) -> Round {
        self.current = self.current.next();
        if self.sent.back().is_none_or(|(_, at)| at.after(self.grain) <= now) {
            while self.sent.len() > 1 && self.sent[1].1.after(self.horizon) <= now {
                self.sent.pop_front();
            }
            self.sent.push_back((self.current, now));
        }
        self.current
    }

    /// The newest round's number.
    pub(crate) fn current(&self) -> Round {
        self.current
    }

    /// A time not later than the sending of `round`; none when the record was dropped or the round was never
    /// sent.
    pub(crate) fn sent_at(&self, round: Round) -> Option<Time> {
        if round > self.current {
            return None;
        }
        let after = self.sent.partition_point(|(first, _)| *first <= round);
        after.checked_sub(1).map(|at| self.sent[at].1)
    }
}

impl Node {
    /// The end of the leader's lease: until then, on this node's clock, no other node can lead. None without
    /// a lease. A driver that publishes it can answer reads without asking the core, if it reads the clock
    /// *after* it reads the commit index.
    ///
    /// There is no lease while a transfer is under way, nor after a `TimeoutNow` was sent: the receiver
    /// campaigns at once, and voters grant it their votes in spite of their promises. There is none before
    /// the term's first commit either, as a new leader's commit index may lag behind what its predecessor
    /// committed and answered (thesis, section 6.4).
    #[must_use]
    pub fn lease_until(&self) -> Option<Time> {
        match &self.role {
            Role::Leader(leader) => self.common.lease_of(leader),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => None,
        }
    }
}

impl Common {
    /// The end of the lease of this leader.
    fn lease_of(&self, leader: &Leader) -> Option<Time> {
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
}

impl Leading<'_> {
    /// True while the lease holds.
    pub(crate) fn holds_lease(&self) -> bool {
        self.common.lease_of(self.leader).is_some_and(|until| self.common.now < until)
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
        let mut rounds = Rounds::new(Round(7), Duration::from_micros(640));
        assert_eq!(rounds.sent_at(Round(8)), None);
        assert_eq!(rounds.begin(Time(100)), Round(8));
        assert_eq!(rounds.begin(Time(105)), Round(9));
        assert_eq!(rounds.for_append(Time(109)), Round(9));
        assert_eq!(rounds.for_append(Time(110)), Round(10));
        assert_eq!(rounds.sent_at(Round(7)), None);
        assert_eq!(rounds.sent_at(Round(8)), Some(Time(100)));
        assert_eq!(rounds.sent_at(Round(9)), Some(Time(100)), "dated by the first of its record");
        assert_eq!(rounds.sent_at(Round(10)), Some(Time(110)));
        assert_eq!(rounds.sent_at(Round(11)), None);
    }

    #[test]
    fn the_record_of_rounds_is_bounded() {
        let mut rounds = Rounds::new(Round(0), Duration::from_micros(640));
        for at in 0..100_000 {
            rounds.begin(Time(at));
        }
        assert!(rounds.sent.len() <= 130, "{} records", rounds.sent.len());
    }
}
