//! `raft-node log`: checks and lists the log in a stopped node's data folder, without changing it.

mod dump;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use raftkit_core::{LogIndex, Payload};
use raftkit_disk::RealDisk;
use raftkit_log::{InspectError, Inspection, Verdict, inspect};

use super::Failure;

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Check a stopped node's log and summarize it
    #[command(
        long_about = "Check a stopped node's log, down to each entry's checksum, and report what it holds, what is wrong with it, \
                      and what the node would lose at its next start. No file is changed or created; what the next start \
                      would repair after a crash is repaired in memory only.

The exit code is 0 if all is well, and 1 if the log is damaged, has not recovered from damage yet, or cannot be read.",
        after_help = "Examples:\n\n  raft-node log verify --data-dir /var/lib/raft-node\n  raft-node log verify --data-dir data --json | jq .verdict"
    )]
    Verify {
        #[command(flatten)]
        folder: Folder,
        /// Print the report as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the entries of a stopped node's log
    #[command(
        long_about = "List the entries of a stopped node's log as its next start would find them, one on each line: index, term, \
                      kind, and length of the payload in bytes. No file is changed. If anything is wrong with the log, the \
                      command says so at the end (exit code 1); `raft-node log verify` tells more.",
        after_help = "Examples:\n\n  raft-node log dump --data-dir data\n  raft-node log dump --data-dir data --from 100 --to 120 --payload\n  raft-node log dump --data-dir data --json | jq 'select(.bytes > 100000)'"
    )]
    Dump {
        #[command(flatten)]
        folder: Folder,
        /// The first index to list
        #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
        from: u64,
        /// The last index to list
        #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
        to: u64,
        /// Print the payloads too, as text or in hexadecimal, and of long payloads only the beginning
        #[arg(long)]
        payload: bool,
        /// Print one JSON object on each line, with --payload including the whole payload in base64
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub(super) struct Folder {
    /// The node's data folder, as in its settings; the node must be stopped
    #[arg(long, value_name = "DIR", env = "RAFT_NODE_DATA_DIR")]
    data_dir: PathBuf,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    // Some kinds of damage make redb panic; the panic is caught and reported as damage.
    std::panic::set_hook(Box::new(|_| {}));
    let result = match command {
        Command::Verify { folder, json } => verify::run(&folder.look()?, &folder.data_dir, json),
        Command::Dump { folder, from, to, payload, json } => {
            let wanted = dump::Wanted { from: LogIndex(from), to: LogIndex(to), payload, json };
            if from > to {
                return Err(Failure::Usage(format!("--from {from} is above --to {to}")));
            }
            dump::run(&folder.look()?, &folder.data_dir, wanted)
        }
    };
    drop(std::panic::take_hook());
    result
}

impl Folder {
    fn look(&self) -> Result<Inspection, Failure> {
        let dir = self.data_dir.display();
        if !self.data_dir.is_dir() {
            return Err(Failure::Failed(format!("there is no folder {dir}")));
        }
        inspect(Arc::new(RealDisk), &self.data_dir).map_err(|error| match error {
            InspectError::NoLog { .. } => Failure::Failed(format!(
                "{dir} is no data folder of a node: it holds neither log.redb nor journal; --data-dir is the folder that \
                 the node is started with"
            )),
            InspectError::Locked { .. } => {
                Failure::Failed(format!("{dir} is in use by a running node: stop the node first"))
            }
            InspectError::Disk { .. } => Failure::Failed(error.to_string()),
        })
    }
}

/// Fails if anything is wrong with the log, after the command has printed everything that it could.
fn judge(inspection: &Inspection, dir: &Path) -> Result<(), Failure> {
    let dir = dir.display();
    match (inspection.verdict(), &inspection.opening) {
        (Verdict::Sound, _) => Ok(()),
        (Verdict::Healing, _) => Err(Failure::Failed(format!(
            "the log in {dir} has lost entries at an earlier start, and has not got them back from other nodes yet"
        ))),
        (Verdict::Damaged, Ok(_)) => Err(Failure::Failed(format!("the log in {dir} is damaged"))),
        (Verdict::Damaged, Err(error)) => {
            Err(Failure::Failed(format!("the node cannot be started on {dir}: {}", chain(error))))
        }
    }
}

/// An error with its causes, in words.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

fn kind(payload: &Payload) -> &'static str {
    match payload {
        Payload::Noop => "noop",
        Payload::Command(_) => "command",
        Payload::Membership(_) => "membership",
    }
}

/// `1 entry`, `2 entries`.
fn counted(count: u64, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

/// `5` or `5 to 7`.
fn range(first: LogIndex, last: LogIndex) -> String {
    if first == last { first.to_string() } else { format!("{first} to {last}") }
}

/// A length with its unit.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB"];
    let mut shown = None;
    let mut tenths = bytes.saturating_mul(10);
    for unit in units {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        shown = Some(unit);
    }
    match shown {
        None => format!("{bytes} B"),
        Some(unit) => format!("{}.{} {unit}", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_shown_with_their_unit() {
        let shown = [0, 1023, 1024, 1536, 33_562_624, u64::from(u32::MAX)].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "32.0 MiB", "3.9 GiB"]);
    }
}
