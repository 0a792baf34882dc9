//! Known ways to break Raft, as scripts with random details: pure chance meets them too rarely.

mod changes;
mod damage;
mod elections;
mod settings;

use std::collections::BTreeSet;

use raftkit_core::{Node, NodeId};

use crate::chance::Chance;
use crate::faults::Faults;
use crate::world::{MS, Plan, World};

const SECOND: u64 = 1000 * MS;

/// A script for a seed.
type Template = fn(u64, Chance) -> World;

/// The scripts and their names.
const TEMPLATES: &[(&str, Template)] = &[
    ("Figure 8 of the paper", elections::figure_8),
    ("reads while leadership changes hands", elections::leases),
    ("reads while settings are changed node by node", settings::rolling),
    ("duplicates and delays around truncation", elections::reordering),
    ("changes on both sides of a partition", changes::split),
    ("two changes, each by a leader of its own", changes::two),
    ("a change while the leader's disk is stuck", changes::stuck),
    ("a crash after each step of a change", changes::crashes),
    ("removed nodes ask for votes", changes::removed),
    ("what-if, and then the loss", changes::what_if),
    ("compaction to the tip while a peer needs entries", damage::compaction),
    ("an acknowledgement of what was lost since", damage::stale_acknowledgement),
    ("a node heals while others are slow to write", damage::slow_healing),
    ("a vote for a store that is gone", damage::twin),
];

/// Runs the script of this seed. None for two seeds of three.
pub fn run(seed: u64) -> Option<World> {
    let mut chance = Chance::new(seed.rotate_left(32));
    if !chance.happens(300) {
        return None;
    }
    let (_, template) = chance.pick(TEMPLATES);
    Some(template(seed, chance))
}

/// A cluster without faults and without random requests.
fn quiet(seed: u64, mut chance: Chance, hosts: u64, members: u64) -> World {
    let faults = Faults::none(chance.pick(&[0, 20, 45]));
    let small = chance.happens(500);
    World::new(seed, chance, Plan { hosts, members, learners: 0, faults, changes: None, small })
}

impl World {
    /// Waits for a leader that has committed in its term; none if that takes too long.
    fn await_leader(&mut self) -> Option<NodeId> {
        self.run_until(5 * SECOND, MS, |world| world.settled_leader().is_some());
        self.settled_leader()
    }

    fn settled_leader(&self) -> Option<NodeId> {
        let id = self.leader()?;
        let node = self.running(id);
        let own = self.truth.id(node.commit()).is_some_and(|last| last.term == node.term());
        (own && node.membership_index() <= node.commit()).then_some(id)
    }

    fn others(&self, than: NodeId) -> Vec<NodeId> {
        self.hosts.keys().copied().filter(|id| *id != than).collect()
    }

    /// All leaders, each in its own term.
    fn leaders(&self) -> Vec<NodeId> {
        let leads = |id: &NodeId| self.hosts[id].node.as_ref().is_some_and(Node::is_leader);
        self.hosts.keys().copied().filter(leads).collect()
    }

    /// Starts all hosts that are down.
    fn start_all(&mut self) {
        let down = |id: &NodeId| self.hosts[id].node.is_none();
        let down: Vec<NodeId> = self.hosts.keys().copied().filter(down).collect();
        down.into_iter().for_each(|id| self.start(id));
    }

    /// Chooses some of the nodes, each with a probability of `permille` thousandths.
    fn some_of(&mut self, of: &[NodeId], permille: u64) -> BTreeSet<NodeId> {
        of.iter().copied().filter(|_| self.chance.happens(permille)).collect()
    }
}
