//! The flags of the command line.

use std::path::PathBuf;

use clap::Parser;
use raftkit_sim::Promise;

/// Simulates clusters of whole nodes under faults of every kind, and checks every promise after each event.
///
/// Without --seeds or --minutes it runs for one minute. A broken promise ends the run: the events before it are shown, the run is
/// made smaller, and a file of choices is written that replays it.
#[derive(Debug, Parser)]
#[command(name = "raft-sim", version)]
pub(crate) struct Flags {
    /// Number of seeds to run
    #[arg(long, value_name = "N", conflicts_with_all = ["seed", "choices"])]
    pub(crate) seeds: Option<u64>,

    /// Runs seeds for this many minutes
    #[arg(long, value_name = "M", conflicts_with_all = ["seed", "choices"])]
    pub(crate) minutes: Option<f64>,

    /// Runs seeds until all threads together have used this many seconds of processor time
    #[arg(long, value_name = "S", conflicts_with_all = ["seed", "choices", "minutes"])]
    pub(crate) core_seconds: Option<f64>,

    /// Runs this seed only, and shows the digest of its run
    #[arg(long, value_name = "S", conflicts_with = "choices")]
    pub(crate) seed: Option<u64>,

    /// Runs the plan in a file of choices
    #[arg(long, value_name = "FILE")]
    pub(crate) choices: Option<PathBuf>,

    /// The first seed; the others count up from it [default: drawn at random]
    #[arg(long, value_name = "S")]
    pub(crate) first_seed: Option<u64>,

    /// Number of founding voters of every cluster [default: drawn, 1 to 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=7))]
    pub(crate) nodes: Option<u64>,

    /// Number of seeds to run at a time [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(crate) jobs: Option<u64>,

    /// Shows this many events from the end of a single run
    #[arg(long, value_name = "LINES")]
    pub(crate) trace: Option<usize>,

    /// Does not check this promise (may be given several times)
    #[arg(long, value_name = "PROMISE", value_parser = promise)]
    pub(crate) without: Vec<Promise>,

    /// Lists the promises, and runs nothing
    #[arg(long)]
    pub(crate) list_promises: bool,

    /// Does not try to make a failing run smaller
    #[arg(long)]
    pub(crate) no_shrink: bool,

    /// Fails if an event that must happen sometimes has never happened
    #[arg(long)]
    pub(crate) all_marks: bool,

    /// Prints one line of fields separated by tabs, for programs: `violation`, `stuck` or `none`, the promise, the numbers of
    /// events, of seconds of processor time and of seeds, and the violation in words
    #[arg(long)]
    pub(crate) terse: bool,

    /// Prints each seed with the digest of its run, separated by tabs; a mutant has had an effect on the seeds whose digests differ
    /// with and without it
    #[arg(long)]
    pub(crate) digests: bool,

    /// Ends as soon as its parent process does (Linux)
    #[arg(long, hide = true)]
    pub(crate) with_parent: bool,

    /// Folder for the files of choices of failing runs
    #[arg(long, value_name = "DIR", default_value = "target/simulate")]
    pub(crate) out: PathBuf,
}

fn promise(word: &str) -> Result<Promise, String> {
    Promise::find(word).ok_or_else(|| {
        let all: Vec<&str> = Promise::ALL.iter().map(|promise| promise.word()).collect();
        format!("there are {}", all.join(", "))
    })
}
