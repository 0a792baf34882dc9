//! Proves that raftkit-core needs no standard library, on any machine.
//!
//! `#![no_std]` in raft-core forbids `std` to the crate itself but says nothing about its dependencies, and a target without a
//! standard library, which would show it, is not installed everywhere. So a small crate is checked that depends on raftkit-core
//! and defines a panic handler. The standard library defines one too: if anything below the crate links it, the compiler finds
//! two and refuses.

use std::fs;

use crate::workspace::{self, Failure};

/// The crate that is checked. The lock file is a copy of the workspace's, so that the versions are those that ship.
const MANIFEST: &str = r#"[package]
name = "raftkit-no-std"
version = "0.0.0"
edition = "2024"

[lib]
path = "lib.rs"

[dependencies]
raftkit-core = { path = "../../raft-core", features = ["serde"] }

[workspace]
"#;

const SOURCE: &str = r"//! Nothing of this may link the standard library.
#![no_std]
use raftkit_core as _;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
";

/// Checks the small crate.
///
/// # Errors
/// Its files cannot be written, or the compiler refuses it; what the compiler said is on the terminal.
pub(crate) fn run() -> Result<(), Failure> {
    let folder = workspace::root().join("target/no-std");
    let written = || -> std::io::Result<()> {
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("Cargo.toml"), MANIFEST)?;
        fs::write(folder.join("lib.rs"), SOURCE)?;
        fs::copy(workspace::root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
        Ok(())
    };
    written().map_err(Failure::of(format!("cannot write to {}", folder.display())))?;
    let status = workspace::cargo()
        .current_dir(&folder)
        .args(["check", "--quiet", "--target-dir", "target"])
        .status()
        .map_err(Failure::of("cannot run cargo"))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(
        "raftkit-core, or a dependency of it, links the standard library (E0152 names it above): \
         switch off that dependency's default features",
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::SOURCE;

    /// Whether the compiler takes the checked crate with `line` in the place of what it depends on, and what it says. What it
    /// makes goes to a folder of its own: run by root with `-o /dev/null` it puts a file in the place of the device.
    fn compiled_with(line: &str) -> (bool, String) {
        let source = SOURCE.replace("use raftkit_core as _;", line);
        let folder = std::env::temp_dir().join(format!("raftkit-no-std-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        let mut compiler = Command::new("rustc")
            .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"])
            .arg(&folder)
            .arg("-")
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a compiler");
        compiler.stdin.take().expect("a pipe").write_all(source.as_bytes()).expect("a compiler that reads");
        let output = compiler.wait_with_output().expect("a compiler that ends");
        drop(std::fs::remove_dir_all(&folder));
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[test]
    fn a_crate_that_links_the_standard_library_is_refused() {
        let (taken, said) = compiled_with("extern crate alloc;");
        assert!(taken, "{said}");
        let (taken, said) = compiled_with("extern crate std;");
        assert!(!taken && said.contains("E0152"), "{said}");
    }
}
