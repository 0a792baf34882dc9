//! One run: a time with faults, the time after them, and the verdict.

pub(crate) mod hunt;
pub(crate) mod shrink;
pub(crate) mod trace;
pub(crate) mod words;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use raftkit_disk::Injected;

use crate::subject::Subject;
use crate::world::{Counts, MS, World};
use crate::{Marks, Plan, Promise, Violation};

/// Options of a run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Number of lines to keep from the end of the trace. Keeping lines makes a run slower and changes nothing else.
    pub lines: usize,
    /// Promises that are not checked.
    pub off: BTreeSet<Promise>,
}

/// The result of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The promise that was broken first.
    pub violation: Option<Violation>,
    /// Number of events.
    pub events: u64,
    /// Virtual time of the run, in microseconds.
    pub simulated_us: u64,
    /// Digest of all events. Two runs of one plan have the same.
    pub digest: u64,
    /// Counts of the events that must happen sometimes.
    pub marks: Marks,
    /// Counts of requests, and of faults outside of disks.
    pub counts: Counts,
    /// Counts of the disks' faults.
    pub injected: Injected,
    /// Number of elected leaders.
    pub elections: u64,
    /// Last lines of the trace.
    pub lines: Vec<String>,
}

/// Runs a plan on a subject.
#[must_use]
pub fn run<S: Subject>(plan: &Plan, subject: S, options: &Options) -> Report {
    let mut world = World::new(plan, subject, options.lines, options.off.clone());
    let ended = catch_unwind(AssertUnwindSafe(|| world.run_whole()));
    if let Err(panic) = ended {
        let what = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "it said nothing".to_owned());
        world.ensure(Err((Promise::NoPanic, what)));
    }
    world.seal();
    Report {
        violation: world.violation().cloned(),
        events: world.trace.events(),
        simulated_us: world.now(),
        digest: world.trace.digest(),
        counts: world.counts(),
        injected: world.injected(),
        elections: world.elections(),
        lines: world.trace.lines().map(str::to_owned).collect(),
        marks: world.marks.clone(),
    }
}

impl<S: Subject> World<S> {
    /// Runs the time with faults and the time after them, and judges what clients saw.
    fn run_whole(&mut self) {
        let faults = self.disk_faults();
        for host in self.hosts.values() {
            host.disk.set_faults(faults.clone());
        }
        self.run_until(self.settings.duration_ms * MS);
        if self.violation().is_none() {
            self.check_liveness();
        }
        if self.violation().is_none()
            && let Err(what) = self.subject.judge()
        {
            self.ensure(Err((Promise::Linearizable, what)));
        }
    }
}
