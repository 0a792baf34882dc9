//! Tries mutants in code that the simulator does not run with the tests of their crates: they are excused only if these
//! tests notice them.

use std::collections::BTreeMap;

use super::super::trial::Verdict;
use super::super::{AT_A_TIME, Suite, pool};
use super::Trials;
use super::catalogue::Excuses;
use crate::workspace::Failure;

/// The verdict of its crate's tests on each mutant that lived and has an excuse.
pub(super) type ByTests = BTreeMap<String, Verdict>;

/// Builds the tests of the crates that have such mutants, and tries these mutants.
///
/// # Errors
/// The tests do not build, fail without a mutant, or cannot be run.
pub(super) fn of(trials: &Trials, excuses: &Excuses) -> Result<ByTests, Failure> {
    let mut crates: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let lives =
        |(name, trial): &(&String, &super::Trial)| trial.caught.is_none() && excuses.contains_key(*name);
    for (name, _) in trials.iter().filter(lives) {
        if let Some((krate, _)) = name.split_once('/') {
            crates.entry(krate).or_default().push(name);
        }
    }
    let mut tests = ByTests::new();
    for (krate, mutants) in crates {
        let suite = Suite::built(krate)?;
        let shown = |mutant: &&str, verdict: &Verdict| format!("{mutant}: {}", verdict.shown());
        let verdicts = pool::each(&mutants, AT_A_TIME, |mutant| suite.verdict(mutant, &[]), shown)?;
        tests.extend(mutants.iter().map(|&mutant| mutant.to_owned()).zip(verdicts));
    }
    Ok(tests)
}
