//! What each command accepts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs and checks raftkit.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Builds raft-node and runs a local cluster of it until Ctrl-C; its data is kept.
    Cluster(ClusterFlags),
    /// Runs every check that a change must pass, and stops at the first that fails.
    Ci(CiFlags),
    /// Checks which crate depends on which.
    Layers,
    /// Checks what compilers and clippy do not: file sizes, forbidden words, files that must exist.
    Tidy,
    /// Writes keys to a running cluster as fast as it takes them, and reports rate and latency.
    Load(LoadFlags),
    /// Switches known bugs on, one by one, and reports which of them the tests of a crate notice.
    Mutants(MutantsFlags),
}

#[derive(Debug, Args)]
pub(crate) struct ClusterFlags {
    /// Number of nodes, 1 to 9 [default: what the data folder holds, else 3]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes: Option<u16>,

    /// HTTP port of node 1; node i has the i-th from there [default: as before in this data folder, else 8501]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) http_port: Option<u16>,

    /// QUIC (UDP) port of node 1 [default: as before in this data folder, else the HTTP port + 1000]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) raft_port: Option<u16>,

    /// Where data, certificates, configurations and logs live [default: raftkit-data in the workspace]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Removes what the data folder holds first
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Runs this raft-node and builds none
    #[arg(long, value_name = "PATH")]
    pub(crate) binary: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CiFlags {
    /// Runs only this step (may be given several times)
    #[arg(long, value_name = "STEP")]
    pub(crate) only: Vec<String>,

    /// Lists the steps and runs none
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

    /// How long to write
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,

    /// Size of each value
    #[arg(long, default_value_t = 256)]
    pub(crate) value_bytes: usize,

    /// Number of different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
}

#[derive(Debug, Args)]
pub(crate) struct MutantsFlags {
    /// Folder of the crate whose tests are judged
    #[arg(long = "crate", value_name = "CRATE", default_value = "raft-core")]
    pub(crate) krate: String,

    /// Tries only this mutant, by name or number (may be given several times)
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,

    /// Lists the mutants and tries none
    #[arg(long)]
    pub(crate) list: bool,
}
