//! `cargo xtask`: everything one does with raftkit's binaries and its repository by hand or in CI.
//!
//! One file a command; `flags.rs` has what each accepts. It depends on no crate of the workspace.

mod ci;
mod cluster;
mod console;
mod flags;
mod http;
mod layers;
mod load;
mod mutants;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::flags::{Command, Flags};

fn main() -> ExitCode {
    let done = match Flags::parse().command {
        Command::Cluster(flags) => cluster::run(&flags),
        Command::Ci(flags) => ci::run(&flags),
        Command::Layers => layers::run(),
        Command::Tidy => tidy::run(),
        Command::Load(flags) => load::run(&flags),
        Command::Mutants(flags) => mutants::run(&flags),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console::complain(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}
