//! `raft-node`: the server, and the commands that talk to one.

use std::process::ExitCode;

fn main() -> ExitCode {
    raftkit_node::cli::main()
}
