//! Real processes with narrow links: each listens behind a proxy with a limited rate, whose address it advertises.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use raftkit_test_links::{Conditions, Proxy};
use support::{Cluster, eventually, request};

/// A leader time-out that is long enough for a busy machine, with matching other settings.
const PATIENT: &str = "raft-leader-timeout = \"1500ms\"\nraft-election-timeout = \"3s\"\n\
                       raft-heartbeat-interval = \"300ms\"\nclock-error = \"100ms\"";

/// A started cluster of three, and the proxies in front of its nodes.
fn behind_proxies(more: &str) -> (Cluster, Vec<Proxy>) {
    let mut cluster = Cluster::prepare(3, more);
    let proxies: Vec<Proxy> =
        cluster.nodes.iter().map(|node| Proxy::start(node.raft.parse().unwrap()).unwrap()).collect();
    for (node, proxy) in cluster.nodes.iter().zip(&proxies) {
        let mut text = std::fs::read_to_string(&node.config).unwrap();
        for (other, proxy) in cluster.nodes.iter().zip(&proxies) {
            // Replace the address in `join` and keep the one that the node listens on.
            text = text.replace(&format!("\"{}\",", other.raft), &format!("\"{}\",", proxy.address()));
            text = text.replace(&format!("\"{}\"]", other.raft), &format!("\"{}\"]", proxy.address()));
        }
        std::fs::write(&node.config, format!("raft-advertise-addr = \"{}\"\n{text}", proxy.address()))
            .unwrap();
    }
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.wait_for_leader();
    (cluster, proxies)
}

fn narrow(proxies: &[Proxy], bytes_per_second: u64) {
    let conditions = Conditions {
        bytes_per_second: Some(bytes_per_second),
        queue_bytes: 256 * 1024,
        delay: Duration::from_millis(1),
        ..Conditions::default()
    };
    proxies.iter().for_each(|proxy| proxy.set_both(conditions));
}

/// A follower returns 12 MB behind over a link of 1.5 MB a second, and the other follower dies. Heartbeats and their answers
/// must overtake the data that is sent to it, or the leader hears from no follower for five leader time-outs.
#[test]
fn a_follower_that_catches_up_over_a_slow_link_leaves_the_leader_in_office() {
    let (mut cluster, proxies) = behind_proxies(PATIENT);
    let leader = cluster.wait_for_leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let (lagging, dying) = (others[0], others[1]);
    cluster.node(lagging).kill();
    let http = cluster.node(leader).http.clone();
    let (value, patience) = (vec![b'v'; 250_000], Duration::from_secs(30));
    for key in 0..48 {
        let answer = request(&http, "PUT", &format!("/v1/kv/large/{key}"), &value, patience).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let before = cluster.node(leader).status().unwrap();
    narrow(&proxies, 1_500_000);
    cluster.node(lagging).start();
    // The leader hears from it before the other follower is gone.
    eventually("the node that was away knows its leader", || {
        cluster.node(lagging).status().is_some_and(|status| status["Leader"] == before["Leader"])
    });
    cluster.node(dying).kill();
    let mut terms = BTreeSet::new();
    eventually("it has caught up", || {
        let status = cluster.node(leader).status();
        terms.extend(status.and_then(|status| status["Term"].as_u64()));
        let caught_up = |status: serde_json::Value| status["Applied"].as_u64() >= before["Commit"].as_u64();
        cluster.node(lagging).status().is_some_and(caught_up)
    });
    let after = cluster.node(leader).status().unwrap();
    assert_eq!((&after["Leader"], &after["Term"]), (&before["Leader"], &before["Term"]));
    assert_eq!(terms, BTreeSet::from([before["Term"].as_u64().unwrap()]));
    let answer = request(&http, "PUT", "/v1/kv/last", b"x", patience).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Clients write more than the links carry. The excess is refused at once, and the other writes keep succeeding.
#[test]
fn more_writes_than_the_links_carry_do_not_keep_the_others_from_succeeding() {
    let (mut cluster, proxies) = behind_proxies(PATIENT);
    let leader = cluster.wait_for_leader();
    let http = cluster.node(leader).http.clone();
    // The links to the two followers carry five values of 500 KB a second. 24 clients write as fast as they can.
    narrow(&proxies, 2_500_000);
    let stop = AtomicBool::new(false);
    let answers = thread::scope(|scope| {
        let clients: Vec<_> = (0..24)
            .map(|client| {
                let (http, stop) = (&http, &stop);
                scope.spawn(move || {
                    let mut answers = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        let path = format!("/v1/kv/flood/{client}");
                        let answer =
                            request(http, "PUT", &path, &vec![b'v'; 500_000], Duration::from_secs(30))
                                .unwrap();
                        if answer.status == 503 {
                            assert!(answer.header("Retry-After").is_some());
                            thread::park_timeout(Duration::from_millis(100));
                        }
                        answers.push(answer.status);
                    }
                    answers
                })
            })
            .collect();
        thread::park_timeout(Duration::from_secs(12));
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<u16>>()
    });
    let count = |status| answers.iter().filter(|answer| **answer == status).count();
    let (good, refused, doubtful) = (count(200), count(503), count(500));
    // The links carry 60 values in that time. Outcomes are unknown only in the first second, before the pace was known.
    assert!(good >= 30, "{good} succeeded, {refused} were refused, {doubtful} are in doubt");
    assert!(doubtful <= 12, "{good} succeeded, {refused} were refused, {doubtful} are in doubt");
    assert!(refused > 0, "{good} succeeded, {refused} were refused, {doubtful} are in doubt");
}

/// A host pauses its guests, all three nodes, for longer than any time-out. They read what waits in their sockets before they
/// check their time-outs, so the leader and the connections stay.
#[test]
fn nodes_that_stood_still_together_keep_their_leader_and_their_connections() {
    let mut cluster = Cluster::start_with(3, PATIENT);
    let leader = cluster.wait_for_leader();
    cluster.settle();
    let before = cluster.node(leader).status().unwrap();
    let connected = |cluster: &Cluster| -> usize {
        cluster.nodes.iter().map(|node| node.log_text().matches("connected").count()).sum()
    };
    let connections = connected(&cluster);
    cluster.nodes.iter().for_each(|node| node.signal("-STOP"));
    thread::park_timeout(Duration::from_secs(5));
    cluster.nodes.iter().for_each(|node| node.signal("-CONT"));
    let answer = cluster.node(leader).put("/v1/kv/after", b"x").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    cluster.settle();
    let after = cluster.node(leader).status().unwrap();
    assert_eq!((&after["Leader"], &after["Term"]), (&before["Leader"], &before["Term"]));
    assert_eq!(connected(&cluster), connections, "{}", cluster.logs());
}
