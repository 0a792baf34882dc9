//! `raft-node log`: checks and lists the log of a stopped node, and does not touch that of a running one.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::path::{Path, PathBuf};

use support::{Cluster, run};

/// Exit code, stdout and stderr.
fn log(command: &str, dir: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let (status, out, err) = run(&[&["log", command, "--data-dir", dir.to_str().unwrap()], more].concat());
    (status.code(), out, err)
}

/// Names and contents of all files.
fn content(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// Starts a node that takes `puts` writes. Returns the cluster and the node's data folder.
fn cluster(puts: u64) -> (Cluster, PathBuf) {
    let cluster = Cluster::start(1);
    for number in 1..=puts {
        let value = format!("value-{number}-").repeat(300);
        assert_eq!(
            cluster.nodes[0].put(&format!("/v1/kv/key-{number}"), value.as_bytes()).unwrap().text(),
            "true"
        );
    }
    let dir = cluster.dir.path().join("data-1");
    (cluster, dir)
}

#[test]
fn the_log_of_a_killed_node_is_checked_and_listed_and_not_changed() {
    let (mut cluster, dir) = cluster(10);
    for command in ["verify", "dump"] {
        let (code, out, err) = log(command, &dir, &[]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(err.contains("in use by a running node") && err.contains("stop the node first"), "{err}");
    }
    let last = cluster.nodes[0].status().unwrap()["Last"].as_u64().unwrap();
    cluster.node(1).kill();
    let before = content(&dir);

    let (code, out, err) = log("verify", &dir, &[]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for part in
        ["all is well", "node       1, opened 1 time", &format!(" to {last} ("), "voter 1 as of entry 1"]
    {
        assert!(out.contains(part), "{part:?} is missing:\n{out}");
    }
    let (code, out, _) = log("verify", &dir, &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["verdict"], &told["log"]["last"]), (Some(0), &"sound".into(), &last.into()));

    let (code, out, err) = log("dump", &dir, &["--payload"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let entries = out.lines().filter(|line| line.contains("  command  ")).count();
    assert_eq!(entries, 10, "{out}");
    assert!(out.contains("compacted") && out.contains("in the journal alone"), "{out}");
    let (_, out, _) = log("dump", &dir, &["--from", "4", "--to", "6", "--json"]);
    let indexes: Vec<u64> = out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indexes, [4, 5, 6]);
    assert!(content(&dir) == before, "something was changed");

    cluster.node(1).start();
    cluster.wait_for_leader();
    assert!(cluster.nodes[0].get("/v1/kv/key-10?raw").text().starts_with("value-10-"));
}

#[test]
fn a_rotten_log_is_told_with_its_file_and_entries_before_a_start_finds_it() {
    let (mut cluster, dir) = cluster(10);
    let status = cluster.node(1).stop();
    assert!(status.success());
    let path = dir.join("log.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    let wanted = b"value-7-value-7-";
    let places: Vec<usize> = bytes
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, part)| part == wanted)
        .map(|(at, _)| at)
        .collect();
    // Change a byte in the middle of the value, wherever the file has it.
    places.iter().for_each(|place| bytes[*place + 3] ^= 1);
    assert!(!places.is_empty());
    std::fs::write(&path, bytes).unwrap();
    let before = content(&dir);

    let (code, out, err) = log("verify", &dir, &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("is damaged") && err.contains("data-1"), "{err}");
    let (_, json, _) = log("verify", &dir, &["--json"]);
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let damage = &told["damages"][0];
    let index = damage["first"].as_u64().unwrap();
    assert_eq!((&damage["file"], &damage["last"]), (&"log.redb".into(), &index.into()), "{json}");
    assert_eq!(told["lost"]["first"], index, "{json}");
    assert!(out.contains(&format!("log.redb, entry {index}: ")) && out.contains("DAMAGED"), "{out}");

    let (code, out, err) = log("dump", &dir, &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    let listed: Vec<u64> =
        out.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    assert_eq!(listed.last(), Some(&(index - 1)), "as the next start would show it: {out}");
    assert!(content(&dir) == before, "something was changed");
}

#[test]
fn a_folder_that_is_none_of_a_node_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for command in ["verify", "dump"] {
        let (code, _, err) = log(command, dir.path(), &[]);
        assert_eq!(code, Some(1));
        assert!(err.contains("is no data folder of a node"), "{err}");
        let (code, _, err) = log(command, &dir.path().join("missing"), &[]);
        assert_eq!(code, Some(1));
        assert!(err.contains("there is no folder"), "{err}");
    }
    assert_eq!(content(dir.path()).len(), 0, "nothing is made");
    let (code, _, err) = log("dump", dir.path(), &["--from", "3", "--to", "2"]);
    assert_eq!(code, Some(2), "{err}");
    assert_eq!(run(&["log", "verify"]).0.code(), Some(2));
}
