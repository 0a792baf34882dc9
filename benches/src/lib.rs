//! Code that the benchmarks share. This file: clusters in one process, each node with its own runtime, data folder and sockets.

#![allow(missing_docs, clippy::unwrap_used, reason = "benchmarks")]

pub mod in_flight;
pub mod log;
pub mod memory;
pub mod raw;
pub mod turns;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use raftkit_core::{LogId, NodeId};
use raftkit_disk::RealDisk;
use raftkit_net::{TlsFiles, certificates};
use raftkit_node::{Consistency, Formation, Handle, Server, ServerConfig};
use raftkit_replica::{Application, InMemory};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A state machine that keeps only the length of the last command, so that the cost is that of log and network.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Sink {
    pub bytes: u64,
}

impl Application for Sink {
    type Command = Vec<u8>;
    type Response = u64;

    fn apply(&mut self, id: LogId, command: Vec<u8>) -> u64 {
        self.bytes += command.len() as u64;
        id.index.0
    }
}

pub type Machine = InMemory<Sink>;

/// Nodes in this process, each on a thread of its own.
pub struct Nodes {
    pub handles: Vec<Handle<Machine>>,
    stops: Vec<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Nodes {
    /// Starts `count` nodes whose data is in a temporary folder, and waits for a leader.
    #[must_use]
    pub fn start(count: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = certificates::create_ca("bench").unwrap();
        let addresses: Vec<SocketAddr> = (0..count).map(|_| free_address()).collect();
        let join: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let mut nodes = Self { handles: Vec::new(), stops: Vec::new(), threads: Vec::new(), _dir: dir };
        for (id, address) in (1..).zip(addresses) {
            let own =
                certificates::create_node_certificate(&ca, NodeId(id), &["127.0.0.1".to_owned()]).unwrap();
            let tls = TlsFiles {
                ca_pem: ca.cert.clone().into(),
                cert_pem: own.cert.into(),
                key_pem: own.key.into(),
            };
            let formation = match count {
                1 => Formation::Alone,
                _ => Formation::Expect { servers: usize::try_from(count).unwrap(), join: join.clone() },
            };
            let data = nodes._dir.path().join(id.to_string());
            nodes.spawn(ServerConfig::new(NodeId(id), data, address, tls, formation));
        }
        let first = nodes.handles[0].clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async move {
            let query = |state: &raftkit_replica::InMemoryReader<Sink>| Ok(state.read(|_| ()));
            first.read(Consistency::Consistent, query).await.expect("a leader is elected");
        });
        nodes
    }

    fn spawn(&mut self, config: ServerConfig) {
        let (handle, started) = channel();
        let (stop, stopped) = oneshot::channel::<()>();
        self.threads.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Server::start(config, Arc::new(RealDisk), Machine::open).await.unwrap();
                handle.send(server.handle()).unwrap();
                let _ = stopped.await;
                server.crash().await;
            });
        }));
        self.stops.push(stop);
        self.handles.push(started.recv().unwrap());
    }

    /// Returns a handle to the leader.
    #[must_use]
    pub fn leader(&self) -> Handle<Machine> {
        let leader = self.handles[0].status().leader.expect("there was one at the start");
        self.handles[usize::try_from(leader.0 - 1).unwrap()].clone()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for stop in self.stops.drain(..) {
            let _ = stop.send(());
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn free_address() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
