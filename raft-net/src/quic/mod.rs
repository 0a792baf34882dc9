//! The transport: Raft messages, requests and bulk bodies over QUIC with mutual TLS.
//!
//! Every node dials every peer, sends only on connections that it dialled itself, and receives on those that it
//! accepted. So each direction has one owner, and a peer that restarts replaces the connections that it dialled by
//! itself.

mod accept;
mod bulk;
pub mod certificates;
mod checkup;
mod config;
mod dial;
mod endpoint;
mod error;
mod gentle;
mod handshake;
mod inbound;
mod inner;
mod keeper;
mod link;
mod own_time;
mod peer;
mod requests;
mod serve;
mod socket;
mod stream;
mod tasks;
mod tls;
mod tls_files;
mod tls_problem;
mod tls_words;
mod transport;
mod warnings;

pub use checkup::{CertificateFacts, Checkup, check_up, date};
pub use config::{LocalIdentity, RemoteIdentity, TransportConfig};
pub use error::{BulkError, HelloError, NotSent, RequestError, StartError};
pub use inbound::{Inbound, Inbox, Reply};
pub use tasks::{caught, panic_message};
pub use tls::TlsIdentity;
pub use tls_files::TlsFiles;
pub use tls_problem::{TlsError, TlsFile, TlsProblem};
pub use transport::{PeerStats, Transport};

/// Locks a mutex, also after a panic in another holder: no holder leaves data half changed.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
