//! One plan, one story: byte for byte, in one process and in two.

#![allow(clippy::unwrap_used, reason = "test")]

use std::process::Command;

use raftkit_sim::{Kv, Options, Report, plan_of_seed, run};

const SEEDS: std::ops::Range<u64> = 0..24;

fn told(seed: u64) -> Report {
    let options = Options { lines: usize::MAX, ..Options::default() };
    run(&plan_of_seed(seed, None), Kv::default(), &options)
}

#[test]
fn two_runs_of_one_seed_tell_the_same_story() {
    for seed in SEEDS {
        let (one, two) = (told(seed), told(seed));
        assert_eq!(one.lines, two.lines, "seed {seed}");
        assert_eq!(
            (one.digest, one.events, one.injected),
            (two.digest, two.events, two.injected),
            "seed {seed}"
        );
        assert!(one.events > 100, "seed {seed} does something");
    }
}

#[test]
fn telling_a_story_does_not_change_it() {
    for seed in SEEDS {
        let silent = run(&plan_of_seed(seed, None), Kv::default(), &Options::default());
        assert_eq!(silent.digest, told(seed).digest, "seed {seed}");
        assert!(silent.lines.is_empty());
    }
}

#[test]
fn another_seed_tells_another_story() {
    let digests: std::collections::BTreeSet<u64> =
        SEEDS.map(|seed| run(&plan_of_seed(seed, None), Kv::default(), &Options::default()).digest).collect();
    assert_eq!(digests.len() as u64, SEEDS.end);
}

/// Another process has other addresses, and other draws for the order of hash maps.
#[test]
fn another_process_tells_the_same_story() {
    const ROLE: &str = "RAFT_SIM_TELL_DIGESTS";
    let digests = || {
        let of = |seed| run(&plan_of_seed(seed, None), Kv::default(), &Options::default()).digest;
        SEEDS.map(|seed| format!("digest {seed} {:016x}", of(seed))).collect::<Vec<_>>()
    };
    if std::env::var_os(ROLE).is_some() {
        digests().iter().for_each(|line| println!("{line}"));
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["another_process_tells_the_same_story", "--exact", "--nocapture"]).env(ROLE, "1");
    let printed = String::from_utf8(child.output().unwrap().stdout).unwrap();
    let theirs: Vec<&str> = printed.lines().filter(|line| line.starts_with("digest ")).collect();
    assert_eq!(theirs, digests());
}
