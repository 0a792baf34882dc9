//! A leader's view of one peer, and how it replicates to it (paper, Figure 2: `nextIndex`, `matchIndex`).

use core::time::Duration;

use crate::inflights::Inflights;
use crate::pace::{Load, Pace};
use crate::promotion::CatchUp;
use crate::{Config, FetchId, Health, Incarnation, LogIndex, PeerState, PeerStatus, Round, StoreId, Time};

/// A leader's view of one peer.
///
/// `match_index` never goes back within a term, and `match_index < next_index` unless the peer has regressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The highest index up to which the peer is known to hold the leader's log durably.
    pub(crate) match_index: LogIndex,
    /// The next index to send.
    pub(crate) next_index: LogIndex,
    /// The state of replication to the peer.
    pub(crate) state: ProgressState,
    /// The appends that are sent and not acknowledged yet.
    pub(crate) inflights: Inflights,
    /// The pace at which appends are acknowledged.
    pub(crate) pace: Pace,
    /// When the peer last answered in this term; none if it has not.
    pub(crate) answered: Option<Time>,
    /// When this leader began to replicate to the peer.
    pub(crate) known_since: Time,
    /// The newest round that the peer confirmed.
    pub(crate) acked_round: Round,
    /// Until when the peer grants no vote: the send time of a round that it confirmed, plus its promise.
    pub(crate) promised_until: Time,
    /// When the next heartbeat is due.
    pub(crate) heartbeat_at: Time,
    /// The newest round sent to the peer.
    pub(crate) sent_round: Round,
    /// The newest commit index sent to the peer.
    pub(crate) sent_commit: LogIndex,
    /// When a newer commit index is sent to the peer alone, if no append has carried it by then; none while
    /// the newest one was sent.
    pub(crate) commit_due: Option<Time>,
    /// The peer's incarnation that acknowledged `match_index`.
    pub(crate) match_incarnation: Incarnation,
    /// True when the peer has lost part of what it acknowledged. Until it has acknowledged `match_index`
    /// again it counts for no commit: of three nodes, S2 acknowledged up to 10, lost its disk's last writes
    /// and restarts with 7. Were it counted for entry 10, the leader S1 would commit 10 while it alone holds
    /// it.
    pub(crate) regressed: bool,
    /// The fetch under way for the peer, if any.
    pub(crate) fetch: Option<FetchId>,
    /// The data folder that the peer's answers must come from.
    pub(crate) store: StoreId,
    /// The health that the peer reports. A damaged peer is replicated to, but counts in no quorum.
    pub(crate) health: Health,
    /// On a staging learner: the catch-up round under way.
    pub(crate) catch_up: Option<CatchUp>,
}

/// Lower bound on the window, in bytes of entries in flight. The pace of a new peer is not known yet, and
/// this much takes 0.5 s over a link of 1 Mbit/s: as long as a follower waits for its leader.
const INFLIGHT_BYTES_MIN: usize = 64 << 10;

/// The amount that may be sent to a peer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// Bytes of entries in all appends together.
    pub(crate) left: usize,
    /// Bytes of entries in one append; a single larger entry is sent alone.
    pub(crate) batch: usize,
}

/// The state of replication to one peer.
///
/// ```text
///            an answer matches                a conflict, a lost connection, a new incarnation
///   Probe --------------------> Replicate ----------------------------------------------> Probe
///     |  what it lacks is compacted |
///     +-------------> Snapshot <----+      Snapshot -- sent, failed, or it matches --> Probe
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProgressState {
    /// One append at a time, until the logs are known to match.
    Probe {
        /// An append is in flight; the next one is sent with the next heartbeat.
        paused: bool,
    },
    /// Appends are pipelined: the next is sent before the last is acknowledged.
    Replicate,
    /// The peer needs a snapshot, as the log no longer holds what it lacks.
    Snapshot {
        /// The snapshot must cover at least this index.
        at_least: LogIndex,
        /// True while the driver is sending one. Otherwise a transfer failed, and the next answer of the peer
        /// requests another.
        asked: bool,
        /// The applied index at the request. The log after it continues the snapshot, so it should not be
        /// compacted.
        kept: LogIndex,
    },
}

impl Progress {
    /// A peer of which nothing is known. The first probe is at the end of the leader's log, as in the paper.
    pub(crate) fn new(store: StoreId, last: LogIndex, now: Time, config: &Config) -> Self {
        Self {
            match_index: LogIndex::ZERO,
            next_index: last.next(),
            state: ProgressState::Probe { paused: false },
            inflights: Inflights::default(),
            pace: Pace::new(config.leader_timeout),
            answered: None,
            known_since: now,
            acked_round: Round(0),
            promised_until: Time(0),
            heartbeat_at: now,
            sent_round: Round(0),
            sent_commit: LogIndex::ZERO,
            commit_due: None,
            match_incarnation: Incarnation(0),
            regressed: false,
            fetch: None,
            store,
            health: Health::Sound,
            catch_up: None,
        }
    }

    /// When the peer was last heard, for check-quorum. A peer that has just been added counts as heard at
    /// that moment, and so has as much time as any voter to answer. A damaged peer counts as heard when the
    /// leader's term began, which soon is too long ago.
    pub(crate) fn counted_answer(&self, since: Time) -> Time {
        if self.health == Health::Sound { self.answered.unwrap_or(self.known_since) } else { since }
    }

    /// The match index that counts for commits; zero while the peer is damaged or has regressed.
    pub(crate) fn counted_match(&self) -> LogIndex {
        if self.regressed || self.health == Health::Damaged { LogIndex::ZERO } else { self.match_index }
    }

    /// True when the peer holds committed entries without having been sent a commit index that says so, and
    /// can be sent one: the log, which starts after `base`, still has the term of the peer's last entry.
    pub(crate) fn lacks_commit(&self, commit: LogIndex, base: LogIndex) -> bool {
        self.state == ProgressState::Replicate
            && self.match_index >= base
            && self.sent_commit < commit.min(self.match_index)
    }

    /// Records the peer's health. Once damaged, its old match index counts again only after it is
    /// re-acknowledged, as the peer may have lost what it acknowledged before.
    pub(crate) fn note_health(&mut self, health: Health) {
        if health == Health::Damaged && self.health == Health::Sound {
            self.regressed = self.match_index > LogIndex::ZERO;
        }
        self.health = health;
    }

    /// Takes the appends in flight as lost, and probes at `next`.
    pub(crate) fn probe_from(&mut self, next: LogIndex, paused: bool) {
        self.next_index = next;
        self.state = ProgressState::Probe { paused };
        self.inflights.clear();
        self.fetch = None;
    }

    /// Takes an acknowledgement up to `index` by this incarnation of the peer. True when it may advance the
    /// commit index.
    ///
    /// A lower index than before means one of two things. From the same incarnation it is an old answer that
    /// was overtaken, and is ignored. From a later incarnation the peer has lost what it acknowledged, and is
    /// marked as regressed.
    pub(crate) fn acknowledge(&mut self, now: Time, index: LogIndex, incarnation: Incarnation) -> bool {
        if index < self.match_index && !self.regressed {
            if incarnation > self.match_incarnation {
                self.regressed = true;
                self.probe_from(index.next(), false);
            }
            return false; // From the same incarnation, it was overtaken by a later answer.
        }
        if index < self.match_index {
            self.settle(now, index); // It has regressed, and is catching up again.
            return false;
        }
        let news = index > self.match_index || self.regressed;
        self.match_index = index;
        self.match_incarnation = self.match_incarnation.max(incarnation);
        self.regressed = false;
        self.settle(now, index);
        news
    }

    /// The logs match up to `index`: frees the window up to there and leaves the probe state.
    fn settle(&mut self, now: Time, index: LogIndex) {
        self.next_index = self.next_index.max(index.next());
        if let Some((bytes, departure)) = self.inflights.free_to(index) {
            self.pace.arrive(now, departure, bytes);
        }
        if matches!(self.state, ProgressState::Probe { .. }) && self.next_index == index.next() {
            self.state = ProgressState::Replicate;
        }
    }

    /// True when a refusal at `refused` answers the latest probe or append. A delayed one would move
    /// `next_index` back for nothing.
    pub(crate) fn concerns(&self, refused: LogIndex, incarnation: Incarnation) -> bool {
        let known = refused > self.match_index || self.regressed || incarnation > self.match_incarnation;
        known
            && match self.state {
                ProgressState::Probe { .. } => self.next_index.previous() == Some(refused),
                ProgressState::Replicate => refused < self.next_index,
                ProgressState::Snapshot { .. } => false,
            }
    }

    /// Records an append of `bytes` whose last entry is `last`.
    pub(crate) fn note_sent(&mut self, now: Time, last: LogIndex, bytes: usize, config: &Config) {
        let with = self.inflights.bytes().saturating_add(bytes);
        let load = if with >= self.inflight_bytes_max(config) / 2 { Load::Full } else { Load::Light };
        let departure = self.pace.depart(now, self.inflights.is_empty(), load);
        self.inflights.add(last, bytes, now, departure);
        self.next_index = last.next();
    }

    /// The amount that may be sent now; none when the window is full.
    pub(crate) fn window(&self, config: &Config) -> Option<Window> {
        let max = self.inflight_bytes_max(config);
        let left = max.saturating_sub(self.inflights.bytes());
        // Each acknowledgement opens the window a little. Waiting for an eighth of it avoids a stream of tiny
        // appends.
        let worth_it = left > max / 8 || self.inflights.is_empty();
        // At least four appends fit into the window, as a single one would leave the link idle while it is
        // acknowledged.
        let batch = left.min(config.batch_bytes_max).min((max / 4).max(1));
        (left > 0 && worth_it && self.inflights.len() < config.inflight_messages_max)
            .then_some(Window { left, batch })
    }

    /// Upper bound on the bytes of entries in flight to this peer. It is what the measured pace delivers in a
    /// quarter of the leader time-out, so that heartbeats on the same link do not wait long behind entries,
    /// plus the shortest time that an append takes to be acknowledged, so that neither distance nor a slow
    /// disk leaves the link idle. That time is capped at half of the leader time-out, because with much in
    /// flight it measures the queue and not the path.
    fn inflight_bytes_max(&self, config: &Config) -> usize {
        let round_trip = self.pace.shortest().unwrap_or_default().min(config.leader_timeout / 2);
        let paced = self.pace.bytes_within(config.leader_timeout / 4 + round_trip).unwrap_or(0);
        paced.max(INFLIGHT_BYTES_MIN).min(config.inflight_bytes_max)
    }

    /// True when the oldest append in flight is older than `limit`, so that it may be lost.
    pub(crate) fn is_overdue(&self, now: Time, limit: Duration) -> bool {
        self.inflights.oldest().is_some_and(|oldest| oldest.after(limit) <= now)
    }

    /// The peer's status, for an operator.
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

    /// Sends as much as the window allows over a link of `per_ms` bytes a millisecond until `total` bytes
    /// have arrived and are acknowledged. Returns the most bytes in flight during the second half.
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
