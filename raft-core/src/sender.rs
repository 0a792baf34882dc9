//! Sending to one peer: probes, pipelined entries, heartbeats, the commit index, or a request for a snapshot
//! (thesis, section 10.2.1).

use alloc::vec::Vec;
use core::time::Duration;

use crate::common::{Common, Envelope};
use crate::progress::{Progress, ProgressState, Window};
use crate::{
    AppendEntries, Body, Effects, Entries, Entry, Fetch, FetchId, LogId, LogIndex, NodeId, Round, Time,
};

/// Upper bound on the bytes of entries in a probe, as it may well be refused.
const PROBE_BYTES_MAX: usize = 64 << 10;

/// How long a leader waits for an append to carry a new commit index before it sends the index alone.
///
/// A client that writes again as soon as it is answered does so within a millisecond, and the append of that
/// write carries the index for nothing. Sent at once, the index would cost each follower a message for every
/// write, and all nodes would be busy with it while the client waits for its answer. A longer wait would show
/// in stale reads: a follower should be at most 5 ms behind its leader, and the message and the state machine
/// take their share of that.
pub(crate) const COMMIT_DELAY: Duration = Duration::from_millis(2);

/// The values that all appends of one call have in common.
#[derive(Clone, Copy)]
pub(crate) struct Peers {
    envelope: Envelope,
    now: Time,
    commit: LogIndex,
    applied: LogIndex,
    /// The index of the membership entry in force.
    membership: LogIndex,
    /// How long a new commit index waits for an append to carry it.
    commit_delay: Duration,
}

impl Peers {
    pub(crate) fn of(common: &Common) -> Self {
        Self {
            envelope: common.envelope(),
            now: common.now,
            commit: common.commit,
            applied: common.applied,
            membership: common.memberships.current().id().index,
            // During a transfer no proposals are accepted, so no append follows.
            commit_delay: if common.is_transferring() { Duration::ZERO } else { COMMIT_DELAY },
        }
    }
}

/// Sends appends to one peer.
pub(crate) struct Sender<'a> {
    pub(crate) log: &'a crate::log::Log,
    pub(crate) config: &'a crate::Config,
    pub(crate) peers: Peers,
    pub(crate) to: NodeId,
    pub(crate) peer: &'a mut Progress,
    pub(crate) rounds: &'a mut crate::lease::Rounds,
    pub(crate) effects: &'a mut Effects,
}

impl Sender<'_> {
    /// Sends everything that the peer's state and window allow now.
    pub(crate) fn send(&mut self, next_fetch: &mut impl FnMut() -> FetchId) {
        match self.peer.state {
            ProgressState::Probe { paused: true } => {}
            ProgressState::Probe { paused: false } => self.probe(),
            ProgressState::Replicate => {
                self.pipeline(next_fetch);
                self.send_commit();
            }
            ProgressState::Snapshot { asked: true, .. } | ProgressState::Snapshot { asked: false, .. } => {}
        }
    }

    /// Sends one append to find out where the logs match, with a few entries if they are in memory.
    fn probe(&mut self) {
        let Some(prev) = self.prev() else { return };
        self.peer.state = ProgressState::Probe { paused: true };
        let bytes_max = PROBE_BYTES_MAX.min(self.config.batch_bytes_max);
        let last = self.log.last_index();
        let entries = self.log.tail().slice(prev.index.next(), last, bytes_max).map(|(entries, _)| entries);
        self.rounds.begin(self.peers.now);
        self.append(prev, entries.unwrap_or_default());
    }

    /// Sends appends as far as the window allows.
    fn pipeline(&mut self, next_fetch: &mut impl FnMut() -> FetchId) {
        let last = self.log.last_index();
        while self.peer.next_index <= last && self.peer.fetch.is_none() {
            let window = self.peer.window(self.config);
            let (Some(prev), Some(Window { left, batch: bytes_max })) = (self.prev(), window) else { return };
            let first = self.peer.next_index;
            match self.log.tail().slice(first, last, bytes_max) {
                // A single entry larger than the rest of the window waits until nothing is in flight.
                Some((_, bytes)) if bytes > left && !self.peer.inflights.is_empty() => return,
                Some((entries, bytes)) => self.append_tracked(prev, entries, bytes),
                None => {
                    let id = next_fetch();
                    self.peer.fetch = Some(id);
                    self.effects.fetches.push(Fetch { id, first, last, bytes_max });
                }
            }
        }
    }

    /// Sends entries fetched from the log, if they are still the next ones to send.
    pub(crate) fn send_fetched(&mut self, entries: Vec<Entry>) {
        let Some(prev) = self.prev().filter(|_| self.peer.state == ProgressState::Replicate) else { return };
        let mut next = self.peer.next_index;
        let fits = entries.iter().all(|entry| {
            let fits = entry.id.index == next && self.log.holds(entry.id);
            next = next.next();
            fits
        });
        if fits && !entries.is_empty() {
            let bytes = entries.iter().map(Entry::weight).sum();
            self.append_tracked(prev, entries.into(), bytes);
        }
    }

    fn append_tracked(&mut self, prev: LogId, entries: Entries, bytes: usize) {
        let last = prev.index.plus(entries.len() as u64);
        self.peer.note_sent(self.peers.now, last, bytes, self.config);
        self.append(prev, entries);
    }

    /// Sends the commit index alone if no append has carried it for [`COMMIT_DELAY`], in one message for
    /// everything that was committed meanwhile.
    ///
    /// The commit of a membership change is sent at once: a peer keeps its connections to removed nodes until
    /// it knows of it.
    fn send_commit(&mut self) {
        let Peers { commit, membership, now, commit_delay, .. } = self.peers;
        if self.peer.sent_commit >= commit {
            return;
        }
        let changes_members = (self.peer.sent_commit.next()..=commit).contains(&membership);
        let due = if changes_members { now } else { now.after(commit_delay) };
        let due = self.peer.commit_due.map_or(due, |earlier| earlier.min(due));
        self.peer.commit_due = Some(due);
        if due <= now {
            self.tell_commit();
        }
    }

    /// Sends the commit index alone, as far as the peer is known to hold the log, so that it is not refused.
    pub(crate) fn tell_commit(&mut self) {
        if self.peer.lacks_commit(self.peers.commit, self.log.base().index)
            && let Some(prev) = self.log.id(self.peer.match_index)
        {
            let round = self.peer.sent_round; // No new round, so no answer is needed.
            self.push(prev, Entries::EMPTY, round);
        }
    }

    /// Sends a heartbeat, which is an append without entries.
    pub(crate) fn heartbeat(&mut self) {
        let base = self.log.base();
        let prev = match self.peer.state {
            ProgressState::Probe { .. } => self.prev(),
            // Its `prev` is known to match, so it cannot be refused just because it has overtaken an append.
            ProgressState::Replicate => {
                self.ask_for_lost();
                self.log.id(self.peer.match_index.max(base.index))
            }
            ProgressState::Snapshot { .. } => Some(base),
        };
        self.peer.heartbeat_at = self.peers.now.after(self.config.heartbeat_interval);
        self.append(prev.unwrap_or(base), Entries::EMPTY);
    }

    /// Probes for lost appends: if the oldest in flight is overdue, asks whether the peer holds the last one
    /// sent. The transport must not let this message overtake the appends, or it is refused and they are sent
    /// again. Heartbeats may overtake them.
    fn ask_for_lost(&mut self) {
        if self.peer.is_overdue(self.peers.now, self.config.heartbeat_interval)
            && let Some(prev) = self.prev()
        {
            self.append(prev, Entries::EMPTY);
        }
    }

    /// Final message to a removed peer: the commit index that covers its removal.
    pub(crate) fn send_final_commit(&mut self) {
        if matches!(self.peer.state, ProgressState::Snapshot { asked: true, .. }) {
            self.effects.snapshots.push(crate::SnapshotEffect::Cancel { to: self.to });
        } else if let Some(prev) = self.peer.next_index.previous().and_then(|prev| self.log.id(prev)) {
            self.append(prev, Entries::EMPTY);
        }
    }

    /// The id of the entry before `next_index`. None when that is compacted; the peer then gets a snapshot.
    fn prev(&mut self) -> Option<LogId> {
        let next = self.peer.next_index;
        let prev = next.previous().and_then(|prev| self.log.id(prev));
        if prev.is_none() {
            self.send_snapshot(next);
        }
        prev
    }

    pub(crate) fn send_snapshot(&mut self, next: LogIndex) {
        let at_least = next.max(self.log.base().index);
        self.peer.inflights.clear();
        self.peer.fetch = None;
        self.peer.state = ProgressState::Snapshot { at_least, asked: true, kept: self.peers.applied };
        self.effects.snapshots.push(crate::SnapshotEffect::Send { to: self.to, at_least });
    }

    fn append(&mut self, prev: LogId, entries: Entries) {
        let round = self.rounds.for_append(self.peers.now);
        self.push(prev, entries, round);
    }

    fn push(&mut self, prev: LogId, entries: Entries, round: Round) {
        let commit = self.peers.commit;
        self.peer.sent_round = self.peer.sent_round.max(round);
        let proven = commit.min(prev.index.plus(entries.len() as u64));
        self.peer.sent_commit = self.peer.sent_commit.max(proven);
        if self.peer.sent_commit >= commit {
            self.peer.commit_due = None;
        }
        let body = AppendEntries { prev, entries, commit, round };
        self.effects.messages.push(self.peers.envelope.to(self.to, Body::AppendEntries(body)));
    }
}
