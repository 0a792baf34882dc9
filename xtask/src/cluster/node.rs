//! The process of one node. Its standard input is a pipe from this xtask; when the pipe ends, the node stops cleanly.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

use super::setup::Plan;
use crate::workspace::Failure;

/// Number of lines of its log that are shown when a node fails.
const TAIL_LINES: usize = 25;
/// Number of bytes at the end of the log that are searched for these lines.
const TAIL_BYTES: u64 = 16 * 1024;
/// Environment variables that are removed, as they would override in every node what its own configuration file sets. Others,
/// such as time-outs, stay, so that they can be tried.
const NOT_INHERITED: &[&str] = &[
    "RAFT_NODE_NODE_ID",
    "RAFT_NODE_DATA_DIR",
    "RAFT_NODE_HTTP_ADDR",
    "RAFT_NODE_RAFT_ADDR",
    "RAFT_NODE_RAFT_ADVERTISE_ADDR",
    "RAFT_NODE_BOOTSTRAP",
    "RAFT_NODE_BOOTSTRAP_EXPECT",
    "RAFT_NODE_JOIN",
    "RAFT_NODE_TLS_CA",
    "RAFT_NODE_TLS_CERT",
    "RAFT_NODE_TLS_KEY",
];

/// A node that this xtask has started.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) plan: Plan,
    binary: PathBuf,
    child: Child,
    /// Held open: the node stops when the pipe ends, which also happens when this process is killed.
    pipe: Option<ChildStdin>,
    exit: Option<ExitStatus>,
    /// Length of the log when the node was started.
    log_start: u64,
}

impl Node {
    /// Starts the node. Its output is appended to its log.
    ///
    /// # Errors
    /// The log or the binary cannot be opened.
    pub(super) fn start(binary: &Path, plan: Plan) -> Result<Self, Failure> {
        let shown = plan.log.display().to_string();
        let log_failed = || Failure::of(format!("cannot open {shown}"));
        let mut log = OpenOptions::new().create(true).append(true).open(&plan.log).map_err(log_failed())?;
        let log_start = log.seek(SeekFrom::End(0)).map_err(log_failed())?;
        let mut command = Command::new(binary);
        command.arg("serve").arg("--config").arg(&plan.config).arg("--stop-on-stdin-eof");
        command.stdin(Stdio::piped()).stdout(log.try_clone().map_err(log_failed())?).stderr(log);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        // A process group of its own keeps Ctrl-C of the terminal from the node: this program decides when it stops.
        command.process_group(0);
        let mut child = command.spawn().map_err(Failure::of(format!("cannot run {}", binary.display())))?;
        let pipe = child.stdin.take();
        Ok(Self { plan, binary: binary.to_owned(), child, pipe, exit: None, log_start })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns how the process ended, if it has ended.
    pub(super) fn exit(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            // The only possible error is that there is no such child. It cannot occur, as only this handle waits for it.
            self.exit = self.child.try_wait().ok().flatten();
        }
        self.exit
    }

    /// Asks the node to stop, by closing its standard input.
    pub(super) fn ask_to_stop(&mut self) {
        self.pipe = None;
    }

    /// Kills the process.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.exit = Some(self.child.wait()?);
        Ok(())
    }

    /// Returns the command that starts this node again by hand.
    pub(super) fn restart_command(&self) -> String {
        format!("{} serve --config {}", shell_word(&self.binary), shell_word(&self.plan.config))
    }

    /// Returns the last lines that the node has printed since it was started.
    pub(super) fn log_tail(&self) -> String {
        match self.read_log_end() {
            Ok(text) if text.trim().is_empty() => "(it printed nothing)".to_owned(),
            Ok(text) => {
                let lines: Vec<&str> = text.trim_end().lines().collect();
                lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
            }
            Err(error) => format!("(cannot read {}: {error})", self.plan.log.display()),
        }
    }

    fn read_log_end(&self) -> io::Result<String> {
        let mut log = File::open(&self.plan.log)?;
        let end = log.seek(SeekFrom::End(0))?;
        log.seek(SeekFrom::Start(self.log_start.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Describes how a process ended.
pub(super) fn exit_words(exit: ExitStatus) -> String {
    match (exit.code(), exit.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("killed by {name}"),
            None => format!("killed by signal {signal}"),
        },
        (None, None) => exit.to_string(),
    }
}

/// Quotes a path for a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@:,=".contains(c)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::path::Path;
    use std::process::ExitStatus;

    use super::{exit_words, shell_word};

    #[test]
    fn an_end_is_told_in_words() {
        assert_eq!(exit_words(ExitStatus::from_raw(0)), "exit code 0");
        assert_eq!(exit_words(ExitStatus::from_raw(256)), "exit code 1");
        assert_eq!(exit_words(ExitStatus::from_raw(9)), "killed by SIGKILL");
    }

    #[test]
    fn paths_with_odd_characters_are_quoted() {
        assert_eq!(shell_word(Path::new("/a-b/c.d_1")), "/a-b/c.d_1");
        assert_eq!(shell_word(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
