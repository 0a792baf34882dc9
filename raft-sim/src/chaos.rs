//! The script, line by line: what is done to hosts, links and disks; and the operator, who looks after the members.

use std::io;

use raftkit_core::{Membership, NodeId, Suffrage};
use raftkit_disk::{Chance, ErrorChance, Faults, Operation};
use raftkit_replica::ServiceEvent;

use crate::Mark;
use crate::host::{Harm, Host, Trap};
use crate::script::{Action, Call, Target};
use crate::subject::Subject;
use crate::trace::kind;
use crate::truth::is_quorum;
use crate::world::{Happening, MS, World};

impl<S: Subject> World<S> {
    /// Does what a line of the script says.
    pub(crate) fn perform(&mut self, at: usize) {
        if self.healed {
            return;
        }
        let Some(step) = self.script.get(at).cloned() else { return };
        self.note(kind::SCRIPT, NodeId(0), &[at as u64]);
        self.tell(|| format!("script: {}", step.action));
        self.act_out(step.action);
    }

    /// Whom a line means now.
    fn target(&self, target: Target) -> Option<NodeId> {
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

    fn act_out(&mut self, action: Action) {
        match action {
            Action::Crash { who, how, down_ms } => {
                if let Some(id) = self.running_target(who) {
                    self.crash(id, how);
                    self.plan_start(id, down_ms * MS);
                }
            }
            Action::CrashAtCall { who, calls, down_ms } => {
                if let Some(id) = self.target(who) {
                    self.hosts[&id].disk.crash_at_call(calls);
                    self.host(id).down_ms = down_ms;
                }
            }
            Action::CrashAfter { who, moment, how, us, down_ms } => {
                if let Some(id) = self.running_target(who) {
                    self.host(id).trap = Some(Trap { moment, how, us, down_ms });
                }
            }
            Action::Stop { who, down_ms } => {
                if let Some(id) = self.running_target(who) {
                    if let Some(process) = self.host(id).process.as_mut() {
                        process.stopping = Some(down_ms);
                    }
                    self.give(id, ServiceEvent::Stop);
                }
            }
            Action::Pause { who, ms } => {
                if let Some(id) = self.running_target(who) {
                    let until = self.now + ms * MS;
                    self.host(id).paused_until = until;
                    self.counts.pauses += 1;
                    self.hit(Mark::Paused);
                }
            }
            Action::Hiccup { who, ms } => {
                if let Some(id) = self.running_target(who) {
                    self.host(id).hiccup_us = ms * MS;
                }
            }
            Action::Isolate { who, ms } => {
                if let Some(id) = self.target(who) {
                    let others: Vec<NodeId> =
                        self.hosts.keys().copied().filter(|other| *other != id).collect();
                    for other in others {
                        self.cut(id, other, ms);
                        self.cut(other, id, ms);
                    }
                }
            }
            Action::OneWay { from, to, ms } => {
                if let (Some(from), Some(to)) = (self.target(from), self.target(to)) {
                    self.cut(from, to, ms);
                }
            }
            Action::Split { side, ms } => {
                let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
                let left = |id: &NodeId| side >> (id.0 - 1) & 1 == 1;
                for from in &ids {
                    for to in ids.iter().filter(|to| left(to) != left(from)) {
                        self.cut(*from, *to, ms);
                    }
                }
            }
            Action::Clog { from, to, ms } => {
                if let (Some(from), Some(to)) = (self.target(from), self.target(to)) {
                    let until = self.now + ms * MS;
                    let extra = self.rng.below(ms * MS);
                    self.network.clog(from, to, until, extra);
                }
            }
            Action::Reset { from, to } => {
                if let (Some(from), Some(to)) = (self.target(from), self.target(to)) {
                    self.network.reset(from, to);
                    self.network.reset(to, from);
                }
            }
            Action::Stall { who, ms } => {
                if let Some(id) = self.target(who) {
                    let until = self.now + ms * MS;
                    self.host(id).stalled_until = until;
                    self.hit(Mark::Stalled);
                }
            }
            Action::Hold { who, ms } => {
                if let Some(id) = self.target(who) {
                    self.host(id).held_until = self.now + ms * MS;
                }
            }
            Action::Starve { from, to, ms } => {
                if let (Some(from), Some(to)) = (self.target(from), self.target(to)) {
                    self.network.starve(from, to, self.now + ms * MS);
                }
            }
            Action::Fail { who, call, nth } => {
                if let Some(id) = self.target(who) {
                    self.hosts[&id].disk.fail_next(operation(call), nth, io::ErrorKind::Other);
                }
            }
            Action::Full { who, ms } => {
                if let Some(id) = self.target(who) {
                    // What is there stays; what wants more space fails.
                    self.hosts[&id].disk.set_capacity(Some(0));
                    self.at(self.now + ms * MS, Happening::Space(id));
                }
            }
            Action::Rot { who, area, sectors } => {
                if let Some(id) = self.target(who) {
                    self.rot(id, area, sectors);
                }
            }
            Action::Wipe { who, down_ms } => {
                if let Some(id) = self.target(who)
                    && self.may_harm(id)
                {
                    self.crash(id, crate::script::Crash::Cut);
                    self.wipe(id);
                    self.plan_start(id, down_ms * MS);
                }
            }
            Action::Misplace { who, of } => {
                if let (Some(id), Some(of)) = (self.target(who), self.target(of)) {
                    self.misplace(id, of);
                }
            }
            Action::Transfer { to } => {
                let leader = self.leader();
                if let (Some(leader), Some(to)) = (leader, self.target(to)) {
                    self.ask_transfer(leader, (to != leader).then_some(to));
                }
            }
            Action::Add
            | Action::Remove { .. }
            | Action::Swap { .. }
            | Action::Reshape { .. }
            | Action::Demote { .. } => {
                self.change_members(action);
            }
            Action::Stray { who, stranger } => {
                if let Some(id) = self.running_target(who) {
                    self.stray(id, stranger);
                }
            }
            Action::Burst { writes } => {
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
            Action::Big { bytes } => {
                let number = self.rng.bits();
                if let (Some(node), Some((ask, request))) =
                    (self.leader(), self.subject.ask_big(number, bytes))
                {
                    self.ask_subject(node, None, ask, request);
                }
            }
        }
    }

    fn running_target(&self, target: Target) -> Option<NodeId> {
        self.target(target).filter(|id| self.hosts[id].process.is_some())
    }

    fn cut(&mut self, from: NodeId, to: NodeId, ms: u64) {
        self.network.block(from, to, self.now + ms * MS);
        self.counts.partitions += 1;
        self.hit(Mark::Partitioned);
    }

    pub(crate) fn space(&mut self, id: NodeId) {
        self.hosts[&id].disk.set_capacity(None);
    }

    /// What happens to each node's disk by chance.
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

    fn is_sound(&self, membership: &Membership, id: NodeId) -> bool {
        let host = self.hosts.get(&id);
        membership.store(id).is_some_and(|store| host.is_some_and(|host| host.is_sound(store)))
    }

    /// True when a quorum of `membership` is sound, `without` not counted.
    pub(crate) fn has_sound_quorum(&self, membership: &Membership, without: Option<NodeId>) -> bool {
        is_quorum(membership, |id| Some(id) != without && self.is_sound(membership, id))
    }

    /// Whether a node may lose something. One that is to be promoted by itself may not: it would count in a moment.
    pub(crate) fn may_harm(&self, id: NodeId) -> bool {
        self.truth.to_come().into_iter().all(|membership| {
            let counts = membership.is_voter(id);
            !membership.staging().contains(&id) && (!counts || self.has_sound_quorum(membership, Some(id)))
        })
    }

    /// Members that came back with another data folder than `membership` names.
    pub(crate) fn strangers(&self, membership: &Membership) -> Vec<NodeId> {
        let other = |id: &NodeId| membership.store(*id) != self.hosts.get(id).map(|host| host.store);
        membership.members().keys().copied().filter(other).collect()
    }

    fn change_members(&mut self, action: Action) {
        let Some(leader) = self.leader() else { return };
        let Some(current) = self.membership_of(leader).filter(|it| !it.is_joint()) else { return };
        let is_able = |host: &Host<S>| host.process.is_some() && host.harm == Harm::None;
        let is_spare = |id: &NodeId| !current.contains(*id) && is_able(&self.hosts[id]);
        let spare = self.hosts.keys().copied().find(is_spare);
        let target = match action {
            Action::Add => {
                let Some(spare) = spare else { return };
                current.clone().with(spare, self.member(spare), Suffrage::Staging)
            }
            Action::Remove { who } => {
                let Some(id) = self.target(who).filter(|id| current.contains(*id)) else { return };
                current.clone().without(id)
            }
            Action::Swap { who } => {
                let Some(id) = self.target(who).filter(|id| current.is_voter(*id)) else { return };
                let Some(spare) = spare else { return };
                current.clone().without(id).with(spare, self.member(spare), Suffrage::Voter)
            }
            Action::Demote { who } => {
                let Some(id) = self.target(who) else { return };
                let Some(member) = current.members().get(&id).cloned() else { return };
                let suffrage = if current.is_voter(id) { Suffrage::NonVoter } else { Suffrage::Voter };
                current.clone().with(id, member, suffrage)
            }
            Action::Reshape { voters } => {
                let mut target = current.clone();
                for id in self.hosts.keys().copied() {
                    let wanted = voters >> (id.0 - 1) & 1 == 1;
                    if wanted && is_able(&self.hosts[&id]) {
                        let member = current.members().get(&id).cloned().unwrap_or_else(|| self.member(id));
                        target = target.with(id, member, Suffrage::Voter);
                    } else {
                        target = target.without(id);
                    }
                }
                target
            }
            Action::Crash { .. }
            | Action::CrashAtCall { .. }
            | Action::CrashAfter { .. }
            | Action::Stop { .. }
            | Action::Pause { .. }
            | Action::Hiccup { .. }
            | Action::Isolate { .. }
            | Action::OneWay { .. }
            | Action::Split { .. }
            | Action::Clog { .. }
            | Action::Reset { .. }
            | Action::Stall { .. }
            | Action::Hold { .. }
            | Action::Starve { .. }
            | Action::Fail { .. }
            | Action::Full { .. }
            | Action::Rot { .. }
            | Action::Wipe { .. }
            | Action::Misplace { .. }
            | Action::Transfer { .. }
            | Action::Stray { .. }
            | Action::Burst { .. }
            | Action::Big { .. } => return,
        };
        if !target.voters().is_empty() && self.has_sound_quorum(&target, None) {
            self.ask_change(leader, current.id(), target);
        }
    }

    pub(crate) fn membership_of(&self, id: NodeId) -> Option<Membership> {
        let process = self.hosts.get(&id)?.process.as_ref()?;
        Some(process.service.replica().node().membership().clone())
    }

    /// Removes members that came back without their data, and adds those that are to be members again.
    pub(crate) fn operate(&mut self) {
        let pause = if self.healed { 300 * MS } else { 1200 * MS + self.rng.below(800 * MS) };
        self.at(self.now + pause, Happening::Operator);
        let Some(leader) = self.leader() else { return };
        let Some(current) = self.membership_of(leader).filter(|it| !it.is_joint()) else { return };
        let strangers = self.strangers(&current);
        if let Some(id) = strangers.first() {
            let target = current.clone().without(*id);
            if !target.voters().is_empty() {
                self.ask_change(leader, current.id(), target);
            }
            return;
        }
        let returning =
            self.hosts.values().find(|host| host.returning && host.process.is_some()).map(|host| host.id);
        let Some(id) = returning else { return };
        if current.contains(id) || current.voters().len() >= 7 {
            self.host(id).returning = false;
            return;
        }
        let target = current.clone().with(id, self.member(id), Suffrage::Staging);
        self.ask_change(leader, current.id(), target);
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
