//! Reads the output of `raft-sim --terse --digests`: a line for each seed, and one at the end.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a run of the simulator ended, and after how much work.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunReport {
    pub(super) end: End,
    pub(super) events: u64,
    /// Processor time.
    pub(super) time: Duration,
    pub(super) seeds: u64,
    pub(super) digests: Digests,
}

/// A digest of all events of a run, by seed.
pub(super) type Digests = BTreeMap<u64, String>;

/// Outcome of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every promise was kept.
    Kept,
    /// The last seed broke a promise, or did not end.
    Broken(Broken),
}

/// The promise that a run broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Name of the promise, or [`STUCK`], or [`CRASH`].
    pub(super) promise: String,
    /// Description of what happened.
    pub(super) what: String,
}

/// Stands in the place of a promise for a seed that does not end.
pub(super) const STUCK: &str = "(stuck)";
/// Stands in the place of a promise for a process that a signal killed.
pub(super) const CRASH: &str = "(crash)";

/// Finds the report in the output; returns `None` if there is none.
pub(super) fn read(printed: &str) -> Option<RunReport> {
    let report = printed.lines().rev().find_map(line)?;
    Some(RunReport { digests: printed.lines().filter_map(digest).collect(), ..report })
}

fn digest(line: &str) -> Option<(u64, String)> {
    let (seed, digest) = line.strip_prefix("seed\t")?.split_once('\t')?;
    Some((seed.parse().ok()?, digest.to_owned()))
}

fn line(line: &str) -> Option<RunReport> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [state, promise, events, seconds, seeds, what] = fields[..] else { return None };
    let broken = |promise: &str| End::Broken(Broken { promise: promise.to_owned(), what: what.to_owned() });
    let end = match state {
        "none" => End::Kept,
        "violation" => broken(promise),
        "stuck" => broken(STUCK),
        _ => return None,
    };
    let time = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    let [events, seeds] = [events, seeds].map(|number| number.parse().ok());
    Some(RunReport { end, events: events?, time, seeds: seeds?, digests: Digests::new() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Broken, Digests, End, RunReport, STUCK, read};

    fn broken(promise: &str, what: &str) -> End {
        End::Broken(Broken { promise: promise.to_owned(), what: what.to_owned() })
    }

    #[test]
    fn a_broken_promise_is_reported_with_what_happened() {
        let printed = "some line\nseed\t4\t0a\nviolation\tone-vote\t120\t0.25\t3\t2 voted twice\n";
        let time = Duration::from_millis(250);
        let end = broken("one-vote", "2 voted twice");
        let digests = Digests::from([(4, "0a".to_owned())]);
        assert_eq!(read(printed), Some(RunReport { end, events: 120, time, seeds: 3, digests }));
    }

    #[test]
    fn kept_promises_and_stuck_seeds_are_told_apart() {
        let end = |printed: &str| read(printed).map(|report| report.end);
        assert_eq!(end("none\t\t5\t1.00\t1\t"), Some(End::Kept));
        assert_eq!(
            end("stuck\t\t5\t1.00\t1\tseed 7 does not end"),
            Some(broken(STUCK, "seed 7 does not end"))
        );
    }

    #[test]
    fn no_other_line_is_taken_for_it() {
        for printed in ["", "none", "none\t\tx\t1.00\t1\t", "none\t\t5\t-1\t1\t", "error\t\t5\t1.00\t1\t"] {
            assert_eq!(read(printed), None, "{printed}");
        }
    }
}
