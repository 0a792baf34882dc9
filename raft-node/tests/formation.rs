//! Forming clusters, and members that have moved: the outcome, the log lines and the status.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use serde_json::Value;
use support::{Cluster, Node, certificates, eventually, own_address, run};

/// A line of a node's log at level warn that holds all of `parts`.
fn warned(node: &Node, parts: &[&str]) -> bool {
    let log = node.log_text();
    log.lines().any(|line| line.contains("WARN") && parts.iter().all(|part| line.contains(part)))
}

/// The warnings of a node's status.
fn warnings(node: &Node) -> Vec<String> {
    let status = node.status().unwrap_or_default();
    let texts = status["Warnings"].as_array().cloned().unwrap_or_default();
    texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn change_config(node: &Node, change: impl Fn(String) -> String) {
    let before = std::fs::read_to_string(&node.config).unwrap();
    let after = change(before.clone());
    assert_ne!(before, after);
    std::fs::write(&node.config, after).unwrap();
}

#[test]
fn a_server_that_finds_nobody_names_each_address_and_why_in_log_health_and_status() {
    let mut cluster = Cluster::prepare(3, "");
    cluster.node(1).start();
    let (node, others) = (&cluster.nodes[0], [&cluster.nodes[1].raft, &cluster.nodes[2].raft]);
    for address in others {
        eventually("the log names the address and why", || {
            warned(node, &["no server was found", address, "nobody answered"])
        });
        assert!(warnings(node).iter().any(|it| it.contains(address) && it.contains("nobody answered")));
        let health = node.get("/health");
        assert_eq!(health.status, 503);
        assert!(health.text().contains(address), "{}", health.text());
        let (_, out, _) = run(&["status", "--addr", &node.http]);
        assert!(out.contains(address) && out.contains("nobody answered"), "{out}");
    }
    let own = &node.raft;
    assert!(!warned(node, &["no server was found at", &format!("{own},")]), "it has found itself");
    cluster.node(2).start();
    cluster.node(3).start();
    cluster.wait_for_leader();
    eventually("what was found is not warned of any more", || warnings(&cluster.nodes[0]).is_empty());
}

#[test]
fn servers_that_refuse_each_other_say_so_at_once() {
    let mut cluster = Cluster::prepare(3, "");
    let root = cluster.dir.path().display().to_string();
    certificates(&cluster.dir.path().join("other-ca"), 2);
    change_config(cluster.node(2), |text| {
        text.replace(&format!("{root}/ca.pem"), &format!("{root}/other-ca/ca.pem"))
            .replace(&format!("{root}/node-2"), &format!("{root}/other-ca/node-2"))
    });
    cluster.node(1).start();
    cluster.node(2).start();
    let (one, two) = (&cluster.nodes[0], &cluster.nodes[1]);
    for (node, other) in [(one, two), (two, one)] {
        eventually("it names the other and why", || {
            warned(node, &["no server was found", &other.raft, "same CA signed"])
                && warnings(node).iter().any(|it| it.contains(&other.raft) && it.contains("same CA signed"))
        });
    }
}

#[test]
fn a_server_whose_id_is_taken_is_told_so_in_its_own_log() {
    let mut cluster = Cluster::start(3);
    // By mistake, a fourth server has the id of the second.
    let (ip, port) = own_address();
    let text = std::fs::read_to_string(&cluster.nodes[1].config).unwrap();
    let two = cluster.node(2);
    let (http, raft) = (format!("{ip}:{}", port + 1), format!("{ip}:{}", port + 101));
    let text = text
        .replace("data-2", "data-twin")
        .replace(&format!("http-addr = \"{}\"", two.http), &format!("http-addr = \"{http}\""))
        .replace(&format!("raft-addr = \"{}\"", two.raft), &format!("raft-addr = \"{raft}\""));
    let config = cluster.dir.path().join("twin.toml");
    std::fs::write(&config, text).unwrap();
    let twin = cluster.add(2, http, raft, config);
    twin.start();
    let (twin, two) = (cluster.nodes.last().unwrap(), &cluster.nodes[1]);
    eventually("it is told by the other of its name", || {
        warned(twin, &[&two.raft, "two nodes with one id", "node 2"])
    });
    eventually("it is told by the cluster", || {
        warned(twin, &[&cluster.nodes[0].raft, "refused node 2"])
            && warnings(twin).iter().any(|it| it.contains(&cluster.nodes[0].raft))
    });
}

/// The members' addresses as the cluster reports them in three places.
fn shown(node: &Node) -> [Vec<String>; 3] {
    let texts = |value: &Value| value.as_str().unwrap().to_owned();
    let peers = node.get("/v1/status/peers").json().as_array().unwrap().iter().map(texts).collect();
    let configuration = node.get("/v1/operator/raft/configuration?stale").json();
    let servers = configuration["Servers"].as_array().unwrap();
    let configured = servers.iter().map(|server| texts(&server["Address"])).collect();
    [peers, configured, vec![texts(&node.get("/v1/status/leader").json())]]
}

#[test]
fn members_that_have_all_moved_find_each_other_again_through_join() {
    let mut cluster = Cluster::start(3);
    assert_eq!(cluster.nodes[0].put("/v1/kv/before", b"kept").unwrap().text(), "true");
    for id in 1..=3 {
        assert!(cluster.node(id).stop().success());
    }
    let old: Vec<String> = cluster.nodes.iter().map(|node| node.raft.clone()).collect();
    let (ip, port) = own_address();
    let new: Vec<String> = (1..=3).map(|id| format!("{ip}:{}", port + 100 + id)).collect();
    for node in &mut cluster.nodes {
        change_config(node, |mut text| {
            for (old, new) in old.iter().zip(&new) {
                text = text.replace(&format!("\"{old}\""), &format!("\"{new}\""));
            }
            text
        });
    }
    for (node, new) in cluster.nodes.iter_mut().zip(&new) {
        node.raft.clone_from(new);
        node.start();
    }
    let leader = cluster.wait_for_leader();
    assert_eq!(cluster.nodes[0].get("/v1/kv/before?raw").text(), "kept");
    for node in &cluster.nodes {
        eventually("every node shows the new addresses", || {
            let [peers, configured, led] = shown(node);
            peers == new && configured == new && led == [new[usize::try_from(leader - 1).unwrap()].clone()]
        });
        eventually("nothing is warned of", || warnings(node).is_empty());
    }
    // The new addresses are in the log, so the members find each other without `join`.
    for id in 1..=3 {
        assert!(cluster.node(id).stop().success());
    }
    for node in &mut cluster.nodes {
        change_config(node, |text| {
            let lines =
                text.lines().filter(|line| !line.starts_with("join") && !line.starts_with("bootstrap"));
            lines.map(|line| format!("{line}\n")).collect()
        });
        node.start();
    }
    cluster.wait_for_leader();
}

/// No member is at an address where another one looks for it.
#[test]
fn members_that_have_all_moved_and_whose_join_is_old_say_where_they_look_in_vain() {
    let mut cluster = Cluster::start(3);
    assert_eq!(cluster.nodes[0].put("/v1/kv/before", b"kept").unwrap().text(), "true");
    cluster.settle();
    for id in 1..=3 {
        assert!(cluster.node(id).stop().success());
    }
    let old: Vec<String> = cluster.nodes.iter().map(|node| node.raft.clone()).collect();
    let (ip, port) = own_address();
    for (node, old) in cluster.nodes.iter_mut().zip(&old) {
        let new = format!("{ip}:{}", port + 100 + u16::try_from(node.id).unwrap());
        change_config(node, |text| {
            text.replace(&format!("raft-addr = \"{old}\""), &format!("raft-addr = \"{new}\""))
        });
        node.raft = new;
        node.start();
    }
    for node in &cluster.nodes {
        for (_, address) in (1..).zip(&old).filter(|(id, _)| *id != node.id) {
            let why = "nobody answered";
            eventually("the log names each old address and why it is of no use", || {
                warned(node, &[address, "in join", why])
                    && warnings(node).iter().any(|it| it.contains(address))
            });
            let health = node.get("/health");
            let text = health.text();
            assert!(health.status == 503 && text.contains(address) && text.contains(why), "{text}");
        }
        assert_eq!(node.get("/v1/kv/before?raw&stale").text(), "kept");
    }
}

/// The others know only the member's old address, from the log and from `join`. It finds them, and they find it again.
#[test]
fn one_member_that_has_moved_is_reached_by_all() {
    let mut cluster = Cluster::start(3);
    assert_eq!(cluster.nodes[0].put("/v1/kv/before", b"kept").unwrap().text(), "true");
    cluster.settle();
    assert!(cluster.node(3).stop().success());
    let (old, (ip, port)) = (cluster.nodes[2].raft.clone(), own_address());
    let new = format!("{ip}:{}", port + 103);
    change_config(cluster.node(3), |text| {
        text.replace(&format!("raft-addr = \"{old}\""), &format!("raft-addr = \"{new}\""))
    });
    cluster.node(3).raft.clone_from(&new);
    cluster.node(3).start();
    cluster.wait_for_leader();
    for node in &cluster.nodes {
        eventually("every node shows its new address", || {
            let [peers, configured, _] = shown(node);
            peers.contains(&new) && configured.contains(&new) && !configured.contains(&old)
        });
        eventually("nothing is warned of", || warnings(node).is_empty());
    }
    // The two remaining members need each other for a quorum.
    cluster.node(1).kill();
    for id in [2, 3] {
        eventually("it takes writes", || {
            cluster.node(id).put("/v1/kv/after", b"new").is_ok_and(|answer| answer.text() == "true")
        });
    }
    assert_eq!(cluster.node(3).get("/v1/kv/before?raw").text(), "kept");
}

#[test]
fn a_single_server_that_has_moved_shows_its_new_address() {
    let mut cluster = Cluster::start(1);
    let _ = cluster.node(1).stop();
    let (old, (ip, port)) = (cluster.nodes[0].raft.clone(), own_address());
    let new = format!("{ip}:{}", port + 101);
    change_config(cluster.node(1), |text| text.replace(&format!("\"{old}\""), &format!("\"{new}\"")));
    cluster.node(1).start();
    cluster.wait_for_leader();
    eventually("it shows its new address", || {
        let all = shown(&cluster.nodes[0]);
        all.iter().all(|addresses| *addresses == std::slice::from_ref(&new))
    });
}
