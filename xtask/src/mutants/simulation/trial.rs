//! Tries one mutant in the simulator, seed after seed, until a seed breaks a promise that it keeps without the mutant.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::run_report::{self, Broken, CRASH, Digests, End, RunReport};
use crate::console;
use crate::mutants::log_file;
use crate::mutants::trial::VARIABLE;
use crate::workspace::Failure;

/// Time between two checks whether the simulator has ended.
const POLL: Duration = Duration::from_millis(5);
/// The simulator ends by itself after its limit of processor time, or when a seed hangs. On a busy machine this may take
/// long; the simulator is stopped after this time plus [`STOP_FACTOR`] times its limit.
const STOP_AFTER: Duration = Duration::from_secs(90);
const STOP_FACTOR: u32 = 10;
/// Part of the message with which a woven program refuses a mutant that does not exist.
const UNKNOWN: &str = "is no mutant";
/// The exit code of a program that panicked.
const PANICKED: i32 = 101;

/// The simulator, and the settings for all trials.
#[derive(Clone, Debug)]
pub(super) struct Simulator {
    pub(super) binary: PathBuf,
    /// Arguments for every run.
    pub(super) args: Vec<String>,
    /// Folder for the simulator's output.
    pub(super) logs: PathBuf,
    pub(super) first_seed: u64,
    /// Processor time for each mutant.
    pub(super) limit: Duration,
}

/// Result of trying one mutant.
#[derive(Clone, Debug, Default)]
pub(super) struct Trial {
    pub(super) caught: Option<Broken>,
    pub(super) events: u64,
    /// Processor time used.
    pub(super) time: Duration,
    pub(super) seeds: u64,
    /// Seeds that break a promise without a mutant as well, and so say nothing about this one.
    pub(super) unsound: Vec<Unsound>,
    pub(super) digests: Digests,
}

/// A seed that breaks a promise without a mutant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unsound {
    pub(super) seed: u64,
    pub(super) promise: String,
    pub(super) what: String,
}

impl Trial {
    /// Returns the line that reports the trial while others still run.
    pub(super) fn shown(&self) -> String {
        let after = format!("{} and {} seeds", console::seconds(self.time), self.seeds);
        match &self.caught {
            Some(broken) => format!("caught by {} after {after}: {}", broken.promise, broken.what),
            None => format!("LIVES after {after}"),
        }
    }

    fn add(&mut self, report: &RunReport) {
        self.events += report.events;
        self.time += report.time;
        self.seeds += report.seeds;
        self.digests.extend(report.digests.iter().map(|(seed, digest)| (*seed, digest.clone())));
    }

    /// Returns the number of seeds that ran differently in `other`, and the number of seeds that both have.
    pub(super) fn difference(&self, other: &Self) -> (usize, usize) {
        let both = self.digests.iter().filter_map(|(seed, digest)| Some((digest, other.digests.get(seed)?)));
        let differs: Vec<bool> = both.map(|(one, two)| one != two).collect();
        (differs.iter().filter(|it| **it).count(), differs.len())
    }
}

impl Simulator {
    /// Runs the same seeds without a mutant.
    ///
    /// # Errors
    /// The simulator cannot be run, or reports nothing.
    pub(super) fn sound(&self) -> Result<Trial, Failure> {
        self.trial("")
    }

    /// Tries one mutant, `<crate>/<name>`.
    ///
    /// # Errors
    /// The simulator cannot be run, reports nothing, or does not know the mutant.
    pub(super) fn trial(&self, mutant: &str) -> Result<Trial, Failure> {
        let mut trial = Trial::default();
        let mut next = self.first_seed;
        while trial.time < self.limit {
            let report = self.seeds_from(mutant, next, self.limit - trial.time)?;
            trial.add(&report);
            let End::Broken(broken) = report.end else { break };
            if broken.what.contains(UNKNOWN) {
                return Err(Failure::new(format!("{mutant}: {}", broken.what)));
            }
            if report.seeds == 0 {
                // Which seed it was that ended the process is not known.
                trial.caught = Some(broken);
                break;
            }
            let seed = next + report.seeds - 1;
            let Some(unsound) = self.unsound(seed)? else {
                trial.caught = Some(broken);
                break;
            };
            trial.unsound.push(unsound);
            next = seed + 1;
        }
        Ok(trial)
    }

    /// Returns the promise that this seed breaks without a mutant, if any.
    fn unsound(&self, seed: u64) -> Result<Option<Unsound>, Failure> {
        let mut command = self.command("");
        command.args(["--seeds", "1", "--first-seed", &seed.to_string()]);
        match self.run(command, &log_file(&self.logs, None, &format!("seed {seed}")), Duration::ZERO)?.end {
            End::Kept => Ok(None),
            End::Broken(Broken { promise, what }) => Ok(Some(Unsound { seed, promise, what })),
        }
    }

    fn seeds_from(&self, mutant: &str, first: u64, limit: Duration) -> Result<RunReport, Failure> {
        let mut command = self.command(mutant);
        command.args([
            "--first-seed",
            &first.to_string(),
            "--core-seconds",
            &limit.as_secs_f64().to_string(),
        ]);
        self.run(command, &log_file(&self.logs, Some(mutant), "simulation"), limit)
    }

    fn command(&self, mutant: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.env(VARIABLE, mutant).env("RUST_BACKTRACE", "0");
        command.args(&self.args);
        command
    }

    fn run(&self, mut command: Command, log: &Path, limit: Duration) -> Result<RunReport, Failure> {
        let file = File::create(log).map_err(Failure::of(format!("cannot write {}", log.display())))?;
        let twin = file.try_clone().map_err(Failure::of("cannot share a file"))?;
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        let mut child = command.spawn().map_err(Failure::of("cannot run the simulator"))?;
        let (start, stop_after) = (Instant::now(), STOP_AFTER + limit * STOP_FACTOR);
        let status = loop {
            match child.try_wait().map_err(Failure::of("cannot wait for the simulator"))? {
                Some(status) => break status,
                None if start.elapsed() > stop_after => {
                    child.kill().map_err(Failure::of("cannot stop the simulator"))?;
                    break child.wait().map_err(Failure::of("cannot wait for the simulator"))?;
                }
                None => thread::sleep(POLL),
            }
        };
        let printed = fs::read(log).map_err(Failure::of(format!("cannot read {}", log.display())))?;
        let printed = String::from_utf8_lossy(&printed);
        run_report::read(&printed).or_else(|| died(status, start.elapsed())).ok_or_else(|| {
            let said = printed.trim_end();
            Failure::new(format!(
                "{} ended with {status} and reported nothing: {said}",
                self.binary.display()
            ))
        })
    }
}

/// Returns the report for a process that crashed before it could print one.
fn died(status: ExitStatus, time: Duration) -> Option<RunReport> {
    let is_crash = status.signal().is_some() || status.code() == Some(PANICKED);
    let broken = Broken { promise: CRASH.to_owned(), what: format!("the process ended with {status}") };
    is_crash.then_some(RunReport {
        end: End::Broken(broken),
        events: 0,
        time,
        seeds: 0,
        digests: Digests::new(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// A simulator that is a shell script; each test has a folder of its own.
    fn simulator(test: &str, script: &str) -> Simulator {
        let logs = std::env::temp_dir().join(format!("raftkit-{test}-{}", std::process::id()));
        fs::create_dir_all(&logs).expect("a folder");
        let args = ["-c", script].map(str::to_owned).to_vec();
        Simulator { binary: "sh".into(), args, logs, first_seed: 10, limit: Duration::from_secs(9) }
    }

    fn trial(test: &str, script: &str) -> Result<Trial, String> {
        let simulator = simulator(test, script);
        let trial = simulator.trial("raft-core/a").map_err(|failure| failure.to_string());
        fs::remove_dir_all(&simulator.logs).expect("its folder is there");
        trial
    }

    #[test]
    fn seeds_that_ran_otherwise_are_counted_among_those_that_both_have() {
        let ran = |digests: &[(u64, &str)]| Trial {
            digests: digests.iter().map(|(seed, digest)| (*seed, (*digest).to_owned())).collect(),
            ..Trial::default()
        };
        let (mutant, sound) = (ran(&[(1, "a"), (2, "b"), (3, "c")]), ran(&[(1, "a"), (2, "x")]));
        assert_eq!(mutant.difference(&sound), (1, 2));
    }

    fn by(trial: &Trial) -> Option<&str> {
        trial.caught.as_ref().map(|broken| broken.promise.as_str())
    }

    #[test]
    fn what_the_seed_keeps_without_the_mutant_is_a_catch() {
        let script = r#"if [ -n "$RAFTKIT_MUTANT" ]
            then printf 'violation\tone-vote\t50\t1.00\t3\ttwo\n'; exit 1
            else printf 'none\t\t20\t0.10\t1\t\n'; fi"#;
        let trial = trial("catch", script).expect("it runs");
        assert_eq!((by(&trial), trial.events, trial.seeds), (Some("one-vote"), 50, 3));
        assert!(trial.unsound.is_empty());
    }

    #[test]
    fn what_the_seed_breaks_anyway_is_no_catch_and_the_next_seeds_are_tried() {
        let script = r"printf 'violation\tlease\t50\t3.00\t2\ttwo\n'; exit 1";
        let trial = trial("unsound", script).expect("it runs");
        assert_eq!((by(&trial), trial.seeds), (None, 6));
        let seeds: Vec<u64> = trial.unsound.iter().map(|it| it.seed).collect();
        assert_eq!(seeds, [11, 13, 15]);
    }

    #[test]
    fn a_mutant_that_does_not_exist_is_not_caught_by_its_panic() {
        let script = r"printf 'violation\tno-panic\t2\t0.01\t1\ta.rs: raft-core/a is no mutant; known: b\n'";
        let said = trial("unknown", script).expect_err("there is none");
        assert!(said.contains("is no mutant"), "{said}");
    }

    #[test]
    fn a_process_that_crashes_is_a_catch_and_one_that_refuses_is_none() {
        assert_eq!(by(&trial("crash", "kill -ABRT $$").expect("it runs")), Some(CRASH));
        let said = trial("refusal", "echo no such flag; exit 2").expect_err("it refuses");
        assert!(said.ends_with("no such flag"), "{said}");
        assert!(died(ExitStatus::from_raw(0), Duration::ZERO).is_none());
    }
}
