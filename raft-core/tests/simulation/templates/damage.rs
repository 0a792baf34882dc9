//! Truncated logs and lost data folders at unfortunate times.

use raftkit_core::{Input, LogIndex, NodeId, Suffrage};

use super::{SECOND, quiet};
use crate::chance::Chance;
use crate::events::Event;
use crate::world::{MS, World};

/// The leader compacts all that it may while a peer needs it.
pub fn compaction(seed: u64, mut chance: Chance) -> World {
    let count = chance.pick(&[2, 3, 3, 5]);
    let mut world = quiet(seed, chance, count, count);
    for _ in 0..world.chance.range(2, 6) {
        let Some(leader) = world.await_leader() else { break };
        let others = world.others(leader);
        let behind = world.chance.pick(&others);
        world.isolate(&[behind].into());
        for round in 0..world.chance.range(5, 40) {
            if round == 3 {
                world.connect();
            }
            if let Some(leader) = world.leader() {
                world.propose(leader, 2);
                let span = world.chance.range(1, 20) * MS;
                world.run_for(span);
                if world.chance.happens(600) && world.hosts[&leader].node.is_some() {
                    let host = world.host(leader);
                    host.durable_applied = host.applied;
                    let to = host.durable_applied;
                    world.step(leader, Input::Compact(to));
                }
            }
        }
        world.run_for(300 * MS);
    }
    world
}

/// A follower acknowledges entries, loses them, and asks how far to recover, before the leader has counted
/// it.
pub fn stale_acknowledgement(seed: u64, mut chance: Chance) -> World {
    let count = chance.pick(&[3, 5, 5]);
    let mut world = quiet(seed, chance, count, count);
    for _ in 0..world.chance.range(3, 8) {
        world.start_all();
        world.connect();
        let Some(leader) = world.await_leader() else { break };
        let others = world.others(leader);
        let near = world.chance.pick(&others);
        world.partition(&[[leader, near].into()]);
        let count = world.chance.range(1, 3);
        world.propose(leader, count);
        let span = world.chance.range(1, 15) * MS;
        world.run_for(span);
        world.crash(near);
        if world.chance.happens(300) {
            world.wipe(near);
        } else {
            let durable = &world.hosts[&near].disk.durable;
            let (base, last) = (durable.base.id.index.0, durable.last().index.0);
            let kept = world.chance.range(base.max(last.saturating_sub(4)), last + 1);
            world.damage(near, LogIndex(kept));
        }
        world.start(near);
        for _ in 0..world.chance.range(1, 5) {
            let reached = world.some_of(&others, 600);
            world.partition(&[reached.into_iter().chain([leader, near]).collect()]);
            let span = world.chance.range(1, 120) * MS;
            world.run_for(span);
        }
        // The remaining nodes have to go on without the former leader.
        if world.chance.happens(500) {
            world.crash(leader);
        }
        let more = world.some_of(&others, 300);
        world.isolate(&more.into_iter().chain([leader]).collect());
        world.run_for(2500 * MS);
        for next in world.leaders() {
            world.propose(next, 1);
        }
        world.run_for(20 * MS);
    }
    world.start_all();
    world
}

/// A follower loses what it acknowledged and recovers, while the others confirm the leader but cannot write.
/// So the lost entry is on few disks, and counting the lost copy, or letting the follower vote too early,
/// loses the entry.
pub fn slow_healing(seed: u64, mut chance: Chance) -> World {
    let count = chance.pick(&[3, 5]);
    let mut world = quiet(seed, chance, count, count);
    world.faults.slow = world.chance.pick(&[0, 150]);
    for _ in 0..world.chance.range(2, 6) {
        world.start_all();
        world.hosts.values_mut().for_each(|host| host.stuck_until = 0);
        let Some(leader) = world.await_leader() else { break };
        world.run_for(200 * MS);
        let others = world.others(leader);
        let near = world.chance.pick(&others);
        let rest: Vec<NodeId> = others.into_iter().filter(|id| *id != near).collect();
        rest.iter().for_each(|id| world.stick(*id, 1500 * MS));
        let count = world.chance.range(1, 6);
        world.propose(leader, count);
        let span = world.chance.range(3, 30) * MS;
        world.run_for(span);
        world.crash(near);
        let last = world.hosts[&near].disk.durable.last().index.0;
        let uncommitted_only = world.chance.happens(500);
        let lost = world.chance.range(1, count + 2);
        let kept = if uncommitted_only { world.truth.last().0 } else { last.saturating_sub(lost) };
        world.damage(near, LogIndex(kept));
        if world.chance.happens(500) {
            let span = world.chance.range(1, 1500) * MS;
            world.stick(near, span);
        }
        world.start(near);
        world.run_until(400 * MS, 100, |world| world.running(near).leader() == Some(leader));
        let span = world.chance.range(0, 20 * MS);
        world.run_for(span);
        // Either one of the others can write at last, or the leader is lost, together with the nodes that
        // wait for their disks.
        let one = world.chance.pick(&rest);
        let boot = world.hosts[&one].boot;
        world.host(one).stuck_until = 0;
        if world.chance.happens(500) {
            world.schedule(0, Event::Flush(one, boot));
        } else {
            rest.iter().chain([&leader]).for_each(|id| world.crash(*id));
            rest.iter().for_each(|id| world.start(*id));
            world.hosts.values_mut().for_each(|host| host.stuck_until = 0);
            world.run_for(2000 * MS);
        }
        world.run_for(60 * MS);
        for next in world.leaders() {
            world.propose(next, 1);
        }
        world.run_for(20 * MS);
    }
    world.faults.slow = 0;
    world.start_all();
    world
}

/// A candidate gets a vote, loses its data folder, is removed and added with the new one without the voter
/// hearing of it, and campaigns in the same term again.
pub fn twin(seed: u64, chance: Chance) -> World {
    let mut world = quiet(seed, chance, 5, 5);
    let Some(leader) = world.await_leader() else { return world };
    world.run_for(200 * MS);
    // The leader is paused until a node campaigns that only one of the others hears.
    world.pause(leader, 20 * SECOND);
    let campaigns = |world: &World| {
        let candidate = |id: &NodeId| world.running(*id).role() == raftkit_core::RoleName::Candidate;
        world.hosts.keys().copied().find(candidate)
    };
    if !world.run_until(3 * SECOND, 50, |world| campaigns(world).is_some()) {
        return world;
    }
    let candidate = campaigns(&world).expect("somebody campaigns");
    let others: Vec<NodeId> = world.others(leader).into_iter().filter(|id| *id != candidate).collect();
    let voter = world.chance.pick(&others);
    world.partition(&[[candidate, voter].into()]);
    world.run_for(10 * MS);
    world.crash(candidate);
    let rest: Vec<NodeId> =
        world.hosts.keys().copied().filter(|id| *id != candidate && *id != voter).collect();
    world.partition(&[rest.iter().copied().collect()]);
    if !world.wipe(candidate) {
        return world;
    }
    world.host(leader).paused_until = 0;
    world.run_for(30 * MS);
    let Some(leader) = world.await_leader() else { return world };
    let mut target = world.running(leader).membership().clone().without(candidate);
    for _ in 0..2 {
        let seen = world.running(leader).membership().id();
        world.change(leader, seen, target.clone());
        world.start_all();
        world.partition(&[rest.iter().copied().chain([candidate]).collect()]);
        world.run_for(600 * MS);
        if world.leader() != Some(leader) {
            return world;
        }
        target = world.running(leader).membership().clone();
        target = target.with(candidate, world.member(candidate), Suffrage::Voter);
    }
    world.transfer(leader, Some(candidate));
    world.connect();
    world.run_for(SECOND);
    world
}
