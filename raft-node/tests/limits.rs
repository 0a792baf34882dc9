//! Running out of files or connections, and failing background work: the node reports it, survives, and tries again.

#![allow(clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{BINARY, Cluster, eventually, request};

/// Starts the first node under a limit on open files.
fn start_with_files(cluster: &Cluster, limit: &str) -> Child {
    let node = &cluster.nodes[0];
    let log = std::fs::File::create(&node.log).unwrap();
    Command::new("sh")
        .args(["-c", &format!("ulimit {limit} && exec \"$0\" serve --stop-on-stdin-eof --config \"$1\"")])
        .args([BINARY, node.config.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn stop(mut child: Child) {
    drop(child.stdin.take());
    assert!(support::wait_for_end(&mut child).success());
}

/// The limits of a process on open files: soft and hard.
fn open_files(pid: u32) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap().to_owned();
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn the_soft_limit_on_open_files_is_raised_to_the_hard_one() {
    let cluster = Cluster::prepare(1, "");
    let child = start_with_files(&cluster, "-S -n 64");
    eventually("the node leads", || cluster.nodes[0].status().is_some_and(|status| status["Leader"] == 1));
    let (soft, hard) = open_files(child.id());
    assert_eq!(soft, hard);
    assert_ne!(soft, "64");
    stop(child);
}

#[test]
fn a_crowd_of_clients_leaves_files_for_the_node_and_waits_its_turn() {
    let cluster = Cluster::prepare(1, "");
    let node = &cluster.nodes[0];
    let child = start_with_files(&cluster, "-n 200");
    eventually("the node takes writes", || node.put("/v1/kv/k", b"v").is_ok_and(|it| it.text() == "true"));
    let log = node.log_text();
    assert!(log.contains("only 72 HTTP connections are served at a time"), "{log}");
    // More connections than allowed: the last of them wait to be accepted.
    let crowd: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(&node.http).unwrap()).collect();
    let files = || std::fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap().count();
    eventually("all that have room are accepted", || files() >= 72);
    let waiting = request(&node.http, "GET", "/v1/kv/k?raw", b"", Duration::from_secs(1));
    assert!(waiting.is_err(), "{waiting:?}");
    assert!(files() < 200 - 72, "{} files are open", files());
    drop(crowd);
    eventually("others have their turn", || {
        request(&node.http, "GET", "/v1/kv/k?raw", b"", Duration::from_secs(20))
            .is_ok_and(|it| it.text() == "v")
    });
    assert!(!node.log_text().contains("could not be accepted"), "{}", node.log_text());
    stop(child);
}

/// The soft limit falls below the number of open files, as if other code in the process had used them up.
#[test]
fn connections_that_cannot_be_accepted_are_told_seldom_and_later_they_are() {
    let cluster = Cluster::prepare(1, "");
    let node = &cluster.nodes[0];
    let child = start_with_files(&cluster, "-n 200");
    eventually("the node takes writes", || node.put("/v1/kv/k", b"v").is_ok_and(|it| it.text() == "true"));
    let limit = |soft: &str| {
        let pid = child.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={soft}:")]).status();
        assert!(set.unwrap().success());
    };
    limit("10");
    let read = |patience| request(&node.http, "GET", "/v1/kv/k?raw", b"", patience);
    let told = || node.log_text().matches("connections could not be accepted").count();
    // One more connection may be accepted, because the node had reserved a file for it.
    eventually("the log says so", || read(Duration::from_millis(100)).is_err() && told() > 0);
    for _ in 0..20 {
        // Accepting is tried again ten times a second.
        assert!(read(Duration::from_millis(100)).is_err());
    }
    assert_eq!(told(), 1, "{}", node.log_text());
    limit("200");
    eventually("others have their turn again", || {
        read(Duration::from_secs(20)).is_ok_and(|it| it.text() == "v")
    });
    stop(child);
}

#[test]
fn a_snapshot_that_cannot_be_made_is_told_and_made_as_soon_as_it_can() {
    let mut cluster = Cluster::start_with(3, "raft-trailing-logs = 50");
    let leader = cluster.wait_for_leader();
    let away = (1..=3).find(|id| *id != leader).unwrap();
    // Put a file in place of the folder. Do this first, because a snapshot that was made is kept open.
    let folder = cluster.dir.path().join(format!("data-{leader}/snapshots"));
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, b"").unwrap();
    cluster.node(away).kill();
    let value = vec![b'x'; 20_000];
    for number in 0..400 {
        let put = cluster.node(leader).put(&format!("/v1/kv/snap/{}", number % 100), &value).unwrap();
        assert_eq!(put.status, 200, "{}", put.text());
    }
    eventually("the log is cut below what the other lacks", || {
        cluster.node(leader).status().is_some_and(|status| status["Base"].as_u64() > Some(200))
    });
    cluster.node(away).start();
    let troubles = |cluster: &mut Cluster| {
        let status = cluster.node(leader).status()?;
        status["Warnings"].as_array().map(|all| all.iter().map(ToString::to_string).collect::<String>())
    };
    eventually("the leader says what fails", || {
        let said = troubles(&mut cluster).unwrap_or_default();
        said.contains("a snapshot for another node cannot be made: ")
    });
    let log = cluster.node(leader).log_text();
    assert!(
        log.contains("a snapshot for another node cannot be made: ") && log.contains("it is tried again"),
        "{log}"
    );
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    cluster.settle();
    eventually("the trouble is over", || troubles(&mut cluster).is_some_and(|said| said.is_empty()));
}
