//! The operator, who changes the membership, and the limit on losses of data: a sound quorum is always left.

use raftkit_core::{Membership, NodeId, Suffrage};

use crate::checks::truth::is_quorum;
use crate::plan::script::Action;
use crate::process::host::{Harm, Host};
use crate::subject::Subject;
use crate::world::{Happening, MS, World};

/// True while a node runs and is not known to have lost anything.
fn is_able<S: Subject>(host: &Host<S>) -> bool {
    host.process.is_some() && host.harm == Harm::None
}

impl<S: Subject> World<S> {
    fn is_sound(&self, membership: &Membership, id: NodeId) -> bool {
        let host = self.hosts.get(&id);
        membership.store(id).is_some_and(|store| host.is_some_and(|host| host.is_sound(store)))
    }

    /// True when a quorum of `membership` is sound, not counting the node `without`.
    pub(crate) fn has_sound_quorum(&self, membership: &Membership, without: Option<NodeId>) -> bool {
        is_quorum(membership, |id| Some(id) != without && self.is_sound(membership, id))
    }

    /// True when a node may lose data. A staging learner may not, as it will count as a voter in a moment.
    pub(crate) fn may_harm(&self, id: NodeId) -> bool {
        self.truth.to_come().into_iter().all(|membership| {
            let counts = membership.is_voter(id);
            !membership.staging().contains(&id) && (!counts || self.has_sound_quorum(membership, Some(id)))
        })
    }

    /// Returns members that run on another data folder than the one that `membership` names.
    pub(crate) fn strangers(&self, membership: &Membership) -> Vec<NodeId> {
        let other = |id: &NodeId| membership.store(*id) != self.hosts.get(id).map(|host| host.store);
        membership.members().keys().copied().filter(other).collect()
    }

    /// Asks the leader for a change of the membership, if a sound quorum is left after it.
    pub(crate) fn change_members(&mut self, action: Action) {
        let Some(leader) = self.leader() else { return };
        let Some(current) = self.membership_of(leader).filter(|it| !it.is_joint()) else { return };
        let Some(target) = self.changed(&current, action) else { return };
        if !target.voters().is_empty() && self.has_sound_quorum(&target, None) {
            self.ask_change(leader, current.id(), target);
        }
    }

    /// Returns the membership that an action asks for; none for other actions, or if no node fits.
    fn changed(&self, current: &Membership, action: Action) -> Option<Membership> {
        let is_spare = |id: &NodeId| !current.contains(*id) && is_able(&self.hosts[id]);
        let spare = self.hosts.keys().copied().find(is_spare);
        match action {
            Action::Add => {
                let spare = spare?;
                Some(current.clone().with(spare, self.member(spare), Suffrage::Staging))
            }
            Action::Remove { who } => {
                let id = self.target(who).filter(|id| current.contains(*id))?;
                Some(current.clone().without(id))
            }
            Action::Swap { who } => {
                let id = self.target(who).filter(|id| current.is_voter(*id))?;
                let spare = spare?;
                Some(current.clone().without(id).with(spare, self.member(spare), Suffrage::Voter))
            }
            Action::Demote { who } => {
                let id = self.target(who)?;
                let member = current.members().get(&id).cloned()?;
                let suffrage = if current.is_voter(id) { Suffrage::NonVoter } else { Suffrage::Voter };
                Some(current.clone().with(id, member, suffrage))
            }
            Action::Reshape { voters } => Some(self.reshaped(current, voters)),
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
            | Action::Lag { .. }
            | Action::Starve { .. }
            | Action::Fail { .. }
            | Action::Full { .. }
            | Action::Rot { .. }
            | Action::Wipe { .. }
            | Action::Misplace { .. }
            | Action::Transfer { .. }
            | Action::Stray { .. }
            | Action::Burst { .. }
            | Action::Big { .. } => None,
        }
    }

    /// Returns the membership whose voters are the hosts with these bits, as far as they run and have lost nothing.
    fn reshaped(&self, current: &Membership, voters: u64) -> Membership {
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

    pub(crate) fn membership_of(&self, id: NodeId) -> Option<Membership> {
        let process = self.hosts.get(&id)?.process.as_ref()?;
        Some(process.service.replica().node().membership().clone())
    }

    /// Removes members that came back without their data, and adds wiped nodes again.
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
