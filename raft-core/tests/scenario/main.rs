//! Scenarios: each file under `tests/scenarios` holds commands and, below `----`, their output. `REWRITE=1
//! cargo test -p raftkit-core --test scenario` rewrites the output; review the difference. `ONLY=joint` runs
//! the files with that word in their path. `tests/scenarios/README.md` explains the commands.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]

mod ask;
mod backing;
mod cluster;
mod command;
#[path = "../common/disk.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses all of it")]
mod disk;
mod drive;
mod files;
#[path = "../common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod show;
#[path = "../common/shown.rs"]
mod shown;
mod tell;
mod words;

use std::fs;
use std::path::Path;

use disk::Disk;
use files::{files, first_difference, tell};

#[test]
fn every_scenario_tells_what_happens() {
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut differ = Vec::new();
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")) {
        eprintln!("{}", file.display()); // The last one printed is the one that fails.
        let written = fs::read_to_string(&file).unwrap();
        let told = tell::<Disk>(&written, &file);
        if rewrite {
            fs::write(&file, &told).unwrap();
        } else if told != written {
            differ.push(format!("{}\n{}", file.display(), first_difference(&written, &told)));
        }
    }
    assert!(differ.is_empty(), "set REWRITE=1 to accept:\n{}", differ.join("\n\n"));
}
