//! The HTTP interface: the part of Consul's interface that concerns a key-value store, and two endpoints of our own.
//!
//! | file | duty |
//! | --- | --- |
//! | `server.rs` | accepts connections, up to a limit |
//! | `client.rs` | notices when a connection's client is gone |
//! | `connection.rs` | takes the requests of a connection in turn, and decides who answers each |
//! | `framing.rs`, `head.rs`, `headers.rs`, `target.rs` | check requests, and find where they end |
//! | `direct.rs`, `wire.rs` | plain requests for one key, and their answers, without the HTTP library |
//! | `library.rs` | all other requests, one by one to the HTTP library and the router below |
//! | `kv.rs`, `entry.rs` | `/v1/kv/..` |
//! | `cluster.rs` | `/v1/status/..`, `/v1/operator/raft/configuration`, `/v1/catalog/datacenters` |
//! | `own.rs` | `/v1/raft/status`, `/health` |
//! | `reading.rs` | reads and blocking queries |
//! | `lists/` | lists: made beside the node's thread, once for all requests for the same list, and sent in pieces |
//! | `budget.rs`, `socket.rs` | bound the bytes on their way to clients, and the time that a client may take |
//! | `query.rs`, `options.rs`, `body.rs` | parse requests |
//! | `answer.rs`, `meta.rs` | make answers |

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::routing::any;
use raftkit_kv::KvMachine;
use tokio::sync::watch;

use crate::Handle;

mod answer;
mod body;
mod budget;
mod client;
mod cluster;
mod connection;
mod direct;
mod entry;
mod framing;
mod head;
mod headers;
mod kv;
mod library;
mod lists;
mod meta;
mod options;
mod own;
mod query;
mod reading;
mod server;
mod socket;
mod target;
mod wire;

use answer::{Answer, Problem};
pub use budget::ANSWER_BYTES_MAX;
use budget::Budget;
use lists::{Lists, Readers};
pub(crate) use own::Member;
pub use server::{CONNECTIONS_MAX, serve};
pub use socket::SEND_TIMEOUT;

/// Default maximum size of a value that a `PUT` may store, in bytes.
pub const VALUE_BYTES_MAX: usize = 524_288;

/// Default maximum number of keys that one `DELETE ?recurse` removes. Removing so many takes the state machine about 100 ms,
/// or a second on a very busy machine, and meanwhile it applies nothing else.
pub const DELETE_KEYS_MAX: u32 = 8192;

/// Everything that requests are answered from. It is cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    handle: Handle<KvMachine>,
    datacenter: Arc<str>,
    value_bytes_max: usize,
    delete_keys_max: u32,
    lists: Lists,
    send_timeout: Duration,
    connections_max: usize,
    /// True once the server is asked to end.
    stopping: Arc<watch::Sender<bool>>,
}

impl HttpState {
    /// Creates the state for the node behind `handle`, which is in `datacenter`, with default limits.
    #[must_use]
    pub fn new(handle: Handle<KvMachine>, datacenter: &str) -> Self {
        let reader = handle.shared.reader.clone();
        Self {
            handle,
            datacenter: Arc::from(datacenter),
            value_bytes_max: VALUE_BYTES_MAX,
            delete_keys_max: DELETE_KEYS_MAX,
            lists: Lists::new(reader, Readers::new(), Budget::new(ANSWER_BYTES_MAX)),
            send_timeout: SEND_TIMEOUT,
            connections_max: CONNECTIONS_MAX,
            stopping: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Sets the maximum size of a value, in bytes.
    #[must_use]
    pub fn with_value_bytes_max(mut self, value_bytes_max: usize) -> Self {
        self.value_bytes_max = value_bytes_max;
        self
    }

    /// Sets the maximum number of keys that one request deletes.
    #[must_use]
    pub fn with_delete_keys_max(mut self, delete_keys_max: u32) -> Self {
        self.delete_keys_max = delete_keys_max;
        self
    }

    /// Sets the maximum size of all answers together that are on their way to clients, in bytes.
    #[must_use]
    pub fn with_answer_bytes_max(mut self, answer_bytes_max: usize) -> Self {
        self.lists.budget = Budget::new(answer_bytes_max);
        self
    }

    /// Sets the maximum time that a client may read nothing of its answer.
    #[must_use]
    pub fn with_send_timeout(mut self, send_timeout: Duration) -> Self {
        self.send_timeout = send_timeout;
        self
    }
}

/// A client for the purpose of taking turns: its IP address, because one client may have many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Client(pub(crate) IpAddr);

impl Client {
    /// The client of a request. All clients whose address is not known count as one.
    fn of(request: &Request) -> Self {
        request.extensions().get().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }
}

impl HttpState {
    /// Sets the maximum number of open connections; the default is 4,096. Further clients wait until a connection is closed.
    #[must_use]
    pub fn with_connections_max(mut self, connections_max: usize) -> Self {
        self.connections_max = connections_max;
        self
    }
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState").field("datacenter", &self.datacenter).finish_non_exhaustive()
    }
}

/// The router with all endpoints.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/v1/kv/{*key}", any(kv::handle))
        .route("/v1/kv/", any(kv::handle))
        .route("/v1/kv", any(kv::handle))
        .route("/v1/status/leader", any(cluster::leader))
        .route("/v1/status/peers", any(cluster::peers))
        .route("/v1/operator/raft/configuration", any(cluster::configuration))
        .route("/v1/catalog/datacenters", any(cluster::datacenters))
        .route("/v1/raft/status", any(own::status))
        .route("/health", any(own::health))
        .fallback(unknown)
        .with_state(state)
}

/// Answers requests for unknown paths. The answer is empty, like Consul's.
async fn unknown(request: Request) -> Answer {
    if request.method() == Method::OPTIONS && request.uri().path() == "*" {
        return Answer::options(kv::ALLOW);
    }
    let sensible =
        query::decode(request.uri().path()).is_some_and(|path| !path.chars().any(char::is_control));
    if sensible {
        Answer::empty(StatusCode::NOT_FOUND)
    } else {
        let text = "Invalid path: it is not percent-encoded UTF-8, or has a control character in it";
        Problem::bad_request(text).into_answer()
    }
}
