//! Tries the bugs that real systems had in the simulator: which promise notices each bug, and after how much work.

mod blind;
mod by_tests;
mod catalogue;
mod run_report;
mod table;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use self::by_tests::ByTests;
use self::catalogue::{Catalogue, Excuses};
use self::trial::{Simulator, Trial, Unsound};
use super::trial::Verdict;
use super::weaving::{self, Mutant};
use super::{pool, print};
use crate::console::complain;
use crate::flags::MutantsFlags;
use crate::simulate;
use crate::workspace::{self, Failure};

/// First seed of every mutant. All mutants get the same seeds, so that the table can be reproduced.
const FIRST_SEED: u64 = 1;
/// Processor time for each mutant, in seconds.
const SECONDS: u64 = 60;
/// Processor time for each mutant that is known to live, in seconds: enough to see whether it still does.
const SECONDS_OF_EXCUSED: u64 = 10;
/// Results by name of the mutant.
type Trials = BTreeMap<String, Trial>;

/// Builds the simulator with the mutants in it, tries each of them, and prints the table.
///
/// # Errors
/// The simulator does not build or does not know a mutant, a promise is broken without a mutant, or a mutant lives that has
/// no excuse.
pub(super) fn run(flags: &MutantsFlags) -> Result<(), Failure> {
    let Catalogue { bugs, excuses, .. } = catalogue()?;
    let bugs = catalogue::choose(bugs, &flags.only)
        .map_err(|unknown| Failure::new(format!("no mutant is called {unknown}; --list shows all")))?;
    if flags.list {
        return print(&table::list(&bugs, &excuses));
    }
    let binary = build()?;
    let without = flags.without.iter().flat_map(|promise| ["--without", promise]);
    let simulator = Simulator {
        binary,
        args: ["--with-parent", "--terse", "--digests", "--jobs", "1"]
            .into_iter()
            .chain(without)
            .map(str::to_owned)
            .collect(),
        logs: super::logs()?,
        first_seed: flags.first_seed.unwrap_or(FIRST_SEED),
        limit: Duration::from_secs(flags.seconds.unwrap_or(SECONDS)),
    };
    let jobs = flags.jobs.map_or_else(cores, usize::from);
    let start = Instant::now();
    let mutants: Vec<&String> = bugs.iter().flat_map(|bug| &bug.mutants).collect();
    let trials = try_all(&simulator, &mutants, &excuses, jobs)?;
    let tests = by_tests::of(&trials, &excuses)?;
    let sound = if trials.iter().all(|(name, trial)| trial.caught.is_some() || tests.contains_key(name)) {
        None
    } else {
        complain("some live: the same seeds without a mutant show where it had an effect");
        Some(simulator.sound()?)
    };
    print(&table::trials(&bugs, &excuses, &trials, &tests, sound.as_ref()))?;
    print(&format!("\n{}", table::score(&bugs, &trials, &tests, start.elapsed())))?;
    if flags.only.is_empty() {
        let promises = promises(&simulator.binary)?;
        print(&format!("none by {}", table::idle(&promises, &trials).join(", ")))?;
    }
    let blind = if flags.blind { blind::run(&simulator, &trials, jobs) } else { Ok(()) };
    judge(&trials, &tests, &excuses, &simulator).and(blind)
}

/// Tries a few mutants that are caught quickly: a step of the gate.
pub(super) fn in_gate() -> Result<(), Failure> {
    run(&MutantsFlags {
        krate: super::SIMULATION.to_owned(),
        only: catalogue()?.in_gate,
        ..MutantsFlags::default()
    })
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Builds the simulator with the profile of tests: a release build refuses mutants, and an optimized one runs no more
/// events a second.
fn build() -> Result<PathBuf, Failure> {
    complain("building raft-sim with the mutants of all crates");
    let mut cargo = super::cargo()?;
    cargo.args(["build", "--quiet", "--package", "raftkit-sim", "--bin", "raft-sim"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let said = workspace::output_of(cargo)?;
    said.lines()
        .find_map(|line| simulate::binary_in(line, "raft-sim"))
        .ok_or_else(|| Failure::new("cargo built raft-sim and did not say where it is"))
}

fn catalogue() -> Result<Catalogue, Failure> {
    catalogue::read(&weaving::simulated()?).map_err(Failure::of("mutation/simulated.txt"))
}

/// Returns one line for each mistake in the list of bugs. `known` are all mutants.
///
/// # Errors
/// The list cannot be read.
pub(super) fn problems(known: &[Mutant]) -> Result<Vec<String>, Failure> {
    let list = match catalogue::read(&weaving::simulated()?) {
        Ok(list) => list,
        Err(words) => return Ok(vec![format!("mutation/simulated.txt: {words}")]),
    };
    let is_known = |name: &str| known.iter().any(|it| it.name == name);
    let mutants = list.bugs.iter().flat_map(|bug| &bug.mutants);
    let unknown = mutants.filter(|name| !is_known(name));
    Ok(unknown.map(|name| format!("mutation/simulated.txt: {name} is no mutant")).collect())
}

/// Returns the names of all promises that the simulator checks.
fn promises(binary: &Path) -> Result<Vec<String>, Failure> {
    let mut command = Command::new(binary);
    command.arg("--list-promises");
    let words = |line: &str| line.split_whitespace().next().map(str::to_owned);
    Ok(workspace::output_of(command)?.lines().filter_map(words).collect())
}

fn try_all(
    simulator: &Simulator,
    mutants: &[&String],
    excuses: &Excuses,
    jobs: usize,
) -> Result<Trials, Failure> {
    let excused = Simulator {
        limit: simulator.limit.min(Duration::from_secs(SECONDS_OF_EXCUSED)),
        ..simulator.clone()
    };
    let of = |mutant: &&String| {
        let simulator = if excuses.contains_key(*mutant) { &excused } else { simulator };
        simulator.trial(mutant)
    };
    let shown = |mutant: &&String, trial: &Trial| format!("{mutant}: {}", trial.shown());
    let trials = pool::each(mutants, jobs, of, shown)?;
    Ok(mutants.iter().map(|&mutant| mutant.clone()).zip(trials).collect())
}

/// Fails if a mutant without an excuse lives, if one with an excuse is caught or is not noticed by the tests of its crate,
/// or if a promise is broken without a mutant.
fn judge(trials: &Trials, tests: &ByTests, excuses: &Excuses, simulator: &Simulator) -> Result<(), Failure> {
    let lives = |(name, trial): &(&String, &Trial)| trial.caught.is_none() && !excuses.contains_key(*name);
    let alive: Vec<&str> = trials.iter().filter(lives).map(|(name, _)| name.as_str()).collect();
    let unsound: BTreeSet<&Unsound> = trials.values().flat_map(|trial| &trial.unsound).collect();
    let mut wrong = Vec::new();
    if !alive.is_empty() {
        let logs = simulator.logs.display();
        wrong.push(format!("no promise notices {}; what was said is in {logs}", alive.join(", ")));
    }
    let is_stale = |(name, trial): &(&String, &Trial)| trial.caught.is_some() && excuses.contains_key(*name);
    wrong.extend(
        trials.iter().filter(is_stale).map(|(name, _)| format!("{name} is caught, and needs no excuse")),
    );
    let is_unnoticed = |(_, verdict): &(&String, &Verdict)| verdict.caught.is_none();
    wrong.extend(
        tests
            .iter()
            .filter(is_unnoticed)
            .map(|(name, _)| format!("{name} is excused, and no test of its crate notices it")),
    );
    wrong.extend(unsound.iter().map(|it| {
        let Unsound { seed, promise, what } = it;
        format!("seed {seed} breaks {promise} without a mutant, and says nothing about them: {what}")
    }));
    if wrong.is_empty() { Ok(()) } else { Err(Failure::new(wrong.join("\n"))) }
}

#[cfg(test)]
mod tests {
    use super::trial::Unsound;
    use super::*;
    use crate::mutants::simulation::run_report::Broken;

    const EXCUSED: &str = "raft-net/unseen";

    fn judged(trials: &[(&str, Trial)]) -> Option<String> {
        judged_with(trials, &ByTests::new())
    }

    fn judged_with(trials: &[(&str, Trial)], tests: &ByTests) -> Option<String> {
        let simulator = Simulator {
            binary: PathBuf::new(),
            args: Vec::new(),
            logs: "logs".into(),
            first_seed: 1,
            limit: Duration::ZERO,
        };
        let trials = trials.iter().map(|(name, trial)| ((*name).to_owned(), trial.clone())).collect();
        let excuses = Excuses::from([(EXCUSED.to_owned(), "nobody looks there".to_owned())]);
        judge(&trials, tests, &excuses, &simulator).err().map(|failure| failure.to_string())
    }

    fn caught() -> Trial {
        let broken = Broken { promise: "lease".to_owned(), what: "two".to_owned() };
        Trial { caught: Some(broken), ..Trial::default() }
    }

    #[test]
    fn a_mutant_that_lives_fails_the_run() {
        assert_eq!(judged(&[("raft-core/a", caught())]), None);
        let said = judged(&[("raft-core/a", caught()), ("raft-core/b", Trial::default())]);
        assert_eq!(said.as_deref(), Some("no promise notices raft-core/b; what was said is in logs"));
    }

    #[test]
    fn an_excuse_holds_as_long_as_it_is_needed() {
        assert_eq!(judged(&[(EXCUSED, Trial::default())]), None);
        assert_eq!(judged(&[(EXCUSED, caught())]), Some(format!("{EXCUSED} is caught, and needs no excuse")));
    }

    #[test]
    fn an_excused_mutant_that_no_test_notices_fails_the_run() {
        let with = |caught: Option<(String, String)>| {
            let verdict = Verdict { time: Duration::ZERO, caught };
            judged_with(&[(EXCUSED, Trial::default())], &ByTests::from([(EXCUSED.to_owned(), verdict)]))
        };
        assert_eq!(with(Some(("writer".to_owned(), "it fails".to_owned()))), None);
        assert_eq!(with(None), Some(format!("{EXCUSED} is excused, and no test of its crate notices it")));
    }

    #[test]
    fn a_seed_that_fails_without_a_mutant_fails_the_run_once() {
        let seed = Unsound { seed: 7, promise: "lease".to_owned(), what: "two".to_owned() };
        let trial = Trial { unsound: vec![seed], ..caught() };
        let said = judged(&[("raft-core/a", trial.clone()), ("raft-core/b", trial)]).expect("it fails");
        assert_eq!(said.lines().count(), 1);
        assert!(said.starts_with("seed 7 breaks lease without a mutant"), "{said}");
    }
}
