//! A seeded cluster in memory with faults of every kind, checked after every step. A failure prints its seed;
//! `SEED=<seed> cargo test -p raftkit-core --test simulation` replays it.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]
#![allow(clippy::disallowed_methods, reason = "the core has no threads, its test uses both cores")]

mod chance;
mod checks;
#[path = "../common/disk.rs"]
mod disk;
mod events;
mod faults;
mod hosts;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod network;
mod truth;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use raftkit_core::ReadMode;
use world::World;

const SECOND: u64 = 1_000_000;

/// Faults, then healing; what came of it.
fn simulate(seed: u64) -> World {
    let mut world = World::new(seed);
    world.run(8 * SECOND, 1500);
    world.heal();
    check_liveness(&mut world);
    world
}

/// Once faults end, a leader is elected, everyone who asked is answered, and all reach the same commit.
fn check_liveness(world: &mut World) {
    world.run(world.now + 6 * SECOND, u64::MAX);
    let leader =
        world.leader().unwrap_or_else(|| panic!("a healed cluster elects a leader\n{}", world.describe()));
    let acknowledged = world.truth.acknowledged;
    world.propose(leader, 1);
    world.read(leader, ReadMode::Lease);
    world.read(leader, ReadMode::Quorum);
    let ids: Vec<_> = world.hosts.keys().copied().collect();
    for id in ids {
        world.read(id, ReadMode::Quorum);
    }
    let reads = world.truth.reads;
    world.run(world.now + 3 * SECOND, u64::MAX);
    assert_eq!(world.leader(), Some(leader), "a healed cluster keeps its leader");
    assert!(world.truth.acknowledged > acknowledged, "a healed cluster commits");
    assert!(world.truth.reads > reads || world.hosts.len() == 1, "a healed cluster reads");
    let open: usize = world.truth.open.values().map(std::collections::BTreeMap::len).sum();
    assert_eq!(open, 0, "someone was never answered: {:?}", world.truth.open);
    for (id, host) in &world.hosts {
        let node = host.node.as_ref().expect("all run");
        assert_eq!(
            node.commit().0,
            world.truth.committed.len() as u64 + 1,
            "{id} is behind\n{}",
            world.describe()
        );
        assert_eq!(host.applied, node.commit(), "{id} has not applied all");
        assert_eq!(node.durable_commit(), node.commit(), "{id} has not made its commit index durable");
    }
}

/// Runs seeds on two threads; sums what was seen.
fn run_seeds(seeds: std::ops::Range<u64>) -> [u64; 4] {
    let middle = seeds.start + (seeds.end - seeds.start) / 2;
    let halves = [seeds.start..middle, middle..seeds.end];
    let workers = halves.map(|seeds| {
        std::thread::spawn(move || {
            let mut sums = [0; 4];
            for seed in seeds {
                let world = catch_unwind(AssertUnwindSafe(|| simulate(seed))).unwrap_or_else(|cause| {
                    eprintln!("replay: SEED={seed} cargo test -p raftkit-core --test simulation");
                    std::panic::resume_unwind(cause)
                });
                let seen = [world.steps, world.truth.acknowledged, world.truth.reads, world.truth.elections];
                sums.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
            }
            sums
        })
    });
    workers.map(|worker| worker.join().expect("the seed above fails")).into_iter().fold(
        [0; 4],
        |mut sums, seen| {
            sums.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
            sums
        },
    )
}

#[test]
fn a_cluster_under_faults_keeps_every_promise() {
    if let Ok(seed) = std::env::var("SEED") {
        simulate(seed.parse().expect("SEED is a number"));
        return;
    }
    let seeds = std::env::var("SEEDS").map_or(1500, |seeds| seeds.parse().expect("SEEDS is a number"));
    let [steps, acknowledged, reads, elections] = run_seeds(0..seeds);
    println!("{seeds} seeds: {steps} steps, {acknowledged} writes, {reads} reads, {elections} elections");
    assert!(acknowledged > seeds && reads > seeds && elections > seeds, "the runs do something");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let (one, two) = (simulate(seed), simulate(seed));
        assert_eq!((one.trace, one.steps, one.now), (two.trace, two.steps, two.now), "seed {seed}");
    }
}
