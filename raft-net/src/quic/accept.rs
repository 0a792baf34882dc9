//! Accepts the connections that other nodes dial: decides on first packets, shakes hands and greets.

use core::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use quinn::{Connection, Incoming};
use tokio::time::timeout;

use super::config::RemoteIdentity;
use super::error::{Cause, VIOLATION, cause, describe, refuse};
use super::handshake::{check, read_greeting, remote};
use super::inbound::Inbound;
use super::inner::Inner;
use super::serve::serve;
use super::warnings::STRANGER;
use crate::dialling::ANSWER_TIMEOUT_MAX;
use crate::door::{Address, Ending, FLOOD_WINDOW, Place, Standing, Verdict};
use crate::frame::{Frame, FrameError, encode_frame};
use crate::refusal::{Hello, Lane, Refusal};

/// Accepts connections until the endpoint closes. It waits for nothing else, so that first packets do not pile up.
pub(crate) async fn run(inner: Arc<Inner>) {
    tracing::debug!(node = inner.node().0, "the transport listens");
    while let Some(incoming) = inner.endpoint.accept().await {
        let address = if incoming.remote_address_validated() { Address::Proven } else { Address::Claimed };
        match knock(&inner, incoming.remote_address(), address) {
            Verdict::Accept(place) => {
                let entering = Entering { inner: Arc::clone(&inner), place, ending: Ending::Failed };
                inner.tasks.start("a task that serves a peer's connection", enter(entering, incoming));
            }
            // An address that is proven needs no Retry, so none is refused.
            Verdict::Retry => drop(incoming.retry()),
            Verdict::Ignore => incoming.ignore(),
        }
    }
    if !*inner.stopping.borrow() {
        inner.tasks.fail("the UDP socket was lost".to_owned());
    }
}

fn knock(inner: &Inner, from: SocketAddr, address: Address) -> Verdict {
    // An IPv6 socket shows IPv4 addresses as mapped ones.
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let standing = match address {
        Address::Proven if inner.peers().iter().any(|peer| peer.resolves_to(from)) => Standing::Member,
        Address::Claimed | Address::Proven => Standing::Stranger,
    };
    let (verdict, flood) = inner.door(|door, now| {
        let verdict = door.knock(now, from, address, standing);
        (verdict, door.flood(now))
    });
    if let Some(count) = flood {
        tracing::warn!(
            node = inner.node().0,
            "{count} attempts to connect, most of them of strangers, were put off or passed over in the last \
             {FLOOD_WINDOW:?}; members still get in, but keep others from this node's UDP port"
        );
    }
    verdict
}

/// A handshake that is under way. Its place is given back when it is dropped.
struct Entering {
    inner: Arc<Inner>,
    place: Place,
    ending: Ending,
}

impl Drop for Entering {
    fn drop(&mut self) {
        self.inner.door(|door, now| door.left(now, self.place, self.ending));
    }
}

/// Greets on a connection, and serves it if the node is admitted.
async fn enter(mut entering: Entering, incoming: Incoming) {
    let inner = Arc::clone(&entering.inner);
    let Some((connection, lane, remote)) = greet(&inner, incoming).await else { return };
    entering.ending = Ending::Greeted;
    drop(entering);
    let observed = SocketAddr::new(remote.observed.ip().to_canonical(), remote.observed.port());
    inner.door(|door, _| door.met(observed));
    if lane == Lane::Control {
        // Nobody reads any more only when the node is stopping.
        let _ = inner.inbound.send(Inbound::Connected(remote.clone())).await;
    }
    serve(inner, connection, lane, remote).await;
}

/// Takes a connection through TLS and greeting. Returns none when it was refused, which is logged.
async fn greet(inner: &Inner, incoming: Incoming) -> Option<(Connection, Lane, RemoteIdentity)> {
    let address = incoming.remote_address();
    let accepted = match inner.quic.server(address.ip()) {
        Some(config) => incoming.accept_with(config),
        None => incoming.accept(),
    };
    let limit = inner.config.dial_timeout.max(ANSWER_TIMEOUT_MAX);
    let subject = || format!("{STRANGER}{address}");
    let connection = match timeout(limit, async { accepted?.await }).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            warn_tls(inner, &subject(), &inner.name_address(address), &error);
            return None;
        }
        Err(_) => return None,
    };
    let heard = timeout(limit, read_greeting(&connection)).await.ok().flatten();
    let Some((frame, mut answer)) = heard else {
        // A node that trusts us not, or a dialler that found whom it looked for to be somebody else.
        let reason =
            connection.close_reason().map_or_else(|| "it said nothing".to_owned(), |error| describe(&error));
        inner.warn(
            &subject(),
            &format_args!("{} connected and left without a greeting: {reason}", inner.name_address(address)),
        );
        connection.close(VIOLATION, b"no greeting came");
        return None;
    };
    let judged = match frame {
        Ok(Frame::Hello(hello)) => judge(inner, &connection, hello),
        Ok(other) => Err(Objection::Violation(FrameError::UnexpectedKind { kind: other.kind() })),
        Err(FrameError::OtherVersion { got }) => Err(Objection::Refusal(Refusal::version(got))),
        Err(error) => Err(Objection::Violation(error)),
    };
    match judged {
        Ok((lane, remote)) => {
            let mut ack = BytesMut::new();
            // It is as long as the greeting that `start` has checked.
            encode_frame(&Frame::HelloAck(inner.hello(lane)), &mut ack).ok()?;
            answer.write_chunk(ack.freeze()).await.ok()?;
            answer.finish().ok()?;
            Some((connection, lane, remote))
        }
        Err(Objection::Refusal(refusal)) => {
            refuse(&connection, &refusal);
            if !matches!(refusal, Refusal::Myself { .. }) {
                inner.warn(&subject(), &format_args!("refused the node at {address}: {refusal}"));
            }
            None
        }
        Err(Objection::Violation(error)) => {
            connection.close(VIOLATION, error.to_string().as_bytes());
            inner.warn(&subject(), &format_args!("refused {}: it sent {error}", inner.name_address(address)));
            None
        }
    }
}

enum Objection {
    Refusal(Refusal),
    Violation(FrameError),
}

fn judge(inner: &Inner, connection: &Connection, hello: Hello) -> Result<(Lane, RemoteIdentity), Objection> {
    let lane = hello.lane;
    check(inner, connection, &hello, None).map_err(Objection::Refusal)?;
    let remote = remote(hello, connection);
    if lane != Lane::Discovery {
        inner.admit(&remote, connection).map_err(Objection::Refusal)?;
    }
    inner.heard(&remote, connection.rtt());
    Ok((lane, remote))
}

/// Logs a line for a connection that TLS refused; none where no side is at fault.
fn warn_tls(inner: &Inner, subject: &str, who: &str, error: &quinn::ConnectionError) {
    match cause(error) {
        Cause::TheirCertificate(reason) => {
            inner.warn(subject, &format_args!("refused {who} for its certificate: {reason}"));
        }
        Cause::OurCertificate(reason) => {
            inner.warn(subject, &format_args!("{who} refused our certificate: {reason}"));
        }
        Cause::Refused(refusal) => inner.warn(subject, &refusal),
        Cause::Other(reason) => {
            tracing::debug!(node = inner.node().0, who, reason, "a connection did not come about")
        }
    }
}
