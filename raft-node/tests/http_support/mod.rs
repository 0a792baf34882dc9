//! One node in this process with its HTTP interface, and a client that shows answers as they were sent.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "shared by several tests"
)]

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
use tokio::time::timeout;

pub struct Served {
    pub addr: SocketAddr,
    pub server: Server<KvMachine>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    _dir: tempfile::TempDir,
}

impl Served {
    /// Starts a node that leads a cluster of one.
    pub async fn alone() -> Self {
        Self::alone_with(|state| state).await
    }

    /// Like [`alone`](Self::alone), with changed settings of the HTTP interface.
    pub async fn alone_with(settings: impl FnOnce(HttpState) -> HttpState) -> Self {
        let served = Self::start(Formation::Alone, settings).await;
        // The node holds the first write until there is a leader.
        assert_eq!(served.request("PUT", "/v1/kv/ready", b"").await.status, 200);
        assert_eq!(served.request("DELETE", "/v1/kv/ready", b"").await.status, 200);
        served
    }

    /// Starts a node without a leader: it waits for other members, which do not exist.
    pub async fn leaderless() -> Self {
        Self::start(Formation::Rejoin, |state| state).await
    }

    async fn start(formation: Formation, settings: impl FnOnce(HttpState) -> HttpState) -> Self {
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
        let state = settings(HttpState::new(server.handle(), "dc1"));
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, state, async { drop(stopped.await) }));
        Self { addr, server, stop, serving, _dir: dir }
    }

    /// Sends a request on a new connection, which is closed after the answer.
    pub async fn request(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        self.send(method, target, "", body).await
    }

    pub async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, b"").await
    }

    /// Like `request`, with additional headers.
    pub async fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        self.exchange(&[head.as_bytes(), body].concat()).await
    }

    /// Sends bytes and reads until the connection is closed.
    pub async fn exchange(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        Answer::parse(&all)
    }

    /// Opens a connection and sends a request on it. Nothing is read yet.
    pub async fn ask(&self, target: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    /// Stores `count` keys under `prefix`, each with `bytes` bytes.
    pub async fn fill(&self, prefix: &str, count: usize, bytes: usize) {
        let value = vec![b'v'; bytes];
        // Send several at a time, because each waits for a sync of the disk.
        for first in (0..count).step_by(64) {
            let puts = (first..count.min(first + 64)).map(|number| {
                let (target, value) = (format!("/v1/kv/{prefix}{number:06}"), &value);
                async move {
                    let mut answer = self.request("PUT", &target, value).await;
                    // The node is overloaded and has not done the write, so send it again.
                    while answer.status == 503 {
                        answer = self.request("PUT", &target, value).await;
                    }
                    assert_eq!(answer.text(), "true");
                }
            });
            all(puts.collect()).await;
        }
    }

    /// Stops the HTTP interface, then the node.
    pub async fn stop(self) {
        drop(self.stop);
        self.serving.await.unwrap();
        self.server.stop().await;
    }
}

/// Sends bytes, and reads to the end of the connection.
pub async fn exchange(served: &Served, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    timeout(Duration::from_secs(60), stream.read_to_end(&mut all))
        .await
        .expect("the connection is closed")
        .unwrap();
    all
}

/// Starts a node that stores keys under `app` and next to it.
pub async fn with_tree() -> Served {
    let served = Served::alone().await;
    for key in ["app", "app/a", "app#old", "apple"] {
        let target = format!("/v1/kv/{}", key.replace('#', "%23"));
        assert_eq!(served.request("PUT", &target, key.as_bytes()).await.text(), "true");
    }
    served
}

/// Asserts that the keys of [`with_tree`] are unchanged.
pub async fn untouched(served: &Served, what: &str) {
    let keys = served.get("/v1/kv/?keys").await.json();
    assert_eq!(keys, serde_json::json!(["app", "app#old", "app/a", "apple"]), "{what}");
    assert_eq!(served.get("/v1/kv/app?raw").await.text(), "app", "{what}");
}

/// Waits for all futures.
pub async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(context) {
                *done = Some(value);
            }
        }
        if futures.iter().all(|(_, done)| done.is_some()) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    futures.into_iter().map(|(_, done)| done.unwrap()).collect()
}

/// Joins the chunks of a body; none if the body is not complete.
pub fn dechunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return (&body[end..] == b"\r\n\r\n").then_some(all);
        }
        all.extend_from_slice(body.get(end + 2..end + 2 + length)?);
        body = body.get(end + 2 + length + 2..)?;
    }
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// Names and values as they were sent.
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

    /// The value of a header by its exact name.
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
