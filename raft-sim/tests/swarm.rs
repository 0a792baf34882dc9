//! A short run of seeds: every promise kept, and something done in each.

use raftkit_sim::{Kv, Mark, Marks, Options, Promise, plan_of_seed, run};

#[test]
fn some_dozens_of_seeds_keep_every_promise() {
    let mut marks = Marks::default();
    for seed in 1000..1080 {
        let report = run(&plan_of_seed(seed, None), Kv::default(), &Options::default());
        assert_eq!(report.violation, None, "replay: cargo xtask simulate --seed {seed}");
        marks.add(&report.marks);
    }
    for mark in
        [Mark::Elected, Mark::WriteCommitted, Mark::ReadDefault, Mark::CrashCut, Mark::SnapshotInstalled]
    {
        assert!(marks.count(mark) > 0, "{mark:?} never happened");
    }
}

#[test]
fn the_number_of_voters_can_be_fixed() {
    for nodes in 1..=7 {
        assert_eq!(plan_of_seed(7, Some(nodes)).settings.nodes, nodes);
    }
}

#[test]
fn a_promise_is_found_by_its_name() {
    for promise in Promise::ALL {
        assert_eq!(Promise::find(promise.word()), Some(*promise));
        assert!(!promise.text().is_empty());
    }
    assert_eq!(Promise::find("no-such"), None);
}
