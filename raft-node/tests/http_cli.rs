//! The commands that talk to a node, run against a node: their output and their exit codes.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "test")]

mod http_support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use http_support::Served;

/// The result of a command: exit code, stdout, stderr.
type Outcome = (i32, String, String);

/// Runs `raft-node` with `arguments` against a node.
async fn run(served: &Served, args: &[&str], stdin: &'static [u8]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raft-node"));
    command.args(args).env("RAFT_NODE_ADDR", served.addr.to_string());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    // The node runs on this thread, so the thread must not block.
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn done(out: &str) -> Outcome {
    (0, out.to_owned(), String::new())
}

fn failed(code: i32, err: &str) -> Outcome {
    (code, String::new(), format!("raft-node: {err}\n"))
}

#[tokio::test]
async fn keys_are_written_read_listed_and_removed() {
    let served = Served::alone().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("value");
    std::fs::write(&file, b"from a file\n").unwrap();
    let at_file = format!("@{}", file.display());
    let steps: &[(&[&str], &'static [u8], Outcome)] = &[
        (&["kv", "put", "a", "one"], b"", done("")),
        (&["kv", "get", "a"], b"", done("one\n")),
        (&["kv", "get", "--raw", "a"], b"", done("one")),
        (&["kv", "get", "--consistent", "a"], b"", done("one\n")),
        (&["kv", "get", "--stale", "a"], b"", done("one\n")),
        (&["kv", "put", "a", "-5"], b"", done("")),
        (&["kv", "put", "b c/ä?", "-", "--flags", "7"], b"x\ty\n", done("")),
        (&["kv", "put", "b/file", &at_file], b"", done("")),
        (&["kv", "list"], b"", done("a\t-5\nb c/ä?\tx\\ty\\n\nb/file\tfrom a file\\n\n")),
        (&["kv", "list", "b/"], b"", done("b/file\tfrom a file\\n\n")),
        (&["kv", "list", "--keys", "b"], b"", done("b c/ä?\nb/file\n")),
        (&["kv", "list", "--separator", "/"], b"", done("a\nb c/\nb/\n")),
        (&["kv", "list", "none"], b"", done("")),
        // Characters that are special in a URL are encoded once and decoded once.
        (&["kv", "put", "e%2F#?%", "x"], b"", done("")),
        (&["kv", "get", "e%2F#?%"], b"", done("x\n")),
        (&["kv", "list", "--keys", "e"], b"", done("e%2F#?%\n")),
        (&["kv", "delete", "e%2F#?%"], b"", done("")),
        (&["kv", "delete", "a"], b"", done("")),
        (&["kv", "get", "a"], b"", failed(1, "there is no key \"a\"")),
        (&["kv", "get", "--detailed", "a"], b"", failed(1, "there is no key \"a\"")),
        (
            &["kv", "put", "b/file", "x", "--cas", "0"],
            b"",
            failed(1, "not written: the key \"b/file\" is there already"),
        ),
        (
            &["kv", "put", "b/file", "x", "--cas", "1"],
            b"",
            failed(1, "not written: the ModifyIndex of \"b/file\" is not 1"),
        ),
        (
            &["kv", "delete", "b/file", "--cas", "1"],
            b"",
            failed(1, "not removed: the ModifyIndex of \"b/file\" is not 1"),
        ),
        (&["kv", "put", "", "x"], b"", failed(1, "the node refused: Missing key name")),
        (&["kv", "delete", "--recurse", ""], b"", done("")),
        (&["kv", "list"], b"", done("")),
    ];
    for (args, stdin, expected) in steps {
        assert_eq!(&run(&served, args, stdin).await, expected, "{args:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn details_and_the_status_are_tables() {
    let served = Served::alone().await;
    run(&served, &["kv", "put", "k", "v", "--flags", "42"], b"").await;
    let (code, out, _) = run(&served, &["kv", "get", "--detailed", "k"], b"").await;
    let index = served.get("/v1/kv/k").await.index();
    assert_eq!(code, 0);
    assert_eq!(
        out,
        format!(
            "Key          k\nValue        v\nFlags        42\nCreateIndex  {index}\nModifyIndex  {index}\nLockIndex    0\n"
        )
    );
    let (code, out, err) = run(&served, &["status"], b"").await;
    assert_eq!((code, err.as_str()), (0, ""));
    let mut lines = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(
        lines.next().unwrap(),
        ["node", "role", "term", "last", "commit", "applied", "lag", "address", "http"]
    );
    let row = lines.next().unwrap();
    assert_eq!((row[0], row[1], row[6]), ("1", "leader", "0"));
    assert_eq!(lines.next(), None);
    let (code, out, _) = run(&served, &["status", "--json"], b"").await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json[0]["Role"]), (0, &serde_json::json!("leader")));
    served.stop().await;
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let served = Served::leaderless().await;
    let refused = failed(1, "the node refused: No cluster leader");
    assert_eq!(run(&served, &["kv", "get", "k"], b"").await, refused);
    // A port on which nothing listens.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, out, err) = run(&served, &["kv", "get", "k", "--addr", &nobody], b"").await;
    assert_eq!((code, out.as_str()), (1, ""));
    let begin = format!("raft-node: nothing answers at {nobody}, given on the command line (");
    assert!(err.starts_with(&begin), "{err}");
    assert!(err.ends_with("is the node running? --addr or RAFT_NODE_ADDR name another node\n"), "{err}");
    let wrong = failed(
        2,
        "`nowhere`, given on the command line, is not an address: it must be a host with a port, such as 127.0.0.1:8500",
    );
    assert_eq!(run(&served, &["status", "--addr", "nowhere"], b"").await, wrong);
    for args in
        [&["kv", "get"][..], &["kv", "get", "k", "--stale", "--consistent"], &["nosuch"], &["kv", "put", "k"]]
    {
        assert_eq!(run(&served, args, b"").await.0, 2, "{args:?}");
    }
    for args in [&["--help"][..], &["--version"], &["serve", "--help"], &["kv", "put", "--help"]] {
        assert_eq!(run(&served, args, b"").await.0, 0, "{args:?}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_cluster_that_is_not_whole_is_told_by_the_exit_code() {
    let served = Served::leaderless().await;
    for args in [&["status"][..], &["status", "--json"]] {
        let (code, out, err) = run(&served, args, b"").await;
        assert_eq!((code, err.as_str()), (1, "raft-node: no node knows a leader\n"), "{args:?}");
        assert!(out.contains("follower"), "it is shown all the same: {out}");
    }
    served.stop().await;
}

#[tokio::test]
async fn another_web_server_is_not_taken_for_a_node() {
    let served = Served::alone().await;
    for answer in [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found",
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue",
        "HTTP/1.1 301 Moved Permanently\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    ] {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = other.local_addr().unwrap().to_string();
        let serving = std::thread::spawn(move || {
            for stream in other.incoming() {
                let mut stream = stream.unwrap();
                let read = std::io::Read::read(&mut stream, &mut [0; 1000]).unwrap();
                if read == 0 {
                    return;
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        for args in [
            &["kv", "get", "k"][..],
            &["kv", "get", "--detailed", "k"],
            &["kv", "list"],
            &["kv", "list", "--keys", "k"],
            &["kv", "put", "k", "v"],
            &["kv", "delete", "k"],
            &["status"],
        ] {
            let (code, out, err) = run(&served, &[args, &["--addr", &addr]].concat(), b"").await;
            assert_eq!((code, out.as_str()), (1, ""), "{args:?} after {answer}");
            assert!(
                err.contains("no raft-node") || err.contains("not what a raft-node answers"),
                "{args:?}: {err}"
            );
        }
        drop(std::net::TcpStream::connect(&addr).unwrap());
        serving.join().unwrap();
    }
    served.stop().await;
}

#[tokio::test]
async fn the_servers_variable_names_no_node_for_commands() {
    let served = Served::alone().await;
    let addr = served.addr.to_string();
    let run = |name: &'static str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raft-node"));
        command.args(["kv", "put", "k", "v"]).env_remove("RAFT_NODE_ADDR").env(name, &addr);
        tokio::task::spawn_blocking(move || command.output().unwrap())
    };
    let refused = run("RAFT_NODE_HTTP_ADDR").await.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains(&format!("set RAFT_NODE_ADDR={addr}, or give --addr")), "{said}");
    assert_eq!(run("RAFT_NODE_ADDR").await.unwrap().status.code(), Some(0));
    served.stop().await;
}

#[tokio::test]
async fn an_authority_is_never_overwritten_and_keys_are_for_their_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("tls");
    let text = out.to_str().unwrap();
    let run = |args: &[&str]| Command::new(env!("CARGO_BIN_EXE_raft-node")).args(args).output().unwrap();
    assert_eq!(run(&["cert", "ca", "--out", text]).status.code(), Some(0));
    let before = std::fs::read(out.join("ca-key.pem")).unwrap();
    let again = run(&["cert", "ca", "--out", text]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already and is not overwritten"));
    assert_eq!(std::fs::read(out.join("ca-key.pem")).unwrap(), before);
    let node = [
        "cert",
        "node",
        "--ca-dir",
        text,
        "--node-id",
        "3",
        "--host",
        "127.0.0.1",
        "--host",
        "n3",
        "--out",
        text,
    ];
    // A second time: a node's certificate may be renewed.
    for _ in 0..2 {
        assert_eq!(run(&node).status.code(), Some(0));
    }
    let mode = |name: &str| out.join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca-key.pem"), mode("node-3-key.pem")), (0o600, 0o600));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 4, "nothing unfinished is left behind");
    let nowhere =
        run(&["cert", "node", "--ca-dir", "/nonexistent", "--node-id", "3", "--host", "h", "--out", text]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(String::from_utf8(nowhere.stderr).unwrap().contains("`raft-node cert ca` makes an authority"));
    assert_eq!(
        run(&["cert", "node", "--ca-dir", text, "--node-id", "0", "--host", "h", "--out", text])
            .status
            .code(),
        Some(2)
    );
}
