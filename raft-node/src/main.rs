//! `raft-node`: the server, and the commands that talk to one.

use std::process::ExitCode;

use clap::Parser;
use raftkit_node::cli::{Cli, run};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread for transport, protocol and HTTP: each hand-over between threads would cost more than the work.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("raft-node: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(run(cli));
    // Long reads may still be at work on threads of their own; nobody waits for them any more.
    runtime.shutdown_background();
    code
}
