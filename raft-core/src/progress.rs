//! What a leader knows of one peer and how it serves it (paper, Figure 2: `nextIndex`, `matchIndex`).

use core::time::Duration;

use crate::inflights::Inflights;
use crate::promotion::CatchUp;
use crate::{Config, Health, Incarnation, LogIndex, PeerState, PeerStatus, StoreId, Time};

/// A leader's view of one peer.
///
/// `match_index` never goes back within a term, and `match_index < next_index` unless the peer has regressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What the peer is known to hold durably, and the same entry as the leader's.
    pub(crate) match_index: LogIndex,
    /// The next entry to send.
    pub(crate) next_index: LogIndex,
    /// How it is being served.
    pub(crate) state: ProgressState,
    /// Appends on their way.
    pub(crate) inflights: Inflights,
    /// When it last answered in this term; none before.
    pub(crate) answered: Option<Time>,
    /// Since when it is a peer of this leader.
    pub(crate) known_since: Time,
    /// The newest round that it confirmed.
    pub(crate) acked_round: u64,
    /// Until when it grants no vote: the send time of a round that it confirmed, plus its promise.
    pub(crate) promised_until: Time,
    /// When it is to hear again that the leader lives.
    pub(crate) beat_at: Time,
    /// The newest round sent to it.
    pub(crate) sent_round: u64,
    /// The newest commit index sent to it.
    pub(crate) sent_commit: LogIndex,
    /// The life in which it acknowledged `match_index`.
    pub(crate) match_incarnation: Incarnation,
    /// It acknowledged `match_index` in an earlier life and lacks it in this one: it does not count.
    pub(crate) regressed: bool,
    /// A read of the log for it is under way, by this name.
    pub(crate) fetch: Option<u64>,
    /// The data folder that its answers come from.
    pub(crate) store: StoreId,
    /// A damaged peer is served and does not count.
    pub(crate) health: Health,
    /// On a staging learner: the round of catching up under way.
    pub(crate) catch_up: Option<CatchUp>,
}

/// How a peer is being served.
///
/// ```text
///            an answer matches                a conflict, a lost connection, a new life
///   Probe --------------------> Replicate ----------------------------------------------> Probe
///     |  what it lacks is compacted |
///     +-------------> Snapshot <----+      Snapshot -- sent, failed, or it matches --> Probe
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressState {
    /// One append at a time, until logs are known to agree.
    Probe {
        /// One is on its way; the next one is the next heartbeat.
        paused: bool,
    },
    /// Appends are pipelined.
    Replicate,
    /// It needs a snapshot.
    Snapshot {
        /// That includes this index.
        at_least: LogIndex,
        /// The driver was asked to send it; else it is asked when the peer answers again.
        asked: bool,
        /// What was applied when it was asked: the log behind this continues the snapshot.
        kept: LogIndex,
    },
}

impl Progress {
    /// A peer of which nothing is known but where the leader's log ends.
    pub(crate) fn new(store: StoreId, last: LogIndex, now: Time) -> Self {
        Self {
            match_index: LogIndex::ZERO,
            next_index: last.next(),
            state: ProgressState::Probe { paused: false },
            inflights: Inflights::default(),
            answered: None,
            known_since: now,
            acked_round: 0,
            promised_until: Time(0),
            beat_at: now,
            sent_round: 0,
            sent_commit: LogIndex::ZERO,
            match_incarnation: Incarnation(0),
            regressed: false,
            fetch: None,
            store,
            health: Health::Sound,
            catch_up: None,
        }
    }

    /// When it was last heard, for check-quorum; one that does not count was heard when the leader's term began. One that
    /// has just been named has the time of a voter that has just fallen silent.
    pub(crate) fn counted_answer(&self, since: Time) -> Time {
        let counts = self.health == Health::Sound || mutant!(DamagedKeepsLeader);
        if counts { self.answered.unwrap_or(self.known_since) } else { since }
    }

    /// What counts towards a commit.
    pub(crate) fn counted_match(&self) -> LogIndex {
        let damaged = self.health == Health::Damaged && !mutant!(DamagedAckCounted);
        if self.regressed || damaged { LogIndex::ZERO } else { self.match_index }
    }

    /// Whether it counts. What a damaged peer acknowledged before, it may have lost: that counts again only once it is
    /// acknowledged again.
    pub(crate) fn note_health(&mut self, health: Health) {
        if health == Health::Damaged && self.health == Health::Sound {
            self.regressed = self.match_index > LogIndex::ZERO && !mutant!(DamageForgotten);
        }
        self.health = health;
    }

    /// Takes appends on their way for lost and asks where the logs agree.
    pub(crate) fn probe_from(&mut self, next: LogIndex, paused: bool) {
        self.next_index = next;
        self.state = ProgressState::Probe { paused };
        self.inflights.clear();
        self.fetch = None;
    }

    /// The peer acknowledged everything up to `index` in this life. True when that was news.
    pub(crate) fn acknowledge(&mut self, index: LogIndex, incarnation: Incarnation) -> bool {
        if index < self.match_index && !self.regressed {
            if incarnation > self.match_incarnation {
                self.regressed = true;
                self.probe_from(index.next(), false);
            }
            return false; // Otherwise it was overtaken by a later answer.
        }
        if index < self.match_index {
            self.settle(index); // On its way back to what it had.
            return false;
        }
        let news = index > self.match_index || self.regressed;
        self.match_index = index;
        self.match_incarnation = self.match_incarnation.max(incarnation);
        self.regressed = false;
        self.settle(index);
        news
    }

    /// The logs agree up to `index`: go on from there.
    fn settle(&mut self, index: LogIndex) {
        self.next_index = self.next_index.max(index.next());
        self.inflights.free_to(index);
        if matches!(self.state, ProgressState::Probe { .. }) && self.next_index == index.next() {
            self.state = ProgressState::Replicate;
        }
    }

    /// Whether a conflict at `refused` answers what was sent last; an older one says nothing any more.
    pub(crate) fn concerns(&self, refused: LogIndex, incarnation: Incarnation) -> bool {
        let known = refused > self.match_index || self.regressed || incarnation > self.match_incarnation;
        known
            && match self.state {
                ProgressState::Probe { .. } => refused.next() == self.next_index,
                ProgressState::Replicate => refused < self.next_index,
                ProgressState::Snapshot { .. } => false,
            }
    }

    /// How many more bytes of entries may be sent; none when the window is full.
    pub(crate) fn window(&self, config: &Config) -> Option<usize> {
        let left = config.inflight_bytes_max.saturating_sub(self.inflights.bytes());
        (left > 0 && self.inflights.len() < config.inflight_messages_max)
            .then_some(left.min(config.batch_bytes_max))
    }

    /// True when appends have been on their way for so long that they may be lost.
    pub(crate) fn is_overdue(&self, now: Time, limit: Duration) -> bool {
        self.inflights.oldest().is_some_and(|oldest| oldest.after(limit) <= now)
    }

    /// What an operator sees.
    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            match_index: self.match_index,
            next_index: self.next_index,
            state: match self.state {
                ProgressState::Probe { .. } => PeerState::Probe,
                ProgressState::Replicate => PeerState::Replicate,
                ProgressState::Snapshot { .. } => PeerState::Snapshot,
            },
            inflight_bytes: self.inflights.bytes(),
            inflight_messages: self.inflights.len(),
            health: self.health,
            heard: self.answered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicating(matched: u64, next: u64) -> Progress {
        let mut progress = Progress::new(StoreId(0), LogIndex(matched), Time(0));
        assert!(progress.acknowledge(LogIndex(matched), Incarnation(1)));
        assert_eq!(progress.state, ProgressState::Replicate);
        progress.next_index = LogIndex(next);
        progress
    }

    #[test]
    fn a_late_acknowledgement_of_the_same_life_changes_nothing() {
        let mut progress = replicating(10, 15);
        let before = progress.clone();
        assert!(!progress.acknowledge(LogIndex(7), Incarnation(1)));
        assert_eq!(progress, before);
    }

    #[test]
    fn a_lower_acknowledgement_of_a_new_life_does_not_count_until_it_has_caught_up() {
        let mut progress = replicating(10, 15);
        assert!(!progress.acknowledge(LogIndex(7), Incarnation(2)));
        assert_eq!((progress.match_index, progress.counted_match()), (LogIndex(10), LogIndex::ZERO));
        assert_eq!(progress.next_index, LogIndex(8));
        assert!(!progress.acknowledge(LogIndex(7), Incarnation(2)));
        assert_eq!(progress.state, ProgressState::Replicate, "it is sent what it lost");
        assert!(progress.acknowledge(LogIndex(10), Incarnation(2)));
        assert_eq!(progress.counted_match(), LogIndex(10));
    }

    #[test]
    fn a_conflict_that_does_not_answer_the_probe_is_stale() {
        let mut progress = replicating(10, 15);
        assert!(!progress.concerns(LogIndex(10), Incarnation(1)));
        assert!(progress.concerns(LogIndex(12), Incarnation(1)));
        progress.probe_from(LogIndex(13), true);
        assert!(progress.concerns(LogIndex(12), Incarnation(1)));
        assert!(!progress.concerns(LogIndex(14), Incarnation(1)));
    }
}
