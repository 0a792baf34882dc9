//! A single run, of a seed or of a file of choices, and the handling of a run that fails.

use std::fs;
use std::time::{Duration, Instant};

use raftkit_sim::{Kv, Options, Plan, Report, plan_of_seed, shrink};

use crate::flags::Flags;
use crate::{many, show};

/// Number of events before a broken promise that are shown.
const LINES: usize = 60;
/// Upper bound on the time for making a failing run smaller.
const SHRINK: Duration = Duration::from_secs(60);

/// Runs the seed or the file of choices. Returns true when every promise was kept.
pub(crate) fn run(flags: &Flags) -> Result<bool, String> {
    let plan = match (&flags.choices, flags.seed) {
        (Some(file), _) => {
            let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Plan::parse(&text).map_err(|error| format!("{}: {error}", file.display()))?
        }
        (None, seed) => plan_of_seed(seed.unwrap_or(0), flags.nodes),
    };
    let lines = flags.trace.unwrap_or(0);
    let start = Instant::now();
    let report = simulate(&plan, flags, lines);
    for line in &report.lines {
        println!("{line}");
    }
    println!(
        "seed {} ({}): {} events, {:.1} simulated s in {:.2} s, digest {:016x}",
        plan.seed,
        plan.kind,
        report.events,
        show::seconds(report.simulated_us),
        start.elapsed().as_secs_f64(),
        report.digest
    );
    if report.violation.is_some() {
        fail(&plan, &report, flags)?;
    }
    if flags.terse {
        show::terse(&report, report.events, 1);
    }
    Ok(report.violation.is_none())
}

/// Runs a plan. The report of a panic names its place in the code.
pub(crate) fn simulate(plan: &Plan, flags: &Flags, lines: usize) -> Report {
    let options = Options { lines, off: flags.without.iter().copied().collect() };
    many::forget_panic();
    let mut report = raftkit_sim::run(plan, Kv::default(), &options);
    if let (Some(violation), Some(words)) = (&mut report.violation, many::last_panic())
        && violation.promise == raftkit_sim::Promise::NoPanic
    {
        violation.what = words;
    }
    report
}

/// Reports a broken promise, makes its run smaller, and writes that as a file of choices.
pub(crate) fn fail(plan: &Plan, report: &Report, flags: &Flags) -> Result<(), String> {
    let Some(violation) = &report.violation else { return Ok(()) };
    let promise = violation.promise;
    let mut small = plan.clone();
    if !flags.no_shrink {
        eprintln!(
            "{promise} was broken by seed {} after {} events; making it smaller",
            plan.seed, report.events
        );
        let end = Instant::now() + SHRINK;
        let again =
            |tried: &Plan| simulate(tried, flags, 0).violation.is_some_and(|it| it.promise == promise);
        small = shrink(plan, again, || Instant::now() < end);
    }
    let told = simulate(&small, flags, LINES);
    let violation = told.violation.as_ref().unwrap_or(violation);
    println!("\nthe last events before it:");
    for line in &told.lines {
        println!("{line}");
    }
    println!("\nA promise was broken after {:.6} s: {violation}", show::seconds(violation.at_us));
    fs::create_dir_all(&flags.out).map_err(|error| format!("{}: {error}", flags.out.display()))?;
    let file = flags.out.join(format!("{promise}-{}.txt", plan.seed));
    fs::write(&file, small.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("\nwhat was chosen ({} lines of script of {}):\n{small}", small.script.len(), plan.script.len());
    println!("replay: cargo xtask simulate --seed {}{}", plan.seed, nodes(flags));
    println!("made smaller: cargo xtask simulate --choices {}", file.display());
    Ok(())
}

/// Returns the `--nodes` flag that replaying a seed needs, or an empty string.
pub(crate) fn nodes(flags: &Flags) -> String {
    flags.nodes.map_or_else(String::new, |nodes| format!(" --nodes {nodes}"))
}
