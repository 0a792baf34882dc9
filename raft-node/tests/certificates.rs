//! Certificates of real processes: faults are reported beforehand, renewed files are used, and an approaching end is reported.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::path::{Path, PathBuf};

use support::{Cluster, Node, certificates, eventually, must_run, run};

/// The certificate files in a node's settings.
fn files(cluster: &Cluster, id: u64) -> [PathBuf; 3] {
    let of = |name: String| cluster.dir.path().join(name);
    [of("ca.pem".to_owned()), of(format!("node-{id}.pem")), of(format!("node-{id}-key.pem"))]
}

fn check(cluster: &Cluster, id: usize) -> (bool, String, String) {
    let config = cluster.nodes[id - 1].config.to_str().unwrap();
    let (status, out, err) = run(&["cert", "check", "--config", config]);
    assert!(matches!(status.code(), Some(0 | 1)), "{status}: {out}{err}");
    (status.success(), out, err)
}

/// Replaces a file atomically, as an operator does while a node runs.
fn replace(path: &Path, content: &[u8]) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, content).unwrap();
    std::fs::rename(aside, path).unwrap();
}

#[test]
fn the_check_says_which_file_is_wrong_and_so_does_the_start() {
    let mut cluster = Cluster::prepare(2, "");
    let (good, out, _) = check(&cluster, 1);
    assert!(good && out.contains("node 1 can use these files"), "{out}");
    assert!(out.contains("node-1.raftkit") && out.contains("valid until"), "{out}");
    let [ca, cert, key] = files(&cluster, 1);
    let [_, other_cert, other_key] = files(&cluster, 2);
    let contents = [&ca, &cert, &key].map(|path| std::fs::read(path).unwrap());
    let table: [(&PathBuf, Option<Vec<u8>>, &str, &str); 6] = [
        (&key, Some(std::fs::read(&other_key).unwrap()), "tls-key", "not that of the certificate"),
        (&key, None, "tls-key", "cannot be read"),
        (&cert, Some(std::fs::read(&other_cert).unwrap()), "tls-cert", "not node 1's"),
        (&cert, Some(contents[2].clone()), "tls-cert", "swapped"),
        (&ca, Some(Vec::new()), "tls-ca", "empty"),
        (&ca, Some(contents[1].clone()), "tls-cert", "CA file holds"),
    ];
    for (path, wrong, name, part) in table {
        match wrong {
            Some(content) => std::fs::write(path, content).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        let (good, out, err) = check(&cluster, 1);
        assert!(!good, "{name} {part}: {out}");
        let config = cluster.node(1).config.to_str().unwrap().to_owned();
        let (status, _, refused) = run(&["serve", "--config", &config]);
        assert_eq!(status.code(), Some(1), "{refused}");
        for said in [&err, &refused] {
            let line = said.lines().find(|line| line.contains(name) && line.contains(part));
            let named = if name == "tls-cert" { &cert } else { path };
            assert!(line.is_some_and(|line| line.contains(named.to_str().unwrap())), "{name} {part}: {said}");
        }
        for (path, content) in [&ca, &cert, &key].into_iter().zip(&contents) {
            std::fs::write(path, content).unwrap();
        }
    }
    let all = Path::new("nowhere.pem");
    std::fs::write(&ca, "").unwrap();
    std::fs::write(&key, "").unwrap();
    let (_, _, err) = check(&cluster, 1);
    assert!(err.contains("tls-ca") && err.contains("tls-key"), "both are told, {}: {err}", all.display());
}

fn logged(node: &Node, part: &str) -> usize {
    node.log_text().lines().filter(|line| line.contains(part)).count()
}

const READ_AGAIN: &str = "were read again";
const STAYS: &str = "what was read before stays in use";

#[test]
fn a_renewed_authority_is_used_without_a_restart_and_a_broken_file_changes_nothing() {
    let mut cluster = Cluster::start(3);
    let [ca, cert, key] = files(&cluster, 1);
    let before = std::fs::read(&key).unwrap();
    replace(&key, b"");
    cluster.nodes[0].signal("-HUP");
    eventually("the broken file is told", || {
        let log = cluster.nodes[0].log_text();
        log.lines()
            .any(|line| line.contains("WARN") && line.contains(key.to_str().unwrap()) && line.contains(STAYS))
    });
    replace(&key, &before);
    // The files are also read without a signal. Here they change to another CA.
    let new = cluster.dir.path().join("renewed");
    certificates(&new, 3);
    let both = [std::fs::read(&ca).unwrap(), std::fs::read(new.join("ca.pem")).unwrap()].concat();
    replace(&ca, &both);
    for node in &cluster.nodes {
        eventually("the authorities are read", || logged(node, READ_AGAIN) >= 1);
    }
    for id in 1..=3 {
        let [_, cert, key] = files(&cluster, id);
        replace(&cert, &std::fs::read(new.join(format!("node-{id}.pem"))).unwrap());
        replace(&key, &std::fs::read(new.join(format!("node-{id}-key.pem"))).unwrap());
    }
    let after: Vec<usize> = cluster.nodes.iter().map(|node| logged(node, READ_AGAIN)).collect();
    for (node, after) in cluster.nodes.iter().zip(after) {
        node.signal("-HUP");
        eventually("the certificate is read", || logged(node, READ_AGAIN) > after);
    }
    replace(&ca, &std::fs::read(new.join("ca.pem")).unwrap());
    // A node that starts now trusts the new CA only, so it finds only nodes that show certificates of the new CA.
    let follower = cluster.wait_for_leader() % 3 + 1;
    cluster.node(follower).kill();
    cluster.node(follower).start();
    cluster.settle();
    assert!(cert.exists());
}

#[test]
fn a_certificate_that_ends_soon_is_told_in_the_log_and_the_status_of_all() {
    let mut cluster = Cluster::prepare(3, "");
    let dir = cluster.dir.path().to_str().unwrap().to_owned();
    must_run(&[
        "cert",
        "node",
        "--ca-dir",
        &dir,
        "--node-id",
        "1",
        "--host",
        "127.0.0.1",
        "--days",
        "20",
        "--out",
        &dir,
    ]);
    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.wait_for_leader();
    let told = |node: &Node, part: &str| {
        let status = node.status().unwrap_or_default();
        logged(node, part) > 0
            && status["Warnings"]
                .as_array()
                .is_some_and(|all| all.iter().any(|it| it.as_str().unwrap().contains(part)))
    };
    eventually("it says so of its own", || told(&cluster.nodes[0], "this node's certificate ends in"));
    for node in &cluster.nodes[1..] {
        eventually("they say so of it", || told(node, "the certificate of node 1 ends in"));
    }
    let (good, out, _) = check(&cluster, 1);
    assert!(good && out.contains("ends in 19 days"), "{out}");
    // Once the certificate is renewed, there is no warning any more.
    support::certificate(&dir, 1);
    cluster.nodes[0].signal("-HUP");
    eventually("it is renewed", || {
        cluster.nodes[0].status().is_some_and(|status| status["Warnings"].as_array().unwrap().is_empty())
    });
}
