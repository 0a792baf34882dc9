//! Snapshots on links on which they take longer than any time-out.

use raftkit_sim::{Kv, Mark, Marks, Options, plan_of_seed, run};

#[test]
fn a_snapshot_on_a_slow_link_is_slow_and_not_endless() {
    let mut marks = Marks::default();
    let of_slow_links = |seed: &u64| plan_of_seed(*seed, None).kind == "slow-link";
    for seed in (0..).filter(of_slow_links).take(24) {
        let report = run(&plan_of_seed(seed, None), Kv::default(), &Options::default());
        assert_eq!(report.violation, None, "replay: cargo xtask simulate --seed {seed}");
        marks.add(&report.marks);
    }
    assert!(marks.count(Mark::SlowSnapshot) > 0, "no snapshot took long");
    assert!(marks.count(Mark::SnapshotResumed) > 0, "none was interrupted");
}
