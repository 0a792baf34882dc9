//! Clusters of real processes some of which are paused or dead: no node claims or answers anything outdated, a stop
//! does not wait for the missing nodes, and the log stays short.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::time::{Duration, Instant};

use support::{Cluster, Node, eventually, request};

/// Maximum time for a stop. A longer one counts as hanging.
const SOON: Duration = Duration::from_secs(10);

fn others(cluster: &Cluster, than: u64) -> Vec<u64> {
    cluster.nodes.iter().map(|node| node.id).filter(|id| *id != than).collect()
}

fn term(node: &Node) -> u64 {
    node.status().unwrap()["Term"].as_u64().unwrap()
}

/// The followers are paused, so after its restart no node can tell the former leader who leads.
#[test]
fn a_leader_that_is_restarted_alone_claims_nothing() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    assert_eq!(cluster.node(leader).put("/v1/kv/k", b"v").unwrap().text(), "true");
    let before = term(cluster.node(leader));
    let others = others(&cluster, leader);
    others.iter().for_each(|id| cluster.node(*id).signal("-STOP"));
    cluster.node(leader).kill();
    cluster.node(leader).start();
    let node = cluster.node(leader);
    eventually("it answers again", || node.status().is_some());
    // The node holds the read for three seconds, which are several election time-outs.
    let read = std::thread::scope(|scope| {
        let reading = scope.spawn(|| node.get("/v1/kv/k?raw"));
        while !reading.is_finished() {
            let status = node.status().unwrap();
            assert_ne!(status["Role"], "leader", "{status}");
            assert!(status["Leader"].is_null(), "{status}");
            assert_eq!(node.get("/v1/status/leader").text(), "\"\"");
            assert_eq!(node.get("/health").status, 503);
        }
        reading.join().unwrap()
    });
    assert_eq!((read.status, read.text().as_str()), (500, "No cluster leader"));
    others.iter().for_each(|id| cluster.node(*id).signal("-CONT"));
    let next = cluster.wait_for_leader();
    assert!(term(cluster.node(next)) > before, "an election was held");
}

#[test]
fn a_leader_that_stood_still_answers_nothing_from_before() {
    let mut cluster = Cluster::start(3);
    for round in 0..5 {
        let old = cluster.wait_for_leader();
        let value = round.to_string();
        cluster.node(old).signal("-STOP");
        let other = cluster.node(old % 3 + 1);
        eventually("the others elect another and take a write", || {
            other.put("/v1/kv/k", value.as_bytes()).is_ok_and(|answer| answer.status == 200)
        });
        cluster.node(old).signal("-CONT");
        for number in 0..20 {
            let answer = cluster.node(old).get("/v1/kv/k?raw");
            let is_new = answer.status == 200 && answer.text() == value;
            assert!(is_new || answer.status == 500, "round {round}, read {number}: {answer:?}");
        }
    }
}

#[test]
fn a_stop_waits_for_no_peer_that_stands_still() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    let others = others(&cluster, leader);
    others.iter().for_each(|id| cluster.node(*id).signal("-STOP"));
    // Meanwhile a write waits for them.
    let http = cluster.node(leader).http.clone();
    let writing = std::thread::spawn(move || request(&http, "PUT", "/v1/kv/k", b"v", SOON));
    let since = Instant::now();
    let status = cluster.node(leader).terminate();
    let took = since.elapsed();
    assert!(status.success() && took < SOON, "{status} after {took:?}");
    // The client must not be told that the write is stored.
    let answer = writing.join().unwrap();
    assert!(answer.as_ref().map_or(true, |answer| answer.status != 200), "{answer:?}");
}

#[test]
fn a_server_that_still_looks_for_its_cluster_stops_at_once() {
    let mut cluster = Cluster::prepare(3, "");
    cluster.node(1).start();
    let node = cluster.node(1);
    eventually("it says whom it looks for", || node.log_text().contains("no server was found"));
    let since = Instant::now();
    let status = node.terminate();
    let took = since.elapsed();
    assert!(status.success() && took < SOON, "{status} after {took:?}");
}

/// Number of bytes by which the logs of these nodes grow during twenty seconds in which clients ask for writes.
fn said(cluster: &Cluster, speakers: &[u64]) -> Vec<String> {
    let at = |id: &u64| &cluster.nodes[usize::try_from(*id - 1).unwrap()];
    let before: Vec<usize> = speakers.iter().map(|id| at(id).log_text().len()).collect();
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        for id in speakers {
            let _ = at(id).put("/v1/kv/k", b"v");
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
    speakers.iter().zip(before).map(|(id, before)| at(id).log_text().split_off(before)).collect()
}

#[test]
fn a_dead_peer_is_spoken_of_seldom() {
    let mut cluster = Cluster::start(3);
    cluster.settle();
    let leader = cluster.wait_for_leader();
    let others = others(&cluster, leader);
    cluster.node(others[0]).kill();
    for text in said(&cluster, &[leader, others[1]]) {
        assert!(text.len() < 1_500, "{} bytes in 20 s:\n{text}", text.len());
    }
    // The remaining node campaigns without success.
    cluster.node(leader).kill();
    for text in said(&cluster, &[others[1]]) {
        assert!(text.len() < 3_000, "{} bytes in 20 s:\n{text}", text.len());
    }
}
