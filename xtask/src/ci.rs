//! `cargo xtask ci`: the gate. Each step by its name and time; the first that fails ends it.

use std::time::{Duration, Instant};

use crate::console::{self, complain, say};
use crate::flags::CiFlags;
use crate::workspace::{self, Failure};
use crate::{layers, mutants, no_std, simulate, tidy};

/// The seeds of whole nodes that the gate simulates, the first and how many. The same each time: fresh ones find a bug, or a
/// check that is wrong, once in some thousands, and that is for those who look for it (`cargo xtask simulate --minutes 40`)
/// and not for a change that has nothing to do with it.
const SIMULATED_SEEDS: (u64, u64) = (2000, 260);

/// One step of the gate. To add one, add it to [`steps`].
struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    /// Cargo with these arguments, and these variables in its environment.
    Cargo { args: Vec<&'static str>, env: Vec<(&'static str, &'static str)> },
    /// A check of this program's own.
    Own(fn() -> Result<(), Failure>),
}

fn cargo(args: &'static str) -> Work {
    Work::Cargo { args: args.split(' ').collect(), env: Vec::new() }
}

/// The steps, cheap ones first. All builds have the same features, so that most is compiled once.
fn steps() -> Vec<Step> {
    let step = |name, work| Step { name, work };
    let doc = "doc --workspace --no-deps --all-features".split(' ').collect();
    // Each published crate as crates.io would get it. What is in the archives is not built: it is the same files, and the one
    // thing that building them would find, a file from outside a crate's folder, `tidy` finds.
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
        // The binary with its own features: those of tests and benches hide what it forgets to ask for.
        step("node", cargo("check -p raftkit-node")),
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
/// The first step that fails, or a name that no step has.
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

/// The steps of these names, in the steps' order; all, if no name is given.
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
        // A machine that builds once has no use for incremental files, and they are large.
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
