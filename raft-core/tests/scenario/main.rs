//! Scenarios: each file under `tests/scenarios` holds commands and, below `----`, their output. `REWRITE=1
//! cargo test -p raftkit-core --test scenario` rewrites the output; review the difference. `ONLY=joint` runs
//! the files with that word in their path. `tests/scenarios/README.md` explains the commands.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]

mod ask;
mod cluster;
mod command;
#[path = "../common/disk.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
mod disk;
mod drive;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod show;
#[path = "../common/shown.rs"]
mod shown;
mod tell;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use cluster::Cluster;

#[test]
fn every_scenario_tells_what_happens() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| is_scenario(path))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{} scenarios are there", files.len());
    let rewrite = std::env::var_os("REWRITE").is_some();
    let only = std::env::var("ONLY").unwrap_or_default();
    files.retain(|file| file.to_string_lossy().contains(&only));
    let mut differ = Vec::new();
    for file in files {
        eprintln!("{}", file.display()); // The last one printed is the one that fails.
        let written = fs::read_to_string(&file).unwrap();
        let told = tell(&written, &file);
        if rewrite {
            fs::write(&file, &told).unwrap();
        } else if told != written {
            differ.push(format!("{}\n{}", file.display(), first_difference(&written, &told)));
        }
    }
    assert!(differ.is_empty(), "set REWRITE=1 to accept:\n{}", differ.join("\n\n"));
}

fn is_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt")
}

/// Runs the commands of a file and returns it with their output, all else unchanged.
fn tell(written: &str, file: &Path) -> String {
    let mut cluster = Cluster::default();
    let mut told = String::new();
    for block in written.trim_end().split("\n\n") {
        let commands = block.split("\n----").next().unwrap_or_default();
        let mut output = Vec::new();
        let mut any = false;
        for line in commands.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
            any = true;
            command::run(&mut cluster, line)
                .unwrap_or_else(|why| panic!("{}: `{line}`: {why}", file.display()));
            output.append(&mut cluster.told);
        }
        told.push_str(commands);
        if any {
            told.push_str("\n----\n");
            told.push_str(&if output.is_empty() { "nothing".into() } else { output.join("\n") });
        }
        told.push_str("\n\n");
    }
    format!("{}\n", told.trim_end())
}

fn first_difference(written: &str, told: &str) -> String {
    let mut lines = written.lines().zip(told.lines()).enumerate();
    match lines.find(|(_, (written, told))| written != told) {
        Some((at, (written, told))) => format!("line {}\n  written: {written}\n  told:    {told}", at + 1),
        None => format!("{} lines are written, {} told", written.lines().count(), told.lines().count()),
    }
}
