//! Tests whether each promise is needed: tries the mutants that it caught again, with the promise left out.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Trials;
use super::run_report::{CRASH, STUCK};
use super::trial::{Simulator, Trial};
use crate::console;
use crate::mutants::{pool, print};
use crate::workspace::Failure;

/// Number of mutants that are tried without each promise: those that the promise caught soonest.
const MUTANTS_MAX: usize = 2;
/// Maximum processor time of each of these trials.
const LIMIT: Duration = Duration::from_secs(20);

/// Tries these mutants, and prints which of them live while the promise that caught them is not checked.
///
/// # Errors
/// The simulator cannot be run.
pub(super) fn run(simulator: &Simulator, trials: &Trials, jobs: usize) -> Result<(), Failure> {
    let again = sample(trials);
    let of = |(promise, mutant): &(String, String)| without(simulator, promise).trial(mutant);
    let shown = |(promise, mutant): &(String, String), trial: &Trial| {
        format!("{mutant} without {promise}: {}", trial.shown())
    };
    let results = pool::each(&again, jobs, of, shown)?;
    print(&format!("\n{}", report(&again, &results)))
}

/// Returns pairs of a promise and a mutant: for each promise, the mutants that it caught soonest.
fn sample(trials: &Trials) -> Vec<(String, String)> {
    let mut caught: BTreeMap<&str, Vec<(Duration, &String)>> = BTreeMap::new();
    for (name, trial) in trials {
        if let Some(broken) =
            trial.caught.as_ref().filter(|it| ![CRASH, STUCK].contains(&it.promise.as_str()))
        {
            caught.entry(&broken.promise).or_default().push((trial.time, name));
        }
    }
    let quickest = |(promise, mut all): (&str, Vec<(Duration, &String)>)| {
        all.sort_unstable();
        all.truncate(MUTANTS_MAX);
        all.into_iter().map(|(_, name)| (promise.to_owned(), name.clone())).collect::<Vec<_>>()
    };
    caught.into_iter().flat_map(quickest).collect()
}

fn without(simulator: &Simulator, promise: &str) -> Simulator {
    let mut blind = simulator.clone();
    blind.args.extend(["--without".to_owned(), promise.to_owned()]);
    blind.limit = blind.limit.min(LIMIT);
    blind
}

fn report(again: &[(String, String)], results: &[Trial]) -> String {
    let row = |((promise, mutant), trial): (&(String, String), &Trial)| {
        let instead = match &trial.caught {
            Some(broken) => format!("seen by {} instead", broken.promise),
            None => "LIVES: only this promise sees it".to_owned(),
        };
        vec![promise.clone(), mutant.clone(), format!("{:>6.2}", trial.time.as_secs_f64()), instead]
    };
    let rows: Vec<Vec<String>> = again.iter().zip(results).map(row).collect();
    let alone = results.iter().filter(|trial| trial.caught.is_none()).count();
    let table = console::table(&["without", "mutant", "core s", ""], &rows);
    format!("{table}\n{alone} of {} live without the promise that caught them", results.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::simulation::run_report::Broken;

    fn caught(promise: &str, ms: u64) -> Trial {
        let broken = Broken { promise: promise.to_owned(), what: String::new() };
        Trial { caught: Some(broken), time: Duration::from_millis(ms), ..Trial::default() }
    }

    #[test]
    fn each_promise_loses_the_mutants_that_it_caught_soonest() {
        let trials = [
            ("a", caught("lease", 30)),
            ("b", caught("lease", 10)),
            ("c", caught("lease", 20)),
            ("d", Trial::default()),
            ("e", caught(STUCK, 5)),
            ("f", caught("one-vote", 40)),
        ];
        let trials = trials.into_iter().map(|(name, trial)| (name.to_owned(), trial)).collect();
        let pairs = [("lease", "b"), ("lease", "c"), ("one-vote", "f")];
        assert_eq!(sample(&trials), pairs.map(|(promise, name)| (promise.to_owned(), name.to_owned())));
    }

    #[test]
    fn what_lives_without_a_promise_is_told_from_what_another_sees() {
        let again = [("lease", "a"), ("lease", "b")];
        let again = again.map(|(promise, name)| (promise.to_owned(), name.to_owned()));
        let said = report(&again, &[Trial::default(), caught("fresh-read", 500)]);
        let expected = [
            "without  mutant  core s",
            "lease    a         0.00  LIVES: only this promise sees it",
            "lease    b         0.50  seen by fresh-read instead",
            "1 of 2 live without the promise that caught them",
        ];
        assert_eq!(said, expected.join("\n"));
    }
}
