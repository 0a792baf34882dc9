//! Real processes for tests: clusters of `raft-node` processes that end with the test, each on its own loopback address.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "shared by several tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_raft-node");

/// Lets only one cluster run at a time, because two cores are not enough for two clusters under load.
static TURN: Mutex<()> = Mutex::new(());
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

/// An address that no other test uses: the loopback network is a /8, so each process takes an address of its own, and
/// each caller in it a range of 16 ports.
pub fn own_address() -> (String, u16) {
    let pid = std::process::id();
    let ip = format!("127.{}.{}.{}", 1 + (pid >> 14) % 250, 1 + (pid >> 7) % 127, 1 + pid % 127);
    (ip, 9000 + 16 * NEXT_PORT.fetch_add(1, Ordering::Relaxed))
}

/// A node's process, killed when dropped.
pub struct Node {
    pub id: u64,
    pub http: String,
    pub raft: String,
    pub config: PathBuf,
    pub log: PathBuf,
    child: Option<Child>,
}

pub struct Cluster {
    pub dir: tempfile::TempDir,
    pub nodes: Vec<Node>,
    _turn: MutexGuard<'static, ()>,
}

/// Runs `raft-node` with these arguments until it ends.
pub fn run(args: &[&str]) -> (ExitStatus, String, String) {
    let mut child = Command::new(BINARY)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_end(&mut child);
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Waits for a process that should end by itself. If it does not, it is killed, and the test fails.
pub fn wait_for_end(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("the process did not end within 30 s");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

pub fn must_run(args: &[&str]) -> String {
    let (status, out, err) = run(args);
    assert!(status.success(), "raft-node {args:?}: {status}\n{out}\n{err}");
    out
}

/// Makes a CA in `dir`, with certificates for nodes 1 to `nodes`.
pub fn certificates(dir: &Path, nodes: u64) {
    let dir = dir.to_str().unwrap();
    must_run(&["cert", "ca", "--out", dir]);
    for id in 1..=nodes {
        certificate(dir, id);
    }
}

pub fn certificate(dir: &str, id: u64) {
    must_run(&[
        "cert",
        "node",
        "--ca-dir",
        dir,
        "--node-id",
        &id.to_string(),
        "--host",
        "127.0.0.1",
        "--out",
        dir,
    ]);
}

impl Cluster {
    /// Starts a cluster of `count` nodes and waits until it has a leader.
    pub fn start(count: u64) -> Self {
        Self::start_with(count, "")
    }

    /// Like `start`, with additional lines in each node's configuration.
    pub fn start_with(count: u64, more: &str) -> Self {
        let mut cluster = Self::prepare(count, more);
        for node in &mut cluster.nodes {
            node.start();
        }
        cluster.wait_for_leader();
        cluster
    }

    /// Prepares folders, certificates and configurations. No node is started.
    pub fn prepare(count: u64, more: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path(), count);
        let (ip, port) = own_address();
        let join: Vec<String> =
            (1..=count).map(|id| format!("\"{ip}:{}\"", 100 + port + u16::try_from(id).unwrap())).collect();
        let nodes = (1..=count)
            .map(|id| {
                let http = format!("{ip}:{}", port + u16::try_from(id).unwrap());
                let raft = format!("{ip}:{}", 100 + port + u16::try_from(id).unwrap());
                let root = dir.path().display();
                let text = format!(
                    "node-id = {id}\ndata-dir = \"{root}/data-{id}\"\nhttp-addr = \"{http}\"\n\
                     raft-addr = \"{raft}\"\nbootstrap-expect = {count}\njoin = [{}]\n{more}\n[tls]\n\
                     ca = \"{root}/ca.pem\"\ncert = \"{root}/node-{id}.pem\"\nkey = \"{root}/node-{id}-key.pem\"\n",
                    join.join(", ")
                );
                let config = dir.path().join(format!("node-{id}.toml"));
                std::fs::write(&config, text).unwrap();
                Node { id, http, raft, config, log: dir.path().join(format!("node-{id}.log")), child: None }
            })
            .collect();
        Self { dir, nodes, _turn: turn }
    }

    /// Adds a server with its own configuration. It is not started.
    pub fn add(&mut self, id: u64, http: String, raft: String, config: PathBuf) -> &mut Node {
        let log = config.with_extension("log");
        self.nodes.push(Node { id, http, raft, config, log, child: None });
        self.nodes.last_mut().unwrap()
    }

    pub fn node(&mut self, id: u64) -> &mut Node {
        &mut self.nodes[usize::try_from(id - 1).unwrap()]
    }

    /// Waits until all running nodes agree on a leader; returns its id.
    pub fn wait_for_leader(&self) -> u64 {
        let mut leader = 0;
        eventually("all running nodes know the same leader", || {
            let known: Vec<Option<u64>> = self
                .nodes
                .iter()
                .filter(|node| node.child.is_some())
                .map(|node| node.status().and_then(|status| status["Leader"].as_u64()))
                .collect();
            leader = known[0].unwrap_or(0);
            leader != 0 && known.iter().all(|one| *one == known[0])
        });
        leader
    }

    /// Waits until every running node knows and has applied the same commit index.
    pub fn settle(&self) {
        self.wait_for_leader();
        eventually("all nodes have applied the same", || {
            let statuses: Option<Vec<Value>> =
                self.nodes.iter().filter(|node| node.child.is_some()).map(Node::status).collect();
            statuses.is_some_and(|all| {
                all.iter().all(|one| one["Applied"] == all[0]["Commit"] && one["Commit"] == all[0]["Commit"])
            })
        });
    }

    /// The logs of the nodes, for the message of a failing test.
    pub fn logs(&self) -> String {
        self.nodes
            .iter()
            .map(|node| {
                format!("--- node {}\n{}", node.id, std::fs::read_to_string(&node.log).unwrap_or_default())
            })
            .collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

impl Node {
    pub fn start(&mut self) {
        self.start_by(Command::new(BINARY));
    }

    /// Like `start`, but a write beyond `limit_files` is an error instead of ending the process by SIGXFSZ.
    pub fn start_for_file_limit(&mut self) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY]);
        self.start_by(shell);
    }

    /// Like `start`, through another program that sets something up and then executes the node.
    pub fn start_through(&mut self, program: &str, args: &[&str]) {
        let mut command = Command::new(program);
        command.args(args).arg(BINARY);
        self.start_by(command);
    }

    fn start_by(&mut self, mut command: Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let child = command
            .args(["serve", "--stop-on-stdin-eof", "--config"])
            .arg(&self.config)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// From now on writing to any file fails, as on a full disk.
    pub fn limit_files(&self) {
        let pid = i32::try_from(self.child.as_ref().unwrap().id()).unwrap();
        let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
        let pid = rustix::process::Pid::from_raw(pid);
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, none).unwrap();
    }

    /// Waits until the process ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for_end(&mut self.child.take().unwrap())
    }

    /// Kills the process with SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Closes the process's standard input, as the death of its parent does, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        drop(child.stdin.take());
        wait_for_end(&mut child)
    }

    /// Sends SIGTERM, as a service manager does, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("-TERM");
        wait_for_end(&mut self.child.take().unwrap())
    }

    pub fn status(&self) -> Option<Value> {
        let answer = request(&self.http, "GET", "/v1/raft/status", b"", Duration::from_secs(2)).ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    pub fn get(&self, path: &str) -> Answer {
        request(&self.http, "GET", path, b"", Duration::from_secs(10)).unwrap()
    }

    pub fn put(&self, path: &str, body: &[u8]) -> std::io::Result<Answer> {
        request(&self.http, "PUT", path, body, Duration::from_secs(10))
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Repeats `condition` until it returns true, and panics after a while. Each try is a request, so this does not spin.
///
/// The longest wait of a node is that for a missing peer: its snapshot, and the log after it, are kept for 40 s.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(90);
    while !condition() {
        assert!(Instant::now() < end, "within 90 s: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Sends one request on a new connection.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    body: &[u8],
    timeout: Duration,
) -> std::io::Result<Answer> {
    let address: SocketAddr = address.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| std::io::Error::other(format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((key, value)) => headers.push((key.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let mut body = Vec::new();
    reader.read_to_end(&mut body)?;
    let is_chunked = headers.iter().any(|(key, value): &(String, String)| {
        key.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
    });
    let body = if is_chunked { joined(&body)? } else { body };
    Ok(Answer { status, headers, body })
}

/// Joins the chunks of a body (RFC 9112, section 7.1), up to the last one.
fn joined(mut chunks: &[u8]) -> std::io::Result<Vec<u8>> {
    let malformed = || std::io::Error::other("a malformed or unfinished chunked body");
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|at| at == b"\r\n").ok_or_else(malformed)?;
        let size = std::str::from_utf8(&chunks[..end]).map_err(std::io::Error::other)?;
        let size = usize::from_str_radix(size, 16).map_err(std::io::Error::other)?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = chunks.get(end + 2..end + 2 + size).ok_or_else(malformed)?;
        body.extend_from_slice(chunk);
        chunks = chunks.get(end + 2 + size + 2..).ok_or_else(malformed)?;
    }
}
