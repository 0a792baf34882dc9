//! Output: the progress, the table at the end, and lists.

use std::fmt::Write as _;
use std::time::Duration;

use raftkit_sim::{Kept, Mark, Promise, Report};

/// Upper bound on the length of a violation's words in a line for programs, in characters.
const WHAT_MAX: usize = 400;

/// Sums over all runs.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) kept: Kept,
    /// Number of threads that have ended.
    pub(crate) done: u64,
    violations: u64,
}

pub(crate) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl Sums {
    pub(crate) fn add(&mut self, report: &Report) {
        self.kept.add(report);
        self.violations += u64::from(report.violation.is_some());
    }

    /// Returns the line that is shown while seeds are run.
    pub(crate) fn progress(&self, elapsed: Duration, time: Option<Duration>) -> String {
        let wall = elapsed.as_secs_f64().max(0.001);
        let of = time.map_or_else(String::new, |time| format!(" of {}", time.as_secs()));
        format!(
            "{:.0}{of} s: {} seeds, {:.0} k events/s, {:.1} simulated hours ({:.0}x); {} crashes, {} partitions, {} failed syncs, {} torn writes, {} rots",
            wall,
            self.kept.seeds,
            self.kept.events as f64 / wall / 1e3,
            seconds(self.kept.simulated_us) / 3600.0,
            seconds(self.kept.simulated_us) / wall,
            self.kept.counts.crashes,
            self.kept.counts.partitions,
            self.kept.injected.failed_syncs,
            self.kept.injected.torn_writes,
            self.kept.counts.rots,
        )
    }

    /// Returns the table at the end.
    pub(crate) fn table(&self, elapsed: Duration, jobs: u64) -> String {
        let wall = elapsed.as_secs_f64().max(0.001);
        let (counts, disks) = (&self.kept.counts, &self.kept.injected);
        let mut out = String::from("\nfaults\n");
        let faults = [
            (counts.crashes, "processes lost their power or were killed"),
            (disks.crashes_with_loss, "  of them with a loss of unsynced changes"),
            (disks.lost_writes, "unsynced writes lost"),
            (disks.torn_writes, "unsynced writes torn"),
            (disks.lost_names, "unsynced names lost"),
            (disks.failed_syncs, "syncs failed"),
            (disks.io_errors, "other calls failed"),
            (disks.full, "calls failed for want of space"),
            (disks.stalls, "syncs stalled"),
            (counts.rots, "sectors rotted"),
            (counts.wipes, "data folders lost"),
            (counts.partitions, "links cut"),
            (counts.lost, "messages lost"),
            (counts.split, "frames cut in two"),
            (counts.pauses, "processes stood still"),
            (counts.stops, "clean stops"),
        ];
        for (count, what) in faults {
            let _ = writeln!(out, "{count:>12}  {what}");
        }
        out.push_str("\nmarks\n");
        for (mark, what) in Mark::ALL {
            let _ = writeln!(out, "{:>12}  {what}", self.kept.marks.count(*mark));
        }
        let _ = writeln!(
            out,
            "\n{} seeds: {} events ({:.0} k/s a core), {:.1} simulated hours, {:.0}x real time in all; {} elections, {} writes, {} reads, {} changes of members",
            self.kept.seeds,
            self.kept.events,
            self.kept.events as f64 / wall / jobs as f64 / 1e3,
            seconds(self.kept.simulated_us) / 3600.0,
            seconds(self.kept.simulated_us) / wall,
            self.kept.elections,
            counts.writes,
            counts.reads,
            counts.changes,
        );
        let _ = writeln!(out, "{} broken promises", self.violations);
        out
    }
}

/// Prints one line for programs: `violation` or `none`, the promise, the numbers of events, of seconds of processor time and of
/// seeds, and the violation in words.
pub(crate) fn terse(report: &Report, events: u64, seeds: u64) {
    let (state, promise, what) = match &report.violation {
        Some(violation) => ("violation", violation.promise.word(), one_line(&violation.what)),
        None => ("none", "", String::new()),
    };
    println!("{state}\t{promise}\t{events}\t{:.2}\t{seeds}\t{what}", processor_time().as_secs_f64());
}

pub(crate) fn terse_sums(sums: &Sums) {
    println!("none\t\t{}\t{:.2}\t{}\t", sums.kept.events, processor_time().as_secs_f64(), sums.kept.seeds);
}

/// Prints the same line for a seed that does not end, which is the last of those that were run.
pub(crate) fn terse_stuck(sums: &Sums, seed: u64) {
    let (time, seeds) = (processor_time().as_secs_f64(), sums.kept.seeds + 1);
    println!("stuck\t\t{}\t{time:.2}\t{seeds}\tseed {seed} does not end", sums.kept.events);
}

/// Joins a text of several lines into one line without tabs, and shortens it.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(WHAT_MAX).collect()
}

/// Returns the processor time that all threads of this process have used so far.
pub(crate) fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

pub(crate) fn promises() {
    for promise in Promise::ALL {
        println!("{:<20} {}", promise.word(), promise.text());
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn what_a_panic_says_fits_on_one_line() {
        let said = "panicked at a.rs:1:2:\nleft and\tright differ\n  left: 1\n right: 2";
        assert_eq!(one_line(said), "panicked at a.rs:1:2: left and right differ left: 1 right: 2");
        assert_eq!(one_line(&"long ".repeat(500)).len(), super::WHAT_MAX);
    }
}
