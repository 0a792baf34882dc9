//! What `raft-sim --terse` tells, in one line.

use std::time::Duration;

/// How a run ended, and after how much.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) end: End,
    pub(super) events: u64,
    /// Seconds of processor time.
    pub(super) time: Duration,
    pub(super) seeds: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Every promise was kept.
    Kept,
    /// The last of the seeds broke this one, or does not end.
    Broken(Broken),
}

/// What a mutant is caught by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// A promise, or [`STUCK`], or [`CRASH`].
    pub(super) promise: String,
    pub(super) what: String,
}

/// A seed that does not end, in the place of a promise.
pub(super) const STUCK: &str = "(stuck)";
/// A process that was killed by a signal, in the place of a promise.
pub(super) const CRASH: &str = "(crash)";

/// The line among all that was printed.
pub(super) fn read(printed: &str) -> Option<Told> {
    printed.lines().rev().find_map(line)
}

fn line(line: &str) -> Option<Told> {
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
    Some(Told { end, events: events.parse().ok()?, time, seeds: seeds.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Broken, End, STUCK, Told, read};

    fn broken(promise: &str, what: &str) -> End {
        End::Broken(Broken { promise: promise.to_owned(), what: what.to_owned() })
    }

    #[test]
    fn a_broken_promise_is_told_with_what_happened() {
        let printed = "some line\nviolation\tone-vote\t120\t0.25\t3\t2 voted twice\n";
        let time = Duration::from_millis(250);
        let end = broken("one-vote", "2 voted twice");
        assert_eq!(read(printed), Some(Told { end, events: 120, time, seeds: 3 }));
    }

    #[test]
    fn kept_promises_and_stuck_seeds_are_told_apart() {
        let end = |printed: &str| read(printed).map(|told| told.end);
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
