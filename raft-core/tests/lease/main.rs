//! Leases under clocks that drift as far apart as allowed: thousands of small runs, none of them random.
//!
//! # The bound
//!
//! A follower promises to grant no vote for `leader_timeout` (500 ms) of its own clock after it received a
//! round. The leader's lease ends `leader_timeout - clock_error` (450 ms) of its own clock after it sent that
//! round, which was earlier. So the lease ends before the promise as long as the slower clock measures at
//! least 450 ms while the faster one measures 500 ms: rates of 9 to 10. If the round arrives at once and a
//! candidate asks for the vote at the very moment when the voter is free, lease and promise end together:
//! `the_bound_is_reached` checks that this happens.
//!
//! # Parameters
//!
//! Each node's settings, which may change at a restart; each node's clock (slow or fast); the delays of
//! messages to the leader and to the others; which driver pauses before or after it reads its clock, and for
//! how long; the fault (`grid::Fault`) and its time. In half of the runs the network holds vote requests back
//! until the very moment when their receiver is free to grant them, or starts.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    unreachable_pub,
    reason = "test"
)]

#[path = "../common/disk.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod disk;
mod grid;
mod host;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod world;

use grid::{Fault, Pause, PauseAt, Plan, plans, plans_with_changed_settings, rates};
use world::{Seen, run};

/// Rate of the slow clock, in thousandths: while the fast clock measures one leader time-out, the slow one
/// measures exactly that less `clock_error`.
const SLOW: u64 = 900;
const FAST: u64 = 1000;

/// Runs all plans. Returns the results, and descriptions of the runs that failed.
fn run_all(plans: &[Plan]) -> (Vec<Seen>, Vec<String>) {
    let seen: Vec<Seen> = plans.iter().map(run).collect();
    let broken = plans.iter().zip(&seen).filter(|(_, seen)| seen.violation.is_some());
    let broken = broken.map(|(plan, seen)| format!("{:?} in {plan:?}", seen.violation)).collect();
    (seen, broken)
}

/// Checks that no run fails, and that the runs are meaningful: at least one of each `replaced_of` has a later
/// leader.
fn check_all(plans: &[Plan], replaced_of: usize) {
    let (seen, broken) = run_all(plans);
    assert!(broken.is_empty(), "{} of {}, the first: {}", broken.len(), plans.len(), broken[0]);
    let count = |of: fn(&Seen) -> bool| seen.iter().filter(|seen| of(seen)).count();
    let (leases, replaced) = (count(|seen| seen.had_lease), count(|seen| seen.is_replaced));
    println!("{} runs: {leases} with a lease at the fault, {replaced} with a later leader", plans.len());
    assert!(leases * 2 > plans.len(), "{leases} of {} had a lease", plans.len());
    assert!(replaced * replaced_of > plans.len(), "{replaced} of {} had a later leader", plans.len());
}

#[test]
fn no_lease_of_two_nodes_outlives_its_leadership() {
    check_all(&plans(&rates(2, SLOW, FAST)), 3);
}

#[test]
fn no_lease_of_three_nodes_outlives_its_leadership() {
    check_all(&plans(&rates(3, SLOW, FAST)), 3);
}

/// The same while settings are changed node by node: a restart honours earlier promises, and a leader relies
/// on no more of a promise than its own clock error covers.
#[test]
fn no_lease_outlives_its_leadership_while_time_outs_are_changed() {
    check_all(&plans_with_changed_settings(&rates(3, SLOW, FAST)), 4);
}

/// The grid reaches the bound: some promise ends in the same microsecond as the lease.
#[test]
fn the_bound_is_reached() {
    let (seen, _) = run_all(&plans(&[vec![SLOW, FAST, FAST]]));
    let least = seen.iter().filter_map(|seen| seen.margin).min();
    assert_eq!(least, Some(0), "microseconds between the end of a lease and the next leader");
}

/// The same grid with clocks that drift a little further: 55 ms over a leader time-out, where 50 are allowed.
#[test]
fn clocks_that_drift_further_than_allowed_are_found() {
    let (_, broken) = run_all(&plans(&[vec![890, 1000, 1000]]));
    assert!(!broken.is_empty(), "the checks see nothing");
    let (_, broken) = run_all(&plans(&[vec![1000, 890, 890]]));
    assert!(broken.is_empty(), "a fast leader only loses: {}", broken[0]);
}

/// A driver that reads its clock, pauses, and only then takes its inputs gives promises that ended too early.
#[test]
fn a_clock_that_is_read_before_the_inputs_are_taken_is_found() {
    let early = |plan: &Plan| Plan {
        pause: Some(Pause { of: 2, at: PauseAt::ClockFirst, length: 300_000, lead: 410_000 }),
        fault: Fault::CutLast,
        ..plan.clone()
    };
    let plans: Vec<Plan> = plans(&[vec![FAST, FAST, FAST]]).iter().map(early).collect();
    let (_, broken) = run_all(&plans);
    assert!(!broken.is_empty(), "the checks see nothing");
}
