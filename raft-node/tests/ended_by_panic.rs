//! The end of the program after a panic in any part: a specific exit code, and a last line with the panic's message. The test is
//! its own harness, because it runs itself as the node, with a log subscriber that panics at a given line.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs, reason = "test")]

use std::fmt::Debug;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable that says where the node panics: `TARGET TEXT`.
const PANIC_AT: &str = "TEST_PANIC_AT";

fn main() -> ExitCode {
    if let Ok(at) = std::env::var(PANIC_AT) {
        let (target, text) = at.split_once(' ').unwrap();
        let layer =
            PanicsAt { target: target.to_owned(), text: text.to_owned(), done: AtomicBool::new(false) };
        tracing_subscriber::registry().with(layer).init();
        return raftkit_node::cli::main();
    }
    // Tools that look for tests pass this flag.
    if std::env::args().any(|arg| arg == "--list") {
        println!("a_panic_ends_the_process_with_its_own_code_and_a_last_line: test");
        return ExitCode::SUCCESS;
    }
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    for (number, (target, text, said)) in [
        ("raftkit_node", "this node belongs to a cluster now", "the node's loop panicked"),
        ("raftkit_node", "role changed", "the node's loop panicked"),
        ("raftkit_net", "the transport listens", "the transport cannot go on"),
        ("raftkit_node", "HTTP is served", "the task that accepts HTTP connections panicked"),
    ]
    .into_iter()
    .enumerate()
    {
        panics(dir.path(), number, target, text, said);
        println!("a panic at {text:?} ... ok");
    }
    a_panic_that_panics_again(dir.path());
    ExitCode::SUCCESS
}

/// A log subscriber that panics at one line.
struct PanicsAt {
    target: String,
    text: String,
    done: AtomicBool,
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{value:?} "));
    }
}

impl<S: tracing::Subscriber> Layer<S> for PanicsAt {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        let here = event.metadata().target().starts_with(&self.target) && text.0.contains(&self.text);
        if here && !self.done.swap(true, Ordering::Relaxed) {
            panic!("the log panics");
        }
    }
}

fn certificates(dir: &Path) {
    let run = |args: &[&str]| {
        let status = Command::new(env!("CARGO_BIN_EXE_raft-node")).args(args).stdout(Stdio::null()).status();
        assert!(status.unwrap().success());
    };
    let dir = dir.to_str().unwrap();
    run(&["cert", "ca", "--out", dir]);
    run(&["cert", "node", "--ca-dir", dir, "--node-id", "1", "--host", "127.0.0.1", "--out", dir]);
}

/// Runs a node that panics. Returns its exit status and its output.
fn end(dir: &Path, cluster: &[&str], number: &str, target: &str, text: &str) -> (ExitStatus, String) {
    let data = dir.join(format!("data-{number}"));
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["serve", "--node-id", "1", "--stop-on-stdin-eof"])
        .args(cluster)
        .arg("--data-dir")
        .arg(&data)
        .args(["--http-addr", "127.0.0.1:0", "--raft-addr", "127.0.0.1:0", "--tls-ca", &file("ca.pem")])
        .args(["--tls-cert", &file("node-1.pem"), "--tls-key", &file("node-1-key.pem")])
        .env(PANIC_AT, format!("{target} {text}"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("{text}: the process did not end");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// quinn panics again while a panic unwinds through its locks. Rust then aborts, which ends the process as well.
fn a_panic_that_panics_again(dir: &Path) {
    let (status, log) =
        end(dir, &["--bootstrap-expect", "2", "--join", "127.0.0.1:1"], "again", "quinn_proto", "sending");
    assert!(status.code() == Some(101) || status.signal() == Some(6), "{status}: {log}");
    assert!(log.contains("panic"), "{log}");
}

fn panics(dir: &Path, number: usize, target: &str, text: &str, said: &str) {
    let (status, log) = end(dir, &["--bootstrap"], &number.to_string(), target, text);
    assert_eq!(status.code(), Some(101), "{text}: {log}");
    let last = log.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("raft-node: the node has ended by a panic, which is a bug: "), "{text}: {log}");
    assert!(last.contains(said) && last.ends_with("; start it again"), "{text}: {log}");
}
