//! The command line: `raft-node serve | cert | kv | status | log`.
//!
//! | file | duty |
//! | --- | --- |
//! | `serve.rs` | runs a node, from its settings to its end |
//! | `ends.rs` | signals and the end of stdin, which end a node |
//! | `cert.rs` | makes and checks certificates |
//! | `kv.rs` | reads and writes keys of a running cluster |
//! | `status.rs` | shows the cluster as a table |
//! | `tls_files.rs` | reads and checks CA, certificate and key, and reads them again when they change |
//! | `log/` | checks and lists the log of a stopped node |
//! | `limits.rs` | the limit on open files, and the number of connections that it allows |
//! | `lossy_log.rs` | writes a node's log lines, and drops lines rather than wait |
//! | `target.rs` | the node that a command talks to |
//! | `output.rs` | writes to stdout, whose reader may go away |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::client::ClientError;
use crate::config::{ConfigError, Flags};

mod cert;
mod ends;
mod kv;
mod limits;
mod log;
mod lossy_log;
mod output;
mod serve;
mod status;
mod target;
mod tls_files;

use target::Target;

/// A strongly consistent key-value server; a cluster has three or five of them.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "raft-node",
    version,
    arg_required_else_help = true,
    after_help = "To try it out, run a cluster of one node:

  raft-node cert ca --out tls
  raft-node cert node --ca-dir tls --node-id 1 --host 127.0.0.1 --out tls
  raft-node serve --node-id 1 --data-dir data --bootstrap \\
      --tls-ca tls/ca.pem --tls-cert tls/node-1.pem --tls-key tls/node-1-key.pem

  raft-node kv put greeting hello
  raft-node kv get greeting
  raft-node status

Exit codes: 0 success, 1 failure, 2 wrong usage or settings, 101 a bug (the node panicked)."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Run a node until it is stopped (Ctrl-C or SIGTERM)
    #[command(
        long_about = "Run a node until it is stopped (Ctrl-C or SIGTERM). A leader hands leadership to another node first.

Each setting can be given as a flag, as an environment variable, or as a key of the same name in the configuration file. A
flag takes precedence over a variable, and a variable over the file. Relative paths start at the working directory.",
        after_help = "Example of a configuration file, for the first of three nodes:

  node-id = 1
  data-dir = \"/var/lib/raft-node\"
  http-addr = \"10.0.0.1:8500\"
  raft-addr = \"10.0.0.1:8300\"
  bootstrap-expect = 3
  join = [\"10.0.0.1:8300\", \"10.0.0.2:8300\", \"10.0.0.3:8300\"]

  [tls]
  ca = \"/etc/raft-node/ca.pem\"
  cert = \"/etc/raft-node/node-1.pem\"
  key = \"/etc/raft-node/node-1-key.pem\"

Start the node with:

  raft-node serve --config /etc/raft-node/node.toml"
    )]
    Serve(Box<Flags>),
    /// Make the certificates by which nodes authenticate each other
    #[command(subcommand)]
    Cert(cert::Command),
    /// Read and write keys of a running cluster
    #[command(subcommand)]
    Kv(kv::Command),
    /// Show all nodes of a running cluster
    Status(status::Command),
    /// Check or list the log of a stopped node
    #[command(subcommand)]
    Log(log::Command),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The settings or arguments are wrong.
    #[error("{0}")]
    Usage(String),
    /// The command could not be carried out.
    #[error("{0}")]
    Failed(String),
    /// A bug: a part of the node panicked.
    #[error("{0}")]
    Panicked(String),
    /// The reader of stdout has closed it (`| head`), which is not a failure.
    #[error("the output is not read any more")]
    OutputClosed,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Address { .. } => Self::Usage(error.to_string()),
            ClientError::NobodyThere { .. }
            | ClientError::TooLate { .. }
            | ClientError::Broken { .. }
            | ClientError::Request(_) => Self::Failed(error.to_string()),
        }
    }
}

/// The exit code after a panic, the same as for all Rust programs.
const PANICKED: u8 = 101;

/// Runs the whole program: parses the command line, carries out the command, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // One thread for transport, protocol and HTTP, because each hand-over between threads would cost more than the work.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(cli))));
    // Do not wait for long reads that are still running on threads of their own.
    runtime.shutdown_background();
    ended.unwrap_or_else(|_| {
        output::complain("ended by a panic, which is a bug: start it again");
        lossy_log::flush();
        ExitCode::from(PANICKED)
    })
}

/// Carries out a command and reports on stderr what went wrong. It must be called within a tokio runtime.
pub async fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Serve(flags) => serve::run(&flags).await,
        Command::Cert(command) => cert::run(command),
        Command::Kv(command) => kv::run(command).await,
        Command::Status(command) => status::run(command).await,
        Command::Log(command) => log::run(command),
    };
    let (failure, code) = match result {
        Ok(()) | Err(Failure::OutputClosed) => {
            lossy_log::flush();
            return ExitCode::SUCCESS;
        }
        Err(failure @ Failure::Usage(_)) => (failure, 2),
        Err(failure @ Failure::Failed(_)) => (failure, 1),
        Err(failure @ Failure::Panicked(_)) => (failure, PANICKED),
    };
    output::complain(&failure.to_string());
    lossy_log::flush();
    ExitCode::from(code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::config::keys::{Fallback, KEYS};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_setting_stands_in_the_help_with_its_variable_and_default() {
        let mut command = Cli::command();
        let serve = command.find_subcommand_mut("serve").unwrap();
        for key in KEYS {
            let arg = serve.get_arguments().find(|arg| arg.get_long() == Some(key.name));
            let help =
                arg.unwrap_or_else(|| panic!("no flag for {}", key.name)).get_help().unwrap().to_string();
            assert!(help.contains(&key.env()), "{help}");
            let default = match key.default {
                Fallback::Required => "[required]".to_owned(),
                Fallback::Text(text) => format!("[default: {text}]"),
                Fallback::Unset(meaning) => format!("[default: {meaning}]"),
            };
            assert!(help.contains(&default), "{help}");
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn check(command: &clap::Command, path: &str) {
            if command.has_subcommands() {
                for inner in command.get_subcommands() {
                    check(inner, &format!("{path} {}", inner.get_name()));
                }
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains(path), "{path} has no example in its help");
            }
        }
        check(&Cli::command(), "raft-node");
    }

    #[test]
    fn flags_are_read_into_settings() {
        let line = [
            "raft-node",
            "serve",
            "--config",
            "n.toml",
            "--node-id",
            "3",
            "--bootstrap",
            "--join",
            "a:1,b:2",
        ];
        let cli = Cli::try_parse_from(line.into_iter().chain(["--join", "c:3"])).unwrap();
        let Command::Serve(flags) = cli.command else { panic!("serve was asked for") };
        assert_eq!(flags.config.as_deref(), Some(std::path::Path::new("n.toml")));
        assert!(!flags.stop_on_stdin_eof);
        assert_eq!(flags.settings["node-id"], ["3"]);
        assert_eq!(flags.settings["bootstrap"], ["true"]);
        assert_eq!(flags.settings["join"], ["a:1,b:2", "c:3"]);
        assert_eq!(flags.settings.len(), 3);
    }
}
