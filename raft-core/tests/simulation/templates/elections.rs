//! Terms, elections and leases.

use raftkit_core::ReadMode;

use super::quiet;
use crate::chance::Chance;
use crate::world::{MS, World};

/// Leaders reach one follower each, and crash, until entries of old terms are on majorities (Figure 8).
pub fn figure_8(seed: u64, chance: Chance) -> World {
    let mut world = quiet(seed, chance, 5, 5);
    for _ in 0..world.chance.range(3, 8) {
        let Some(leader) = world.await_leader() else { break };
        let others = world.others(leader);
        let near = world.chance.pick(&others);
        world.partition(&[[leader, near].into()]);
        let count = world.chance.range(1, 3);
        world.propose(leader, count);
        let span = world.chance.range(1, 40) * MS;
        world.run_for(span);
        world.crash(leader);
        world.connect();
        if world.chance.happens(500) {
            world.isolate(&[near].into());
        }
        // The next leader crashes right after its election, too, so that its first entry reaches few.
        if world.run_until(3000 * MS, 200, |world| world.leader().is_some_and(|next| next != leader)) {
            let next = world.leader().expect("somebody leads");
            let span = world.chance.range(0, 5) * MS;
            let reached = world.some_of(&others, 300);
            world.partition(&[reached.into_iter().chain([next]).collect()]);
            world.run_for(span);
            if world.chance.happens(600) {
                world.crash(next);
            }
        }
        world.start_all();
        world.connect();
    }
    world
}

/// Leaders are cut off, paused, or transfer leadership, and get read requests all the while.
pub fn leases(seed: u64, mut chance: Chance) -> World {
    let count = chance.pick(&[2, 3, 3, 5]);
    let mut world = quiet(seed, chance, count, count);
    for _ in 0..world.chance.range(2, 6) {
        world.connect();
        let Some(leader) = world.await_leader() else { break };
        let others = world.others(leader);
        world.propose(leader, 2);
        let span = world.chance.range(1, 400) * MS;
        world.run_for(span);
        if world.chance.happens(500) {
            let to = world.chance.pick(&others);
            world.transfer(leader, Some(to));
            let span = world.chance.range(0, 4 * MS);
            world.run_for(span);
        }
        let paused = world.chance.happens(500);
        if paused {
            let span = world.chance.range(1, 1500) * MS;
            world.pause(leader, span);
        }
        if world.chance.happens(500) {
            world.isolate(&[leader].into());
        }
        let slice = world.chance.pick(&[500, 2000, 7000]);
        for _ in 0..300 {
            // A paused process gets a read request right when it continues, before all messages.
            let until = world.hosts[&leader].paused_until;
            let wakes = until > world.now && until <= world.now + slice;
            world.run(if wakes { until - 1 } else { world.now + slice }, u64::MAX);
            if wakes {
                world.host(leader).paused_until = 0;
            }
            if world.hosts[&leader].paused_until <= world.now {
                world.read(leader, ReadMode::Lease);
            }
            for next in world.leaders().into_iter().filter(|next| *next != leader) {
                world.propose(next, 1);
            }
        }
    }
    world
}

/// Leaders with uncommitted tails, whose messages arrive twice, late and out of order.
pub fn reordering(seed: u64, mut chance: Chance) -> World {
    let count = chance.pick(&[3, 3, 5]);
    let mut world = quiet(seed, chance, count, count);
    world.faults.duplication = 400;
    world.faults.slow = 200;
    for _ in 0..world.chance.range(3, 8) {
        world.connect();
        let Some(leader) = world.await_leader() else { break };
        let others = world.others(leader);
        let near = if count > 3 { vec![world.chance.pick(&others)] } else { Vec::new() };
        world.isolate(&near.into_iter().chain([leader]).collect());
        for _ in 0..world.chance.range(1, 4) {
            world.propose(leader, 2);
            let span = world.chance.range(1, 10) * MS;
            world.run_for(span);
        }
        world.run_until(2000 * MS, MS, |world| world.leader().is_some_and(|next| next != leader));
        let next = world.leader().unwrap_or(leader);
        world.propose(next, 2);
        let span = world.chance.range(1, 30) * MS;
        world.run_for(span);
        world.connect();
        let span = world.chance.range(1, 600) * MS;
        world.run_for(span);
    }
    world.faults.slow = 0;
    world
}
