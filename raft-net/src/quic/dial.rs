//! Connects to an address and greets who is there.

use core::net::SocketAddr;
use core::time::Duration;
use std::sync::Mutex;

use quinn::{ConnectError, Connecting, Connection};
use raftkit_core::NodeId;
use tokio::time::sleep_until;

use super::config::RemoteIdentity;
use super::error::{DONE, HelloError, dial_error};
use super::handshake;
use super::inner::Inner;
use super::lock;
use super::tls::GENERIC_NAME;
use crate::dialling::{Progress, Verdict};
use crate::refusal::Lane;

/// Whom to reach, where, and what for.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// As it was given, `host:port`.
    pub(crate) address: &'a str,
    pub(crate) lane: Lane,
    /// Who must be there, if it matters.
    pub(crate) expected: Option<NodeId>,
}

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

/// Connects, greets, checks who is there. Whoever hears of its `progress` drops it when that does not come in time; QUIC
/// itself gives up no sooner than after `patience`.
pub(crate) async fn dial(
    inner: &Inner,
    target: Target<'_>,
    resolved: SocketAddr,
    patience: Duration,
    progress: impl Fn(Progress),
) -> Result<(Connection, RemoteIdentity), HelloError> {
    let connection = connect(inner, target, resolved, patience, &progress).await?;
    progress(Progress::Connected { round_trip: connection.rtt() });
    match handshake::greet(inner, target, &connection).await {
        Ok(remote) => Ok((connection, remote)),
        Err(error) => {
            connection.close(DONE, b"the greeting failed");
            Err(error)
        }
    }
}

async fn connect(
    inner: &Inner,
    Target { address, lane, .. }: Target<'_>,
    resolved: SocketAddr,
    patience: Duration,
    progress: &impl Fn(Progress),
) -> Result<Connection, HelloError> {
    let bad = |reason: String| HelloError::BadAddress { address: address.to_owned(), reason };
    let config = inner.quic.client(resolved.ip(), lane, patience);
    let mut connecting: Connecting =
        inner.endpoint.connect_with(config, resolved, GENERIC_NAME).map_err(|error| match error {
            ConnectError::EndpointStopping => HelloError::Stopping,
            ConnectError::CidsExhausted
            | ConnectError::InvalidServerName(_)
            | ConnectError::InvalidRemoteAddress(_)
            | ConnectError::NoDefaultClientConfig
            | ConnectError::UnsupportedVersion => bad(error.to_string()),
        })?;
    // The first of what the other side says; its certificate may still be on the way.
    if connecting.handshake_data().await.is_ok() {
        progress(Progress::Answered);
    }
    connecting.await.map_err(|error| dial_error(address, patience, &error))
}

/// Dials on behalf of somebody who waits for the result, and remembers what that shows of the path.
pub(crate) async fn dial_once(
    inner: &Inner,
    target: Target<'_>,
) -> Result<(Connection, RemoteIdentity), HelloError> {
    let resolved = resolve(inner, target.address).await?;
    loop {
        if let Some(result) = try_once(inner, target, resolved).await {
            return result;
        }
    }
}

/// One attempt; none when another one is to start at once, because whoever is there has just dialled us.
async fn try_once(
    inner: &Inner,
    target: Target<'_>,
    resolved: SocketAddr,
) -> Option<Result<(Connection, RemoteIdentity), HelloError>> {
    let begun = inner.now();
    let attempt = lock(&inner.paths).attempt(begun, inner.config.dial_timeout, resolved);
    let patience = attempt.patience();
    let attempt = Mutex::new(attempt);
    let dialled = dial(inner, target, resolved, patience, |progress| {
        if let Progress::Connected { round_trip } = progress {
            lock(&inner.paths).measured(resolved, round_trip);
        }
        lock(&attempt).note(inner.now(), progress);
    });
    tokio::pin!(dialled);
    loop {
        let called = inner.called.notified();
        tokio::pin!(called);
        // From here on a call is not missed.
        called.as_mut().enable();
        let verdict = {
            let mut attempt = lock(&attempt);
            lock(&inner.paths).tell(resolved, begun, &mut attempt);
            attempt.verdict(inner.now())
        };
        let until = match verdict {
            Verdict::GoOn { until } => until,
            Verdict::Again => return None,
            Verdict::TimedOut { waited } => {
                lock(&inner.paths).timed_out(resolved);
                return Some(Err(HelloError::NoAnswer { address: target.address.to_owned(), waited }));
            }
        };
        tokio::select! {
            result = &mut dialled => return Some(result),
            () = sleep_until(inner.instant(until)) => {}
            () = called => {}
        }
    }
}
