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
mod no_std;
mod simulate;
mod tidy;
mod watchers;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

use crate::flags::{Command, Flags};
use crate::workspace::Failure;

fn main() -> ExitCode {
    let done = match Flags::parse().command {
        Command::Cluster(flags) => cluster::run(&flags),
        Command::Ci(flags) => ci::run(&flags),
        Command::Layers => layers::run(),
        Command::Tidy => tidy::run(),
        Command::Load(flags) => load::run(&flags),
        Command::Mutants(flags) => mutants::run(&flags),
        Command::Simulate(flags) => return end(simulate::run(&flags)),
    };
    end(done.map(|()| ExitCode::SUCCESS))
}

fn end(done: Result<ExitCode, Failure>) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(failure) => {
            console::complain(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}
