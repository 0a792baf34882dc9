//! What the command line accepts.

use std::path::PathBuf;

use clap::Parser;
use raftkit_sim::Promise;

/// Simulates clusters of whole nodes under faults of every kind, and checks every promise after each event.
///
/// Without a number of seeds or minutes it runs for one minute. A broken promise ends the run: it is told with the events
/// before it, made smaller, and kept as a file of choices that replays it.
#[derive(Debug, Parser)]
#[command(name = "raft-sim", version)]
pub(crate) struct Flags {
    /// Runs so many seeds
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "choices"])]
    pub(crate) seeds: Option<u64>,

    /// Runs for so many minutes
    #[arg(long, value_name = "M", conflicts_with_all = ["seed", "choices"])]
    pub(crate) minutes: Option<f64>,

    /// Runs until it has used so many seconds of processor time, in all its threads
    #[arg(long, value_name = "S", conflicts_with_all = ["seed", "choices", "minutes"])]
    pub(crate) core_seconds: Option<f64>,

    /// Runs this seed alone, and shows its digest
    #[arg(long, value_name = "S", conflicts_with = "choices")]
    pub(crate) seed: Option<u64>,

    /// Runs what a file of choices says
    #[arg(long, value_name = "FILE")]
    pub(crate) choices: Option<PathBuf>,

    /// The first of the seeds to run; they count up from it [default: drawn anew each time]
    #[arg(long, value_name = "S")]
    pub(crate) first_seed: Option<u64>,

    /// Every cluster has so many voters at first [default: drawn, 1 to 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=7))]
    pub(crate) nodes: Option<u64>,

    /// Runs so many at once [default: as many as there are cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) jobs: Option<u64>,

    /// Shows the last so many events of a single run
    #[arg(long, value_name = "LINES")]
    pub(crate) trace: Option<usize>,

    /// Does not look at this promise (may be given several times)
    #[arg(long, value_name = "PROMISE", value_parser = promise)]
    pub(crate) without: Vec<Promise>,

    /// Lists the promises, and runs nothing
    #[arg(long)]
    pub(crate) list_promises: bool,

    /// Does not make a failing run smaller
    #[arg(long)]
    pub(crate) no_shrink: bool,

    /// A mark that is never met fails the run
    #[arg(long)]
    pub(crate) all_marks: bool,

    /// Prints one line of fields divided by tabs, for programs: `violation`, `stuck` or `none`, the promise, events, seconds of
    /// processor time, seeds, what happened
    #[arg(long)]
    pub(crate) terse: bool,

    /// Prints each seed with the digest of its run, between tabs: what differs without a mutant shows where it had an effect
    #[arg(long)]
    pub(crate) digests: bool,

    /// Ends as soon as the program that started it does (Linux)
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,

    /// Where a file of choices is written for a run that fails
    #[arg(long, value_name = "DIR", default_value = "target/simulate")]
    pub(crate) out: PathBuf,
}

fn promise(word: &str) -> Result<Promise, String> {
    Promise::find(word).ok_or_else(|| {
        let all: Vec<&str> = Promise::ALL.iter().map(|promise| promise.word()).collect();
        format!("there are {}", all.join(", "))
    })
}
