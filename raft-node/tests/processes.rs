//! Clusters of real processes that are killed, stopped and restarted: acknowledged writes stay, and errors tell the truth.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{Cluster, eventually, request};

/// The writes of one client: for each key the last acknowledged value and the last one that it tried.
type Written = BTreeMap<String, (Option<u64>, u64)>;

/// Writes rising numbers to keys of its own, through any node that answers, until told to stop.
fn writer(name: usize, addresses: Vec<String>, stop: Arc<AtomicBool>) -> Written {
    let mut written = Written::new();
    let mut target = name;
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let key = format!("writer-{name}/{}", number % 20);
        let entry = written.entry(key.clone()).or_insert((None, 0));
        entry.1 = number;
        let body = format!("{name}:{number}");
        let address = &addresses[target % addresses.len()];
        match request(address, "PUT", &format!("/v1/kv/{key}"), body.as_bytes(), Duration::from_secs(6)) {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.text(), "true");
                entry.0 = Some(number);
            }
            // The outcome is unknown or the write was refused, so try the next node.
            Ok(_) | Err(_) => target += 1,
        }
    }
    written
}

/// Asserts that every node has every acknowledged write and only values that were written, and that all nodes agree.
fn check(cluster: &Cluster, written: &Written) {
    for node in &cluster.nodes {
        for (key, (acknowledged, tried)) in written {
            let answer = node.get(&format!("/v1/kv/{key}?raw&stale"));
            let Some(acknowledged) = acknowledged else { continue };
            assert_eq!(answer.status, 200, "node {}: {key} was acknowledged and is gone", node.id);
            let text = answer.text();
            let (writer, number) = text.split_once(':').unwrap();
            assert!(key.starts_with(&format!("writer-{writer}/")), "node {}: {key} holds {text}", node.id);
            let number: u64 = number.parse().unwrap();
            assert!(
                number >= *acknowledged && number <= *tried && number % 20 == acknowledged % 20,
                "node {}: {key} holds {number}, {acknowledged} was acknowledged and {tried} tried last",
                node.id
            );
        }
    }
    let all = |node: &support::Node| node.get("/v1/kv/?recurse&stale").json();
    let first = all(&cluster.nodes[0]);
    for node in &cluster.nodes[1..] {
        assert_eq!(all(node), first, "node {} differs from node 1, ModifyIndex included", node.id);
    }
}

/// Measures the time until a write to one of the nodes is acknowledged.
fn time_to_write(cluster: &Cluster, but: u64) -> Duration {
    let since = Instant::now();
    let others: Vec<&support::Node> = cluster.nodes.iter().filter(|node| node.id != but).collect();
    eventually("writes resume", || {
        others.iter().any(|node| node.put("/v1/kv/probe", b"x").is_ok_and(|answer| answer.status == 200))
    });
    since.elapsed()
}

#[test]
fn kill_9_of_every_node_in_turn_loses_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::start(3);
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.http.clone()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3)
        .map(|name| {
            let (addresses, stop) = (addresses.clone(), Arc::clone(&stop));
            std::thread::spawn(move || writer(name, addresses, stop))
        })
        .collect();
    eventually("the writers are at work", || {
        cluster.nodes[0].status().is_some_and(|status| status["Commit"].as_u64() > Some(100))
    });

    let leader = cluster.wait_for_leader();
    let mut victims = vec![leader];
    victims.extend((1..=3).filter(|id| *id != leader));
    victims.push(0);
    for victim in victims {
        // Restart the present leader last.
        let victim = if victim == 0 { cluster.wait_for_leader() } else { victim };
        cluster.node(victim).kill();
        let gap = time_to_write(&cluster, victim);
        assert!(gap < Duration::from_millis(1500), "writes resumed {gap:?} after node {victim} was killed");
        cluster.node(victim).start();
        cluster.wait_for_leader();
        eventually("the restarted node catches up", || {
            let statuses: Vec<_> = cluster.nodes.iter().filter_map(support::Node::status).collect();
            let highest = statuses.iter().filter_map(|status| status["Commit"].as_u64()).max();
            let own = statuses.iter().find(|status| status["Node"] == victim);
            own.is_some_and(|own| own["Applied"].as_u64().unwrap() + 200 > highest.unwrap())
        });
    }

    stop.store(true, Ordering::Relaxed);
    let mut written = Written::new();
    for writer in writers {
        written.extend(writer.join().unwrap());
    }
    cluster.settle();
    check(&cluster, &written);
    assert!(written.values().any(|(acknowledged, _)| acknowledged.is_some()));
}

#[test]
fn without_a_majority_errors_say_what_is_true_and_stale_reads_go_on() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    assert_eq!(cluster.node(leader).put("/v1/kv/before", b"kept").unwrap().text(), "true");
    cluster.settle();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for id in &others {
        cluster.node(*id).signal("-STOP");
    }

    // The leader does not know yet that its followers are gone, so it proposes the write, whose outcome is unknown.
    let since = Instant::now();
    let answer = cluster.node(leader).put("/v1/kv/doubt", b"maybe").unwrap();
    let took = since.elapsed();
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.text().contains("serverPartialFail"), "{}", answer.text());
    assert!(took >= Duration::from_millis(1000) && took < Duration::from_millis(2000), "after {took:?}");

    // The leader has stepped down: the write is held, then refused, and certainly not applied.
    let since = Instant::now();
    let answer = cluster.node(leader).put("/v1/kv/refused", b"never").unwrap();
    let took = since.elapsed();
    assert_eq!((answer.status, answer.text().as_str()), (500, "No cluster leader"));
    assert!(took >= Duration::from_millis(3000) && took < Duration::from_millis(4000), "after {took:?}");

    let stale = cluster.node(leader).get("/v1/kv/before?raw&stale");
    assert_eq!((stale.status, stale.text().as_str()), (200, "kept"));
    assert_eq!(stale.header("X-Consul-KnownLeader"), Some("false"));
    let contact: u64 = stale.header("X-Consul-LastContact").unwrap().parse().unwrap();
    assert!(contact > 500, "the leader was last heard {contact} ms ago");
    let default = cluster.node(leader).get("/v1/kv/before?raw");
    assert_eq!((default.status, default.text().as_str()), (500, "No cluster leader"));

    for id in &others {
        cluster.node(*id).signal("-CONT");
    }
    cluster.settle();
    for node in &cluster.nodes {
        assert_eq!(node.get("/v1/kv/before?raw").text(), "kept");
        assert_eq!(node.get("/v1/kv/refused?raw").status, 404, "what was refused is not applied");
        let doubt = node.get("/v1/kv/doubt?raw");
        assert!(doubt.status == 404 || doubt.text() == "maybe");
    }
}

#[test]
fn all_nodes_are_killed_at_once_and_a_restart_serves_what_was_stored() {
    let mut cluster = Cluster::start(3);
    for number in 0..20 {
        let node = &cluster.nodes[number % 3];
        assert_eq!(node.put(&format!("/v1/kv/all/{number}"), b"value").unwrap().text(), "true");
    }
    let before = cluster.nodes[0].get("/v1/kv/all/?recurse&consistent").json();
    for id in 1..=3 {
        cluster.node(id).kill();
    }
    for id in 1..=3 {
        cluster.node(id).start();
    }
    cluster.wait_for_leader();
    for node in &cluster.nodes {
        assert_eq!(node.get("/v1/kv/all/?recurse&consistent").json(), before, "on node {}", node.id);
    }
}

#[test]
fn a_clean_stop_of_the_leader_hands_leadership_over_at_once() {
    let mut cluster = Cluster::start(3);
    let leader = cluster.wait_for_leader();
    let term = cluster.node(leader).status().unwrap()["Term"].as_u64().unwrap();
    let said: Vec<usize> = cluster.nodes.iter().map(|node| node.log_text().len()).collect();
    // Meanwhile a client writes through another node, and does not notice the restart.
    let other = cluster.node(leader % 3 + 1).http.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut answers = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer =
                    request(&other, "PUT", "/v1/kv/meanwhile", b"x", Duration::from_secs(5)).unwrap();
                answers.push((answer.status, answer.text()));
            }
            answers
        }
    });
    eventually("the writer is at work", || {
        cluster.nodes[0].status().is_some_and(|status| status["Commit"].as_u64() > Some(20))
    });
    let status = cluster.node(leader).stop();
    assert!(status.success(), "a clean stop exits with 0: {status}");
    time_to_write(&cluster, leader);
    stop.store(true, Ordering::Relaxed);
    let refused: Vec<_> = writer.join().unwrap().into_iter().filter(|(status, _)| *status != 200).collect();
    assert!(refused.is_empty(), "{refused:?}");
    let next = cluster.wait_for_leader();
    let new_term = cluster.node(next).status().unwrap()["Term"].as_u64().unwrap();
    assert_ne!(next, leader);
    assert_eq!(new_term, term + 1, "one election was enough");
    for (node, said) in cluster.nodes.iter().zip(said) {
        let since = &node.log_text()[said..];
        assert!(!since.contains("PreCandidate"), "no leader time-out had to pass, node {}: {since}", node.id);
    }
}

#[test]
fn any_node_takes_any_request() {
    let cluster = Cluster::start(3);
    for (number, node) in cluster.nodes.iter().enumerate() {
        let path = format!("/v1/kv/any/{number}");
        assert_eq!(node.put(&path, b"value").unwrap().text(), "true");
        for other in &cluster.nodes {
            for mode in ["", "&consistent"] {
                let answer = other.get(&format!("{path}?raw{mode}"));
                assert_eq!(
                    (answer.status, answer.text().as_str()),
                    (200, "value"),
                    "node {} {mode}",
                    other.id
                );
            }
        }
        assert_eq!(node.put(&format!("{path}?cas=0"), b"again").unwrap().text(), "false");
        let deleted = request(&node.http, "DELETE", &path, b"", Duration::from_secs(5)).unwrap();
        assert_eq!(deleted.text(), "true");
        for other in &cluster.nodes {
            assert_eq!(other.get(&path).status, 404);
        }
    }
    let leaders: Vec<String> =
        cluster.nodes.iter().map(|node| node.get("/v1/status/leader").text()).collect();
    assert!(leaders.iter().all(|leader| *leader == leaders[0] && leader.contains(':')), "{leaders:?}");
    let peers = cluster.nodes[1].get("/v1/status/peers").json();
    assert_eq!(peers.as_array().unwrap().len(), 3);
    let servers = cluster.nodes[2].get("/v1/operator/raft/configuration").json();
    assert_eq!(servers["Servers"].as_array().unwrap().len(), 3);
    assert_eq!(servers["Servers"].as_array().unwrap().iter().filter(|one| one["Leader"] == true).count(), 1);
}

#[test]
fn the_data_folder_stays_bounded_under_endless_overwrites() {
    let cluster = Cluster::start_with(1, "raft-trailing-logs = 100");
    let node = &cluster.nodes[0];
    let data = cluster.dir.path().join("data-1");
    let size = || -> u64 {
        let files = std::fs::read_dir(&data).unwrap();
        files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
    };
    let value = vec![b'x'; 100_000];
    let mut largest = 0;
    for number in 0..2000_u64 {
        assert_eq!(node.put(&format!("/v1/kv/over/{}", number % 4), &value).unwrap().status, 200);
        if number % 100 == 99 {
            // The log is compacted concurrently with the writes, and how far it lags depends on the load of the machine.
            eventually("the log is cut", || {
                node.status().is_some_and(|status| status["Base"].as_u64() > Some(number.saturating_sub(200)))
            });
        }
        if number == 400 {
            largest = size();
        }
    }
    let end = size();
    // redb doubles the size of its file when it is full.
    assert!(end <= largest * 2, "{largest} bytes after 400 writes, {end} after 2000 (200 MB in all)");
}

#[test]
fn a_node_that_was_away_for_too_long_comes_back_by_a_snapshot() {
    let mut cluster = Cluster::start_with(3, "raft-trailing-logs = 50");
    let leader = cluster.wait_for_leader();
    let away = (1..=3).find(|id| *id != leader).unwrap();
    cluster.node(away).kill();
    let value = vec![b'x'; 20_000];
    for number in 0..600 {
        let put = cluster.node(leader).put(&format!("/v1/kv/snap/{}", number % 200), &value).unwrap();
        assert_eq!(put.status, 200, "{}", put.text());
    }
    eventually("the log is cut below what the other lacks", || {
        cluster.nodes[usize::try_from(leader - 1).unwrap()]
            .status()
            .is_some_and(|status| status["Base"].as_u64() > Some(400))
    });
    cluster.node(away).start();
    cluster.settle();
    let base = cluster.node(away).status().unwrap()["Base"].as_u64().unwrap();
    assert!(base > 400, "its log starts after the snapshot: {base}");
    let all = |node: &support::Node| node.get("/v1/kv/?recurse&stale").json();
    assert_eq!(all(cluster.node(away)), all(cluster.node(leader)), "ModifyIndex included");
    let left = cluster.dir.path().join(format!("data-{away}/snapshots"));
    eventually("the installed snapshot is removed", || std::fs::read_dir(&left).unwrap().count() == 0);
    let offered = cluster.dir.path().join(format!("data-{leader}/snapshots"));
    eventually("the sent snapshot is removed", || std::fs::read_dir(&offered).unwrap().count() == 0);
}
