//! `cargo xtask mutants`: tests whether the simulator, or the test suite of a crate, notices known bugs. These bugs, the
//! mutants, are text files in `mutation/`. A copy of the workspace in `target/mutants` has all of them woven in behind a
//! switch. It is built once and run once for each mutant, with that mutant switched on. The workspace itself has no mutant.

mod pool;
mod read;
mod simulation;
mod trial;
mod weaving;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::console::{self, complain, say};
use crate::flags::MutantsFlags;
use crate::mutants::read::TestBinary;
use crate::mutants::trial::{End, Stage, Verdict};
use crate::mutants::weaving::{Mutant, UNIT};
use crate::workspace::{self, Failure};

/// The crate of the simulator. It has no mutants: its program is run with the mutants of the other crates.
const SIMULATION: &str = "raft-sim";
/// Crates whose mutants take so long that each is a step of the gate of its own.
const LARGE: &[&str] = &["raft-core", "raft-log"];
/// The other crates whose mutants the gate tries, in one step. True for those that are built without their default
/// features, because these take minutes to build.
const OTHERS: &[(&str, bool)] =
    &[("raft-snapshot", false), ("raft-replica", false), ("raft-kv", false), ("raft-net", true)];
/// The crates whose mutants are no step of the gate, because building them takes minutes.
const ALONE: &[&str] = &["raft-node"];
/// Number of trials that run at the same time.
const AT_A_TIME: usize = 2;

/// Tries the mutants of whole nodes in the simulator, or those of one crate with its tests.
///
/// # Errors
/// The crate has no mutants or does not build, a flag or the name of a mutant does not fit it, or a mutant lives.
pub(crate) fn run(flags: &MutantsFlags) -> Result<(), Failure> {
    let is_simulation = flags.krate == SIMULATION;
    let others = OTHERS.iter().map(|(krate, _)| krate);
    let known: Vec<&str> = LARGE.iter().chain(others).chain(ALONE).copied().collect();
    if !is_simulation && !known.contains(&flags.krate.as_str()) {
        let known = known.join(", ");
        return Err(Failure::new(format!(
            "{} has no mutants; --crate takes {SIMULATION}, {known}",
            flags.krate
        )));
    }
    if let Some((flag, krate)) = flags.misplaced(is_simulation) {
        return Err(Failure::new(format!("{flag} is for {krate}, and not for {}", flags.krate)));
    }
    if is_simulation { simulation::run(flags) } else { run_suite(flags) }
}

/// Builds the tests of a crate, checks that they pass without a mutant, and tries each mutant.
fn run_suite(flags: &MutantsFlags) -> Result<(), Failure> {
    let mutants = choose(catalogue(flags)?, &flags.only)?;
    if flags.list {
        let row = |it: &Mutant| vec![it.short().to_owned(), it.source.clone(), it.wrong.clone()];
        let rows: Vec<Vec<String>> = mutants.iter().map(row).collect();
        return print(&console::table(&["mutant", "source", "what it does wrong"], &rows));
    }
    let suite = Suite::of(&flags.krate, &build(flags, &wanted_tests(&mutants))?)?;
    let start = Instant::now();
    let verdicts = try_all(&suite, &mutants)?;
    report(&mutants, &verdicts, start.elapsed(), &suite)
}

/// Returns the folder of the copy with the mutants, its build, and the output of its tests.
fn target() -> PathBuf {
    workspace::root().join("target/mutants")
}

/// The tests of a crate, built with its mutants and checked to pass while none is switched on.
struct Suite {
    krate: String,
    stages: Vec<Stage>,
    logs: PathBuf,
}

impl Suite {
    /// Builds the tests of a crate with the features that the gate uses, and checks them.
    ///
    /// # Errors
    /// The tests do not build, or fail without a mutant.
    fn built(krate: &str) -> Result<Self, Failure> {
        let no_default_features = OTHERS.contains(&(krate, true));
        let flags = MutantsFlags { krate: krate.to_owned(), no_default_features, ..MutantsFlags::default() };
        Self::of(krate, &build(&flags, &[])?)
    }

    fn of(krate: &str, binaries: &[TestBinary]) -> Result<Self, Failure> {
        let logs = logs()?;
        let mut stages = trial::stages(binaries);
        check_sound(&mut stages, &logs)?;
        trial::quick_ones_first(&mut stages);
        Ok(Self { krate: krate.to_owned(), stages, logs })
    }

    /// Tries the mutant `<crate>/<name>` with these test targets; with all of them if `tests` is empty.
    ///
    /// # Errors
    /// A test cannot be run.
    fn verdict(&self, mutant: &str, tests: &[String]) -> Result<Verdict, Failure> {
        trial::of(mutant, tests, &self.stages, &self.logs)
    }
}

fn logs() -> Result<PathBuf, Failure> {
    let logs = target().join("logs");
    std::fs::create_dir_all(&logs).map_err(Failure::of("cannot make a folder for logs"))?;
    Ok(logs)
}

/// Tries a few mutants in the simulator: a step of the gate.
pub(crate) fn of_simulation() -> Result<(), Failure> {
    simulation::in_gate()
}

/// Tries all mutants of raft-core: a step of the gate.
pub(crate) fn of_core() -> Result<(), Failure> {
    run_all("raft-core", false)
}

/// Tries all mutants of raft-log: a step of the gate.
pub(crate) fn of_log() -> Result<(), Failure> {
    run_all("raft-log", false)
}

/// Tries all mutants of the other crates: a step of the gate. All crates are tried, even after one has failed.
pub(crate) fn of_others() -> Result<(), Failure> {
    let run = |&(krate, no_default_features): &(&str, bool)| run_all(krate, no_default_features);
    let failed: Vec<String> =
        OTHERS.iter().filter_map(|other| run(other).err()).map(|failure| failure.to_string()).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(failed.join("\n"))) }
}

fn run_all(krate: &str, no_default_features: bool) -> Result<(), Failure> {
    run_suite(&MutantsFlags { krate: krate.to_owned(), no_default_features, ..MutantsFlags::default() })
}

fn print(text: &str) -> Result<(), Failure> {
    say(text).map_err(Failure::of("cannot print"))
}

/// Returns the test targets that these mutants name; an empty list, for all targets, if one of the mutants names none.
fn wanted_tests(mutants: &[Mutant]) -> Vec<String> {
    if mutants.iter().any(|mutant| mutant.tests.is_empty()) {
        return Vec::new();
    }
    let names: BTreeSet<&String> = mutants.iter().flat_map(|mutant| &mutant.tests).collect();
    names.into_iter().cloned().collect()
}

/// Builds these test targets of the crate with its mutants; all targets if `tests` is empty.
fn build(flags: &MutantsFlags, tests: &[String]) -> Result<Vec<TestBinary>, Failure> {
    let krate = &flags.krate;
    let package = format!("raftkit-{}", krate.strip_prefix("raft-").unwrap_or(krate));
    complain(&format!("building the tests of {package} with its mutants"));
    let mut cargo = cargo()?;
    cargo.args([
        "test",
        "--no-run",
        "--quiet",
        "--message-format=json-render-diagnostics",
        "--package",
        &package,
    ]);
    cargo.args(flags.no_default_features.then_some("--no-default-features"));
    for test in tests {
        if test == UNIT {
            cargo.arg("--lib")
        } else {
            cargo.args(["--test", test])
        };
    }
    let binaries = read::test_binaries(&workspace::output_of(cargo)?);
    if binaries.is_empty() {
        return Err(Failure::new(format!("{package} has no tests")));
    }
    Ok(binaries)
}

/// Returns a cargo command that builds the copy of the workspace with the mutants, after bringing that copy up to date.
fn cargo() -> Result<Command, Failure> {
    let mut cargo = workspace::cargo();
    cargo.current_dir(weaving::copy(&target())?).env("CARGO_TARGET_DIR", target());
    Ok(cargo)
}

/// Returns one line for each mistake in the text files; a check of `cargo xtask tidy`.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>, Failure> {
    let mut problems = weaving::problems(root)?;
    if problems.is_empty() {
        problems.extend(simulation::problems(&weaving::mutants()?)?);
    }
    Ok(problems)
}

/// Returns the mutants of the crate whose code is in this build.
fn catalogue(flags: &MutantsFlags) -> Result<Vec<Mutant>, Failure> {
    let mut mutants = weaving::mutants()?;
    mutants.retain(|it| it.krate() == flags.krate && !(flags.no_default_features && it.feature.is_some()));
    Ok(mutants)
}

/// Returns the mutants with these names, which may leave out the crate; all mutants if no name is given.
fn choose(mutants: Vec<Mutant>, only: &[String]) -> Result<Vec<Mutant>, Failure> {
    let is = |mutant: &Mutant, wanted: &String| mutant.name == *wanted || mutant.short() == wanted;
    if let Some(unknown) = only.iter().find(|wanted| !mutants.iter().any(|it| is(it, wanted))) {
        return Err(Failure::new(format!("no mutant is called {unknown}; --list shows all")));
    }
    Ok(mutants
        .into_iter()
        .filter(|mutant| only.is_empty() || only.iter().any(|name| is(mutant, name)))
        .collect())
}

/// Checks that each stage passes without a mutant, and records how long it takes, so that later a hang can be told from a
/// slow test. The stages run as many at a time as the trials do, so that their times are comparable.
fn check_sound(stages: &mut [Stage], logs: &Path) -> Result<(), Failure> {
    let of = |stage: &Stage| match trial::run(stage, None, logs)? {
        End { time, failed: None } => Ok(time),
        End { failed: Some(words), .. } => {
            Err(Failure::new(format!("with no mutant {} fails already: {words}", stage.name)))
        }
    };
    let shown = |stage: &Stage, time: &Duration| {
        format!("no mutant: {} passes in {}", stage.name, console::seconds(*time))
    };
    let times = pool::each(stages, AT_A_TIME, of, shown)?;
    for (stage, time) in stages.iter_mut().zip(times) {
        stage.sound_time = Some(time);
    }
    Ok(())
}

/// Tries the mutants, [`AT_A_TIME`] at a time, and returns the verdicts in the order of the mutants.
fn try_all(suite: &Suite, mutants: &[Mutant]) -> Result<Vec<Verdict>, Failure> {
    let of = |mutant: &Mutant| suite.verdict(&mutant.name, &mutant.tests);
    let shown = |mutant: &Mutant, verdict: &Verdict| format!("{}: {}", mutant.short(), verdict.shown());
    pool::each(mutants, AT_A_TIME, of, shown)
}

/// Prints a table of the verdicts and the score.
fn report(mutants: &[Mutant], verdicts: &[Verdict], time: Duration, suite: &Suite) -> Result<(), Failure> {
    let rows: Vec<Vec<String>> =
        mutants.iter().zip(verdicts).map(|(mutant, verdict)| verdict.row(mutant)).collect();
    print(&console::table(&["mutant", "", "seconds", "by", "with"], &rows))?;
    let caught = verdicts.iter().filter(|verdict| verdict.caught.is_some()).count();
    let score = format!("{}: {caught} of {} caught", suite.krate, mutants.len());
    print(&format!("{score} in {}; median {}", console::seconds(time), console::seconds(median(verdicts))))?;
    let alive: Vec<&str> = mutants
        .iter()
        .zip(verdicts)
        .filter(|(_, verdict)| verdict.caught.is_none())
        .map(|(mutant, _)| mutant.short())
        .collect();
    if alive.is_empty() {
        return Ok(());
    }
    let what = format!("no test notices {}", alive.join(", "));
    Err(Failure::new(format!("{what}; what the tests said is in {}", suite.logs.display())))
}

/// Returns the median duration of a trial.
fn median(verdicts: &[Verdict]) -> Duration {
    let mut times: Vec<Duration> = verdicts.iter().map(|verdict| verdict.time).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Returns the path of the file for the output of a stage.
fn log_file(logs: &Path, mutant: Option<&str>, stage: &str) -> PathBuf {
    let mutant = mutant.unwrap_or("none").replace('/', ".");
    logs.join(format!("{mutant}.{}.txt", stage.replace(' ', "_")))
}

#[cfg(test)]
mod tests {
    use super::{Mutant, choose, run, wanted_tests};
    use crate::flags::MutantsFlags;

    #[test]
    fn a_mutant_is_chosen_by_name_and_an_unknown_one_is_refused() {
        let all = || {
            ["raft-log/a-b", "raft-log/c"].map(|name| Mutant { name: name.to_owned(), ..Mutant::default() })
        };
        let chosen = |only: &[&str]| {
            let only: Vec<String> = only.iter().map(|&it| it.to_owned()).collect();
            choose(all().into(), &only)
                .ok()
                .map(|them| them.iter().map(|it| it.short().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(chosen(&[]), Some(vec!["a-b".to_owned(), "c".to_owned()]));
        assert_eq!(chosen(&["raft-log/c"]), Some(vec!["c".to_owned()]));
        assert_eq!(chosen(&["c", "a-b"]), Some(vec!["a-b".to_owned(), "c".to_owned()]));
        assert_eq!(chosen(&["a"]), None);
    }

    #[test]
    fn tests_are_built_that_some_mutant_names_or_all() {
        let naming = |tests: &[&str]| Mutant {
            tests: tests.iter().map(|&it| it.to_owned()).collect(),
            ..Mutant::default()
        };
        assert_eq!(wanted_tests(&[naming(&["unit", "b"]), naming(&["a", "b"])]), ["a", "b", "unit"]);
        assert!(wanted_tests(&[naming(&["a"]), naming(&[])]).is_empty());
    }

    #[test]
    fn what_means_nothing_is_refused_before_anything_is_built() {
        let said = |krate: &str, flags: MutantsFlags| {
            let flags = MutantsFlags { krate: krate.to_owned(), ..flags };
            run(&flags).expect_err("it makes no sense").to_string()
        };
        let unknown = said("raft-disk", MutantsFlags::default());
        assert!(
            unknown.starts_with("raft-disk has no mutants; --crate takes raft-sim, raft-core"),
            "{unknown}"
        );
        let blind = MutantsFlags { blind: true, ..MutantsFlags::default() };
        assert_eq!(said("raft-core", blind), "--blind is for raft-sim, and not for raft-core");
        let bare = MutantsFlags { no_default_features: true, ..MutantsFlags::default() };
        assert!(said("raft-sim", bare).starts_with("--no-default-features is for"));
    }
}
