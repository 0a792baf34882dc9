//! The HTTP interface: the part of Consul's that concerns a replicated store, and our own.
//!
//! | file | duty |
//! | --- | --- |
//! | `server.rs` | connections and their limits |
//! | `kv.rs`, `entry.rs` | `/v1/kv/..` |
//! | `cluster.rs` | `/v1/status/..`, `/v1/operator/raft/configuration`, `/v1/catalog/datacenters` |
//! | `own.rs` | `/v1/raft/status`, `/health` |
//! | `reading.rs` | reads and blocking queries |
//! | `query.rs`, `options.rs`, `body.rs` | what requests say |
//! | `answer.rs`, `meta.rs` | what answers say |

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::any;
use raftkit_kv::KvMachine;
use tokio::sync::watch;

use crate::Handle;

mod answer;
mod body;
mod cluster;
mod entry;
mod kv;
mod meta;
mod options;
mod own;
mod query;
mod reading;
mod server;

pub(crate) use own::Member;
pub use server::{CONNECTIONS_MAX, serve};

/// The largest value that a `PUT` may store, unless it is set otherwise.
pub const VALUE_BYTES_MAX: usize = 524_288;

/// What requests are answered from; cheap to clone.
#[derive(Clone)]
pub struct HttpState {
    handle: Handle<KvMachine>,
    datacenter: Arc<str>,
    value_bytes_max: usize,
    /// True once the server is to end.
    stopping: Arc<watch::Sender<bool>>,
}

impl HttpState {
    /// Answers for the node behind `handle`, which is in `datacenter`.
    #[must_use]
    pub fn new(handle: Handle<KvMachine>, datacenter: &str) -> Self {
        Self {
            handle,
            datacenter: Arc::from(datacenter),
            value_bytes_max: VALUE_BYTES_MAX,
            stopping: Arc::new(watch::Sender::new(false)),
        }
    }

    /// The same with another limit on values, in bytes.
    #[must_use]
    pub fn with_value_bytes_max(mut self, value_bytes_max: usize) -> Self {
        self.value_bytes_max = value_bytes_max;
        self
    }
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState").field("datacenter", &self.datacenter).finish_non_exhaustive()
    }
}

/// All routes.
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

/// Nothing is here. The answer is empty, as clients know it.
async fn unknown(request: Request) -> Response {
    let sensible =
        query::decode(request.uri().path()).is_some_and(|path| !path.chars().any(char::is_control));
    answer::empty(if sensible { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST })
}
