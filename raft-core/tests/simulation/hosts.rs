//! Hosts: a node, its disk and its clock; how they stop and start again.

use std::collections::BTreeSet;

use raftkit_core::invariants::check_state;
use raftkit_core::{
    Base, Config, Incarnation, Input, LogId, LogIndex, Membership, Node, NodeId, SnapshotSent, Time,
};

use crate::disk::Disk;
use crate::events::Event;
use crate::world::{MS, World};

pub struct Host {
    pub config: Config,
    pub node: Option<Node>,
    pub disk: Disk,
    pub rate: u64,
    pub offset: u64,
    /// Applied, and of that durable in the state machine.
    pub applied: LogIndex,
    pub durable_applied: LogIndex,
    /// The last snapshot installed.
    pub snapshot: Base,
    pub tick_at: u64,
    pub flushing: bool,
    pub paused_until: u64,
    pub blocked: BTreeSet<NodeId>,
}

impl Host {
    pub fn local(&self, now: u64) -> Time {
        Time(self.offset + now * self.rate / 1000)
    }

    pub fn global(&self, local: Time) -> u64 {
        let since = local.0.saturating_sub(self.offset);
        since.saturating_mul(1000).div_ceil(self.rate).min(u64::MAX / 2)
    }
}

impl World {
    pub fn is_live(&self, id: NodeId, life: Incarnation) -> bool {
        self.hosts[&id].node.is_some() && self.hosts[&id].config.incarnation == life
    }

    pub fn flush(&mut self, id: NodeId) {
        let fails = self.chance.happens(self.faults.write_failure);
        let host = self.hosts.get_mut(&id).expect("known");
        host.flushing = false;
        if fails {
            self.step(id, Input::WriteFailed);
            let delay = self.chance.range(1, 500) * MS;
            self.crash(id);
            return self.schedule(delay, Event::Restart(id));
        }
        let count = self.chance.range(1, host.disk.queued() as u64 + 1);
        let host = self.hosts.get_mut(&id).expect("known");
        let count = usize::try_from(count).expect("small").min(host.disk.queued());
        if let Some(seq) = host.disk.flush(count) {
            self.step(id, Input::Persisted(seq));
        }
    }

    pub fn restart(&mut self, id: NodeId) {
        let now = self.now;
        let host = self.hosts.get_mut(&id).expect("known");
        if host.node.is_some() {
            return;
        }
        host.config.incarnation.0 += 1;
        host.disk.finish_install(&host.snapshot.clone());
        host.applied = host.durable_applied;
        let restored = host.disk.durable.restored(host.durable_applied);
        let node = Node::restore(host.config.clone(), restored, host.local(now)).expect("the disk is sound");
        check_state(&node).expect("a restored node is sound");
        host.node = Some(node);
        host.flushing = false;
        self.truth.open.remove(&id);
        self.step(id, Input::Tick);
    }

    pub fn crash(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).expect("known");
        host.node = None;
        let kept = self.chance.range(0, host.disk.queued() as u64 + 1);
        host.disk.crash(usize::try_from(kept).expect("small"));
        host.paused_until = 0;
        self.truth.open.remove(&id);
    }

    pub fn install(
        &mut self,
        from: NodeId,
        life: Incarnation,
        to: NodeId,
        id: LogId,
        membership: Membership,
    ) {
        let lost = self.hosts[&to].node.is_none() || self.chance.happens(self.faults.loss);
        if !lost {
            let host = self.hosts.get_mut(&to).expect("known");
            if host.applied < id.index {
                host.applied = id.index;
                host.durable_applied = id.index;
                host.snapshot = Base { id, membership: membership.clone() };
                self.step(to, Input::SnapshotInstalled { base: id, membership: membership.into() });
            }
        }
        let result = if lost { SnapshotSent::Failed } else { SnapshotSent::Installed(id) };
        let delay = self.chance.range(1, 20) * MS;
        self.schedule(delay, Event::Input(from, life, Input::SnapshotSent { to, result }));
    }

    /// Wakes the node at its deadline, and its disk when there is something to write.
    pub fn arm(&mut self, id: NodeId) {
        let stalls = self.chance.happens(self.faults.stall);
        let delay = if stalls { self.chance.range(1, 4000) * MS } else { self.chance.range(50, 2 * MS) };
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(node) = &host.node else { return };
        let life = host.config.incarnation;
        let deadline = host.global(node.next_deadline());
        let flush = !host.flushing && !host.disk.is_idle();
        host.flushing |= flush;
        let moved = deadline != host.tick_at && deadline < u64::MAX / 2;
        host.tick_at = deadline;
        if moved {
            self.schedule(deadline.saturating_sub(self.now), Event::Tick(id, life));
        }
        if flush {
            self.schedule(delay, Event::Flush(id, life));
        }
    }
}
