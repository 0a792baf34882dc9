//! A panic in any thread or task of a node ends the node, and the owner of the `Server` is told. A node that ran on without
//! its applier, its loop or its transport would hold its port and its data folder, and serve nobody.
//!
//! The panics are injected from outside: by the state machine, by the disk, and by a log subscriber that panics at a given line,
//! which can make any code panic that logs.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "test")]

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use raftkit_core::{LogId, NodeId};
use raftkit_disk::{DirLock, Disk, DiskFile, OpenMode, RealDisk};
use raftkit_net::TlsFiles;
use raftkit_net::certificates::{create_ca, create_node_certificate};
use raftkit_node::{Formation, Server, ServerConfig, StartError, Stopped};
use raftkit_replica::{Application, InMemory};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing::span;

const LONG: Duration = Duration::from_secs(60);

/// A state machine that panics at one command.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Fuse;

impl Application for Fuse {
    type Command = String;
    type Response = ();

    fn apply(&mut self, _: LogId, command: String) {
        assert_ne!(command, "burst", "the fuse has burst");
    }
}

type Machine = InMemory<Fuse>;

/// A disk that panics when a thread of this name uses it.
#[derive(Debug)]
struct PanickingDisk {
    disk: RealDisk,
    thread: &'static str,
}

#[derive(Debug)]
struct PanickingFile {
    file: Arc<dyn DiskFile>,
    thread: &'static str,
}

fn check(thread: &str) {
    let current = std::thread::current();
    assert_ne!(current.name(), Some(thread), "the disk panics on this thread");
}

impl Disk for PanickingDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        check(self.thread);
        let file = self.disk.open(path, mode)?;
        Ok(Arc::new(PanickingFile { file, thread: self.thread }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        check(self.thread);
        self.disk.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn lock_dir(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.disk.lock_dir(path)
    }
}

impl DiskFile for PanickingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        check(self.thread);
        self.file.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(self.thread);
        self.file.write_at(offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write_durably(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        check(self.thread);
        self.file.write_durably(offset, data)
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.file.drop_cache()
    }
}

/// The line at which the log subscriber panics: the first one of `target` that contains `text`.
#[derive(Clone, Copy)]
struct At {
    target: &'static str,
    text: &'static str,
}

static PANIC_AT: Mutex<Option<At>> = Mutex::new(None);

struct PanickingLog;

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
        self.0.push_str(&format!("{value:?} "));
    }
}

impl tracing::Subscriber for PanickingLog {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut panic_at = PANIC_AT.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(at) = *panic_at else { return };
        let mut text = Text(String::new());
        event.record(&mut text);
        if event.metadata().target().starts_with(at.target) && text.0.contains(at.text) {
            *panic_at = None;
            drop(panic_at);
            panic!("the log panics at a line of {}", event.metadata().target());
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Makes the tests of this file run one at a time, because they share the line at which the log subscriber panics.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn panic_at(at: At) {
    static LOG: Once = Once::new();
    LOG.call_once(|| tracing::subscriber::set_global_default(PanickingLog).unwrap());
    *PANIC_AT.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
}

/// Settings for nodes that find each other and form a cluster.
fn configs(dir: &Path, count: u64) -> Vec<ServerConfig> {
    let ca = create_ca("test").unwrap();
    let pid = std::process::id();
    let ip = format!("127.{}.{}.{}", 1 + (pid >> 14) % 250, 128 + (pid >> 7) % 120, 1 + pid % 250);
    let addresses: Vec<SocketAddr> =
        (1..=count).map(|id| format!("{ip}:{}", 7000 + id).parse().unwrap()).collect();
    let join: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    (1..=count)
        .zip(&addresses)
        .map(|(id, address)| {
            let own = create_node_certificate(&ca, NodeId(id), std::slice::from_ref(&ip)).unwrap();
            let tls = TlsFiles {
                ca_pem: ca.cert.clone().into(),
                cert_pem: own.cert.into(),
                key_pem: own.key.into(),
            };
            let formation = match count {
                1 => Formation::Alone,
                _ => Formation::Expect { servers: usize::try_from(count).unwrap(), join: join.clone() },
            };
            ServerConfig::new(NodeId(id), dir.join(format!("node-{id}")), *address, tls, formation)
        })
        .collect()
}

/// Starts a single node on a disk, sends it commands until it ends, and returns the reason of its end.
async fn end_alone(disk: Arc<dyn Disk>, commands: &[&str]) -> Stopped {
    let dir = tempfile::tempdir().unwrap();
    let config = configs(dir.path(), 1).remove(0);
    let server = Server::start(config, disk, Machine::open).await.unwrap();
    let handle = server.handle();
    let writing = tokio::spawn({
        let commands: Vec<_> =
            commands.iter().map(|command| Machine::encode(&(*command).to_owned()).unwrap()).collect();
        async move {
            // The outcome of the commands does not matter.
            for command in commands.iter().cycle() {
                let _ = handle.propose(command.clone()).await;
                tokio::task::yield_now().await;
            }
        }
    });
    let why = timeout(LONG, server.stopped()).await.expect("the panic ends the node");
    writing.abort();
    timeout(LONG, server.stop()).await.expect("a node that has ended can be stopped");
    why
}

fn real() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn panicking(thread: &'static str) -> Arc<dyn Disk> {
    Arc::new(PanickingDisk { disk: RealDisk, thread })
}

#[track_caller]
fn said(why: Stopped, words: &str) {
    let text = match &why {
        Stopped::OnRequest => "on request",
        Stopped::Failed(text) | Stopped::Panicked(text) => text,
    };
    assert!(text.contains(words), "{why:?}");
}

#[tokio::test]
async fn a_panic_of_the_applier_ends_the_node() {
    let _turn = TURN.lock().await;
    let why = end_alone(real(), &["fine", "burst"]).await;
    assert!(matches!(why, Stopped::Panicked(_)), "{why:?}");
    said(why, "the thread raft-apply panicked: assertion `left != right` failed: the fuse has burst");
}

#[tokio::test]
async fn a_panic_of_the_flusher_ends_the_node() {
    let _turn = TURN.lock().await;
    let why = end_alone(panicking("raft-flush"), &["fine"]).await;
    said(
        why,
        "the thread raft-flush panicked: assertion `left != right` failed: the disk panics on this thread",
    );
}

/// The thread makes a snapshot for a node that returns after the log was compacted.
#[tokio::test]
async fn a_panic_of_the_thread_for_snapshots_ends_the_node() {
    let _turn = TURN.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let mut configs = configs(dir.path(), 3);
    let mut servers = Vec::new();
    for config in &mut configs {
        config.replica.compaction.trailing_logs = 0;
        config.replica.persist_interval = Duration::from_millis(10);
        servers.push(Server::start(config.clone(), panicking("raft-io"), Machine::open).await.unwrap());
    }
    let handle = servers[0].handle();
    let command = Machine::encode(&"fine".to_owned()).unwrap();
    let _ = handle.propose(command.clone()).await;
    servers.remove(2).crash().await;
    let missed = handle.status().last;
    // A node may end at any moment, because a node that was slow for a while needs a snapshot, too. Then writes fail.
    let provoke = async {
        while servers.iter().any(|server| server.handle().status().base <= missed) {
            let _ = handle.propose(command.clone()).await;
            tokio::task::yield_now().await;
        }
        let _late = loop {
            match Server::start(configs[2].clone(), real(), Machine::open).await {
                // The socket of the previous run closes once its tasks have ended.
                Err(StartError::Transport(_)) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        };
        std::future::pending::<Stopped>().await
    };
    let ended = timeout(LONG, async {
        tokio::select! {
            why = servers[0].stopped() => why,
            why = servers[1].stopped() => why,
            why = provoke => why,
        }
    });
    let why = ended.await.expect("the panic ends the leader");
    for server in servers {
        server.crash().await;
    }
    assert!(matches!(why, Stopped::Panicked(_)), "{why:?}");
    said(
        why,
        "the thread raft-io panicked: assertion `left != right` failed: the disk panics on this thread",
    );
}

#[tokio::test]
async fn a_panic_of_the_loop_ends_the_node() {
    let _turn = TURN.lock().await;
    panic_at(At { target: "raftkit_node", text: "role changed" });
    let why = end_alone(real(), &["fine"]).await;
    assert!(matches!(why, Stopped::Panicked(_)), "{why:?}");
    said(why, "the node's loop panicked: the log panics at a line of raftkit_node::shell::node_loop");
}

#[tokio::test]
async fn a_panic_while_a_cluster_is_formed_ends_the_node() {
    let _turn = TURN.lock().await;
    panic_at(At { target: "raftkit_node", text: "this node belongs to a cluster now" });
    let why = end_alone(real(), &["fine"]).await;
    assert!(matches!(why, Stopped::Panicked(_)), "{why:?}");
    said(why, "the node's loop panicked: the log panics at a line of raftkit_node::shell::formation");
}

/// Starts two nodes with the log subscriber set to panic. Returns the reason of the end of the node that it hit.
async fn end_of_one_of_two(at: At) -> Stopped {
    let dir = tempfile::tempdir().unwrap();
    let configs = configs(dir.path(), 2);
    panic_at(at);
    let mut servers = Vec::new();
    for config in configs {
        servers.push(Server::start(config, real(), Machine::open).await.unwrap());
    }
    let ended = timeout(LONG, async {
        tokio::select! {
            why = servers[0].stopped() => why,
            why = servers[1].stopped() => why,
        }
    });
    let why = ended.await.expect("the panic ends a node");
    for server in servers {
        server.crash().await;
    }
    why
}

#[tokio::test]
async fn a_panic_of_a_task_of_the_transport_ends_the_node() {
    let _turn = TURN.lock().await;
    let why = end_of_one_of_two(At { target: "raftkit_net::quic::keeper", text: "connected" }).await;
    assert!(matches!(why, Stopped::Panicked(_)), "{why:?}");
    said(
        why,
        "the transport cannot go on: the task of a peer panicked: the log panics at a line of raftkit_net",
    );
}
