//! `cargo xtask tidy`: checks rules that neither the compiler nor clippy checks, on the text of the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::console::complain;
use crate::mutants;
use crate::workspace::{self, Failure};

/// A source file with more lines than this is refused.
const LINES_MAX: usize = 600;
/// A source file with more lines than this gets a warning.
const LINES_WISHED: usize = 400;
/// The `//!` line that states a file's duty must be among this many first lines.
const DUTY_WITHIN: usize = 10;

const REQUIRED: &[&str] = &["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "Cargo.lock", ".ci/run"];
/// Crates that are proven pure by a `clippy.toml` of their own.
const PURE_CRATES: &[&str] =
    &["raft-core", "raft-kv", "raft-log", "raft-replica", "raft-sim", "raft-snapshot"];
/// What the manifest of a published crate says besides its name.
const PUBLISHED: &[&str] =
    &["description", "keywords", "categories", "readme", "documentation", "[package.metadata.docs.rs]"];
const SKIPPED_FOLDERS: &[&str] = &["target", "raftkit-data"];

// Written in pieces, so that this file does not break its own rules.
const IGNORED_TEST: &str = concat!("#[", "ignore");
const UNFINISHED_MACROS: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];
const UNFINISHED_WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const INCLUDES: &[&str] = &["include_str!(", "include_bytes!(", "#[path = "];
const SLEEPS: &[&str] = &[concat!("thread::", "sleep"), concat!("time::", "sleep")];

/// The problems, which fail the check, and the warnings.
#[derive(Debug, Default)]
struct Findings {
    problems: Vec<String>,
    warnings: Vec<String>,
}

/// Checks the whole workspace.
///
/// # Errors
/// There are problems; the message has a line for each.
pub(crate) fn run() -> Result<(), Failure> {
    let findings = check(workspace::root())?;
    for warning in &findings.warnings {
        complain(&format!("warning: {warning}"));
    }
    if findings.problems.is_empty() {
        complain("tidy: nothing to complain about");
        return Ok(());
    }
    Err(Failure::new(findings.problems.join("\n")))
}

fn check(root: &Path) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    for required in REQUIRED.iter().filter(|name| !root.join(name).exists()) {
        findings.problems.push(format!("{required}: is missing"));
    }
    let mut files = Vec::new();
    list_files(root, &mut files)?;
    let mut settings = BTreeMap::new();
    for path in files {
        let text =
            fs::read_to_string(&path).map_err(Failure::of(format!("cannot read {}", path.display())))?;
        let path = path.strip_prefix(root).unwrap_or(&path);
        let name = path.display().to_string();
        if path.extension().is_some_and(|it| it == "rs") {
            check_source(&name, &text, &mut findings);
        }
        if path.ends_with("Cargo.toml") && path.components().count() == 2 {
            check_manifest(&name, &text, &mut findings);
        }
        if path.ends_with("clippy.toml") {
            settings.insert(name.clone(), text.clone());
        }
        check_words(&name, &text, &mut findings);
    }
    check_pure_crates(&settings, &mut findings);
    check_clippy_settings(&settings, &mut findings);
    findings.problems.extend(mutants::problems(root)?);
    Ok(findings)
}

/// Lists the text files that have rules, sorted, so that findings come in the same order on every machine.
fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = || Failure::of(format!("cannot read {}", folder.display()));
    let mut entries: Vec<_> =
        fs::read_dir(folder).map_err(failed())?.collect::<Result<_, _>>().map_err(failed())?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        let kind = entry.file_type().map_err(failed())?;
        if kind.is_dir()
            && !SKIPPED_FOLDERS.contains(&name.as_str())
            && (name == ".ci" || !name.starts_with('.'))
        {
            list_files(&path, files)?;
        } else if kind.is_file() && has_rules(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn has_rules(path: &Path) -> bool {
    path.extension().is_some_and(|it| ["rs", "toml", "md"].iter().any(|&known| it == known))
        || path.ends_with(".ci/run")
}

/// Checks the rules for Rust sources.
fn check_source(name: &str, text: &str, findings: &mut Findings) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        findings.problems.push(format!("{name}: {lines} lines, {LINES_MAX} are allowed"));
    } else if lines > LINES_WISHED {
        findings.warnings.push(format!("{name}: {lines} lines, consider a split above {LINES_WISHED}"));
    }
    let tells = |line: &str| line.starts_with("//!") || line.starts_with("#![doc = include_str!(");
    if !text.lines().take(DUTY_WITHIN).any(tells) {
        findings.problems.push(format!("{name}: does not start with a //! line that tells its duty"));
    }
    let mut in_tests = Path::new(name).components().any(|part| part.as_os_str() == "tests");
    let mut test_attribute = false;
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        // Unit tests are at the end of a file: everything after their `mod` line belongs to them.
        in_tests |= test_attribute && code.starts_with("mod ") && code.ends_with('{');
        test_attribute = code == "#[cfg(test)]" || (test_attribute && code.starts_with("#["));
        if code.starts_with("//") {
            continue;
        }
        let mut problem = |words: &str| findings.problems.push(format!("{name}:{number}: {words}"));
        if code.contains(IGNORED_TEST) {
            problem("a test is ignored: run it or remove it");
        }
        if UNFINISHED_MACROS.iter().any(|word| code.contains(word)) {
            problem("unfinished code");
        }
        if !in_tests && reaches_outside(name, code) {
            problem("reads a file outside its crate, which is not in the crate's package");
        }
        if in_tests && SLEEPS.iter().any(|word| code.contains(word)) {
            problem("a test sleeps: wait for what it waits for");
        }
    }
}

/// Whether a line of `<crate>/src/..` includes a file from outside `<crate>`: that builds here, and nowhere else.
fn reaches_outside(name: &str, code: &str) -> bool {
    let folders: Vec<_> = Path::new(name).components().collect();
    let [_, src, ..] = folders.as_slice() else { return false };
    let includes = INCLUDES.iter().any(|word| code.contains(word));
    src.as_os_str() == "src" && includes && code.matches("../").count() > folders.len() - 2
}

/// Finds words that mark unfinished work, which belongs in an issue.
fn check_words(name: &str, text: &str, findings: &mut Findings) {
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = line.split(|c: char| !(c.is_alphanumeric() || c == '_'));
        if let Some(word) = words.find(|word| UNFINISHED_WORDS.contains(word)) {
            findings.problems.push(format!("{name}:{number}: {word}: do it, or open an issue"));
        }
    }
}

/// Checks the rules for the manifest of a crate.
fn check_manifest(name: &str, text: &str, findings: &mut Findings) {
    if !text.contains("[lints]\nworkspace = true") {
        findings
            .problems
            .push(format!("{name}: does not take the workspace's lints ([lints] workspace = true)"));
    }
    if !text.contains("license.workspace = true") {
        findings.problems.push(format!("{name}: does not take the workspace's license"));
    }
    for key in PUBLISHED.iter().filter(|_| !text.contains("publish = false")) {
        if !text.lines().any(|line| line.starts_with(key)) {
            findings.problems.push(format!("{name}: has no {key}, which crates.io and docs.rs show"));
        }
    }
}

/// Checks that every pure crate has a `clippy.toml`, which forbids clocks, threads and the like.
fn check_pure_crates(files: &BTreeMap<String, String>, findings: &mut Findings) {
    for pure in PURE_CRATES {
        if !files.contains_key(&format!("{pure}/clippy.toml")) {
            findings
                .problems
                .push(format!("{pure}/clippy.toml: is missing, nothing proves that the crate is pure"));
        }
    }
}

/// Checks that all `clippy.toml` files have the same shared settings: all lines `name = value` except the lists of what is
/// disallowed. Clippy does not merge a crate's settings with those of the workspace, so each file repeats the shared ones.
fn check_clippy_settings(files: &BTreeMap<String, String>, findings: &mut Findings) {
    let Some((first, text)) = files.first_key_value() else { return };
    let expected = shared_settings(text);
    for (name, text) in files {
        let found = shared_settings(text);
        if found != expected {
            findings.problems.push(format!(
                "{name}: its shared settings are not those of {first}: {} instead of {}",
                found.join(", "),
                expected.join(", ")
            ));
        }
    }
}

fn shared_settings(text: &str) -> Vec<&str> {
    let mut settings: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()) && !line.starts_with("disallowed-"))
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .collect();
    settings.sort_unstable();
    settings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Findings, check, check_clippy_settings, check_source, check_words, workspace};

    fn source(name: &str, text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        check_source(name, text, &mut findings);
        check_words(name, text, &mut findings);
        findings.problems
    }

    #[test]
    fn the_workspace_is_tidy() {
        assert_eq!(check(workspace::root()).expect("readable").problems, Vec::<String>::new());
    }

    #[test]
    fn a_source_tells_its_duty_first() {
        for good in ["#![no_std]\n//! Duty.\n", "#![doc = include_str!(\"../README.md\")]\n"] {
            assert_eq!(source("a.rs", good), Vec::<String>::new());
        }
        assert_eq!(source("a.rs", "fn main() {}\n").len(), 1);
    }

    #[test]
    fn a_crate_includes_only_what_is_in_its_own_folder() {
        let includes = |file: &str| {
            source("a/src/b/c.rs", &format!("//! Duty.\nlet x = include_str!(\"{file}\");\n")).len()
        };
        assert_eq!(includes("../../README.md"), 0);
        assert_eq!(includes("../../../README.md"), 1);
    }

    #[test]
    fn a_long_file_is_refused() {
        assert_eq!(source("a.rs", &"//! Duty.\n".repeat(600)), Vec::<String>::new());
        assert_eq!(source("a.rs", &"//! Duty.\n".repeat(601)).len(), 1);
    }

    #[test]
    fn sleeps_are_found_in_tests_alone() {
        let sleep = concat!("    std::thread::", "sleep(x);\n");
        let unit = format!("//! Duty.\nfn f() {{\n{sleep}}}\n#[cfg(test)]\n#[allow(x)]\nmod tests {{\n}}\n");
        assert_eq!(source("a/src/b.rs", &unit), Vec::<String>::new());
        assert_eq!(source("a/src/b.rs", &format!("{unit}{sleep}")).len(), 1);
        assert_eq!(source("a/tests/b.rs", &format!("//! Duty.\n{sleep}")).len(), 1);
    }

    #[test]
    fn unfinished_things_are_found_and_lookalikes_are_not() {
        for bad in [
            concat!("fn f() { to", "do!() }"),
            concat!("#[ig", "nore]"),
            concat!("#[ig", "nore = \"slow\"]"),
            concat!("// TO", "DO: later"),
            concat!("let x = 1; // FIX", "ME"),
        ] {
            assert_eq!(source("a.rs", &format!("//! Duty.\n{bad}\n")).len(), 1, "{bad}");
        }
        assert_eq!(source("a.rs", "//! Duty.\nlet TODOS = \"XXXX\"; // ignored\n"), Vec::<String>::new());
    }

    #[test]
    fn clippy_settings_must_be_the_same_everywhere_except_what_they_disallow() {
        let problems = |other: &str| {
            let files = BTreeMap::from([
                (
                    "raft-core/clippy.toml".to_owned(),
                    "b = 2\na = 1 # why\ndisallowed-types = [\n  \"x\",\n]\n".to_owned(),
                ),
                ("raft-kv/clippy.toml".to_owned(), other.to_owned()),
            ]);
            let mut findings = Findings::default();
            check_clippy_settings(&files, &mut findings);
            findings.problems.len()
        };
        assert_eq!(problems("a = 1\nb = 2\n"), 0);
        assert_eq!(problems("a = 1\nb = 3\n"), 1);
        assert_eq!(problems("a = 1\n"), 1);
    }
}
