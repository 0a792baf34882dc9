//! `cargo xtask`: the commands to run and check raftkit, by hand and in CI.
//!
//! Each command has a file; `flags.rs` has all flags. xtask depends on no other crate of the workspace.

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
