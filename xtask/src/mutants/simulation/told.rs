//! What `raft-sim --terse --digests` tells: a line for each seed, and one at the end.

use std::collections::BTreeMap;
use std::time::Duration;

/// How a run ended, and after how much.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) end: End,
    pub(super) events: u64,
    /// Seconds of processor time.
    pub(super) time: Duration,
    pub(super) seeds: u64,
    /// Of each seed's run.
    pub(super) digests: Digests,
}

/// Seeds, each with the whole story of its run in a number.
pub(super) type Digests = BTreeMap<u64, String>;

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

/// The lines among all that was printed.
pub(super) fn read(printed: &str) -> Option<Told> {
    let told = printed.lines().rev().find_map(line)?;
    Some(Told { digests: printed.lines().filter_map(digest).collect(), ..told })
}

fn digest(line: &str) -> Option<(u64, String)> {
    let (seed, digest) = line.strip_prefix("seed\t")?.split_once('\t')?;
    Some((seed.parse().ok()?, digest.to_owned()))
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
    let [events, seeds] = [events, seeds].map(|number| number.parse().ok());
    Some(Told { end, events: events?, time, seeds: seeds?, digests: Digests::new() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Broken, Digests, End, STUCK, Told, read};

    fn broken(promise: &str, what: &str) -> End {
        End::Broken(Broken { promise: promise.to_owned(), what: what.to_owned() })
    }

    #[test]
    fn a_broken_promise_is_told_with_what_happened() {
        let printed = "some line\nseed\t4\t0a\nviolation\tone-vote\t120\t0.25\t3\t2 voted twice\n";
        let time = Duration::from_millis(250);
        let end = broken("one-vote", "2 voted twice");
        let digests = Digests::from([(4, "0a".to_owned())]);
        assert_eq!(read(printed), Some(Told { end, events: 120, time, seeds: 3, digests }));
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
