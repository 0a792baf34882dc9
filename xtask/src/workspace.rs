//! Where the workspace is, how cargo is called, and how a command fails.

use std::ffi::OsString;
use std::fmt;
use std::path::Path;
use std::process::Command;

/// Why a command failed, as a message for the person at the terminal. No code distinguishes failures.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// Returns a function for `map_err` that turns an error into a failure to do `what`.
    pub(crate) fn of<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the root folder of the workspace that this xtask was built in.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder of the workspace")
}

/// Returns a command that runs cargo in the workspace: the same cargo that runs this xtask.
///
/// The command does not inherit the variables that describe xtask itself: a build script that reads `CARGO_PKG_NAME` or
/// `CARGO_MANIFEST_DIR`, as ring's does, would otherwise run again, and all that depends on it would be built again, whenever a
/// build by hand follows one by xtask.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root());
    let of_xtask = |name: &OsString| {
        ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
    };
    std::env::vars_os().map(|(name, _)| name).filter(of_xtask).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// Runs `command` and returns its standard output.
///
/// # Errors
/// The command cannot be started, fails (the message has its standard error), or prints invalid UTF-8.
pub(crate) fn output_of(mut command: Command) -> Result<String, Failure> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(Failure::of(format!("cannot run {shown}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("{shown} failed ({}):\n{}", output.status, said.trim_end())));
    }
    String::from_utf8(output.stdout).map_err(Failure::of(format!("{shown} printed no UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::cargo;

    #[test]
    fn what_cargo_says_of_xtask_is_not_handed_on() {
        let command = cargo();
        let removed: Vec<_> =
            command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR"] {
            assert!(removed.iter().any(|removed| *removed == name), "{name} is not among {removed:?}");
        }
    }
}
