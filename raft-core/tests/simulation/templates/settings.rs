//! Restarts with other settings.

use raftkit_core::{NodeId, ReadMode};

use super::quiet;
use crate::chance::Chance;
use crate::configured::TIMEOUTS;
use crate::world::{MS, World};

/// An operator lowers and raises time-outs, node by node, while clients read by lease. Now and then the
/// leader is cut off right after a voter was restarted.
pub fn rolling(seed: u64, mut chance: Chance) -> World {
    let count = chance.pick(&[2, 3, 3, 5]);
    let mut world = quiet(seed, chance, count, count);
    for _ in 0..world.chance.range(2, 6) {
        let timeout = world.chance.pick(&TIMEOUTS);
        let mut ids: Vec<NodeId> = world.hosts.keys().copied().collect();
        // One after the other, in any order.
        while !ids.is_empty() {
            world.connect();
            let Some(leader) = world.await_leader() else { return world };
            world.propose(leader, 2);
            let at = world.chance.range(0, ids.len() as u64);
            let id = ids.swap_remove(usize::try_from(at).expect("small"));
            let span = world.chance.range(1, 300) * MS;
            world.run_for(span);
            world.crash(id);
            world.give_timeout(id, timeout);
            let down = world.chance.range(1, 200) * MS;
            world.run_for(down);
            world.start(id);
            let happens = world.chance.happens(400);
            if let Some(leader) = world.leader().filter(|_| happens) {
                cut_off(&mut world, leader);
            }
        }
    }
    world
}

/// Cuts the leader off, which serves reads by its lease as long as it has one, until another node leads.
fn cut_off(world: &mut World, leader: NodeId) {
    world.isolate(&[leader].into());
    for _ in 0..500 {
        world.run_for(5 * MS);
        world.read(leader, ReadMode::Lease);
        for next in world.leaders().into_iter().filter(|next| *next != leader) {
            world.propose(next, 1);
        }
    }
}
