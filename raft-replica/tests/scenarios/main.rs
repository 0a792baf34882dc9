//! The scenarios of raftkit-core, over the real log on a simulated disk and the real frame codec in the place of
//! models: the same commands must have the same output. `ONLY=joint` runs the files with that word in their path.
//! The files and the code that runs their commands are those of raftkit-core.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "test")]

#[path = "../../../raft-core/tests/scenario/ask.rs"]
mod ask;
#[path = "../../../raft-core/tests/scenario/backing.rs"]
mod backing;
#[path = "../../../raft-core/tests/scenario/cluster.rs"]
mod cluster;
#[path = "../../../raft-core/tests/scenario/command.rs"]
mod command;
#[path = "../../../raft-core/tests/common/disk.rs"]
#[allow(dead_code, reason = "shared with the simulation of raftkit-core, which uses all of it")]
mod disk;
#[path = "../../../raft-core/tests/scenario/drive.rs"]
mod drive;
#[path = "../../../raft-core/tests/scenario/files.rs"]
mod files;
#[path = "../../../raft-core/tests/common/members.rs"]
#[allow(dead_code, reason = "shared with other tests, which use all of it")]
mod members;
mod real;
#[path = "../../../raft-core/tests/scenario/show.rs"]
mod show;
#[path = "../../../raft-core/tests/common/shown.rs"]
mod shown;
#[path = "../../../raft-core/tests/scenario/tell.rs"]
mod tell;
#[path = "../../../raft-core/tests/scenario/words.rs"]
mod words;

use std::fs;
use std::path::Path;

use files::{files, first_difference, tell};
use real::RealLog;

#[test]
fn every_scenario_is_the_same_over_the_real_log_and_codec() {
    let mut differ = Vec::new();
    for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../raft-core/tests/scenarios")) {
        eprintln!("{}", file.display()); // The last one printed is the one that fails.
        let written = fs::read_to_string(&file).unwrap();
        let told = tell::<RealLog>(&written, &file);
        if told != written {
            differ.push(format!("{}\n{}", file.display(), first_difference(&written, &told)));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}
