//! Reads the mutants in `mutation/` and weaves them into a copy of the workspace. The workspace itself has no mutant.

mod functions;
mod scratch;
mod text;
mod weave;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use self::text::Mutant;
use self::text::{Edit, Texts};
use crate::workspace::{self, Failure};

/// The folder of the text files, with a folder for each crate.
const FOLDER: &str = "mutation";
/// The name of a library's unit tests among the names of test targets.
pub(crate) const UNIT: &str = "unit";
/// The file that lists the bugs that simulations of whole nodes must notice.
const SIMULATED: &str = "mutation/simulated.txt";

/// Reads the list of the bugs that simulations of whole nodes must notice.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn simulated() -> Result<String, Failure> {
    fs::read_to_string(workspace::root().join(SIMULATED))
        .map_err(Failure::of(format!("cannot read {SIMULATED}")))
}

/// Reads all mutants, in the order of the files and of their lines.
///
/// # Errors
/// A file cannot be read, or has a mistake.
pub(crate) fn mutants() -> Result<Vec<Mutant>, Failure> {
    let (texts, problems) = read(workspace::root())?;
    if problems.is_empty() { Ok(texts.mutants) } else { Err(Failure::new(problems.join("\n"))) }
}

/// Returns one line for each mistake in the text files, such as an edit whose lines are not found exactly once.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>, Failure> {
    let (texts, mut problems) = read(root)?;
    problems.extend(texts.mutants.iter().flat_map(|mutant| missing_tests(root, mutant)));
    if let Err(more) = woven_files(root, &texts)? {
        problems.extend(more);
    }
    Ok(problems)
}

/// Returns one line for each test target that a mutant names and its crate does not have.
fn missing_tests(root: &Path, mutant: &Mutant) -> Vec<String> {
    let is_there = |name: &String| {
        let test = root.join(mutant.krate()).join("tests").join(name);
        name == UNIT || test.with_extension("rs").is_file() || test.join("main.rs").is_file()
    };
    let missing = mutant.tests.iter().filter(|name| !is_there(name));
    missing.map(|name| format!("{}: its crate has no tests called {name}", mutant.name)).collect()
}

/// Brings the copy of the workspace with all mutants up to date, and returns its folder.
///
/// # Errors
/// A file cannot be read or written, or a mutant does not fit.
pub(crate) fn copy(target: &Path) -> Result<PathBuf, Failure> {
    let root = workspace::root();
    let (texts, mut problems) = read(root)?;
    let woven = match woven_files(root, &texts)? {
        Ok(woven) => woven,
        Err(more) => {
            problems.extend(more);
            BTreeMap::new()
        }
    };
    if !problems.is_empty() {
        return Err(Failure::new(problems.join("\n")));
    }
    let folder = target.join("woven");
    scratch::write(root, &folder, &woven)?;
    Ok(folder)
}

fn read(root: &Path) -> Result<(Texts, Vec<String>), Failure> {
    let (mut texts, mut problems) = (Texts::default(), Vec::new());
    for krate in listed(&root.join(FOLDER))?.iter().filter(|it| it.is_dir()) {
        let folder = krate.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for file in listed(krate)? {
            let text =
                fs::read_to_string(&file).map_err(Failure::of(format!("cannot read {}", file.display())))?;
            let before = texts.mutants.len();
            problems
                .extend(texts.read(&file.strip_prefix(root).unwrap_or(&file).display().to_string(), &text));
            let strangers = texts.mutants[before..].iter().filter(|it| it.krate() != folder);
            problems.extend(strangers.map(|it| format!("{} stands in {FOLDER}/{folder}", it.name)));
        }
    }
    problems.extend(texts.problems());
    Ok((texts, problems))
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = || Failure::of(format!("cannot read {}", folder.display()));
    let entries: Result<Vec<_>, _> = fs::read_dir(folder).map_err(failed())?.collect();
    let mut paths: Vec<PathBuf> = entries.map_err(failed())?.iter().map(fs::DirEntry::path).collect();
    paths.sort_unstable();
    Ok(paths)
}

/// The text of every file that mutants change, by its path; or one line for each edit that does not fit.
type Woven = Result<BTreeMap<String, String>, Vec<String>>;

fn woven_files(root: &Path, texts: &Texts) -> Result<Woven, Failure> {
    let mut edits: BTreeMap<&str, Vec<(&Mutant, &Edit)>> = BTreeMap::new();
    for mutant in &texts.mutants {
        for edit in &mutant.edits {
            edits.entry(&edit.file).or_default().push((mutant, edit));
        }
    }
    for addition in &texts.additions {
        edits.entry(&addition.file).or_default();
    }
    let (mut woven, mut problems) = (BTreeMap::new(), Vec::new());
    for (file, edits) in edits {
        let Ok(text) = fs::read_to_string(root.join(file)) else {
            problems.push(format!("{file}: cannot be read, and mutants change it"));
            continue;
        };
        match weave::weave(&text, &edits) {
            Ok(mut text) => {
                let more = texts.additions.iter().filter(|it| it.file == file).flat_map(|it| &it.lines);
                text.extend(more.flat_map(|line| [line, "\n"]));
                woven.insert(file.to_owned(), text);
            }
            Err(more) => problems.extend(more),
        }
    }
    let crates: BTreeSet<&str> = texts.mutants.iter().map(Mutant::krate).collect();
    for krate in crates {
        let lib = format!("{krate}/src/lib.rs");
        let text = match woven.remove(&lib) {
            Some(text) => text,
            None => fs::read_to_string(root.join(&lib)).map_err(Failure::of(format!("cannot read {lib}")))?,
        };
        woven.insert(lib, format!("{LINTS}{text}\nmod woven;\n"));
        let mutants: Vec<&Mutant> = texts.mutants.iter().filter(|it| it.krate() == krate).collect();
        woven.insert(format!("{krate}/src/woven.rs"), switch(krate, &mutants));
    }
    Ok(if problems.is_empty() { Ok(woven) } else { Err(problems) })
}

/// Allows every lint in the copy, because a mutant's code may leave variables unused.
const LINTS: &str = "#![allow(warnings, missing_docs, unreachable_pub, unsafe_code)]\n";

/// Returns the text of the module that says which mutant of its crate is switched on.
fn switch(krate: &str, mutants: &[&Mutant]) -> String {
    let mut names = String::new();
    for mutant in mutants {
        names.push_str(&format!("    (\"{}\", {:#010x}),\n", mutant.short(), mutant.number()));
    }
    SWITCH.replace("{krate}", krate).replace("{names}", &names)
}

const SWITCH: &str = r#"//! Written by `cargo xtask mutants`: the mutants of this crate, and which of them is switched on.

extern crate std;

#[cfg(not(debug_assertions))]
compile_error!("known bugs are woven into this copy, for tests of the tests alone");

const NAMES: &[(&str, u32)] = &[
{names}];

/// The number of the mutant that `RAFTKIT_MUTANT` names; 0 for none, or one of another crate.
pub(crate) fn number() -> u32 {
    static NUMBER: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *NUMBER.get_or_init(|| {
        let wanted = std::env::var("RAFTKIT_MUTANT").unwrap_or_default();
        let Some(wanted) = wanted.strip_prefix("{krate}/") else { return 0 };
        match NAMES.iter().find(|(name, _)| *name == wanted) {
            Some((_, number)) => *number,
            None => std::panic!("{krate}/{wanted} is no mutant"),
        }
    })
}
"#;
