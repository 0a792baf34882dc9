//! The scenario files: where they are, and what comes of their commands.

use std::fs;
use std::path::{Path, PathBuf};

use crate::backing::Backing;
use crate::cluster::Cluster;
use crate::command;

/// All scenario files of a folder that have the words of `ONLY` in their path.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| is_scenario(path))
        .collect();
    files.sort();
    assert!(files.len() >= 60, "{} scenarios are there", files.len());
    let only = std::env::var("ONLY").unwrap_or_default();
    files.retain(|file| file.to_string_lossy().contains(&only));
    files
}

fn is_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt")
}

/// Runs the commands of a file and returns it with their output, all else unchanged.
pub fn tell<B: Backing>(written: &str, file: &Path) -> String {
    let mut cluster = Cluster::<B>::default();
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

/// Where what happened differs from what is written.
pub fn first_difference(written: &str, told: &str) -> String {
    let mut lines = written.lines().zip(told.lines()).enumerate();
    match lines.find(|(_, (written, told))| written != told) {
        Some((at, (written, told))) => format!("line {}\n  written: {written}\n  told:    {told}", at + 1),
        None => format!("{} lines are written, {} told", written.lines().count(), told.lines().count()),
    }
}
