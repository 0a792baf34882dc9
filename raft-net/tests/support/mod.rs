//! Nodes on loopback, and helpers that wait for their events. Every wait has a time-out, and none is a sleep.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::wildcard_enum_match_arm, reason = "what a test does not wait for is passed over")]
#![allow(clippy::result_large_err, reason = "an event that is passed over is no error")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bytes::Bytes;
use raftkit_core::{
    AppendEntries, Body, ClusterId, Entry, Incarnation, LogId, LogIndex, Message, NodeId, Payload, Round,
    StoreId, Term,
};
use raftkit_net::certificates::{CaPem, create_ca, create_node_certificate};
use raftkit_net::{
    Inbound, Inbox, LocalIdentity, StartError, TlsFiles, TlsIdentity, Transport, TransportConfig,
};
use tokio::sync::Notify;

/// Time-out of every wait: longer than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const CLUSTER: ClusterId = ClusterId(0xc1);

/// Waits for a future, for at most [`PATIENCE`].
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub fn store(node: u64) -> StoreId {
    StoreId(u128::from(node) * 100)
}

/// The settings of a node in a test. Each field may be changed.
pub struct Plan {
    pub ca: CaPem,
    pub node: u64,
    pub certificate_of: u64,
    pub store: StoreId,
    pub incarnation: u64,
    pub cluster: Option<ClusterId>,
    pub port: u16,
    pub queue_bytes_max: usize,
    pub inbound: usize,
    pub dial_timeout_ms: u64,
    pub peer_timeout_ms: u64,
}

pub fn plan(ca: &CaPem, node: u64) -> Plan {
    Plan {
        ca: ca.clone(),
        node,
        certificate_of: node,
        store: store(node),
        incarnation: 1,
        cluster: Some(CLUSTER),
        port: 0,
        queue_bytes_max: 32 << 20,
        inbound: 1024,
        dial_timeout_ms: 1000,
        peer_timeout_ms: 1500,
    }
}

pub fn authority() -> CaPem {
    create_ca("test authority").unwrap()
}

impl Plan {
    pub fn config(&self) -> TransportConfig {
        let own = create_node_certificate(&self.ca, NodeId(self.certificate_of), &["localhost".to_owned()])
            .unwrap();
        let files = TlsFiles {
            ca_pem: self.ca.cert.clone().into_bytes(),
            cert_pem: own.cert.into_bytes(),
            key_pem: own.key.into_bytes(),
        };
        let identity = LocalIdentity {
            node: NodeId(self.node),
            store: self.store,
            incarnation: Incarnation(self.incarnation),
            cluster: self.cluster,
            address: format!("node-{}.example:1", self.node),
            attributes: Bytes::from(format!("attributes of {}", self.node)),
        };
        let listen = ([127, 0, 0, 1], self.port).into();
        let mut config = TransportConfig::new(listen, TlsIdentity::parse(&files).unwrap(), identity);
        config.queue_bytes_max = self.queue_bytes_max;
        config.inbound_max = self.inbound;
        config.dial_timeout = Duration::from_millis(self.dial_timeout_ms);
        config.peer_timeout = Duration::from_millis(self.peer_timeout_ms);
        config
    }

    pub fn start(&self) -> Node {
        let (transport, events) = Transport::start(self.config()).unwrap();
        Node { id: self.node, store: self.store, transport, events, passed_over: VecDeque::new() }
    }
}

/// A running transport, and its events.
pub struct Node {
    pub id: u64,
    pub store: StoreId,
    pub transport: Transport,
    pub events: Inbox,
    passed_over: VecDeque<Inbound>,
}

impl Node {
    pub fn address(&self) -> String {
        self.transport.local_addr().to_string()
    }

    pub fn knows(&self, other: &Node) {
        self.transport.set_peer(NodeId(other.id), other.store, &other.address());
    }

    /// Returns how many of the events that came, and that no test has taken, match.
    pub fn passed_over(&mut self, such: impl Fn(&Inbound) -> bool) -> usize {
        while let Some(event) = self.events.try_recv() {
            self.passed_over.push_back(event);
        }
        self.passed_over.iter().filter(|event| such(event)).count()
    }

    /// Waits for the next event that `pick` accepts; other events are kept for later calls.
    pub async fn next<T>(&mut self, what: &str, mut pick: impl FnMut(Inbound) -> Result<T, Inbound>) -> T {
        for _ in 0..self.passed_over.len() {
            match pick(self.passed_over.pop_front().unwrap()) {
                Ok(wanted) => return wanted,
                Err(other) => self.passed_over.push_back(other),
            }
        }
        within(what, async {
            loop {
                match pick(self.events.recv().await.expect("the transport lives")) {
                    Ok(wanted) => return wanted,
                    Err(other) => self.passed_over.push_back(other),
                }
            }
        })
        .await
    }

    pub async fn message(&mut self) -> Message {
        self.next("a message", |event| if let Inbound::Message(it) = event { Ok(it) } else { Err(event) })
            .await
    }

    pub async fn bulk(&mut self) -> (NodeId, Bytes) {
        self.next("a bulk body", |event| {
            if let Inbound::Bulk { from, body } = event { Ok((from, body)) } else { Err(event) }
        })
        .await
    }

    pub async fn request(&mut self) -> (raftkit_net::RemoteIdentity, Bytes, raftkit_net::Reply) {
        self.next("a request", |event| match event {
            Inbound::Request { from, body, reply } => Ok(((*from).clone(), body, reply)),
            other => Err(other),
        })
        .await
    }

    pub async fn unreachable(&mut self) -> NodeId {
        self.next(
            "a lost peer",
            |event| if let Inbound::Unreachable(node) = event { Ok(node) } else { Err(event) },
        )
        .await
    }

    /// Waits until the connection to `other` exists (the event comes after this side dialled, or was dialled; both
    /// mean that the other node is there).
    pub async fn connected(&mut self, other: u64) -> raftkit_net::RemoteIdentity {
        self.next("a connection", |event| match event {
            Inbound::Connected(remote) if remote.node == NodeId(other) => Ok(remote),
            event => Err(event),
        })
        .await
    }
}

/// Starts a node again, as soon as its port is free: the tasks of a dropped transport may still hold it.
pub async fn start_again(plan: &Plan) -> Node {
    within("a free port", async {
        loop {
            match Transport::start(plan.config()) {
                Err(StartError::AddressInUse { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
                Ok(probe) => break drop(probe),
            }
        }
        loop {
            match std::net::UdpSocket::bind(("127.0.0.1", plan.port)) {
                Ok(socket) => break drop(socket),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        plan.start()
    })
    .await
}

/// Returns an append from one node to another, numbered by its round, with one entry of this many bytes.
pub fn append(from: &Node, to: u64, round: u64, bytes: usize) -> Message {
    append_of(from.id, from.store, to, round, bytes)
}

fn append_of(from: u64, from_store: StoreId, to: u64, round: u64, bytes: usize) -> Message {
    let payload = Payload::Command(Bytes::from(vec![u8::try_from(round % 251).unwrap(); bytes]));
    Message {
        from: NodeId(from),
        from_store,
        from_incarnation: Incarnation(1),
        to: NodeId(to),
        term: Term(3),
        body: Body::AppendEntries(AppendEntries {
            prev: LogId::new(2, 7),
            entries: Entry { id: LogId::new(3, 8), payload }.into(),
            commit: LogIndex(6),
            round: Round(round),
        }),
    }
}

/// Returns a heartbeat: an append without entries.
pub fn heartbeat(from: &Node, to: u64, round: u64) -> Message {
    emptied(append(from, to, round, 0))
}

/// Returns a heartbeat from the node with this plan, however it was started.
pub fn heartbeat_of(from: &Plan, to: u64, round: u64) -> Message {
    emptied(append_of(from.node, from.store, to, round, 0))
}

fn emptied(mut message: Message) -> Message {
    if let Body::AppendEntries(append) = &mut message.body {
        append.entries = raftkit_core::Entries::EMPTY;
    }
    message
}

pub fn round(message: &Message) -> u64 {
    match &message.body {
        Body::AppendEntries(append) => append.round.0,
        other => panic!("not an append: {other:?}"),
    }
}

thread_local! {
    static LISTENER: RefCell<Log> = RefCell::default();
}

/// The lines that were logged on this thread, at level warn and above.
#[derive(Clone, Default)]
pub struct Log {
    text: Arc<Mutex<String>>,
    written: Arc<Notify>,
}

impl Log {
    /// Starts to record the log of this thread, on which the test's runtime runs too.
    pub fn listen() -> Self {
        // One subscriber for the process: with one a thread, tracing may remember from another thread that nobody
        // listens.
        static SUBSCRIBER: Once = Once::new();
        SUBSCRIBER.call_once(|| {
            tracing_subscriber::fmt()
                .with_max_level(tracing::Level::WARN)
                .with_ansi(false)
                .with_writer(|| LISTENER.with_borrow(Self::clone))
                .init();
        });
        LISTENER.with_borrow(Self::clone)
    }

    /// Waits for a line that contains all of `parts`, and returns the line.
    pub async fn line(&self, parts: &[&str]) -> String {
        within(&format!("a line with {parts:?}"), async {
            loop {
                let written = self.written.notified();
                let found =
                    self.lines().into_iter().find(|line| parts.iter().all(|part| line.contains(part)));
                if let Some(line) = found {
                    return line;
                }
                written.await;
            }
        })
        .await
    }

    pub fn lines(&self) -> Vec<String> {
        self.text.lock().unwrap().lines().map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        self.written.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
