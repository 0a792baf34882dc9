//! Seeded clusters in memory with faults of every kind, checked after every step. A failure prints its seed;
//! `SEED=<seed> cargo test -p raftkit-core --test simulation` replays it, `SEEDS=<count>` runs more of them.
//!
//! | file | duty |
//! | --- | --- |
//! | `world`, `queue`, `events`, `hosts`, `network` | a cluster in virtual time |
//! | `faults`, `harm` | what goes wrong, and how much of it a cluster must bear |
//! | `workload`, `changes` | what clients and operators ask |
//! | `templates` | known ways to break Raft, for 30 % of the seeds |
//! | `truth`, `tickets`, `checks` | what must hold after every step |
//! | `liveness` | what must come about once faults have ended |
//! | `marks`, `observe` | what must happen sometimes |

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the core has no threads, its test uses both cores"
)]

mod chance;
mod changes;
mod checks;
#[path = "../common/disk.rs"]
mod disk;
mod events;
mod faults;
mod harm;
mod hosts;
mod liveness;
mod marks;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod network;
mod observe;
mod queue;
mod templates;
mod tickets;
mod truth;
mod workload;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use marks::Marks;
use world::World;

const SECOND: u64 = 1_000_000;

/// Faults, then healing; what came of it.
fn simulate(seed: u64) -> World {
    let mut world = templates::run(seed).unwrap_or_else(|| {
        let mut world = World::draw(seed);
        world.run(8 * SECOND, 1500);
        world
    });
    liveness::check_liveness(&mut world);
    world
}

/// What a run of many seeds has seen.
#[derive(Default)]
struct Sums {
    steps: u64,
    acknowledged: u64,
    changes: u64,
    reads: u64,
    elections: u64,
    marks: Marks,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.acknowledged += other.acknowledged;
        self.changes += other.changes;
        self.reads += other.reads;
        self.elections += other.elections;
        self.marks.add(&other.marks);
    }

    fn of(world: &World) -> Self {
        Self {
            steps: world.steps,
            acknowledged: world.tickets.acknowledged,
            changes: world.tickets.changed.len() as u64,
            reads: world.tickets.reads,
            elections: world.truth.elections(),
            marks: world.marks.clone(),
        }
    }
}

/// Runs seeds on two threads until all are done or one fails; sums what was seen.
fn run_seeds(seeds: u64) -> Sums {
    let next = Arc::new(AtomicU64::new(0));
    let workers = [(); 2].map(|()| {
        let next = Arc::clone(&next);
        std::thread::spawn(move || {
            let mut sums = Sums::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return sums;
                }
                let world = catch_unwind(AssertUnwindSafe(|| simulate(seed))).unwrap_or_else(|cause| {
                    next.fetch_max(seeds, Ordering::Relaxed);
                    eprintln!("replay: SEED={seed} cargo test -p raftkit-core --test simulation");
                    std::panic::resume_unwind(cause)
                });
                sums.add(&Sums::of(&world));
            }
        })
    });
    let ended = workers.map(std::thread::JoinHandle::join);
    ended.into_iter().fold(Sums::default(), |mut sums, of_worker| {
        sums.add(&of_worker.expect("the seed above fails"));
        sums
    })
}

#[test]
fn a_cluster_under_faults_keeps_every_promise() {
    if let Ok(seed) = std::env::var("SEED") {
        simulate(seed.parse().expect("SEED is a number"));
        return;
    }
    const DEFAULT: u64 = 5000;
    let seeds = std::env::var("SEEDS").map_or(DEFAULT, |seeds| seeds.parse().expect("SEEDS is a number"));
    let start = Instant::now();
    let sums = run_seeds(seeds);
    let Sums { steps, acknowledged, changes, reads, elections, marks } = sums;
    let rate = steps as u128 * 1000 / start.elapsed().as_millis().max(1);
    let (table, missing) = marks.report();
    println!(
        "{table}{seeds} seeds: {steps} steps ({rate} a second), {acknowledged} writes, {changes} changes,"
    );
    println!("{reads} reads, {elections} elections");
    assert!(acknowledged > seeds && reads > seeds && elections > seeds, "the runs do something");
    assert!(missing.is_empty() || seeds < DEFAULT, "never happened: {missing:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let (one, two) = (simulate(seed), simulate(seed));
        assert_eq!((one.trace, one.steps, one.now), (two.trace, two.steps, two.now), "seed {seed}");
    }
}
