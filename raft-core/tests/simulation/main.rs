//! Seeded clusters in memory with faults of every kind, checked after every step. A failure prints what led to it and
//! the command that replays it: `cargo xtask simulate --profile core --seed <seed>`, which also runs more of them.
//!
//! | file | duty |
//! | --- | --- |
//! | `world`, `queue`, `events`, `hosts`, `network` | a cluster in virtual time |
//! | `configured` | settings that change from start to start |
//! | `faults`, `harm` | the faults, and how many of them a cluster must tolerate |
//! | `workload`, `changes` | requests of clients and operators |
//! | `templates` | known ways to break Raft, for 30 % of the seeds |
//! | `truth`, `tickets`, `checks` | safety, checked after every step |
//! | `liveness` | what must happen once the faults have ended |
//! | `marks`, `injected`, `observe` | what must happen sometimes, and the faults that were injected |
//! | `trace`, `timeline` | a run as a digest and in words |
//! | `runner`, `settings`, `violation`, `sums` | many seeds; the settings in the environment, and the report |

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the core has no threads, its test uses both cores"
)]

#[macro_use]
mod counts;

mod chance;
mod changes;
mod checks;
mod configured;
#[path = "../common/disk.rs"]
mod disk;
mod events;
mod faults;
mod harm;
mod hosts;
mod injected;
mod liveness;
mod marks;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod network;
mod observe;
mod queue;
mod runner;
mod settings;
#[path = "../common/shown.rs"]
mod shown;
mod sums;
mod templates;
mod tickets;
mod timeline;
mod trace;
mod truth;
mod violation;
mod workload;
mod world;

use settings::Settings;
use world::World;

const SECOND: u64 = 1_000_000;

/// Runs a seed: faults, then healing. Scripts choose the number of members themselves.
fn simulate(seed: u64, nodes: Option<u64>) -> World {
    let script = nodes.is_none().then(|| templates::run(seed)).flatten();
    let mut world = script.unwrap_or_else(|| {
        let mut world = World::draw(seed, nodes);
        world.run(8 * SECOND, 1500);
        world
    });
    liveness::check_liveness(&mut world);
    world
}

#[test]
fn a_cluster_under_faults_keeps_every_promise() {
    runner::run(Settings::from_environment());
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let [one, two] = [(); 2].map(|()| trace::of(|| simulate(seed, None)).1);
        let parted = one.digests.iter().zip(&two.digests).position(|(one, two)| one != two);
        assert_eq!(parted, None, "seed {seed}: the first step in which its traces differ");
        assert_eq!((one.digests.len(), one.digest()), (two.digests.len(), two.digest()), "seed {seed}");
        assert!(one.digests.len() > 100, "seed {seed} does something");
    }
}
