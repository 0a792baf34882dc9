//! `cargo xtask ci`: the gate. It runs each step, reports its name and time, and ends at the first step that fails.

use std::time::{Duration, Instant};

use crate::console::{self, complain, say};
use crate::flags::CiFlags;
use crate::workspace::{self, Failure};
use crate::{layers, mutants, no_std, simulate, tidy};

/// First seed and number of seeds of whole nodes that the gate simulates. They are the same each time: one in some thousands
/// of fresh seeds finds a bug or a wrong check, which should stop whoever looks for it (`cargo xtask simulate --minutes 40`)
/// and not an unrelated change.
const SIMULATED_SEEDS: (u64, u64) = (2000, 260);

/// One step of the gate. To add one, add it to [`steps`].
struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    /// Runs cargo with these arguments and these environment variables.
    Cargo { args: Vec<&'static str>, env: Vec<(&'static str, &'static str)> },
    /// Runs a function of this program.
    Own(fn() -> Result<(), Failure>),
}

fn cargo(args: &'static str) -> Work {
    Work::Cargo { args: args.split(' ').collect(), env: Vec::new() }
}

/// All steps, the cheap ones first. All builds use the same features, so that most crates are compiled only once.
fn steps() -> Vec<Step> {
    let step = |name, work| Step { name, work };
    let doc = "doc --workspace --no-deps --all-features".split(' ').collect();
    // Packs each published crate as for crates.io, without building the archives: that would take minutes and find one mistake
    // only, a file included from outside the crate's folder, which `tidy` finds too.
    let package = "package --workspace --no-verify --allow-dirty --quiet \
                   --exclude xtask --exclude raftkit-benches --exclude raftkit-test-links";
    vec![
        step("fmt", cargo("fmt --all --check")),
        step("tidy", Work::Own(tidy::run)),
        step("layers", Work::Own(layers::run)),
        step("clippy", cargo("clippy --workspace --all-targets --all-features -- -D warnings")),
        step("test", cargo("test --workspace --all-features")),
        step("mutants", Work::Own(mutants::of_core)),
        step("mutants-log", Work::Own(mutants::of_log)),
        step("mutants-others", Work::Own(mutants::of_others)),
        step("mutants-sim", Work::Own(mutants::of_simulation)),
        step("doc", Work::Cargo { args: doc, env: vec![("RUSTDOCFLAGS", "-Dwarnings")] }),
        step("no-std", Work::Own(no_std::run)),
        step("package", cargo(package)),
        // The binary, and the crate as those embed it who bring a state machine of their own, each with its own features alone:
        // a feature that it forgets to ask for is hidden by those of tests and benches.
        step("node", cargo("clippy -p raftkit-node -- -D warnings")),
        step("embedded", cargo("clippy -p raftkit-node --no-default-features -- -D warnings")),
        step("simulate", Work::Own(|| simulate::nodes_of(SIMULATED_SEEDS))),
    ]
}

enum Outcome {
    Passed,
    Failed(String),
    NotRun,
}

/// Runs the steps, or lists them.
///
/// # Errors
/// A step fails, or a given name is not that of a step.
pub(crate) fn run(flags: &CiFlags) -> Result<(), Failure> {
    let steps = choose(steps(), &flags.only)?;
    if flags.list {
        let rows: Vec<Vec<String>> =
            steps.iter().map(|step| vec![step.name.to_owned(), step.work.shown()]).collect();
        return say(&console::table(&["step", "does"], &rows)).map_err(Failure::of("cannot print"));
    }
    let mut rows = Vec::new();
    let mut failed = None;
    let start = Instant::now();
    for step in &steps {
        let (outcome, time) =
            if failed.is_some() { (Outcome::NotRun, Duration::ZERO) } else { run_step(step) };
        let words = match outcome {
            Outcome::Passed => "passed".to_owned(),
            Outcome::Failed(why) => {
                complain(&format!("{why}\n==> {}: FAILED", step.name));
                failed = Some(step.name);
                "FAILED".to_owned()
            }
            Outcome::NotRun => "not run".to_owned(),
        };
        rows.push(vec![step.name.to_owned(), console::seconds(time), words]);
    }
    rows.push(vec!["in all".to_owned(), console::seconds(start.elapsed())]);
    complain(&format!("\n{}", console::table(&["step", "time", "result"], &rows)));
    match failed {
        Some(name) => {
            Err(Failure::new(format!("{name} failed; by itself it runs with: cargo xtask ci --only {name}")))
        }
        None => Ok(()),
    }
}

/// Returns the steps with these names in the gate's order, or all steps if no name is given.
fn choose(steps: Vec<Step>, only: &[String]) -> Result<Vec<Step>, Failure> {
    if let Some(unknown) = only.iter().find(|name| steps.iter().all(|step| step.name != name.as_str())) {
        let names: Vec<&str> = steps.iter().map(|step| step.name).collect();
        return Err(Failure::new(format!("no step is called {unknown}; there are {}", names.join(", "))));
    }
    Ok(steps
        .into_iter()
        .filter(|step| only.is_empty() || only.iter().any(|name| name == step.name))
        .collect())
}

fn run_step(step: &Step) -> (Outcome, Duration) {
    complain(&format!("==> {}: {}", step.name, step.work.shown()));
    let start = Instant::now();
    let outcome = step.work.run();
    let time = start.elapsed();
    match &outcome {
        Outcome::Passed => complain(&format!("==> {}: passed in {}", step.name, console::seconds(time))),
        Outcome::Failed(_) | Outcome::NotRun => {}
    }
    (outcome, time)
}

impl Work {
    fn run(&self) -> Outcome {
        let done = match self {
            Work::Cargo { args, env } => run_cargo(args, env),
            Work::Own(check) => check(),
        };
        match done {
            Ok(()) => Outcome::Passed,
            Err(failure) => Outcome::Failed(failure.to_string()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Work::Cargo { args, env } => {
                let env: String = env.iter().map(|(name, value)| format!("{name}={value} ")).collect();
                format!("{env}cargo {}", args.join(" "))
            }
            Work::Own(_) => "a check of its own".to_owned(),
        }
    }
}

fn run_cargo(args: &[&str], env: &[(&str, &str)]) -> Result<(), Failure> {
    let mut cargo = workspace::cargo();
    cargo.args(args).envs(env.iter().copied());
    if std::env::var_os("CI").is_some() {
        // Incremental files are large, and useless on a machine that builds once.
        cargo.env("CARGO_INCREMENTAL", "0");
    }
    let status = cargo.status().map_err(Failure::of("cannot run cargo"))?;
    if status.success() { Ok(()) } else { Err(Failure::new(format!("cargo ended with {status}"))) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{choose, steps};

    fn names(only: &[&str]) -> Option<Vec<&'static str>> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        choose(steps(), &only).ok().map(|steps| steps.iter().map(|step| step.name).collect())
    }

    #[test]
    fn every_step_has_a_name_of_its_own() {
        let all = names(&[]).expect("all");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn chosen_steps_run_in_the_order_of_the_gate() {
        assert_eq!(names(&["test", "fmt"]), Some(vec!["fmt", "test"]));
    }

    #[test]
    fn an_unknown_step_is_refused() {
        assert_eq!(names(&["fmt", "tset"]), None);
    }
}
