//! A node whose log output is not read keeps serving. Commands whose output is not read end in an orderly way.

#![allow(clippy::expect_fun_call, clippy::unwrap_used, missing_docs, reason = "test")]

mod support;

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use support::{BINARY, Cluster, eventually};

/// Starts a cluster of one whose log goes to `stderr`.
fn start(cluster: &Cluster, stderr: impl Into<Stdio>) -> Child {
    Command::new(BINARY)
        .args(["serve", "--stop-on-stdin-eof", "--config"])
        .arg(&cluster.nodes[0].config)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

/// Asserts that the node forms its cluster, elects itself and takes writes, all of which it logs.
fn serves(cluster: &Cluster) {
    eventually("the node takes writes", || {
        cluster.nodes[0].put("/v1/kv/k", b"v").is_ok_and(|answer| answer.text() == "true")
    });
}

/// Ends the node by closing its standard input, as the death of its parent does.
fn stop(mut child: Child) -> ExitStatus {
    drop(child.stdin.take());
    support::wait_for_end(&mut child)
}

#[test]
fn a_node_whose_log_has_no_reader_starts_serves_and_stops() {
    let cluster = Cluster::prepare(1, "log-level = \"debug\"");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let child = start(&cluster, writer);
    serves(&cluster);
    assert!(stop(child).success());
}

#[test]
fn a_node_whose_reader_goes_away_serves_on() {
    let cluster = Cluster::prepare(1, "log-level = \"debug\"");
    let (mut reader, writer) = pipe().unwrap();
    let child = start(&cluster, writer);
    reader.read_exact(&mut [0; 100]).unwrap();
    drop(reader);
    serves(&cluster);
    assert!(stop(child).success());
}

#[test]
fn a_node_whose_log_is_on_a_full_disk_or_closed_starts_serves_and_stops() {
    let cluster = Cluster::prepare(1, "log-level = \"debug\"");
    let child = start(&cluster, File::options().write(true).open("/dev/full").unwrap());
    serves(&cluster);
    assert!(stop(child).success());
    // Start the node with a closed descriptor, which only a shell can do.
    let config = cluster.nodes[0].config.to_str().unwrap();
    let child = Command::new("sh")
        .args(["-c", "exec \"$0\" serve --stop-on-stdin-eof --config \"$1\" 2>&-", BINARY, config])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    serves(&cluster);
    assert!(stop(child).success());
}

#[test]
fn a_node_whose_log_is_taken_again_says_how_many_lines_were_lost() {
    let cluster = Cluster::prepare(1, "");
    let fifo = cluster.dir.path().join("log");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    // Opening the pipe for writing needs a reader for a moment.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let first = File::options().read(true).custom_flags(flags).open(&fifo).unwrap();
    let writer = File::options().write(true).open(&fifo).unwrap();
    drop(first);
    let child = start(&cluster, writer);
    serves(&cluster);
    let reader = File::open(&fifo).unwrap();
    assert!(stop(child).success());
    let log = std::io::read_to_string(reader).unwrap();
    let lost = log.find(" log lines were lost: stderr could not take them\n").expect(&log);
    assert!(
        log[lost..].contains("stopping: stdin has ended"),
        "the lines that can be written follow it: {log}"
    );
    assert!(!log.contains("the node is up"), "that was lost: {log}");
}

#[test]
fn a_node_whose_log_nobody_takes_starts_serves_and_stops() {
    let cluster = Cluster::prepare(1, "log-level = \"debug\"");
    let (reader, mut writer) = pipe().unwrap();
    // Fill the pipe: the node's first line has no room, so its writer waits forever.
    writer.write_all(&[b'.'; 65_536]).unwrap();
    let child = start(&cluster, writer);
    serves(&cluster);
    assert!(stop(child).success());
    drop(reader);
}

#[test]
fn two_signals_at_once_are_one_wish() {
    let cluster = Cluster::prepare(1, "");
    let mut child = start(&cluster, Stdio::null());
    serves(&cluster);
    let pid = child.id().to_string();
    // `timeout` of coreutils sends the signal twice in the same way.
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let _ = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(support::wait_for_end(&mut child).success());
}

#[test]
fn commands_whose_output_nobody_reads_end_quietly() {
    let cluster = Cluster::start(1);
    let node = &cluster.nodes[0];
    for number in 0..50 {
        node.put(&format!("/v1/kv/{number}"), &[b'x'; 10_000]).unwrap();
    }
    let run = |args: &[&str], stdout: Stdio| {
        let mut command = Command::new(BINARY);
        command.args(args).args(["--addr", &node.http]).stdin(Stdio::null()).stdout(stdout);
        command.stderr(Stdio::piped()).output().unwrap()
    };
    for args in [&["kv", "list"][..], &["kv", "get", "1"], &["status"], &["status", "--json"]] {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let ended = run(args, writer.into());
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!((ended.status.code(), said.as_str()), (Some(0), ""), "{args:?}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = run(args, full.into());
        assert_eq!(ended.status.code(), Some(1), "{args:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).contains("stdout cannot be written"), "{args:?}");
    }
}
