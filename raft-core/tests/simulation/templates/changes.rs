//! Membership changes at unfortunate times.

use std::collections::BTreeSet;

use raftkit_core::{LogId, Loss, Membership, NodeId, ReadMode, Suffrage};

use super::{SECOND, quiet};
use crate::chance::Chance;
use crate::marks::Mark;
use crate::world::{MS, World};

impl World {
    /// Requests a change of one voter from a leader.
    fn change_one(&mut self, leader: NodeId) {
        let current = self.running(leader).membership().clone();
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let one = self.chance.pick(&ids);
        let target = if current.is_voter(one) {
            current.clone().without(one)
        } else {
            current.clone().with(one, self.member(one), Suffrage::Voter)
        };
        if !target.voters().is_empty() {
            if self.chance.happens(300) {
                self.read(leader, ReadMode::Quorum);
            }
            self.change(leader, current.id(), target);
        }
    }

    fn change_any(&mut self, leader: NodeId) {
        if self.hosts[&leader].node.is_some() {
            self.read(leader, ReadMode::Quorum);
            self.change_at_random(leader);
        }
    }
}

/// Every leader, on either side of a partition, changes one voter as soon as it leads. With single-server
/// changes two of them could commit without a common voter (Ongaro 2015).
pub fn split(seed: u64, mut chance: Chance) -> World {
    let members = chance.pick(&[2, 3, 4, 4, 5]);
    let mut world = quiet(seed, chance, members + 1, members);
    world.await_leader();
    for _ in 0..world.chance.range(3, 9) {
        let groups = world.split();
        world.partition(&groups);
        let mut asked = BTreeSet::new();
        for _ in 0..world.chance.range(100, 600) {
            let span = world.chance.range(500, 3 * MS);
            world.run_for(span);
            for leader in world.leaders() {
                // At once when it becomes leader, and now and then later.
                if asked.insert((leader, world.running(leader).term())) || world.chance.happens(20) {
                    world.change_one(leader);
                    world.propose(leader, 1);
                }
            }
        }
        if world.chance.happens(300) {
            let ids: Vec<NodeId> = world.hosts.keys().copied().collect();
            let one = world.chance.pick(&ids);
            world.crash(one);
            world.start_all();
        }
    }
    world
}

/// One leader adds a voter and reaches nobody else. The next one removes the first and reaches one other
/// node. Then the nodes that know only the first change elect (Ongaro 2015, "bug in single-server membership
/// changes").
pub fn two(seed: u64, mut chance: Chance) -> World {
    let members = chance.pick(&[4, 4, 2]);
    let mut world = quiet(seed, chance, members + 1, members);
    let Some(first) = world.await_leader() else { return world };
    let new = NodeId(members + 1);
    let founding = world.running(first).membership().clone();
    let learns = founding.clone().with(new, world.member(new), Suffrage::NonVoter);
    world.change(first, founding.id(), learns.clone());
    world.run_for(600 * MS);
    if world.leader() != Some(first) || !world.running(first).membership().contains(new) {
        return world;
    }
    let rest: Vec<NodeId> = world.others(first).into_iter().filter(|id| *id != new).collect();
    world.partition(&[[first, new].into(), rest.iter().copied().collect()]);
    let seen = world.running(first).membership().id();
    world.change(first, seen, learns.with(new, world.member(new), Suffrage::Voter));
    let elected = |world: &World| world.leaders().into_iter().find(|id| *id != first);
    if !world.run_until(5 * SECOND, 20, |world| elected(world).is_some()) {
        return world;
    }
    let second = elected(&world).expect("another leads");
    let near = world.some_of(&rest, 300);
    world.partition(&[near.iter().copied().chain([second]).collect()]);
    let current = world.running(second).membership().clone();
    world.change(second, current.id(), current.without(first));
    let span = world.chance.range(1, 60) * MS;
    world.run_for(span);
    let far: BTreeSet<NodeId> =
        rest.iter().copied().filter(|id| *id != second && !near.contains(id)).chain([first, new]).collect();
    world.partition(&[far]);
    world.run_for(4 * SECOND);
    for leader in world.leaders() {
        world.propose(leader, 1);
    }
    world.run_for(50 * MS);
    world.connect();
    world
}

/// The leader appends a change but cannot write it.
pub fn stuck(seed: u64, mut chance: Chance) -> World {
    let members = chance.pick(&[1, 2, 3, 3, 5]);
    let mut world = quiet(seed, chance, members + 2, members);
    for _ in 0..world.chance.range(1, 4) {
        let Some(leader) = world.await_leader() else { break };
        let span = world.chance.range(1, 6000) * MS;
        world.stick(leader, span);
        if world.chance.happens(300) {
            world.propose(leader, 1);
        }
        world.change_any(leader);
        for _ in 0..world.chance.range(1, 40) {
            world.run_for(100 * MS);
            for next in world.leaders() {
                world.propose(next, 1);
            }
        }
        if world.chance.happens(300) {
            world.crash(leader);
            world.start(leader);
        }
        world.host(leader).stuck_until = 0;
    }
    world
}

/// A node, most often the leader, crashes some steps after a change was requested.
pub fn crashes(seed: u64, mut chance: Chance) -> World {
    let members = chance.pick(&[1, 2, 3, 3, 5]);
    let mut world = quiet(seed, chance, 6, members);
    for _ in 0..world.chance.range(2, 8) {
        let Some(leader) = world.await_leader() else { break };
        world.change_any(leader);
        let steps = world.chance.range(0, 60);
        world.run(world.now + SECOND, steps);
        let others = world.others(leader);
        let victim = if world.chance.happens(650) { leader } else { world.chance.pick(&others) };
        world.crash(victim);
        if world.chance.happens(200) {
            let second = world.chance.pick(&others);
            world.crash(second);
        }
        let span = world.chance.range(1, 1200) * MS;
        world.run_for(span);
        world.start_all();
        if world.chance.happens(300) {
            let span = world.chance.range(1, 300) * MS;
            world.run_for(span);
        }
    }
    world
}

/// Nodes that are removed while they are cut off come back and campaign. Nodes that hear the leader ignore
/// them.
pub fn removed(seed: u64, mut chance: Chance) -> World {
    let members = chance.pick(&[3, 4, 5]);
    let mut world = quiet(seed, chance, members, members);
    if world.await_leader().is_none() {
        return world;
    }
    world.run_for(300 * MS);
    let Some(leader) = world.await_leader() else { return world };
    let mut victims = world.others(leader);
    victims.truncate(usize::try_from((members - 1) / 2).expect("small"));
    let victims: BTreeSet<NodeId> = victims.into_iter().collect();
    let heard = world.chance.happens(300);
    if !heard {
        world.isolate(&victims);
    }
    let current = world.running(leader).membership().clone();
    let target = victims.iter().fold(current.clone(), |target, id| target.without(*id));
    world.change(leader, current.id(), target);
    let span = world.chance.range(300, 2500) * MS;
    world.run_for(span);
    // The removal is sent once, in a message that may be overtaken.
    let told = |id: &NodeId| !world.running(*id).membership().contains(*id);
    let told = victims.iter().all(told);
    assert!(heard || !told, "who hears nobody knows nothing");
    world.marks.hit_if(told, Mark::RemovalTold);
    // The removed nodes' logs are not longer, as only the leader appends.
    if world.chance.happens(300) {
        victims.iter().for_each(|id| world.crash(*id));
        world.start_all();
    }
    world.connect();
    let (now, term) = (world.leader(), world.running(leader).term());
    for _ in 0..20 {
        world.propose(leader, 1);
        world.run_for(250 * MS);
    }
    assert_eq!(now, Some(leader), "the leader keeps a quorum\n{}", world.describe());
    assert_eq!(world.leader(), now, "a removed node has deposed a live leader\n{}", world.describe());
    assert_eq!(
        world.running(leader).term(),
        term,
        "a removed node has raised the term\n{}",
        world.describe()
    );
    world
}

/// A prediction that a change survives a loss can be relied on.
pub fn what_if(seed: u64, mut chance: Chance) -> World {
    let members = chance.range(2, 6);
    let mut world = quiet(seed, chance, 7, members);
    let Some(leader) = world.await_leader() else { return world };
    // All nodes hold the log, so that targets among all of them can succeed.
    let current = world.running(leader).membership().clone();
    let learn = world.others(leader).into_iter().filter(|id| !current.contains(*id)).collect::<Vec<_>>();
    let all = learn
        .iter()
        .fold(current.clone(), |target, id| target.with(*id, world.member(*id), Suffrage::NonVoter));
    world.change(leader, current.id(), all);
    world.run_for(2 * SECOND);
    for _ in 0..3 {
        world.start_all();
        let Some(leader) = world.await_leader() else { return world };
        world.run_for(2 * SECOND);
        if world.leader() != Some(leader) || world.running(leader).membership().is_joint() {
            continue;
        }
        let current = world.running(leader).membership().clone();
        let target = world.any_voters(&current);
        let ids: Vec<NodeId> = world.hosts.keys().copied().collect();
        let down = world.some_of(&ids, 250);
        match world.running(leader).what_if(&target, &down) {
            Ok(_) => world.lose_and_change(current.id(), &target, &down),
            Err(Loss::NoQuorum { .. }) => world.marks.hit(Mark::WhatIfLost),
            Err(Loss::Refused(_)) => {}
        }
    }
    world
}

impl World {
    /// A target with one to five voters that hold the log; the others stay as learners.
    fn any_voters(&mut self, current: &Membership) -> Membership {
        let members: Vec<NodeId> = current.members().keys().copied().collect();
        let count = self.chance.range(1, 6);
        let voters: BTreeSet<NodeId> = (0..count).map(|_| self.chance.pick(&members)).collect();
        members.iter().fold(current.clone(), |target, id| {
            let member = target.members()[id].clone();
            target.with(*id, member, if voters.contains(id) { Suffrage::Voter } else { Suffrage::NonVoter })
        })
    }

    /// Causes the loss, then requests the change: it completes, and writes continue.
    fn lose_and_change(&mut self, seen: LogId, target: &Membership, down: &BTreeSet<NodeId>) {
        down.iter().for_each(|id| self.crash(*id));
        let mut asked = None;
        for _ in 0..200 {
            if asked.is_some_and(|ticket| self.tickets.changed.contains(&ticket)) {
                break;
            }
            let Some(leader) = self.leader() else {
                self.run_for(50 * MS);
                continue;
            };
            let (id, same) = {
                let current = self.running(leader).membership();
                (current.id(), crate::tickets::same(current, target))
            };
            // Requests it again if it was refused for now, or its leader is lost.
            if id == seen || same {
                asked = self.change(leader, id, target.clone());
            }
            self.run_for(50 * MS);
        }
        assert!(
            asked.is_some_and(|ticket| self.tickets.changed.contains(&ticket)),
            "a change that survives the loss of {down:?} did not come about\n{}",
            self.describe()
        );
        let acknowledged = self.tickets.acknowledged;
        for _ in 0..60 {
            if let Some(leader) = self.leader() {
                self.propose(leader, 1);
            }
            self.run_for(100 * MS);
            if self.tickets.acknowledged > acknowledged {
                return self.marks.hit(Mark::WhatIfHeld);
            }
        }
        panic!("no write commits after the loss of {down:?}\n{}", self.describe());
    }
}
