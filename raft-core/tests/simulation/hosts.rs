//! Hosts: a node, its disk and its clock; stopping, restarting and damaging them.

use std::collections::BTreeSet;

use raftkit_core::invariants::check_state;
use raftkit_core::{
    Base, Config, Health, Incarnation, Input, LogId, LogIndex, Membership, Node, NodeId, SnapshotSent,
    StoreId, Time,
};

use crate::disk::Disk;
use crate::events::Event;
use crate::injected::Fault;
use crate::marks::Mark;
use crate::trace;
use crate::world::{MS, World};

pub struct Host {
    pub config: Config,
    pub node: Option<Node>,
    pub disk: Disk,
    pub rate: u64,
    pub offset: u64,
    /// The applied index, and the part of it that is durable in the state machine.
    pub applied: LogIndex,
    pub durable_applied: LogIndex,
    /// The last snapshot installed.
    pub snapshot: Base,
    pub tick_at: u64,
    pub flushing: bool,
    pub paused_until: u64,
    /// Until when the disk is stuck.
    pub stuck_until: u64,
    pub blocked: BTreeSet<NodeId>,
    /// The last index that the latest damage left, or the applied index if that is higher.
    pub damaged_at: LogIndex,
    /// Number of starts, across data folders. Events of an earlier boot are dropped.
    pub boot: u64,
}

impl Host {
    /// A host that has not been started yet.
    pub fn new(config: Config, disk: Disk, rate: u64, offset: u64) -> Self {
        let base = disk.durable.base.clone();
        Self {
            config,
            node: None,
            disk,
            rate,
            offset,
            applied: base.id.index,
            durable_applied: base.id.index,
            snapshot: base,
            tick_at: u64::MAX,
            flushing: false,
            paused_until: 0,
            stuck_until: 0,
            blocked: BTreeSet::new(),
            damaged_at: LogIndex::ZERO,
            boot: 0,
        }
    }

    pub fn local(&self, now: u64) -> Time {
        Time(self.offset + now * self.rate / 1000)
    }

    pub fn global(&self, local: Time) -> u64 {
        let since = local.0.saturating_sub(self.offset);
        since.saturating_mul(1000).div_ceil(self.rate).min(u64::MAX / 2)
    }

    /// True when `store` is this host's data folder and holds everything that it acknowledged.
    pub fn is_sound(&self, store: StoreId) -> bool {
        let running = self.node.as_ref().is_none_or(|node| node.health() == Health::Sound);
        self.config.store == store && self.disk.durable.hard.health == Health::Sound && running
    }
}

impl World {
    pub fn host(&mut self, id: NodeId) -> &mut Host {
        self.hosts.get_mut(&id).expect("a host of this world")
    }

    pub fn is_live(&self, id: NodeId, boot: u64) -> bool {
        self.hosts[&id].node.is_some() && self.hosts[&id].boot == boot
    }

    pub fn flush(&mut self, id: NodeId) {
        let fails = self.chance.happens(self.faults.write_failure);
        let host = self.hosts.get_mut(&id).expect("known");
        if host.stuck_until > self.now {
            let (delay, boot) = (host.stuck_until - self.now, host.boot);
            return self.schedule(delay, Event::Flush(id, boot));
        }
        host.flushing = false;
        if fails {
            self.marks.hit(Mark::WriteFailed);
            self.injected.hit(Fault::WriteFailed);
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

    /// Restarts a host that is down, perhaps with damage.
    pub fn restart(&mut self, id: NodeId) {
        if self.hosts[&id].node.is_some() {
            return;
        }
        if self.chance.happens(self.faults.damage) {
            let durable = &self.hosts[&id].disk.durable;
            let (base, last) = (durable.base.id.index.0, durable.last().index.0);
            let few = self.chance.happens(500);
            let from = if few { base.max(last.saturating_sub(3)) } else { base };
            let kept = LogIndex(self.chance.range(from, last + 1));
            self.damage(id, kept);
        }
        self.start(id);
    }

    /// Starts a host from its disk.
    pub fn start(&mut self, id: NodeId) {
        let now = self.now;
        self.choose_settings(id);
        let host = self.hosts.get_mut(&id).expect("known");
        host.boot += 1;
        trace::event(now, format_args!("{id} starts, for time {}", host.boot));
        host.config.incarnation.0 += 1;
        host.disk.finish_install(&host.snapshot.clone());
        host.applied = host.durable_applied;
        let restored = host.disk.durable.restored(host.durable_applied);
        let node = Node::restore(host.config.clone(), restored, host.local(now)).expect("the disk is sound");
        check_state(&node).expect("a restored node is sound");
        let membership = host.disk.durable.membership();
        assert_eq!(node.membership(), membership, "{id} started with another membership than its log says");
        self.marks.hit_if(membership.is_joint(), Mark::RestartedJoint);
        if node.health() == Health::Sound {
            self.ghosts.remove(&(id, host.config.store));
        }
        host.node = Some(node);
        host.flushing = false;
        self.tickets.forget(id);
        self.step(id, Input::Tick);
    }

    /// Crashes a host. Some of its writes under way have reached the disk.
    pub fn crash(&mut self, id: NodeId) {
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(node) = host.node.take() else { return };
        if node.health() == Health::Sound {
            // What it may have acknowledged so far, which counts whatever becomes of the disk.
            self.ghosts.insert((id, host.config.store), host.disk.durable.clone());
        }
        let queued = host.disk.queued();
        let kept = usize::try_from(self.chance.range(0, queued as u64 + 1)).expect("small");
        self.marks.hit_if(kept < queued, Mark::UnsyncedLost);
        let words = format_args!("{id} crashes; of {queued} writes under way its disk has {kept}");
        self.inject(Fault::Crash, words);
        if kept < queued {
            self.injected.hit(Fault::UnsyncedLost);
        }
        let host = self.host(id);
        host.disk.crash(kept);
        host.paused_until = 0;
        self.tickets.forget(id);
    }

    /// Drops everything above `last` from the log of a host that is down, unless committed entries could be
    /// lost.
    pub fn damage(&mut self, id: NodeId, last: LogIndex) {
        let durable = &self.hosts[&id].disk.durable;
        if durable.base.id == LogId::ZERO || !self.may_harm(id) {
            return;
        }
        let last = last.max(durable.base.id.index);
        let again = durable.hard.health == Health::Damaged;
        let applied = self.hosts[&id].durable_applied;
        let base = Base {
            id: self.truth.id(applied).expect("applied, so committed"),
            membership: self.truth.membership_as_of(applied).clone(),
        };
        let host = self.hosts.get_mut(&id).expect("known");
        let reset = last < applied;
        host.disk.damage(last, base);
        host.damaged_at = last.max(applied);
        self.marks.hit_if(again, Mark::DamagedAgain);
        self.marks.hit_if(reset, Mark::DamagedReset);
        self.marks.hit(Mark::Damaged);
        self.inject(Fault::Damage, format_args!("{id} loses its log above {last}, and knows it"));
        self.note_reckless();
    }

    fn note_reckless(&mut self) {
        let dead =
            self.truth.in_play().into_iter().any(|membership| !self.has_sound_quorum(membership, None));
        self.marks.hit_if(dead, Mark::RecklessDamage);
    }

    /// Gives a host that is down a new, empty data folder. False if committed entries could be lost.
    pub fn wipe(&mut self, id: NodeId) -> bool {
        if !self.may_harm(id) {
            return false;
        }
        self.last_store += 1;
        let store = StoreId(self.last_store);
        let host = self.hosts.get_mut(&id).expect("known");
        let mut config = Config { store, incarnation: Incarnation(0), ..host.config.clone() };
        config.seed = self.chance.next();
        let (boot, blocked) = (host.boot, std::mem::take(&mut host.blocked));
        *host = Host { boot, blocked, ..Host::new(config, Disk::default(), host.rate, host.offset) };
        self.marks.hit(Mark::Wiped);
        self.inject(Fault::Wipe, format_args!("{id} loses its data folder"));
        self.note_reckless();
        true
    }

    pub fn install(&mut self, from: NodeId, boot: u64, to: NodeId, id: LogId, membership: Membership) {
        let lost = self.hosts[&to].node.is_none()
            || self.hosts[&to].blocked.contains(&from)
            || self.chance.happens(self.faults.loss);
        if !lost {
            let host = self.hosts.get_mut(&to).expect("known");
            if host.applied < id.index {
                self.marks.hit_if(host.disk.view.base.id == LogId::ZERO, Mark::JoinedBySnapshot);
                self.marks.hit_if(host.disk.view.holds(id), Mark::SnapshotKeptTail);
                host.applied = id.index;
                host.durable_applied = id.index;
                host.snapshot = Base { id, membership: membership.clone() };
                self.step(to, Input::SnapshotInstalled { base: id, membership: membership.into() });
            }
        }
        self.marks.hit_if(lost, Mark::SnapshotFailed);
        if lost {
            self.inject(Fault::SnapshotLost, format_args!("a snapshot from {from} to {to} is lost"));
        }
        let result = if lost { SnapshotSent::Failed } else { SnapshotSent::Installed(id) };
        let delay = self.chance.range(1, 20) * MS;
        self.schedule(delay, Event::Input(from, boot, Input::SnapshotSent { to, result }));
    }

    /// Schedules the node's deadline, and a flush if there is something to write.
    pub fn arm(&mut self, id: NodeId) {
        let stalls = self.chance.happens(self.faults.stall);
        let delay = if stalls { self.chance.range(1, 4000) * MS } else { self.chance.range(50, 2 * MS) };
        let host = self.hosts.get_mut(&id).expect("known");
        let Some(node) = &host.node else { return };
        let boot = host.boot;
        let deadline = host.global(node.next_deadline());
        let flush = !host.flushing && !host.disk.is_idle();
        host.flushing |= flush;
        let moved = deadline != host.tick_at && deadline < u64::MAX / 2;
        host.tick_at = deadline;
        if moved {
            self.schedule(deadline.saturating_sub(self.now), Event::Tick(id, boot));
        }
        if flush {
            if stalls {
                self.inject(Fault::Stall, format_args!("{id} writes slowly: {} ms", delay / MS));
            }
            self.schedule(delay, Event::Flush(id, boot));
        }
    }
}
