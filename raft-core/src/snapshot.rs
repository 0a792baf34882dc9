//! Compaction, and snapshots for peers that lack compacted entries (paper, section 7).

use alloc::sync::Arc;

use crate::progress::ProgressState;
use crate::raft::{COUNT_MAX, Node};
use crate::role::Role;
use crate::{Base, Effects, LogId, LogIndex, Membership, NodeId, SnapshotSent};

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
        let own = self.applied.min(self.log.durable());
        let Role::Leader(leader) = &self.role else { return own };
        let kept = leader.progress.values().filter_map(|peer| match peer.state {
            ProgressState::Snapshot { asked: true, kept, .. } => Some(kept),
            ProgressState::Snapshot { asked: false, .. }
            | ProgressState::Probe { .. }
            | ProgressState::Replicate => None,
        });
        kept.fold(own, LogIndex::min)
    }

    /// Compacts the log, as far as it is applied and durable.
    pub(crate) fn on_compact(&mut self, to: LogIndex) {
        let to = to.min(self.applied).min(self.log.durable());
        if to > self.log.base().index {
            self.memberships.compact(to);
            self.log.compact(to);
            self.writes.compact_to(to);
        }
    }

    /// Takes the news that the state machine has switched to a snapshot.
    pub(crate) fn on_snapshot_installed(
        &mut self,
        base: LogId,
        membership: Arc<Membership>,
        effects: &mut Effects,
    ) {
        let older = base.index <= self.commit;
        if older || base.index.0 > COUNT_MAX || base.term.0 > COUNT_MAX {
            return; // Already committed here, so the snapshot adds nothing.
        }
        if base.term > self.term {
            self.become_follower(base.term, None, effects);
        }
        if self.log.holds(base) {
            // Entries after the snapshot are kept (paper, section 7): this node may have acknowledged them,
            // and a leader may have committed them by counting it.
            self.advance_commit(base.index, effects);
        } else {
            if self.is_leader() {
                self.become_follower(self.term, None, effects);
            }
            self.log.reset(base);
            self.memberships.reset(base.index, Arc::clone(&membership));
            (self.patience_of, self.told_while) = (None, None);
            self.writes.reset_to(Base { id: base, membership: Arc::unwrap_or_clone(membership) });
            self.commit = base.index;
            if let Role::Follower(following) = &mut self.role {
                following.verified = base.index; // Later entries were dropped.
            }
        }
        self.handed = self.handed.max(base.index);
        self.applied = self.applied.max(base.index);
        if let Role::Follower(following) = &mut self.role {
            following.verified = following.verified.max(base.index);
        }
        self.acknowledge_durable(effects);
    }

    /// Takes the end of a snapshot transfer.
    pub(crate) fn on_snapshot_sent(&mut self, to: NodeId, result: SnapshotSent) {
        let last = self.log.last_index();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.progress.get_mut(&to) else { return };
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
