//! The tables and the score that are printed at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::trial::Verdict;
use super::Trials;
use super::by_tests::ByTests;
use super::catalogue::{Bug, Excuses};
use super::trial::Trial;
use crate::console;

/// Returns the list of the bugs with their mutants.
pub(super) fn list(bugs: &[Bug], excuses: &Excuses) -> String {
    let lines = bugs.iter().flat_map(|bug| {
        let mutants = bug.mutants.iter().map(|mutant| match excuses.get(mutant) {
            Some(why) => format!("  {mutant} (excused: {why})"),
            None => format!("  {mutant}"),
        });
        let excuse = bug.not_yet.iter().map(|why| format!("  none: {why}"));
        [bug.phrase.clone()].into_iter().chain(mutants).chain(excuse).collect::<Vec<_>>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the table of the trials: a line for each bug, and below it a line for each of its mutants. If `sound`, the run
/// without a mutant, is given, the lines of living mutants say in how many seeds the mutant changed anything.
pub(super) fn trials(
    bugs: &[Bug],
    excuses: &Excuses,
    trials: &Trials,
    tests: &ByTests,
    sound: Option<&Trial>,
) -> String {
    let tried = |bug: &Bug| {
        bug.mutants.iter().filter_map(|it| Some((it.clone(), trials.get(it)?))).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = bugs
        .iter()
        .flat_map(tried)
        .map(|(name, trial)| {
            let excuse = excuses.get(&name).map(String::as_str);
            row(&name, trial, tests.get(&name), excuse, sound)
        })
        .collect();
    let header = ["  mutant", "", "by", "    events", "core s", " seeds", ""];
    let table = console::table(&header, &rows);
    let mut lines = table.lines();
    let mut out: Vec<String> = lines.next().map(str::to_owned).into_iter().collect();
    for bug in bugs {
        out.push(bug.phrase.clone());
        out.extend(lines.by_ref().take(tried(bug).len()).map(str::to_owned));
        out.extend(bug.not_yet.iter().map(|why| format!("  (none: {why})")));
    }
    out.join("\n")
}

fn row(
    name: &str,
    trial: &Trial,
    tests: Option<&Verdict>,
    excuse: Option<&str>,
    sound: Option<&Trial>,
) -> Vec<String> {
    let by_tests = tests.and_then(|verdict| verdict.caught.as_ref());
    let (state, by) = match (&trial.caught, by_tests, excuse) {
        (Some(broken), _, _) => ("caught", broken.promise.clone()),
        (None, Some((stage, _)), _) => {
            ("by tests", format!("{}: {stage}", name.split('/').next().unwrap_or_default()))
        }
        (None, None, Some(_)) => ("excused", String::new()),
        (None, None, None) => ("LIVES", String::new()),
    };
    let mut row = vec![format!("  {name}"), state.to_owned(), by];
    let seconds = trial.time.as_secs_f64();
    row.extend([format!("{:>10}", trial.events), format!("{seconds:>6.2}"), format!("{:>6}", trial.seeds)]);
    if trial.caught.is_none() {
        row.push(excuse.map_or_else(|| effect(trial, sound), str::to_owned));
    }
    row
}

/// Says whether a living mutant changed the runs at all: if so, no promise looks where it does harm; if not, its code had no
/// effect.
fn effect(trial: &Trial, sound: Option<&Trial>) -> String {
    match sound.map(|sound| trial.difference(sound)) {
        Some((0, seeds)) => format!("no effect in {seeds} seeds"),
        Some((changed, seeds)) => format!("an effect in {changed} of {seeds} seeds"),
        None => String::new(),
    }
}

/// Returns the score: how many mutants were caught, by which promises, and how soon.
pub(super) fn score(bugs: &[Bug], trials: &Trials, tests: &ByTests, elapsed: Duration) -> String {
    let is_caught = |name: &String| trials.get(name).is_some_and(|trial| trial.caught.is_some());
    let is_noticed = |name: &String| tests.get(name).is_some_and(|verdict| verdict.caught.is_some());
    let names: BTreeSet<&String> = bugs.iter().flat_map(|bug| &bug.mutants).collect();
    let caught: BTreeSet<&String> = names.iter().copied().filter(|name| is_caught(name)).collect();
    let noticed = names.iter().filter(|name| !is_caught(name) && is_noticed(name)).count();
    let with: Vec<&Bug> = bugs.iter().filter(|bug| bug.not_yet.is_none()).collect();
    let whole = with.iter().filter(|bug| bug.mutants.iter().any(is_caught)).count();
    let times = caught.iter().map(|name| trials[*name].time).collect();
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    for broken in caught.iter().filter_map(|name| trials[*name].caught.as_ref()) {
        *by.entry(&broken.promise).or_default() += 1;
    }
    let mut by: Vec<(&str, usize)> = by.into_iter().collect();
    by.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let by: Vec<String> = by.into_iter().map(|(promise, count)| format!("{count} by {promise}")).collect();
    format!(
        "{} of {} mutants caught by the simulator, {noticed} by tests of their crates, {} by nobody; \
         of {whole} of {} bugs at least one by the simulator; median {:.2} core seconds; all in {}\n{}",
        caught.len(),
        names.len(),
        names.len() - caught.len() - noticed,
        with.len(),
        median(times).as_secs_f64(),
        console::seconds(elapsed),
        by.join(", "),
    )
}

/// Returns the promises that caught no mutant: nothing shows that they can.
pub(super) fn idle<'a>(promises: &'a [String], trials: &Trials) -> Vec<&'a str> {
    let has_caught = |promise: &String| {
        trials.values().any(|trial| trial.caught.as_ref().is_some_and(|broken| broken.promise == *promise))
    };
    promises.iter().filter(|promise| !has_caught(promise)).map(String::as_str).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::simulation::run_report::Broken;

    fn bugs() -> Vec<Bug> {
        let text = "\
an early vote
    raft-core/vote-first
    raft-log/vote-lost
    raft-log/vote-kept
a watch that skips
    not yet: there are none
disk full
    raft-log/error-swallowed
";
        super::super::catalogue::read(text).expect("it is well-formed").bugs
    }

    fn results() -> Trials {
        let trial = |promise: Option<&str>, ms: u64| Trial {
            caught: promise.map(|it| Broken { promise: it.to_owned(), what: String::new() }),
            events: ms * 100,
            time: Duration::from_millis(ms),
            seeds: 2,
            ..Trial::default()
        };
        let trials = [
            ("raft-core/vote-first", trial(Some("one-vote"), 30)),
            ("raft-log/vote-lost", trial(None, 10_000)),
            ("raft-log/vote-kept", trial(None, 60_000)),
            ("raft-log/error-swallowed", trial(Some("recovery"), 1_500)),
        ];
        trials.into_iter().map(|(name, trial)| (name.to_owned(), trial)).collect()
    }

    fn tests() -> ByTests {
        let caught = Some(("rot".to_owned(), "a test fails".to_owned()));
        ByTests::from([("raft-log/vote-lost".to_owned(), Verdict { time: Duration::ZERO, caught })])
    }

    #[test]
    fn mutants_stand_below_their_bugs() {
        let expected = [
            "  mutant                              by                 events  core s   seeds",
            "an early vote",
            "  raft-core/vote-first      caught    one-vote             3000    0.03       2",
            "  raft-log/vote-lost        by tests  raft-log: rot     1000000   10.00       2  no effect in 0 seeds",
            "  raft-log/vote-kept        LIVES                       6000000   60.00       2  no effect in 0 seeds",
            "a watch that skips",
            "  (none: there are none)",
            "disk full",
            "  raft-log/error-swallowed  caught    recovery           150000    1.50       2",
        ];
        assert_eq!(
            trials(&bugs(), &Excuses::new(), &results(), &tests(), Some(&Trial::default())),
            expected.join("\n")
        );
    }

    #[test]
    fn the_score_counts_mutants_and_bugs() {
        assert_eq!(
            score(&bugs(), &results(), &tests(), Duration::from_secs(90)),
            "2 of 4 mutants caught by the simulator, 1 by tests of their crates, 1 by nobody; of 2 of 2 bugs at least \
             one by the simulator; median 1.50 core seconds; all in 90.0 s\n1 by one-vote, 1 by recovery"
        );
    }

    #[test]
    fn a_promise_that_caught_none_is_reported() {
        let promises = ["lease", "one-vote", "recovery"].map(str::to_owned);
        assert_eq!(idle(&promises, &results()), ["lease"]);
    }

    #[test]
    fn the_list_has_a_line_for_each() {
        assert_eq!(
            list(&bugs(), &Excuses::new()),
            "an early vote\n  raft-core/vote-first\n  raft-log/vote-lost\n  raft-log/vote-kept\na watch that skips\n  none: there are none\n\
             disk full\n  raft-log/error-swallowed"
        );
    }
}
