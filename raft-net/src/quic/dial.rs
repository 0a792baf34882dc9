//! Connects to an address and greets who is there.

use core::net::SocketAddr;
use core::time::Duration;

use quinn::{ConnectError, Connection};
use raftkit_core::NodeId;
use tokio::time::timeout;

use super::config::RemoteIdentity;
use super::error::{DONE, HelloError, dial_error};
use super::handshake;
use super::inner::Inner;
use super::tls::GENERIC_NAME;
use crate::refusal::Lane;

/// The socket address behind `host:port`, of the family that the endpoint's socket can reach.
pub(crate) async fn resolve(inner: &Inner, address: &str) -> Result<SocketAddr, HelloError> {
    if let Ok(resolved) = address.parse() {
        return Ok(resolved);
    }
    let bad = |reason: String| HelloError::BadAddress { address: address.to_owned(), reason };
    let ipv4_only = inner.config.listen.is_ipv4();
    let found = tokio::net::lookup_host(address).await.map_err(|error| bad(error.to_string()))?;
    let mut found: Vec<_> = found.filter(|it| it.is_ipv4() || !ipv4_only).collect();
    // IPv4 first: an IPv6 socket reaches both where the system maps addresses, and most hosts have IPv4.
    found.sort_by_key(SocketAddr::is_ipv6);
    found
        .first()
        .copied()
        .ok_or_else(|| bad("it has no address of the family that this node listens on".to_owned()))
}

/// Connects, greets, checks who is there. Takes at most `patience`.
pub(crate) async fn dial(
    inner: &Inner,
    address: &str,
    resolved: SocketAddr,
    lane: Lane,
    expected: Option<NodeId>,
    patience: Duration,
) -> Result<(Connection, RemoteIdentity), HelloError> {
    let bad = |reason: String| HelloError::BadAddress { address: address.to_owned(), reason };
    let config = inner.quic.client(resolved.ip());
    let connecting =
        inner.endpoint.connect_with(config, resolved, GENERIC_NAME).map_err(|error| match error {
            ConnectError::EndpointStopping => HelloError::Stopping,
            ConnectError::CidsExhausted
            | ConnectError::InvalidServerName(_)
            | ConnectError::InvalidRemoteAddress(_)
            | ConnectError::NoDefaultClientConfig
            | ConnectError::UnsupportedVersion => bad(error.to_string()),
        })?;
    let attempt = async {
        let connection = connecting.await.map_err(|error| dial_error(address, patience, &error))?;
        match handshake::greet(inner, address, &connection, lane, expected).await {
            Ok(remote) => Ok((connection, remote)),
            Err(error) => {
                connection.close(DONE, b"the greeting failed");
                Err(error)
            }
        }
    };
    timeout(patience, attempt)
        .await
        .unwrap_or_else(|_| Err(HelloError::NoAnswer { address: address.to_owned(), waited: patience }))
}
