//! Bytes on the disk of a real node change: the node reports it, does not serve them, heals from its peers, and counts again.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use support::{Cluster, eventually};

const KEYS: usize = 60;

/// A value that can be found in a file.
fn value(of: usize) -> String {
    format!("value-{of:04}-").repeat(150)
}

fn put(cluster: &mut Cluster, node: u64, keys: std::ops::Range<usize>) {
    for key in keys {
        let answer = cluster.node(node).put(&format!("/v1/kv/key-{key}"), value(key).as_bytes()).unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "true"));
    }
}

fn data_dir(cluster: &Cluster, node: u64) -> PathBuf {
    cluster.dir.path().join(format!("data-{node}"))
}

/// Flips a bit in every copy of a key's value in a file. Returns the number of copies.
fn rot(file: &Path, key: usize) -> usize {
    let bytes = std::fs::read(file).unwrap();
    let wanted = value(key);
    let wanted = &wanted.as_bytes()[..600];
    let places: Vec<usize> = (0..bytes.len().saturating_sub(wanted.len()))
        .filter(|at| bytes[*at] == wanted[0] && bytes[*at..].starts_with(wanted))
        .collect();
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    for place in &places {
        file.write_all_at(&[bytes[place + 300] ^ 0x20], *place as u64 + 300).unwrap();
    }
    file.sync_all().unwrap();
    places.len()
}

/// Waits until the node has healed. Then it must have all keys, and form a quorum with one other node.
fn check_healed(cluster: &mut Cluster, healed: u64, said: &str) {
    eventually("the node says what it lost", || cluster.node(healed).log_text().contains(said));
    eventually("the node has healed", || cluster.node(healed).log_text().contains("the node has healed"));
    cluster.settle();
    for key in 0..KEYS {
        let answer = cluster.node(healed).get(&format!("/v1/kv/key-{key}?raw&stale"));
        assert_eq!((answer.status, answer.text()), (200, value(key)), "key-{key}");
    }
    let other = (1..=3).find(|id| *id != healed).unwrap();
    cluster.node(other).kill();
    eventually("two of three can write", || {
        cluster.node(healed).put("/v1/kv/key-0", value(0).as_bytes()).is_ok_and(|answer| answer.status == 200)
    });
    put(cluster, healed, 0..5);
}

/// A cluster of three with all keys, and one of its followers.
fn filled() -> (Cluster, u64) {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    put(&mut cluster, leader, 0..KEYS);
    cluster.settle();
    (cluster, if leader == 1 { 2 } else { 1 })
}

#[test]
fn rot_in_the_database_of_a_node_that_is_down_is_found_when_it_starts() {
    let (mut cluster, rotten) = filled();
    // After a clean stop, all entries are in the database.
    assert!(cluster.node(rotten).stop().success());
    assert!(rot(&data_dir(&cluster, rotten).join("log.redb"), 20) > 0);
    cluster.node(rotten).start();
    check_healed(&mut cluster, rotten, "log.redb is damaged");
}

#[test]
fn rot_in_the_journal_of_a_node_that_was_killed_is_found_when_it_starts() {
    let (mut cluster, rotten) = filled();
    let leader = cluster.wait_for_leader();
    // The entries are not settled yet: only the journal has them.
    put(&mut cluster, leader, 0..KEYS);
    cluster.settle();
    cluster.node(rotten).kill();
    let mut rotted = 0;
    for key in 10..KEYS {
        rotted += rot(&data_dir(&cluster, rotten).join("journal"), key);
    }
    assert!(rotted >= KEYS - 10, "{rotted}");
    cluster.node(rotten).start();
    check_healed(&mut cluster, rotten, "journal is damaged");
}

#[test]
fn a_node_that_lost_its_database_keeps_its_word_and_heals() {
    let (mut cluster, rotten) = filled();
    cluster.node(rotten).kill();
    std::fs::remove_file(data_dir(&cluster, rotten).join("log.redb")).unwrap();
    cluster.node(rotten).start();
    check_healed(&mut cluster, rotten, "log.redb is damaged");
}

#[test]
fn a_node_that_lost_its_journal_is_refused_and_told_what_to_do() {
    let (mut cluster, rotten) = filled();
    cluster.node(rotten).kill();
    std::fs::remove_file(data_dir(&cluster, rotten).join("journal")).unwrap();
    cluster.node(rotten).start();
    eventually("it says why", || {
        let said = cluster.node(rotten).log_text();
        said.contains("journal is damaged")
            && said.contains("remove the data folder and let the node join anew")
    });
}
