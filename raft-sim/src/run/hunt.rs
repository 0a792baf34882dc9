//! Runs of many seeds on a state machine of one's own. The result is a summary, or the first broken promise with a plan that was
//! made as small as possible.

use std::fmt;
use std::ops::Range;

use raftkit_disk::Injected;

use crate::run::{Options, Report, run};
use crate::subject::Subject;
use crate::world::Counts;
use crate::{Marks, Plan, Violation, plan_of_seed, shrink};

/// Upper bound on the runs that [`hunt`] makes to shrink a failing plan.
const TRIES_MAX: u64 = 300;
/// Upper bound on the lines before a broken promise that are shown, messages between nodes left out.
const TOLD: usize = 40;
const LINES: usize = 1000;

/// Runs seeds one after the other, each on a new subject, until one breaks a promise. That seed is [examined](examine).
///
/// # Errors
/// The first seed that breaks a promise.
pub fn hunt<S: Subject>(seeds: Range<u64>, make: impl Fn() -> S) -> Result<Kept, Box<Found>> {
    let mut kept = Kept::default();
    for seed in seeds {
        let plan = plan_of_seed(seed, None);
        let report = run(&plan, make(), &Options::default());
        if report.violation.is_some()
            && let Some(found) = examine(&plan, TRIES_MAX, &make)
        {
            return Err(Box::new(found));
        }
        kept.add(&report);
    }
    Ok(kept)
}

/// Runs a plan. If it breaks a promise, the plan is shrunk with at most `tries_max` further runs, and the smallest one is run
/// again for its report. With `tries_max` 0 the plan is reported as it is. Returns none if every promise was kept.
#[must_use]
pub fn examine<S: Subject>(plan: &Plan, tries_max: u64, make: impl Fn() -> S) -> Option<Found> {
    let promise = run(plan, make(), &Options::default()).violation?.promise;
    let tries = std::cell::Cell::new(0);
    let fails = |tried: &Plan| {
        tries.set(tries.get() + 1);
        let report = run(tried, make(), &Options::default());
        report.violation.is_some_and(|violation| violation.promise == promise)
    };
    let small = shrink(plan, fails, || tries.get() < tries_max);
    let told = run(&small, make(), &Options { lines: LINES, ..Options::default() });
    let mut lines = told.lines;
    lines.retain(|line| !is_message(line));
    lines.drain(..lines.len().saturating_sub(TOLD));
    Some(Found { plan: plan.clone(), small, violation: told.violation?, lines })
}

/// True for a line about a message between nodes, such as `12.345678  1 -> 2  ...`. There are many of them, and they rarely
/// explain what a state machine did.
fn is_message(line: &str) -> bool {
    line.split_whitespace().nth(2) == Some("->")
}

/// Summary of seeds that kept every promise.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Number of seeds.
    pub seeds: u64,
    /// Number of events.
    pub events: u64,
    /// Virtual time of all runs, in microseconds.
    pub simulated_us: u64,
    /// Number of elected leaders.
    pub elections: u64,
    /// Counts of requests, and of faults outside of disks.
    pub counts: Counts,
    /// Counts of the disks' faults.
    pub injected: Injected,
    /// Counts of the events that must happen sometimes.
    pub marks: Marks,
}

impl Kept {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.events += report.events;
        self.simulated_us += report.simulated_us;
        self.elections += report.elections;
        self.counts += report.counts;
        self.injected += report.injected;
        self.marks.add(&report.marks);
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (counts, disks) = (&self.counts, &self.injected);
        writeln!(
            f,
            "{} seeds kept every promise: {} events in {} simulated minutes, {} writes, {} reads.",
            self.seeds,
            self.events,
            self.simulated_us / 60_000_000,
            counts.writes,
            counts.reads
        )?;
        write!(
            f,
            "On the way: {} elections, {} crashes ({} lost unsynced changes), {} torn writes, {} failed syncs, \
             {} cut links, {} lost messages, {} rotten sectors.",
            self.elections,
            counts.crashes,
            disks.crashes_with_loss,
            disks.torn_writes,
            disks.failed_syncs,
            counts.partitions,
            counts.lost,
            counts.rots
        )
    }
}

/// A plan that breaks a promise. `Display` shows a report: the promise, the events before, and the plan that replays them.
#[derive(Clone, Debug)]
pub struct Found {
    /// The plan that was run first.
    pub plan: Plan,
    /// The smallest plan, of those that were tried, that breaks the same promise.
    pub small: Plan,
    /// The violation in the run of the small plan.
    pub violation: Violation,
    /// Last events in the run of the small plan, without messages between nodes. To see those too, run it with
    /// [`Options::lines`].
    pub lines: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Seed {} breaks a promise. {}", self.plan.seed, self.violation)?;
        writeln!(f, "\nThe last events before it (messages between nodes left out):")?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let (left, before) = (self.small.script.len(), self.plan.script.len());
        writeln!(f, "\nThe choices that lead to it ({left} of {before} lines of script are left):")?;
        write!(f, "{}", self.small)
    }
}
