//! One node in this process with its HTTP interface, and a client that shows answers as they came.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "shared by several tests")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use raftkit_core::NodeId;
use raftkit_disk::RealDisk;
use raftkit_kv::KvMachine;
use raftkit_net::TlsFiles;
use raftkit_net::certificates::{create_ca, create_node_certificate};
use raftkit_node::http::{HttpState, serve};
use raftkit_node::{Formation, Server, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub struct Served {
    pub addr: SocketAddr,
    pub server: Server<KvMachine>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Served {
    /// A node that leads a cluster of its own.
    pub async fn alone() -> Self {
        let served = Self::start(Formation::Alone).await;
        // The first write is held until there is a leader.
        assert_eq!(served.request("PUT", "/v1/kv/ready", b"").await.status, 200);
        assert_eq!(served.request("DELETE", "/v1/kv/ready", b"").await.status, 200);
        served
    }

    /// A node that waits for others that do not exist.
    pub async fn leaderless() -> Self {
        Self::start(Formation::Rejoin).await
    }

    async fn start(formation: Formation) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = create_ca("test").unwrap();
        let node = create_node_certificate(&ca, NodeId(1), &["127.0.0.1".to_owned()]).unwrap();
        let tls = TlsFiles { ca_pem: ca.cert.into(), cert_pem: node.cert.into(), key_pem: node.key.into() };
        let any = "127.0.0.1:0".parse().unwrap();
        let mut config = ServerConfig::new(NodeId(1), dir.path().join("data"), any, tls, formation);
        config.hold_timeout =
            Duration::from_millis(if config.formation == Formation::Rejoin { 50 } else { 3000 });
        let server = Server::start(config, Arc::new(RealDisk), KvMachine::open).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = HttpState::new(server.handle(), "dc1");
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, state, async { drop(stopped.await) }));
        Self { addr, server, stop, serving, _dir: dir }
    }

    /// Sends a request on a connection of its own, which is closed after it.
    pub async fn request(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.send(method, target, "", body).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, b"").await
    }

    /// As `request`, with more headers.
    pub async fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat()).await
    }

    /// Sends these bytes and reads until the connection is closed.
    pub async fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        Answer::parse(&all)
    }

    /// Ends serving, then the node.
    pub async fn stop(self) {
        drop(self.stop);
        self.serving.await.unwrap();
        self.server.stop().await;
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// As they stand on the wire.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no whole head in {:?}", String::from_utf8_lossy(bytes));
        });
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers =
            lines.map(|line| line.split_once(": ").unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned()));
        Self { status, headers: headers.collect(), body: bytes[end + 4..].to_vec() }
    }

    /// A header by its exact name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn index(&self) -> u64 {
        self.header("X-Consul-Index").unwrap().parse().unwrap()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}
