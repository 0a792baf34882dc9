//! Tries one mutant: runs the stages of a test suite, the quick ones first, until one fails.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::console;
use crate::mutants::log_file;
use crate::mutants::read::{self, TestBinary};
use crate::mutants::weaving::{Mutant, UNIT};
use crate::workspace::Failure;

/// The environment variable that switches a mutant on.
pub(super) const VARIABLE: &str = "RAFTKIT_MUTANT";
/// A stage counts as hanging, and is stopped, after this time plus [`LIMIT_FACTOR`] times what it takes without a mutant.
const LIMIT: Duration = Duration::from_secs(10);
const LIMIT_FACTOR: u32 = 8;
/// Longest time that a stage may take without a mutant.
const SOUND_LIMIT: Duration = Duration::from_secs(180);
/// Time between two checks whether a test binary has ended.
const POLL: Duration = Duration::from_millis(10);
/// Numbers of seeds of the simulation's stages. Most bugs need few seeds.
const SEEDS: [&str; 3] = ["50", "400", "1500"];

/// A run of one test binary.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) name: String,
    /// The test target's name in the text files of mutants.
    target: String,
    binary: std::path::PathBuf,
    seeds: Option<&'static str>,
    /// Duration without a mutant; `None` before it is measured.
    pub(super) sound_time: Option<Duration>,
}

/// Result of a stage.
#[derive(Debug)]
pub(super) struct End {
    pub(super) time: Duration,
    /// The failure in one line; `None` if every test passed.
    pub(super) failed: Option<String>,
}

/// Result of a trial: whether some test notices the mutant.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) time: Duration,
    /// The stage that failed, and its failure in one line; `None` if the mutant lives.
    pub(super) caught: Option<(String, String)>,
}

impl Verdict {
    /// Returns the line that reports the trial while others still run.
    pub(super) fn shown(&self) -> String {
        match &self.caught {
            Some((stage, words)) => format!("caught by {stage} in {}: {words}", console::seconds(self.time)),
            None => format!("LIVES after {}", console::seconds(self.time)),
        }
    }

    /// Returns the mutant's row of the final table.
    pub(super) fn row(&self, mutant: &Mutant) -> Vec<String> {
        let seconds = format!("{:.1}", self.time.as_secs_f64());
        let [state, stage, words] = match &self.caught {
            Some((stage, words)) => ["caught", stage, words],
            None => ["LIVES", "", &mutant.wrong],
        };
        vec![mutant.short().to_owned(), state.to_owned(), seconds, stage.to_owned(), words.to_owned()]
    }
}

/// Returns the stages of these test binaries: the unit tests, then the other tests by name.
pub(super) fn stages(binaries: &[TestBinary]) -> Vec<Stage> {
    let mut sorted: Vec<&TestBinary> = binaries.iter().collect();
    sorted.sort_by_key(|binary| (!binary.is_unit, binary.name.clone()));
    let stage = |binary: &TestBinary, name: String, seeds| Stage {
        name,
        target: if binary.is_unit { UNIT.to_owned() } else { binary.name.clone() },
        binary: binary.path.clone(),
        seeds,
        sound_time: None,
    };
    let of = |binary: &TestBinary| match (binary.is_unit, binary.name.as_str()) {
        (true, _) => vec![stage(binary, UNIT.to_owned(), None)],
        (false, "simulation") => {
            SEEDS.iter().map(|seeds| stage(binary, format!("simulation of {seeds}"), Some(*seeds))).collect()
        }
        (false, name) => vec![stage(binary, name.to_owned(), None)],
    };
    sorted.into_iter().flat_map(of).collect()
}

/// Sorts the stages by their duration without a mutant. Durations that differ by less than a factor of four count as equal,
/// so that a mutant is caught by the same stage in every run.
pub(super) fn quick_ones_first(stages: &mut [Stage]) {
    stages.sort_by_key(|stage| stage.sound_time.map(|time| time.as_millis().max(1).ilog2() / 2));
}

/// Returns a command that runs a test binary with the mutant `<crate>/<name>` switched on.
pub(super) fn command(binary: &Path, mutant: Option<&str>) -> Command {
    let mut command = Command::new(binary);
    command.env(VARIABLE, mutant.unwrap_or_default());
    // What proptest finds with a mutant is no regression to keep, and need not be made small.
    command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true").env("PROPTEST_MAX_SHRINK_ITERS", "200");
    command.env("RUST_BACKTRACE", "0");
    for name in ["SEED", "FIRST_SEED", "MINUTES", "NODES", "JOBS", "REWRITE"] {
        command.env_remove(name);
    }
    command
}

/// Returns the stages of these test targets, in the order of the targets; all stages if `tests` is empty.
fn chosen<'s>(stages: &'s [Stage], tests: &[String]) -> Vec<&'s Stage> {
    if tests.is_empty() {
        return stages.iter().collect();
    }
    tests.iter().flat_map(|test| stages.iter().filter(move |stage| stage.target == *test)).collect()
}

/// Runs the stages of these test targets until one fails; all stages if `tests` is empty.
pub(super) fn of(mutant: &str, tests: &[String], stages: &[Stage], logs: &Path) -> Result<Verdict, Failure> {
    let mut time = Duration::ZERO;
    for stage in chosen(stages, tests) {
        let end = run(stage, Some(mutant), logs)?;
        time += end.time;
        if let Some(words) = end.failed {
            return Ok(Verdict { time, caught: Some((stage.name.clone(), words)) });
        }
    }
    Ok(Verdict { time, caught: None })
}

/// Runs one stage, with its output in a file.
pub(super) fn run(stage: &Stage, mutant: Option<&str>, logs: &Path) -> Result<End, Failure> {
    let path = log_file(logs, mutant, &stage.name);
    let log = File::create(&path).map_err(Failure::of(format!("cannot write {}", path.display())))?;
    let twin = log.try_clone().map_err(Failure::of("cannot share a file"))?;
    let mut command = command(&stage.binary, mutant);
    command.envs(stage.seeds.map(|seeds| ("SEEDS", seeds)));
    command.stdin(Stdio::null()).stdout(log).stderr(twin);
    let (start, limit) = (Instant::now(), limit(stage.sound_time));
    let mut child = command.spawn().map_err(Failure::of(format!("cannot run {}", stage.name)))?;
    let status = loop {
        match child.try_wait().map_err(Failure::of("cannot wait for a test"))? {
            Some(status) => break Some(status),
            None if start.elapsed() > limit => {
                child.kill().map_err(Failure::of("cannot stop a test"))?;
                child.wait().map_err(Failure::of("cannot wait for a test"))?;
                break None;
            }
            None => thread::sleep(POLL),
        }
    };
    let time = start.elapsed();
    let failed = match status {
        Some(status) if status.success() => None,
        Some(status) => {
            let printed = fs::read(&path).map_err(Failure::of(format!("cannot read {}", path.display())))?;
            let words = read::failure(&String::from_utf8_lossy(&printed));
            Some(words.unwrap_or_else(|| format!("ended with {status}")))
        }
        None => Some(format!("does not end within {}", console::seconds(limit))),
    };
    Ok(End { time, failed })
}

/// Returns the longest time that a stage may take.
fn limit(sound_time: Option<Duration>) -> Duration {
    sound_time.map_or(SOUND_LIMIT, |sound_time| LIMIT + sound_time * LIMIT_FACTOR)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LIMIT, Stage, TestBinary, chosen, limit, quick_ones_first, stages};

    #[test]
    fn quick_stages_come_first_and_the_simulation_grows() {
        let binaries: Vec<TestBinary> = ["simulation", "lease", "scenario", "the_crate"]
            .map(|name| TestBinary { name: name.to_owned(), is_unit: name == "the_crate", path: name.into() })
            .into();
        let names = |stages: &[Stage]| stages.iter().map(|stage| stage.name.clone()).collect::<Vec<_>>();
        let mut stages = stages(&binaries);
        let simulations = ["simulation of 50", "simulation of 400", "simulation of 1500"];
        assert_eq!(names(&stages), [&["unit", "lease", "scenario"], &simulations[..]].concat());
        for (stage, ms) in stages.iter_mut().zip([100, 20_000, 90, 500, 3000, 12_000]) {
            stage.sound_time = Some(Duration::from_millis(ms));
        }
        quick_ones_first(&mut stages);
        assert_eq!(names(&stages), [&["unit", "scenario"], &simulations[..], &["lease"]].concat());
    }

    #[test]
    fn a_mutant_that_names_tests_is_tried_with_these_in_its_order() {
        let binaries: Vec<TestBinary> = ["simulation", "lease", "the_crate"]
            .map(|name| TestBinary { name: name.to_owned(), is_unit: name == "the_crate", path: name.into() })
            .into();
        let stages = stages(&binaries);
        let names = |tests: &[&str]| {
            let tests: Vec<String> = tests.iter().map(|&it| it.to_owned()).collect();
            chosen(&stages, &tests).iter().map(|stage| stage.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&["lease", "unit"]), ["lease", "unit"]);
        assert_eq!(names(&["simulation"]).len(), 3);
        assert_eq!(names(&[]).len(), stages.len());
    }

    #[test]
    fn a_slow_stage_is_given_more_time() {
        let [quick, slow] = [10, 20_000].map(|ms| limit(Some(Duration::from_millis(ms))));
        assert!(quick < LIMIT * 2 && slow > Duration::from_secs(100), "{quick:?}, {slow:?}");
    }
}
