//! The operator, who looks after the members; and what may be taken from them: a sound quorum is always left.

use raftkit_core::{Membership, NodeId, Suffrage};

use crate::checks::truth::is_quorum;
use crate::plan::script::Action;
use crate::process::host::{Harm, Host};
use crate::subject::Subject;
use crate::world::{Happening, MS, World};

impl<S: Subject> World<S> {
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

    pub(crate) fn change_members(&mut self, action: Action) {
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
            | Action::PauseAll { .. }
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
