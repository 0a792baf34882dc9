//! Clusters whose servers have addresses of every form: names, IPv6, and both families at once.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::net::{TcpListener, UdpSocket};

use support::{Cluster, eventually, must_run};

/// The addresses of a server.
struct Place {
    /// The address on which the server listens for its peers.
    listen: String,
    /// The address that is advertised to the peers and named in `join`.
    told: String,
    http: String,
}

impl Place {
    /// Addresses with free ports. If `told` is none, `host` is advertised, too.
    fn at(host: &str, told: Option<&str>, http: &str) -> Self {
        let port = UdpSocket::bind(format!("{host}:0")).unwrap().local_addr().unwrap().port();
        let http = TcpListener::bind(format!("{http}:0")).unwrap().local_addr().unwrap().to_string();
        Self { listen: format!("{host}:{port}"), told: format!("{}:{port}", told.unwrap_or(host)), http }
    }
}

/// Three servers at these addresses, not started.
fn placed(places: [Place; 3]) -> Cluster {
    let mut cluster = Cluster::prepare(3, "");
    let join: Vec<String> = places.iter().map(|place| format!("{:?}", place.told)).collect();
    for (node, place) in cluster.nodes.iter_mut().zip(places) {
        let text = std::fs::read_to_string(&node.config).unwrap();
        let line = |line: &str| match line.split_once(" = ").map(|(key, _)| key) {
            Some("http-addr") => format!("http-addr = {:?}\n", place.http),
            Some("raft-addr") if place.listen == place.told => format!("raft-addr = {:?}\n", place.told),
            Some("raft-addr") => {
                format!("raft-addr = {:?}\nraft-advertise-addr = {:?}\n", place.listen, place.told)
            }
            Some("join") => format!("join = [{}]\n", join.join(", ")),
            Some(_) | None => format!("{line}\n"),
        };
        std::fs::write(&node.config, text.lines().map(line).collect::<String>()).unwrap();
        (node.raft, node.http) = (place.told, place.http);
    }
    cluster
}

/// Whether this machine has IPv6.
fn has_ipv6() -> bool {
    let has = UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        println!("skipped: this machine has no [::1]");
    }
    has
}

/// The cluster is formed, takes writes through each server and shows the advertised addresses. It does so again after a
/// restart, when each server knows its peers' addresses from its log only.
fn serves(mut cluster: Cluster) {
    let told: Vec<String> = cluster.nodes.iter().map(|node| node.raft.clone()).collect();
    for round in ["formed", "found again"] {
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.wait_for_leader();
        for node in &cluster.nodes {
            let target = format!("/v1/kv/{}", node.id);
            eventually("it takes writes", || {
                node.put(&target, round.as_bytes()).is_ok_and(|answer| answer.text() == "true")
            });
            for reader in &cluster.nodes {
                assert_eq!(reader.get(&format!("{target}?raw")).text(), round);
            }
        }
        for node in &cluster.nodes {
            assert_eq!(node.get("/v1/status/peers").json(), serde_json::json!(told));
            // The table has a row for each member, for which the node asks the others.
            eventually("all are in the table, and none is silent", || {
                let (status, table, _) = support::run(&["status", "--addr", &node.http]);
                status.success() && told.iter().all(|address| table.contains(&**address))
            });
        }
        must_run(&["kv", "get", "1", "--addr", &cluster.nodes[2].http]);
        for node in &mut cluster.nodes {
            node.kill();
            let text = std::fs::read_to_string(&node.config).unwrap();
            let kept =
                text.lines().filter(|line| !line.starts_with("join") && !line.starts_with("bootstrap"));
            std::fs::write(&node.config, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        }
    }
}

#[test]
fn a_cluster_by_names_is_formed_and_found_again() {
    serves(placed([(); 3].map(|()| Place::at("127.0.0.1", Some("localhost"), "127.0.0.1"))));
}

#[test]
fn a_cluster_on_ipv6_is_formed_and_found_again() {
    if has_ipv6() {
        serves(placed([(); 3].map(|()| Place::at("[::1]", None, "[::1]"))));
    }
}

/// Sockets for both address families, advertised by an IPv4 address, an IPv6 address, and a name.
#[test]
fn a_cluster_on_both_families_is_formed_and_found_again() {
    if has_ipv6() {
        let told = ["[::1]", "127.0.0.1", "localhost"];
        serves(placed(told.map(|told| Place::at("[::]", Some(told), "[::1]"))));
    }
}

#[test]
fn an_address_of_a_family_that_a_server_does_not_reach_is_told_with_the_reason() {
    if !has_ipv6() {
        return;
    }
    for (own, other, reaches) in [("127.0.0.1", "[::1]", "IPv4"), ("[::1]", "127.0.0.1", "IPv6")] {
        let mut cluster = placed([own, other, other].map(|host| Place::at(host, None, "127.0.0.1")));
        cluster.node(1).start();
        let [node, elsewhere, _] = &cluster.nodes[..] else { unreachable!() };
        let says =
            |text: &str| text.contains(&elsewhere.raft) && text.contains(&format!("reaches {reaches}"));
        eventually("the log says why", || {
            node.log_text().lines().any(|line| line.contains("WARN") && says(line))
        });
        assert!(says(&node.get("/health").text()), "{}", node.get("/health").text());
    }
}
