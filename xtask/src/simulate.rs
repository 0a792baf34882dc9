//! `cargo xtask simulate`: simulates clusters in virtual time with faults of every kind, from fresh or given seeds.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::console::{self, complain};
use crate::flags::{Profile, SimulateFlags};
use crate::workspace::{self, Failure};

/// Default duration of a simulation.
const MINUTES: f64 = 1.0;
/// Name of the test of raft-core that runs seeds.
const CORE_TEST: &str = "a_cluster_under_faults_keeps_every_promise";
/// Pause between two looks at whether the simulation has ended or should end.
const POLL: Duration = Duration::from_millis(20);
/// The program that simulates whole nodes.
const NODES: &str = "raft-sim";
/// How long the simulation may take to end after Ctrl-C, which the terminal sends to it too, before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Builds the simulation in release and runs it; its exit code is that of this command.
///
/// # Errors
/// The flags contradict each other, the build fails, or the program cannot be run.
pub(crate) fn run(flags: &SimulateFlags) -> Result<ExitCode, Failure> {
    let plan = plan(flags, fresh_seed)?;
    let binary = build(&plan)?;
    if let Some(first) = plan.fresh {
        complain(&format!("fresh seeds from {first}; to repeat this run add --first-seed {first}"));
    }
    let mut command = Command::new(binary);
    // A killed xtask cannot stop its child, so the child watches its parent.
    command.args((plan.target == NODES).then_some("--with-parent"));
    command.args(&plan.args).envs(plan.env.iter().map(|(name, value)| (name, value)));
    let status = run_to_end(&mut command)?;
    Ok(ExitCode::from(exit_code(status)))
}

/// Simulates whole nodes with these seeds (first seed, number of seeds): a step of the gate.
pub(crate) fn nodes_of((first, seeds): (u64, u64)) -> Result<(), Failure> {
    let flags = SimulateFlags { first_seed: Some(first), seeds: Some(seeds), ..SimulateFlags::default() };
    if run(&flags)? == ExitCode::SUCCESS { Ok(()) } else { Err(Failure::new("the simulation failed")) }
}

/// What to build, and how to run it.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// Arguments of cargo.
    build: Vec<&'static str>,
    /// The target that is built.
    target: &'static str,
    args: Vec<String>,
    env: Vec<(&'static str, String)>,
    /// The first seed, if it was not given.
    fresh: Option<u64>,
}

/// Plans a simulation. `fresh_seed` is called if the flags name no seed.
fn plan(flags: &SimulateFlags, fresh_seed: impl FnOnce() -> u64) -> Result<Plan, Failure> {
    let single = flags.seed.is_some() || flags.choices.is_some();
    let minutes = flags.minutes.or((!single && flags.seeds.is_none()).then_some(MINUTES));
    let fresh = (!single && flags.first_seed.is_none()).then(fresh_seed);
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let said = [
        ("--seed", "SEED", number(flags.seed)),
        ("--seeds", "SEEDS", number(flags.seeds)),
        ("--first-seed", "FIRST_SEED", number(flags.first_seed.or(fresh))),
        ("--minutes", "MINUTES", minutes.map(|minutes| minutes.to_string())),
        ("--nodes", "NODES", number(flags.nodes.map(u64::from))),
        ("--jobs", "JOBS", number(flags.jobs.map(u64::from))),
    ];
    let said = said.into_iter().filter_map(|(flag, variable, value)| Some((flag, variable, value?)));
    match flags.profile {
        Profile::Node => {
            let mut args: Vec<String> = said.flat_map(|(flag, _, value)| [flag.to_owned(), value]).collect();
            if let Some(choices) = &flags.choices {
                args.extend(["--choices".to_owned(), path_text(choices)?]);
            }
            args.extend(flags.rest.iter().cloned());
            let build = ["build", "--package", "raftkit-sim", "--bin", NODES].to_vec();
            Ok(Plan { build, target: NODES, args, env: Vec::new(), fresh })
        }
        Profile::Core if flags.choices.is_some() => {
            Err(Failure::new("--choices is of whole nodes: it needs --profile node"))
        }
        Profile::Core if !flags.rest.is_empty() => {
            Err(Failure::new(format!("{} is for raft-sim: it needs --profile node", flags.rest.join(" "))))
        }
        Profile::Core => {
            let build = ["test", "--package", "raftkit-core", "--test", "simulation", "--no-run"].to_vec();
            let args = [CORE_TEST, "--exact", "--nocapture"].map(str::to_owned).to_vec();
            let env = said.map(|(_, variable, value)| (variable, value)).collect();
            Ok(Plan { build, target: "simulation", args, env, fresh })
        }
    }
}

fn path_text(path: &std::path::Path) -> Result<String, Failure> {
    let absolute =
        std::path::absolute(path).map_err(Failure::of(format!("cannot find {}", path.display())))?;
    if !absolute.is_file() {
        return Err(Failure::new(format!("{} is no file", path.display())));
    }
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::new(format!("{} is no UTF-8", path.display())))
}

/// Returns a seed that was not used before: the clock's microseconds.
fn fresh_seed() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // A run counts up from it far more slowly than the clock, so that no later run repeats its seeds.
    u64::try_from(since_epoch.as_micros()).unwrap_or_default()
}

/// Builds the target of the plan, with cargo's own progress on the terminal, and returns the path of the executable.
fn build(plan: &Plan) -> Result<PathBuf, Failure> {
    complain(&format!("building {} (release)", plan.target));
    let start = Instant::now();
    let mut cargo = workspace::cargo();
    cargo.args(&plan.build).args(["--release", "--message-format=json-render-diagnostics"]);
    cargo.stderr(Stdio::inherit());
    let output = cargo.output().map_err(Failure::of("cannot run cargo"))?;
    if !output.status.success() {
        return Err(Failure::new(format!("{} does not build; what cargo says stands above", plan.target)));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    complain(&format!("built in {}", console::seconds(start.elapsed())));
    said.lines()
        .find_map(|line| binary_in(line, plan.target))
        .ok_or_else(|| Failure::new(format!("cargo built {} and did not say where it is", plan.target)))
}

/// Returns the path of the executable of `target`, if this line of cargo's JSON messages has it.
pub(crate) fn binary_in(line: &str, target: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?;
    (message["target"]["name"] == target).then(|| path.into())
}

/// Runs a command until it ends, or until Ctrl-C or SIGTERM, upon which it is killed if it does not end by itself.
fn run_to_end(command: &mut Command) -> Result<ExitStatus, Failure> {
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&is_over))
            .map_err(Failure::of("cannot handle signals"))?;
    }
    let mut child = command.spawn().map_err(Failure::of("cannot run the simulation"))?;
    wait(&mut child, &is_over, GRACE)
}

fn wait(child: &mut Child, is_over: &AtomicBool, grace: Duration) -> Result<ExitStatus, Failure> {
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::of("cannot wait for the simulation"))? {
            return Ok(status);
        }
        if is_over.load(Ordering::Relaxed) && asked.get_or_insert_with(Instant::now).elapsed() >= grace {
            child.kill().map_err(Failure::of("cannot stop the simulation"))?;
        }
        thread::sleep(POLL);
    }
}

/// Returns the exit code as a shell would: 128 plus the signal's number if a signal ended the process.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::PathBuf;
    use std::process::{Command, ExitStatus};
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use clap::Parser;

    use super::{Plan, binary_in, exit_code, plan, wait};
    use crate::flags::{self, Flags};

    /// Plans for these flags; the error message if they are wrong.
    fn planned(flags: &str) -> Result<Plan, String> {
        let words = ["cargo xtask", "simulate"].into_iter().chain(flags.split_whitespace());
        let flags = Flags::try_parse_from(words).map_err(|error| error.to_string())?;
        let flags::Command::Simulate(flags) = flags.command else { return Err("another command".to_owned()) };
        plan(&flags, || 77).map_err(|failure| failure.to_string())
    }

    fn args(flags: &str) -> String {
        planned(flags).expect("they make sense").args.join(" ")
    }

    #[test]
    fn whole_nodes_get_the_flags_as_they_are() {
        assert_eq!(args(""), "--first-seed 77 --minutes 1");
        assert_eq!(args("--seed 5 --nodes 3"), "--seed 5 --nodes 3");
        assert_eq!(args("--seeds 9 --jobs 2"), "--seeds 9 --first-seed 77 --jobs 2");
        assert_eq!(args("--seeds 9 --minutes 2 --first-seed 4"), "--seeds 9 --first-seed 4 --minutes 2");
        assert_eq!(args("--minutes 0.5 -- --trace 9"), "--first-seed 77 --minutes 0.5 --trace 9");
        assert_eq!(planned("--first-seed 4").map(|plan| plan.fresh), Ok(None));
    }

    #[test]
    fn the_core_gets_them_in_its_environment() {
        let plan = planned("--profile core --seeds 9 --nodes 7").expect("they make sense");
        let expected = [("SEEDS", "9"), ("FIRST_SEED", "77"), ("NODES", "7")];
        assert_eq!(plan.env, expected.map(|(name, value)| (name, value.to_owned())));
        assert_eq!((plan.target, plan.fresh), ("simulation", Some(77)));
        let one = planned("--profile core --seed 5").expect("they make sense");
        assert_eq!((one.env, one.fresh), (vec![("SEED", "5".to_owned())], None));
    }

    #[test]
    fn choices_are_a_file_of_whole_nodes() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(args(&format!("--choices {file}")), format!("--choices {file}"));
        let words = |flags: &str| planned(flags).expect_err("it makes no sense");
        assert_eq!(words("--choices /no/such/file"), "/no/such/file is no file");
        assert!(words(&format!("--profile core --choices {file}")).contains("--profile node"));
        assert!(words("--profile core -- --trace 9").contains("--profile node"));
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for flags in [
            "--seed 1 --seeds 2",
            "--seed 1 --minutes 2",
            "--seed 1 --first-seed 2",
            "--seed 1 --jobs 2",
            "--choices x --seed 1",
            "--choices x --minutes 1",
        ] {
            let words = planned(flags).expect_err("it makes no sense");
            assert!(words.contains("cannot be used with"), "{flags}: {words}");
        }
        for flags in [
            "--nodes 0",
            "--nodes 8",
            "--seeds 0",
            "--minutes 0",
            "--minutes inf",
            "--jobs 0",
            "--profile disk",
        ] {
            let words = planned(flags).expect_err("it makes no sense");
            assert!(words.contains("invalid value"), "{flags}: {words}");
        }
    }

    #[test]
    fn cargo_says_where_the_binary_is() {
        let line = r#"{"target":{"name":"raft-sim"},"executable":"/t/raft-sim"}"#;
        assert_eq!(binary_in(line, "raft-sim"), Some(PathBuf::from("/t/raft-sim")));
        for other in ["", r#"{"target":{"name":"raft-sim"},"executable":null}"#] {
            assert_eq!(binary_in(other, "raft-sim"), None);
        }
        assert_eq!(binary_in(line, "raft-node"), None);
    }

    #[test]
    fn an_end_has_the_code_that_a_shell_gives_it() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(9)), 137);
    }

    #[test]
    fn who_wants_it_to_end_is_not_kept_waiting_by_it() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep is everywhere");
        let status = wait(&mut child, &AtomicBool::new(true), Duration::ZERO).expect("it can be stopped");
        assert_eq!(exit_code(status), 137);
    }
}
