//! Compaction and snapshots: where the log starts, and peers that need what is no longer in it (paper, section 7).

use alloc::sync::Arc;

use crate::progress::ProgressState;
use crate::raft::{COUNT_MAX, Node};
use crate::role::Role;
use crate::{Base, Effects, LogId, LogIndex, Membership, NodeId, SnapshotSent};

impl Node {
    /// Up to where the log may be cut at no cost to anyone: what is applied and durable here, and does not continue a
    /// snapshot that is on its way to a peer. If the log behind that snapshot is cut, the peer needs another one, and so
    /// on (hashicorp/raft#212). [`Compact`](crate::Input::Compact) obeys beyond that, too: a driver whose disk is full, or
    /// whose transfer never ends, must be able to.
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

    /// Drops the log's head, as far as it is applied and on disk.
    pub(crate) fn on_compact(&mut self, to: LogIndex) {
        let to = to.min(self.applied).min(self.log.durable());
        if to > self.log.base().index {
            self.memberships.compact(to);
            self.log.compact(to);
            self.writes.compact_to(to);
        }
    }

    /// The state machine has switched to a snapshot.
    pub(crate) fn on_snapshot_installed(
        &mut self,
        base: LogId,
        membership: Arc<Membership>,
        effects: &mut Effects,
    ) {
        let older = base.index <= self.commit;
        if older || base.index.0 > COUNT_MAX || base.term.0 > COUNT_MAX {
            return; // What is committed here includes it.
        }
        if base.term > self.term {
            self.become_follower(base.term, None, effects);
        }
        if self.log.holds(base) {
            // The tail behind it may already be acknowledged: keep it.
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
                following.verified = base.index; // What was beyond is gone.
            }
        }
        self.handed = self.handed.max(base.index);
        self.applied = self.applied.max(base.index);
        if let Role::Follower(following) = &mut self.role {
            following.verified = following.verified.max(base.index);
        }
        self.acknowledge_durable(effects);
    }

    /// A transfer has ended.
    pub(crate) fn on_snapshot_sent(&mut self, to: NodeId, result: SnapshotSent) {
        let last = self.log.last_index();
        let Role::Leader(leader) = &mut self.role else { return };
        let Some(peer) = leader.progress.get_mut(&to) else { return };
        let ProgressState::Snapshot { at_least, asked: true, kept } = peer.state else { return };
        match result {
            SnapshotSent::Installed(id) => {
                // A probe, as this is the driver's word and not the peer's own.
                let next = id.index.min(last).next().max(peer.match_index.next());
                peer.probe_from(next, false);
            }
            SnapshotSent::Failed => peer.state = ProgressState::Snapshot { at_least, asked: false, kept },
        }
    }
}
