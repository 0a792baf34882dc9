//! What a leader knows of one peer and how it serves it (paper, Figure 2: `nextIndex`, `matchIndex`).

use core::time::Duration;

use crate::inflights::Inflights;
use crate::pace::{Load, Pace};
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
    /// How fast appends arrive and are acknowledged.
    pub(crate) pace: Pace,
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

/// At least so many bytes of entries may be on their way to a peer: over a link of 1 Mbit/s they take as long as a
/// follower waits for its leader, and nothing is known yet of how fast the peer takes them.
const INFLIGHT_BYTES_MIN: usize = 64 << 10;

/// What may be sent to a peer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// So many bytes of entries in all.
    pub(crate) left: usize,
    /// So many of them in one append; a single larger entry goes alone.
    pub(crate) batch: usize,
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
    pub(crate) fn new(store: StoreId, last: LogIndex, now: Time, config: &Config) -> Self {
        Self {
            match_index: LogIndex::ZERO,
            next_index: last.next(),
            state: ProgressState::Probe { paused: false },
            inflights: Inflights::default(),
            pace: Pace::new(config.leader_timeout),
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
        if self.health == Health::Sound { self.answered.unwrap_or(self.known_since) } else { since }
    }

    /// What counts towards a commit.
    pub(crate) fn counted_match(&self) -> LogIndex {
        if self.regressed || self.health == Health::Damaged { LogIndex::ZERO } else { self.match_index }
    }

    /// Whether it counts. What a damaged peer acknowledged before, it may have lost: that counts again only once it is
    /// acknowledged again.
    pub(crate) fn note_health(&mut self, health: Health) {
        if health == Health::Damaged && self.health == Health::Sound {
            self.regressed = self.match_index > LogIndex::ZERO;
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
    pub(crate) fn acknowledge(&mut self, now: Time, index: LogIndex, incarnation: Incarnation) -> bool {
        if index < self.match_index && !self.regressed {
            if incarnation > self.match_incarnation {
                self.regressed = true;
                self.probe_from(index.next(), false);
            }
            return false; // Otherwise it was overtaken by a later answer.
        }
        if index < self.match_index {
            self.settle(now, index); // On its way back to what it had.
            return false;
        }
        let news = index > self.match_index || self.regressed;
        self.match_index = index;
        self.match_incarnation = self.match_incarnation.max(incarnation);
        self.regressed = false;
        self.settle(now, index);
        news
    }

    /// The logs agree up to `index`: go on from there.
    fn settle(&mut self, now: Time, index: LogIndex) {
        self.next_index = self.next_index.max(index.next());
        if let Some((bytes, departure)) = self.inflights.free_to(index) {
            self.pace.arrive(now, departure, bytes);
        }
        if matches!(self.state, ProgressState::Probe { .. }) && self.next_index == index.next() {
            self.state = ProgressState::Replicate;
        }
    }

    /// Whether a conflict at `refused` answers what was sent last; an older one says nothing any more.
    pub(crate) fn concerns(&self, refused: LogIndex, incarnation: Incarnation) -> bool {
        let known = refused > self.match_index || self.regressed || incarnation > self.match_incarnation;
        known
            && match self.state {
                ProgressState::Probe { .. } => self.next_index.previous() == Some(refused),
                ProgressState::Replicate => refused < self.next_index,
                ProgressState::Snapshot { .. } => false,
            }
    }

    /// Notes an append of these bytes, whose last entry is `last`.
    pub(crate) fn note_sent(&mut self, now: Time, last: LogIndex, bytes: usize, config: &Config) {
        let with = self.inflights.bytes().saturating_add(bytes);
        let load = if with >= self.inflight_bytes_max(config) / 2 { Load::Full } else { Load::Light };
        let departure = self.pace.depart(now, self.inflights.is_empty(), load);
        self.inflights.add(last, bytes, now, departure);
        self.next_index = last.next();
    }

    /// What may be sent now; none when the window is full.
    pub(crate) fn window(&self, config: &Config) -> Option<Window> {
        let max = self.inflight_bytes_max(config);
        let left = max.saturating_sub(self.inflights.bytes());
        // Each acknowledgement opens the window a little: what is worth an append is more than a crumb.
        let worth_it = left > max / 8 || self.inflights.is_empty();
        // Several appends in a window, or the link is idle while the only one is acknowledged.
        let batch = left.min(config.batch_bytes_max).min((max / 4).max(1));
        (left > 0 && worth_it && self.inflights.len() < config.inflight_messages_max)
            .then_some(Window { left, batch })
    }

    /// Upper bound on the bytes of entries on their way to this peer: what it takes within a fraction of the leader
    /// time-out, so that nothing else waits for long behind them on a link that they share; and within the time that an
    /// append takes to be acknowledged, so that neither distance nor a slow disk leaves the link idle. That time is
    /// bounded in turn: while much is on its way it is that of a queue.
    fn inflight_bytes_max(&self, config: &Config) -> usize {
        let round_trip = self.pace.shortest().unwrap_or_default().min(config.leader_timeout / 2);
        let paced = self.pace.bytes_within(config.leader_timeout / 4 + round_trip).unwrap_or(0);
        paced.max(INFLIGHT_BYTES_MIN).min(config.inflight_bytes_max)
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
    use crate::NodeId;

    fn config() -> Config {
        Config::new(NodeId(1), StoreId(1), Incarnation(1), 0)
    }

    fn replicating(matched: u64, next: u64) -> Progress {
        let mut progress = Progress::new(StoreId(0), LogIndex(matched), Time(0), &config());
        assert!(progress.acknowledge(Time(0), LogIndex(matched), Incarnation(1)));
        assert_eq!(progress.state, ProgressState::Replicate);
        progress.next_index = LogIndex(next);
        progress
    }

    #[test]
    fn a_late_acknowledgement_of_the_same_life_changes_nothing() {
        let mut progress = replicating(10, 15);
        let before = progress.clone();
        assert!(!progress.acknowledge(Time(0), LogIndex(7), Incarnation(1)));
        assert_eq!(progress, before);
    }

    #[test]
    fn a_lower_acknowledgement_of_a_new_life_does_not_count_until_it_has_caught_up() {
        let mut progress = replicating(10, 15);
        assert!(!progress.acknowledge(Time(0), LogIndex(7), Incarnation(2)));
        assert_eq!((progress.match_index, progress.counted_match()), (LogIndex(10), LogIndex::ZERO));
        assert_eq!(progress.next_index, LogIndex(8));
        assert!(!progress.acknowledge(Time(0), LogIndex(7), Incarnation(2)));
        assert_eq!(progress.state, ProgressState::Replicate, "it is sent what it lost");
        assert!(progress.acknowledge(Time(0), LogIndex(10), Incarnation(2)));
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

    /// Sends as much as the window takes over a way of so many bytes a millisecond, and has it acknowledged, until so
    /// many bytes have arrived; returns the most that was on its way in the second half of it.
    fn send_all(progress: &mut Progress, per_ms: usize, delay_ms: u64, entry: usize, total: usize) -> usize {
        let (mut now, mut sent, mut arrived, mut most) = (1_000_000_u64, 0, 0, 0);
        let mut free_at = now;
        let mut on_its_way = alloc::collections::VecDeque::new();
        while arrived < total {
            while let Some(window) = progress.window(&config()) {
                let bytes = (window.batch / entry * entry).max(entry);
                if bytes > window.left && !progress.inflights.is_empty() {
                    break;
                }
                let last = progress.next_index.plus((bytes / entry) as u64 - 1);
                progress.note_sent(Time(now), last, bytes, &config());
                free_at = free_at.max(now) + (bytes * 1000 / per_ms) as u64;
                on_its_way.push_back((free_at + delay_ms * 1000, last, bytes));
                sent += bytes;
            }
            if arrived > total / 2 {
                most = most.max(sent - arrived);
            }
            let (at, last, bytes) = on_its_way.pop_front().expect("something is on its way");
            now = at;
            arrived += bytes;
            progress.acknowledge(Time(now), last, Incarnation(1));
        }
        most
    }

    #[test]
    fn what_is_on_its_way_to_a_slow_peer_is_what_it_takes_in_a_fraction_of_the_leader_time_out() {
        // 20 Mbit/s: of 32 MiB that the configuration allows, 375 ms are 940 KB.
        let mut progress = replicating(10, 11);
        let most = send_all(&mut progress, 2500, 1, 10_000, 20_000_000);
        assert!(most <= 940_000, "{most} bytes");
        assert!(most >= 2500 * 125 / 2, "{most} bytes: enough to keep the link busy");
    }

    #[test]
    fn a_far_peer_is_sent_what_fits_on_the_way() {
        // 100 Mbit/s and 100 ms each way: 2.5 MB are on the way when it is full.
        let mut progress = replicating(10, 11);
        let most = send_all(&mut progress, 12_500, 200, 10_000, 200_000_000);
        assert!(most >= 2_500_000, "{most} bytes: enough to keep the link busy");
    }

    #[test]
    fn an_entry_larger_than_the_window_goes_alone() {
        let mut progress = replicating(10, 11);
        let left = INFLIGHT_BYTES_MIN;
        assert_eq!(progress.window(&config()), Some(Window { left, batch: left / 4 }));
        progress.note_sent(Time(0), LogIndex(11), 10 * INFLIGHT_BYTES_MIN, &config());
        assert_eq!(progress.window(&config()), None);
    }
}
