//! Compaction, and snapshots for peers that lack compacted entries (paper, section 7).

use alloc::sync::Arc;

use crate::common::Common;
use crate::progress::ProgressState;
use crate::raft::{COUNT_MAX, Node};
use crate::role::{Leader, Leading, Role};
use crate::{Base, Effects, LogId, LogIndex, Membership, NodeId, SnapshotEffect, SnapshotSent};

impl Node {
    /// The index up to which the log may be compacted without harm: it is applied and durable here, and not
    /// needed to continue a snapshot that is being sent. If the log after that snapshot were compacted, the
    /// peer would need another snapshot when it has installed this one, and so on without end
    /// (hashicorp/raft#212).
    ///
    /// [`Compact`](crate::Input::Compact) goes beyond this index if it is told to, as a driver may have a
    /// full disk, or a transfer that never ends.
    #[must_use]
    pub fn compactable(&self) -> LogIndex {
        let own = self.common.applied.min(self.common.log.durable());
        match &self.role {
            Role::Leader(leader) => leader.kept_for_snapshots().fold(own, LogIndex::min),
            Role::Follower(_) | Role::PreCandidate(_) | Role::Candidate(_) => own,
        }
    }

    /// Takes the news that the state machine has switched to a snapshot.
    pub(crate) fn on_snapshot_installed(
        &mut self,
        base: LogId,
        membership: Arc<Membership>,
        effects: &mut Effects,
    ) {
        let common = &mut self.common;
        let older = base.index <= common.commit;
        if older || base.index.0 > COUNT_MAX || base.term.0 > COUNT_MAX {
            return; // Already committed here, so the snapshot adds nothing.
        }
        if base.term > common.term {
            self.become_follower(base.term, None, effects);
        }
        if self.common.log.holds(base) {
            // Entries after the snapshot are kept (paper, section 7): this node may have acknowledged them,
            // and a leader may have committed them by counting it.
            match self.leading() {
                Some(mut leading) => leading.advance_commit(base.index, effects),
                None => {
                    self.common.raise_commit(base.index);
                }
            }
        } else {
            if self.is_leader() {
                self.become_follower(self.common.term, None, effects);
            }
            self.reset_to(base, membership);
        }
        let common = &mut self.common;
        common.handed_out = common.handed_out.max(base.index);
        common.applied = common.applied.max(base.index);
        if let Some(mut following) = self.following() {
            let verified = &mut following.follower.verified;
            *verified = base.index.max(*verified);
            following.acknowledge_durable(effects);
        }
    }

    /// Empties the log, which then starts after this snapshot.
    fn reset_to(&mut self, base: LogId, membership: Arc<Membership>) {
        let common = &mut self.common;
        common.log.reset(base);
        common.memberships.reset(base.index, Arc::clone(&membership));
        (common.campaign.delay_of, self.reported_for) = (None, None);
        common.writes.reset_to(Base { id: base, membership: Arc::unwrap_or_clone(membership) });
        common.commit = base.index;
        if let Some(following) = self.following() {
            following.follower.verified = base.index; // Later entries were dropped.
        }
    }
}

impl Common {
    /// Compacts the log, as far as it is applied and durable.
    pub(crate) fn on_compact(&mut self, to: LogIndex) {
        let to = to.min(self.applied).min(self.log.durable());
        if to > self.log.base().index {
            self.memberships.compact(to);
            self.log.compact(to);
            self.writes.compact_to(to);
        }
    }
}

impl Leading<'_> {
    /// Takes the end of a snapshot transfer.
    pub(crate) fn on_snapshot_sent(&mut self, to: NodeId, result: SnapshotSent) {
        let last = self.common.log.last_index();
        let Some(peer) = self.leader.progress.get_mut(&to) else { return };
        let ProgressState::Snapshot { at_least, asked: true, kept } = peer.state else { return };
        match result {
            SnapshotSent::Installed(id) => {
                // Probes instead of raising the match index, as only the peer itself can acknowledge.
                let next = id.index.min(last).next().max(peer.match_index.next());
                peer.probe_from(next, false);
            }
            SnapshotSent::Failed => peer.state = ProgressState::Snapshot { at_least, asked: false, kept },
        }
    }
}

impl Leader {
    /// For each snapshot that is being sent, the index from which on the log has to be kept, as it continues
    /// the snapshot.
    fn kept_for_snapshots(&self) -> impl Iterator<Item = LogIndex> {
        self.progress.values().filter_map(|peer| match peer.state {
            ProgressState::Snapshot { asked: true, kept, .. } => Some(kept),
            ProgressState::Snapshot { asked: false, .. }
            | ProgressState::Probe { .. }
            | ProgressState::Replicate => None,
        })
    }

    /// Cancels the snapshot transfers that this leader has requested from its driver.
    pub(crate) fn cancel_snapshots(&self, effects: &mut Effects) {
        for (to, progress) in &self.progress {
            if matches!(progress.state, ProgressState::Snapshot { asked: true, .. }) {
                effects.snapshots.push(SnapshotEffect::Cancel { to: *to });
            }
        }
    }
}
