//! Membership changes: random requests, and what an operator does once the faults have ended.

use std::collections::BTreeSet;

use raftkit_core::{LogId, Member, Membership, NodeId, StoreId, Suffrage};

use crate::events::Event;
use crate::world::{MS, World};

impl World {
    /// The member entry of a node with its present data folder.
    pub fn member(&self, id: NodeId) -> Member {
        Member::new(self.hosts[&id].config.store, "")
    }

    /// Requests a random change from the membership in force at `to`; now and then one that must be refused.
    pub fn change_at_random(&mut self, to: NodeId) {
        let current = self.hosts[&to].node.as_ref().expect("it runs").membership().clone();
        let seen = if self.chance.happens(80) { self.stale(current.id()) } else { current.id() };
        let target = match self.chance.range(0, 100) {
            0..90 => self.target(&current, to),
            _ => self.nonsense(&current),
        };
        if self.may_become(&target) {
            self.change(to, seen, target);
        }
    }

    /// The id of some other membership, or of none at all.
    fn stale(&mut self, not: LogId) -> LogId {
        let known: Vec<LogId> = self.truth.appended.keys().copied().filter(|id| *id != not).collect();
        if known.is_empty() { LogId::new(7, 7777) } else { self.chance.pick(&known) }
    }

    fn target(&mut self, current: &Membership, own: NodeId) -> Membership {
        let mut target = settled(current);
        let pool: Vec<NodeId> = self.hosts.keys().copied().collect();
        let members: Vec<NodeId> = target.members().keys().copied().collect();
        let one = if members.is_empty() { self.chance.pick(&pool) } else { self.chance.pick(&members) };
        match self.chance.range(0, 100) {
            0..30 => return self.any_target(target, &pool),
            30..45 => {
                let new = self.chance.pick(&pool);
                target = self.put(target, new, Suffrage::Staging);
            }
            45..55 => {
                let new = self.chance.pick(&pool);
                target = self.put(target, new, Suffrage::Voter);
            }
            55..70 => target = target.without(one),
            70..78 => target = target.without(own),
            78..86 => target = self.put(target, one, Suffrage::NonVoter),
            86..90 => {}
            _ => target = self.draw_priorities(target),
        }
        target
    }

    /// A target with one to five voters out of all nodes; some of the others stay as learners.
    fn any_target(&mut self, mut target: Membership, pool: &[NodeId]) -> Membership {
        let count = self.chance.range(1, 6);
        let voters: BTreeSet<NodeId> = (0..count).map(|_| self.chance.pick(pool)).collect();
        for id in pool.iter().copied() {
            if voters.contains(&id) {
                let staged = self.chance.happens(200) && voters.len() > 1;
                target = self.put(target, id, if staged { Suffrage::Staging } else { Suffrage::Voter });
            } else if self.chance.happens(700) {
                target = target.without(id);
            } else if target.contains(id) {
                target = self.put(target, id, Suffrage::NonVoter);
            }
        }
        target
    }

    /// Adds or changes a member, which keeps its data folder: for another one it has to be removed first.
    fn put(&self, target: Membership, id: NodeId, suffrage: Suffrage) -> Membership {
        let member = target.members().get(&id).cloned().unwrap_or_else(|| self.member(id));
        target.with(id, member, suffrage)
    }

    fn draw_priorities(&mut self, mut target: Membership) -> Membership {
        for (id, member) in target.members().clone() {
            let priority = self.chance.pick(&[0, 50, Member::PRIORITY, Member::PRIORITY, 200]);
            let suffrage = target.suffrage(id).expect("a member");
            target = target.with(id, Member { priority, ..member }, suffrage);
        }
        target
    }

    /// An invalid target.
    fn nonsense(&mut self, current: &Membership) -> Membership {
        let plain = settled(current);
        let Some(voter) = plain.voters().first().copied() else { return plain };
        let member = plain.members()[&voter].clone();
        match self.chance.range(0, 3) {
            0 => Membership::joint(plain.members().clone(), plain.voters().clone(), plain.voters().clone())
                .expect("voters are members"),
            1 => Membership::new(plain.members().clone(), BTreeSet::new()).expect("nobody votes"),
            _ => plain.with(voter, Member { store: StoreId(1 << 100), ..member }, Suffrage::Voter),
        }
    }

    /// Removes members that lost their data folder, and adds others.
    pub fn operate(&mut self) {
        self.schedule(200 * MS, Event::Operator);
        let Some(leader) = self.leader() else { return };
        let current = self.hosts[&leader].node.as_ref().expect("it leads").membership().clone();
        if current.is_joint() {
            return;
        }
        let strangers = self.strangers(&current);
        if !strangers.is_empty() {
            let target = strangers.iter().fold(current.clone(), |target, id| target.without(*id));
            self.change(leader, current.id(), target);
        } else if let Some(id) = self.returning.first().copied() {
            if current.contains(id) || current.voters().len() >= 5 {
                self.returning.remove(&id);
            } else {
                let target = self.put(current.clone(), id, Suffrage::Staging);
                self.change(leader, current.id(), target);
            }
        }
    }
}

/// The target of a joint membership; any other membership unchanged.
pub fn settled(current: &Membership) -> Membership {
    let mut plain =
        Membership::new(current.members().clone(), current.voters().clone()).expect("voters are members");
    for id in current.leaving() {
        plain = plain.without(*id);
    }
    for id in current.staging() {
        plain = plain.clone().with(*id, plain.members()[id].clone(), Suffrage::Staging);
    }
    plain
}
