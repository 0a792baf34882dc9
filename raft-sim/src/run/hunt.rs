//! Seeds one after the other, for a state machine of one's own: what came of them, or the first broken promise, made small.

use std::fmt;
use std::ops::Range;

use raftkit_disk::Injected;

use crate::run::{Options, Report, run};
use crate::subject::Subject;
use crate::world::Counts;
use crate::{Marks, Plan, Violation, plan_of_seed, shrink};

/// [`hunt`] makes so many runs to make a failing one smaller.
const TRIES_MAX: u64 = 300;
/// So many events before a broken promise are told, once messages between nodes are left out of the last so many.
const TOLD: usize = 40;
const LINES: usize = 1000;

/// Runs these seeds one after the other, each on a subject of its own, until one breaks a promise. That one is
/// [examined](examine).
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

/// Runs a plan. If it breaks a promise it is made smaller, in at most so many runs, and run again to be told of; with no
/// tries it is told of as it is.
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

/// `12.345678  1 -> 2  ...`: what a state machine does rarely hangs on single messages, and there are many.
fn is_message(line: &str) -> bool {
    line.split_whitespace().nth(2) == Some("->")
}

/// What came of seeds that kept every promise.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// How many seeds there were.
    pub seeds: u64,
    /// How many events.
    pub events: u64,
    /// How much virtual time went by, in microseconds.
    pub simulated_us: u64,
    /// How many leaders were elected.
    pub elections: u64,
    /// What was done, and what went wrong outside of disks.
    pub counts: Counts,
    /// What disks did wrong.
    pub injected: Injected,
    /// What happened sometimes.
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

/// A promise that was broken. It prints as a report: which promise, the events before, and what to run to see it again.
#[derive(Clone, Debug)]
pub struct Found {
    /// What was run first.
    pub plan: Plan,
    /// The smallest that breaks the same promise, of those that were tried.
    pub small: Plan,
    /// What the small plan breaks.
    pub violation: Violation,
    /// The last events of the small plan's run, without messages between nodes; [`Options::lines`] has those, too.
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
