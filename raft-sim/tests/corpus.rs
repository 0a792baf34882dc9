//! Runs that broke a promise once keep every promise now.

#![allow(clippy::unwrap_used, reason = "test")]

use std::fs;
use std::path::Path;

use raftkit_sim::{Kv, Options, Plan, run};

#[test]
fn every_run_of_the_corpus_keeps_every_promise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == "txt"));
    files.sort();
    assert!(!files.is_empty(), "{} holds no runs", folder.display());
    for path in files {
        let plan = Plan::parse(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let report = run(&plan, Kv::default(), &Options::default());
        let violation = report.violation.map(|violation| violation.to_string());
        assert_eq!(violation, None, "replay: cargo xtask simulate --choices {}", path.display());
    }
}
