//! Connects to an address and greets the node there.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::sync::Mutex;

use quinn::{ConnectError, Connecting, Connection};
use tokio::time::sleep_until;

use super::config::RemoteIdentity;
use super::error::{DONE, HelloError, dial_error};
use super::handshake::{Target, greet};
use super::inner::Inner;
use super::lock;
use super::tls_files::GENERIC_NAME;
use crate::dialling::{Progress, Verdict};

/// Resolves `host:port` to a socket address of a family that the endpoint's socket can reach.
pub(crate) async fn resolve(inner: &Inner, address: &str) -> Result<SocketAddr, HelloError> {
    let bad = |reason: String| HelloError::BadAddress { address: address.to_owned(), reason };
    let listen = inner.config.listen.ip();
    let chosen = if let Ok(literal) = address.parse() {
        reachable(listen, [literal])
    } else {
        reachable(listen, tokio::net::lookup_host(address).await.map_err(|error| bad(error.to_string()))?)
    };
    chosen.ok_or_else(|| {
        let family = if listen.to_canonical().is_ipv4() { "IPv4" } else { "IPv6" };
        bad(format!("a node that listens on {listen} reaches {family} addresses only, and this has none"))
    })
}

/// Returns the first of these addresses that a socket bound to `listen` reaches. IPv4 comes first, as most hosts have
/// it.
fn reachable(listen: IpAddr, found: impl IntoIterator<Item = SocketAddr>) -> Option<SocketAddr> {
    let reaches = |it: &SocketAddr| match listen.to_canonical() {
        IpAddr::V4(_) => it.ip().to_canonical().is_ipv4(),
        // All addresses of this machine: both families, where the system maps addresses.
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        // Bound to one address, the socket sends from that: an IPv4 address is out of its reach, mapped or not.
        IpAddr::V6(_) => !it.ip().to_canonical().is_ipv4(),
    };
    found.into_iter().filter(reaches).min_by_key(SocketAddr::is_ipv6)
}

/// Connects, greets, and checks who is there. Reports `progress` to the caller, who drops the future when that does not
/// come in time; QUIC itself gives up no sooner than after `answer_timeout`.
pub(crate) async fn dial(
    inner: &Inner,
    target: Target<'_>,
    resolved: SocketAddr,
    answer_timeout: Duration,
    progress: impl Fn(Progress),
) -> Result<(Connection, RemoteIdentity), HelloError> {
    let connection = connect(inner, target, resolved, answer_timeout, &progress).await?;
    progress(Progress::Connected { round_trip: connection.rtt() });
    match greet(inner, target, &connection).await {
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
    answer_timeout: Duration,
    progress: &impl Fn(Progress),
) -> Result<Connection, HelloError> {
    let bad = |reason: String| HelloError::BadAddress { address: address.to_owned(), reason };
    let config = inner.quic.client(resolved.ip(), lane, answer_timeout);
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
    connecting.await.map_err(|error| dial_error(address, answer_timeout, &error))
}

/// Dials for a caller that waits for the result, and records what that shows of the path.
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

/// Makes one attempt. Returns none when another one is to start at once, because the node at the address has just
/// dialled us.
async fn try_once(
    inner: &Inner,
    target: Target<'_>,
    resolved: SocketAddr,
) -> Option<Result<(Connection, RemoteIdentity), HelloError>> {
    let begun = inner.now();
    let attempt = lock(&inner.paths).attempt(begun, inner.config.dial_timeout, resolved);
    let answer_timeout = attempt.answer_timeout();
    let attempt = Mutex::new(attempt);
    let dialled = dial(inner, target, resolved, answer_timeout, |progress| {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_that_is_dialled_is_one_that_the_socket_reaches() {
        let (four, six, other) = ("10.0.0.1:1", "[fd00::1]:1", "10.0.0.2:1");
        for (listen, found, expected) in [
            ("0.0.0.0", &[six, four][..], Some(four)),
            ("10.0.0.9", &[six, four], Some(four)),
            ("10.0.0.9", &[six], None),
            // A name that has both, and a socket that has one IPv6 address.
            ("fd00::9", &[four, six], Some(six)),
            ("fd00::9", &[four], None),
            ("fd00::9", &["[::ffff:10.0.0.1]:1"], None),
            ("::", &[six, four], Some(four)),
            ("::", &[six], Some(six)),
            ("::ffff:10.0.0.9", &[six, four], Some(four)),
            // Of several the first.
            ("0.0.0.0", &[four, other], Some(four)),
            ("0.0.0.0", &[other, four], Some(other)),
            ("0.0.0.0", &[], None),
        ] {
            let parsed = |text: &&str| text.parse::<SocketAddr>().expect("an address");
            let chosen = reachable(listen.parse().expect("an address"), found.iter().map(parsed));
            assert_eq!(chosen, expected.as_ref().map(parsed), "{listen} dials one of {found:?}");
        }
    }
}
