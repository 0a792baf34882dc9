//! What each command accepts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs and checks raftkit.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds raft-node and runs a local cluster until Ctrl-C; its data is kept.
    Cluster(ClusterFlags),
    /// Runs every check that a change must pass, and stops at the first that fails.
    Ci(CiFlags),
    /// Checks which crate depends on which.
    Layers,
    /// Checks what the compiler and clippy do not: file sizes, forbidden words, required files, the lines of mutants.
    Tidy,
    /// Writes and reads keys of a running cluster, as fast as it accepts requests or at a rate, and reports rate and latency.
    Load(LoadFlags),
    /// Switches known bugs (mutants) on, one by one, and reports which the simulator, or the tests of a crate, notice.
    Mutants(MutantsFlags),
    /// Runs simulated clusters with faults of every kind, and checks every promise after every event.
    Simulate(SimulateFlags),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// Number of nodes, 1 to 9 [default: what the data folder holds, else 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes: Option<u16>,

    /// HTTP port of node 1; each further node has the next one [default: as before in this data folder, else 8501]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) http_port: Option<u16>,

    /// QUIC (UDP) port of node 1 [default: as before in this data folder, else the HTTP port + 1000]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) raft_port: Option<u16>,

    /// Where data, certificates, configurations and logs live [default: raftkit-data in the workspace]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Empties the data folder first
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Runs this raft-node binary instead of building one
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CiFlags {
    /// Runs only this step (may be given several times)
    #[arg(long, value_name = "STEP")]
    pub(crate) only: Vec<String>,

    /// Lists the steps without running them
    #[arg(long)]
    pub(crate) list: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LoadFlags {
    /// HTTP address of a node; with several, clients are spread over them in turn
    #[arg(long = "addr", value_name = "HOST:PORT", default_value = "127.0.0.1:8501")]
    pub(crate) addrs: Vec<String>,

    /// Number of connections, each with one request at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) clients: u16,

    /// How long to run, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,

    /// Size of each value, in bytes
    #[arg(long, default_value_t = 256)]
    pub(crate) value_bytes: usize,

    /// Number of different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,

    /// Share of gets among the requests, in percent; the others are puts
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    #[arg(conflicts_with = "watch")]
    pub(crate) gets: u8,

    /// Consistency of the gets
    #[arg(long, value_name = "MODE", default_value = "default", requires = "gets")]
    pub(crate) read: ReadMode,

    /// Process whose processor time per request to report, such as a node (may be given several times)
    #[arg(long = "pid", value_name = "PID", conflicts_with = "watch")]
    pub(crate) pids: Vec<u32>,

    /// Requests that all clients together begin per second, whether or not earlier ones have been answered; without it, each
    /// client begins its next request when its last one has been answered
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,

    /// Clients that watch beside it, such as recurse=100, keys=100 or key=1000 (may be given several times): blocking
    /// queries on a tree of 1,000 keys of 1 KB. Writes are then measured in turns without and with them
    #[arg(long = "watch", value_name = "KIND=COUNT", value_parser = Watchers::parse)]
    pub(crate) watch: Vec<Watchers>,

    /// HTTP address of the node that watchers ask (default: the first one that is written to)
    #[arg(long, value_name = "HOST:PORT", requires = "watch")]
    pub(crate) watch_addr: Option<String>,

    /// Writes the watched keys, so that every write wakes watchers
    #[arg(long, requires = "watch")]
    pub(crate) wake: bool,

    /// How many times to measure without and with watchers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..), requires = "watch")]
    pub(crate) rounds: u16,
}

/// Consistency of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReadMode {
    /// Linearizable by the leader's lease
    Default,
    /// Linearizable by a round to a quorum
    Consistent,
    /// What the asked node has
    Stale,
}

/// A number of clients that watch one kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Watchers {
    pub(crate) kind: WatchKind,
    pub(crate) count: usize,
}

/// What a client watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchKind {
    /// The whole tree with its values.
    Recurse,
    /// The names in the tree.
    Keys,
    /// One key of the tree, another one for each client.
    Key,
}

impl Watchers {
    fn parse(text: &str) -> Result<Self, String> {
        let (kind, count) = text.split_once('=').ok_or("it must be KIND=COUNT, such as recurse=100")?;
        let kind = match kind {
            "recurse" => WatchKind::Recurse,
            "keys" => WatchKind::Keys,
            "key" => WatchKind::Key,
            _ => return Err(format!("{kind} cannot be watched: recurse, keys and key can")),
        };
        let count = count.parse().map_err(|_| format!("{count} is no number of clients"))?;
        Ok(Self { kind, count })
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct MutantsFlags {
    /// Whose tests to judge, by the name of its folder: raft-sim, the simulator, is judged by bugs of real systems in any
    /// crate (mutation/simulated.txt); the tests of another crate by each of that crate's own mutants
    #[arg(long = "crate", value_name = "CRATE", default_value = "raft-sim")]
    pub(crate) krate: String,

    /// Tries only this mutant (may be given several times): for raft-sim `raft-core/old-term-committed`, or that without the
    /// crate, or words of a bug such as "disk full"
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,

    /// Lists the mutants without trying them
    #[arg(long)]
    pub(crate) list: bool,

    /// Builds the crate without its default features, and without the mutants that live there (not for raft-sim)
    #[arg(long)]
    pub(crate) no_default_features: bool,

    /// Seconds of processor time for each mutant (raft-sim) [default: 60]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,

    /// First seed for each mutant; further seeds count up from it (raft-sim) [default: 1]
    #[arg(long, value_name = "SEED")]
    pub(crate) first_seed: Option<u64>,

    /// Number of mutants to try at a time, each on one core (raft-sim) [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,

    /// Ignores this promise (may be given several times; raft-sim --list-promises lists them): a mutant that lives then shows
    /// that no other promise catches it (raft-sim)
    #[arg(long, value_name = "PROMISE")]
    pub(crate) without: Vec<String>,

    /// Afterwards, for each promise, tries two of the mutants that it caught again with that promise ignored, and shows which
    /// of them live (raft-sim)
    #[arg(long)]
    pub(crate) blind: bool,
}

impl MutantsFlags {
    /// Returns a flag that was given but has no meaning for this crate, and what it is for.
    pub(crate) fn misplaced(&self, is_simulation: bool) -> Option<(&'static str, &'static str)> {
        if is_simulation {
            return self.no_default_features.then_some(("--no-default-features", "the other crates"));
        }
        let flags = [
            ("--seconds", self.seconds.is_some()),
            ("--first-seed", self.first_seed.is_some()),
            ("--jobs", self.jobs.is_some()),
            ("--without", !self.without.is_empty()),
            ("--blind", self.blind),
        ];
        flags.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| (flag, "raft-sim"))
    }
}

#[derive(Debug, Default, Args)]
pub(crate) struct SimulateFlags {
    /// What to simulate
    #[arg(long, value_enum, default_value_t)]
    pub(crate) profile: Profile,

    /// Number of seeds to run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: Option<u64>,

    /// Runs this seed alone and prints a digest of all that happened: two runs of a seed print the same one
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "minutes", "first_seed", "jobs"])]
    pub(crate) seed: Option<u64>,

    /// How long to run, in minutes; with --seeds, ends at whichever limit is reached first [default: 1, if neither --seeds nor
    /// --seed is given]
    #[arg(long, value_name = "M", value_parser = minutes)]
    pub(crate) minutes: Option<f64>,

    /// First seed; further seeds count up from it [default: taken from the clock, and printed]
    #[arg(long, value_name = "SEED")]
    pub(crate) first_seed: Option<u64>,

    /// Number of members of each cluster, 1 to 7 [default: drawn by each seed]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=7))]
    pub(crate) nodes: Option<u16>,

    /// Uses the choices in this file, in the format of the corpus, instead of drawing them from a seed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "seeds", "minutes", "first_seed", "nodes", "jobs"])]
    pub(crate) choices: Option<PathBuf>,

    /// Number of seeds to run at a time [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,

    /// After `--`: further flags, passed to raft-sim unchanged
    #[arg(last = true, value_name = "FLAG")]
    pub(crate) rest: Vec<String>,
}

fn minutes(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|minutes| *minutes > 0.0 && f64::is_finite(*minutes))
        .ok_or_else(|| "more than 0 is needed".to_owned())
}

/// What is simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// The protocol alone, with a log in memory: many more seeds a second
    Core,
    /// Whole nodes: disks, network, clocks, state machine
    #[default]
    Node,
}
