//! The actions of the script, on hosts, links and disks.

use std::io;

use raftkit_core::NodeId;
use raftkit_disk::{Chance, ErrorChance, Faults, Operation};
use raftkit_replica::ServiceEvent;

use crate::Mark;
use crate::network::Lane;
use crate::plan::script::{Action, Call, Crash, Target};
use crate::process::host::Trap;
use crate::run::trace::kind;
use crate::subject::Subject;
use crate::world::{Happening, Lag, MS, World};

impl<S: Subject> World<S> {
    /// Carries out the line of the script with this number.
    pub(crate) fn perform(&mut self, at: usize) {
        if self.healed {
            return;
        }
        let Some(step) = self.script.get(at).cloned() else { return };
        self.note(kind::SCRIPT, NodeId(0), &[at as u64]);
        self.tell(|| format!("script: {}", step.action));
        self.act_out(step.action);
    }

    /// Returns the node that a target means at present.
    pub(crate) fn target(&self, target: Target) -> Option<NodeId> {
        match target {
            Target::Node(id) => self.hosts.contains_key(&id).then_some(id),
            Target::Leader => self.leader(),
            Target::Follower(nth) => {
                let leader = self.leader();
                let others: Vec<NodeId> =
                    self.running().into_iter().filter(|id| Some(*id) != leader).collect();
                let at = usize::try_from(nth).ok()?.checked_rem(others.len())?;
                others.get(at).copied()
            }
        }
    }

    /// Carries out an action.
    #[expect(clippy::too_many_lines, reason = "a list: one arm for each action of a script")]
    fn act_out(&mut self, action: Action) {
        match action {
            Action::Crash { who, how, down_ms } => self.on_running(who, |world, id| {
                world.crash(id, how);
                world.plan_start(id, down_ms * MS);
            }),
            Action::CrashAtCall { who, calls, down_ms } => self.on(who, |world, id| {
                world.hosts[&id].disk.crash_at_call(calls);
                world.host(id).down_ms = down_ms;
            }),
            Action::CrashAfter { who, moment, how, us, down_ms } => self.on_running(who, |world, id| {
                world.host(id).trap = Some(Trap { moment, how, us, down_ms });
            }),
            Action::Stop { who, down_ms } => self.on_running(who, |world, id| world.stop(id, down_ms)),
            Action::Pause { who, ms } => self.on_running(who, |world, id| world.pause(id, ms)),
            Action::PauseAll { ms } => {
                for id in self.running() {
                    self.pause(id, ms);
                }
            }
            Action::Hiccup { who, ms } => {
                self.on_running(who, |world, id| world.host(id).hiccup_us = ms * MS);
            }
            Action::Isolate { who, ms } => self.on(who, |world, id| world.isolate(id, ms)),
            Action::OneWay { from, to, ms } => self.between(from, to, |world, from, to| {
                world.cut(from, to, ms);
            }),
            Action::Split { side, ms } => self.split(side, ms),
            Action::Clog { from, to, ms } => self.between(from, to, |world, from, to| {
                let extra = world.rng.below(ms * MS);
                world.network.clog(from, to, world.now + ms * MS, extra);
            }),
            Action::Reset { from, to } => self.between(from, to, Self::hang_up),
            Action::Lag { who, each_ms, ms } => self.on(who, |world, id| {
                world.lags.insert(id, Lag { until: world.now + ms * MS, us: each_ms * MS });
            }),
            Action::Starve { from, to, ms } => self.between(from, to, |world, from, to| {
                world.network.starve(from, to, world.now + ms * MS);
            }),
            Action::Stall { who, ms } => self.on(who, |world, id| {
                world.host(id).stalled_until = world.now + ms * MS;
                world.hit(Mark::Stalled);
            }),
            Action::Hold { who, ms } => {
                self.on(who, |world, id| world.host(id).held_until = world.now + ms * MS);
            }
            Action::Fail { who, call, nth } => self.on(who, |world, id| {
                world.hosts[&id].disk.fail_next(operation(call), nth, io::ErrorKind::Other);
            }),
            Action::Full { who, ms } => self.on(who, |world, id| {
                // Existing files keep their space; whatever needs more space fails.
                world.hosts[&id].disk.set_capacity(Some(0));
                world.at(world.now + ms * MS, Happening::Space(id));
            }),
            Action::Rot { who, area, sectors } => self.on(who, |world, id| world.rot(id, area, sectors)),
            Action::Wipe { who, down_ms } => self.on(who, |world, id| {
                if world.may_harm(id) {
                    world.crash(id, Crash::Cut);
                    world.wipe(id);
                    world.plan_start(id, down_ms * MS);
                }
            }),
            Action::Misplace { who, of } => self.between(who, of, Self::misplace),
            Action::Transfer { to } => {
                if let (Some(leader), Some(to)) = (self.leader(), self.target(to)) {
                    self.ask_transfer(leader, (to != leader).then_some(to));
                }
            }
            Action::Add
            | Action::Remove { .. }
            | Action::Swap { .. }
            | Action::Reshape { .. }
            | Action::Demote { .. } => self.change_members(action),
            Action::Stray { who, stranger } => self.on_running(who, |world, id| world.stray(id, stranger)),
            Action::Burst { writes } => self.burst(writes),
            Action::Big { bytes } => self.big(bytes),
        }
    }

    fn on(&mut self, who: Target, act: impl FnOnce(&mut Self, NodeId)) {
        if let Some(id) = self.target(who) {
            act(self, id);
        }
    }

    fn on_running(&mut self, who: Target, act: impl FnOnce(&mut Self, NodeId)) {
        if let Some(id) = self.target(who).filter(|id| self.hosts[id].process.is_some()) {
            act(self, id);
        }
    }

    fn between(&mut self, from: Target, to: Target, act: impl FnOnce(&mut Self, NodeId, NodeId)) {
        if let (Some(from), Some(to)) = (self.target(from), self.target(to)) {
            act(self, from, to);
        }
    }

    fn stop(&mut self, id: NodeId, down_ms: u64) {
        self.with(id, |process| process.stopping = Some(down_ms));
        self.give(id, ServiceEvent::Stop);
    }

    fn pause(&mut self, id: NodeId, ms: u64) {
        self.host(id).paused_until = self.now + ms * MS;
        self.counts.pauses += 1;
        self.hit(Mark::Paused);
    }

    fn isolate(&mut self, id: NodeId, ms: u64) {
        let others: Vec<NodeId> = self.hosts.keys().copied().filter(|other| *other != id).collect();
        for other in others {
            self.cut(id, other, ms);
            self.cut(other, id, ms);
        }
    }

    fn split(&mut self, side: u64, ms: u64) {
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let left = |id: &NodeId| side >> (id.0 - 1) & 1 == 1;
        for from in &ids {
            for to in ids.iter().filter(|to| left(to) != left(from)) {
                self.cut(*from, *to, ms);
            }
        }
    }

    fn cut(&mut self, from: NodeId, to: NodeId, ms: u64) {
        self.network.block(from, to, self.now + ms * MS);
        self.counts.partitions += 1;
        self.hit(Mark::Partitioned);
    }

    /// Breaks the connections between two nodes. Both learn of it, and their calls to each other get no answers.
    fn hang_up(&mut self, one: NodeId, two: NodeId) {
        for (from, to) in [(one, two), (two, one)] {
            for lane in [Lane::Bulk, Lane::Answers] {
                self.network.reset_lane(from, to, lane);
            }
            self.connection_lost(from, to, "it broke");
            let life = self.hosts[&from].life;
            let calls = self.with(from, |process| process.calls.clone()).unwrap_or_default();
            for (call, _) in calls.into_iter().filter(|(_, asked)| *asked == to) {
                let at = self.now + self.rng.below(20 * MS);
                self.at(at, Happening::CallLost(from, life, call, true));
            }
        }
    }

    fn burst(&mut self, writes: u64) {
        for _ in 0..writes {
            let running = self.running();
            if !running.is_empty() {
                let node = self.clients.rng.pick(&running);
                let number = self.rng.bits();
                let (ask, request) = self.subject.ask(&mut self.clients.rng, &self.settings, number);
                self.ask_subject(node, None, ask, request);
            }
        }
    }

    fn big(&mut self, bytes: u64) {
        let number = self.rng.bits();
        if let (Some(node), Some((ask, request))) = (self.leader(), self.subject.ask_big(number, bytes)) {
            self.ask_subject(node, None, ask, request);
        }
    }

    pub(crate) fn space(&mut self, id: NodeId) {
        self.hosts[&id].disk.set_capacity(None);
    }

    /// Returns the random faults of every disk.
    pub(crate) fn disk_faults(&self) -> Faults {
        let per_million = |cases| Chance::of(cases, 1_000_000);
        let error = |operation, cases| ErrorChance {
            operation,
            kind: io::ErrorKind::Other,
            chance: per_million(cases),
        };
        let settings = &self.settings;
        Faults {
            errors: vec![
                error(Operation::Sync, settings.sync_errors),
                error(Operation::SyncDir, settings.sync_errors),
                error(Operation::Write, settings.write_errors),
            ],
            stalls: Chance::of(settings.stalls, 1000),
            ..Faults::default()
        }
    }
}

fn operation(call: Call) -> Operation {
    match call {
        Call::Sync => Operation::Sync,
        Call::SyncDir => Operation::SyncDir,
        Call::Write => Operation::Write,
        Call::Read => Operation::Read,
        Call::Create => Operation::Create,
        Call::Rename => Operation::Rename,
        Call::Remove => Operation::Remove,
    }
}
