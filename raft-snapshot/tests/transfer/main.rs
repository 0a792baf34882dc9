//! A sender and a receiver over a network that loses, duplicates, reorders and corrupts messages, in virtual time.

#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs, reason = "test")]

#[path = "../common/mod.rs"]
mod common;
mod receiving;
mod world;

use std::time::Duration;

use common::CHUNK;
use raftkit_core::{LogId, LogIndex, NodeId};
use raftkit_snapshot::{ChunkNumber, ReceiverOptions, SenderOptions};
use world::{CHUNK_HEADER, Event, Faults, HEAL, World};

#[test]
fn snapshot_arrives_whole_over_any_network() {
    let (mut failed, mut crashes) = (0, 0);
    for seed in 0..1500 {
        let chunks = [0, 1, 4, 5, 20][usize::try_from(seed % 5).unwrap()];
        let length = chunks * CHUNK as usize + usize::from(seed % 2 == 0) * 10;
        let mut world = World::new(seed, &[(LogId::new(3, 50), length)]);
        world.at(0, Event::Start(NodeId(1)));
        while world.rng.percent(40) {
            let time = world.rng.below(HEAL);
            world.at(time, Event::Crash);
            crashes += 1;
        }
        world.run();
        assert_eq!(world.applied, LogIndex(50), "seed {seed}");
        assert!(world.window <= ReceiverOptions::default().window_max, "seed {seed}");
        failed += world.failed;
    }
    assert!(failed > 50 && crashes > 100, "{failed} {crashes}");
}

#[test]
fn several_senders_of_equal_and_newer_snapshots_come_to_an_end() {
    for seed in 0..700 {
        let snapshots = [(LogId::new(3, 50), 9000), (LogId::new(3, 50), 9000), (LogId::new(4, 70), 7000)];
        let mut world = World::new(seed, &snapshots);
        for node in 1..=3 {
            let time = world.rng.below(20_000_000);
            world.at(time, Event::Start(NodeId(node)));
        }
        if world.rng.percent(50) {
            let time = world.rng.below(HEAL);
            world.at(time, Event::Crash);
        }
        world.run();
        assert_eq!(world.applied, LogIndex(70), "seed {seed}");
    }
}

#[test]
fn sound_network_carries_each_chunk_once() {
    for seed in 0..50 {
        let mut world = World::new(seed, &[(LogId::new(3, 50), 20_000)]);
        world.faults = Faults { lost: 0, doubled: 0, changed: 0, unreadable: 0 };
        world.delay = 1000;
        world.at(0, Event::Start(NodeId(1)));
        world.run();
        assert_eq!((world.chunks_sent, world.failed), (20, 0), "seed {seed}");
    }
}

/// A world without losses, with links of this rate.
fn slow(seed: u64, length: usize, rate: u64) -> World {
    let mut world = World::new(seed, &[(LogId::new(3, 50), length)]);
    world.faults = Faults { lost: 0, doubled: 0, changed: 0, unreadable: 0 };
    (world.delay, world.rate, world.hangs) = (20_000, Some(rate), 0);
    world
}

#[test]
fn slow_link_makes_a_transfer_slow_and_carries_each_chunk_once() {
    // A chunk takes from 10 ms to 10 s, so the whole transfer takes from 0.2 to 200 s.
    for (rate, seconds) in [(100_000, 2), (5_000, 6), (500, 44), (200, 110), (100, 215)] {
        let mut world = slow(1, 20_000, rate);
        world.at(0, Event::Start(NodeId(1)));
        world.run();
        assert_eq!((world.chunks_sent, world.failed), (20, 0), "at {rate} bytes a second");
        assert!(world.now < seconds * 1_000_000, "{} us at {rate} bytes a second", world.now);
        assert!(
            world.waiting_max <= 2 * (u64::from(CHUNK) + CHUNK_HEADER),
            "{} bytes wait",
            world.waiting_max
        );
    }
}

#[test]
fn link_on_which_the_first_chunk_takes_longer_than_any_time_out_carries_a_snapshot_all_the_same() {
    // A chunk takes 40 s.
    let mut world = slow(1, 3_000, 25);
    world.at(0, Event::Start(NodeId(1)));
    world.run();
    assert!(world.chunks_sent <= 6, "{} chunks were sent for three", world.chunks_sent);
}

#[test]
fn restarts_on_a_slow_link_cost_a_few_chunks_each() {
    let mut world = slow(1, 20_000, 500);
    world.at(0, Event::Start(NodeId(1)));
    for second in [9, 17, 26] {
        world.at(second * 1_000_000, Event::Crash);
    }
    world.run();
    assert!(world.chunks_sent <= 20 + 3 * 4, "{} chunks were sent for 20", world.chunks_sent);
}

#[test]
fn restarted_receiver_asks_only_for_what_it_lacks() {
    let mut world = World::new(1, &[(LogId::new(3, 50), 20_000)]);
    world.faults = Faults { lost: 0, doubled: 0, changed: 0, unreadable: 0 };
    world.delay = 1000;
    let mut partial = world.dir.partial(world.sources[&NodeId(1)].file.manifest()).unwrap();
    for chunk in (0..15).map(ChunkNumber) {
        partial.store(chunk, &world.sources[&NodeId(1)].file.read_chunk(chunk).unwrap()).unwrap();
    }
    drop(partial);
    world.at(0, Event::Start(NodeId(1)));
    world.run();
    assert_eq!(world.chunks_sent, 5);
}

#[test]
fn same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::new(seed, &[(LogId::new(3, 50), 9000)]);
        world.at(0, Event::Start(NodeId(1)));
        world.run();
        (world.now, world.next, world.chunks_sent)
    };
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn time_outs_leave_room_for_one_another() {
    let (sender, receiver) = (SenderOptions::default(), ReceiverOptions::default());
    assert!(receiver.working_interval * 2 <= sender.offer_again.max(Duration::from_secs(2)));
    assert!(sender.offer_again * 3 <= sender.silence_max);
    assert!(receiver.ask_again * 2 <= receiver.give_up);
    assert!(receiver.sender_silence < receiver.give_up);
    assert!(receiver.window_min <= receiver.window && receiver.window <= receiver.window_max);
}
