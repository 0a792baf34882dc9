//! Limits on the damage at any one time: a quorum of sound voters must be able to repair it.

use std::collections::BTreeSet;

use raftkit_core::{Membership, NodeId};

use crate::world::World;

impl World {
    fn is_sound(&self, membership: &Membership, id: NodeId) -> bool {
        let host = self.hosts.get(&id);
        membership.store(id).is_some_and(|store| host.is_some_and(|host| host.is_sound(store)))
    }

    /// True when a quorum of `membership` is sound even without the node `without`.
    pub fn has_sound_quorum(&self, membership: &Membership, without: Option<NodeId>) -> bool {
        is_quorum(membership, |id| Some(id) != without && self.is_sound(membership, id))
    }

    /// True when `id` may lose data.
    pub fn may_harm(&self, id: NodeId) -> bool {
        let bears = self
            .truth
            .in_play()
            .into_iter()
            .all(|membership| !membership.is_voter(id) || self.has_sound_quorum(membership, Some(id)));
        bears || self.faults.reckless
    }

    /// True when the cluster can continue under `target` once the faults have ended.
    pub fn may_become(&self, target: &Membership) -> bool {
        self.faults.reckless || self.has_sound_quorum(target, None)
    }

    /// Members that returned with another data folder than `membership` names.
    pub fn strangers(&self, membership: &Membership) -> BTreeSet<NodeId> {
        let other = |id: &NodeId| membership.store(*id) != Some(self.hosts[id].config.store);
        membership.members().keys().copied().filter(other).collect()
    }
}

pub fn voters(membership: &Membership) -> impl Iterator<Item = NodeId> + '_ {
    membership.voters().union(membership.outgoing()).copied()
}

/// A majority of each half, counted by hand.
pub fn is_quorum(membership: &Membership, has: impl Fn(NodeId) -> bool) -> bool {
    let halves = [membership.voters(), membership.outgoing()];
    membership.voters().iter().next().is_some()
        && halves
            .into_iter()
            .filter(|half| !half.is_empty())
            .all(|half| half.iter().filter(|id| has(**id)).count() * 2 > half.len())
}
