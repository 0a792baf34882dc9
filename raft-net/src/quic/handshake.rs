//! The greeting: both sides state who they are, check each other, and either go on or refuse with a reason.

use quinn::{Connection, RecvStream};
use raftkit_core::NodeId;
use rustls::pki_types::CertificateDer;

use super::config::RemoteIdentity;
use super::error::{HelloError, dial_error, refuse};
use super::inner::Inner;
use super::tls::{names_node, valid_until};
use crate::admission::check_hello;
use crate::frame::{Frame, FrameError, decode, encode_frame};
use crate::refusal::{Hello, Lane, Refusal};

/// Upper bound on an encoded greeting, in bytes.
pub(crate) const HELLO_BYTES_MAX: usize = 64 << 10;

/// Destination and purpose of a dial.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    /// The address as it was given, `host:port`.
    pub(crate) address: &'a str,
    pub(crate) lane: Lane,
    /// The node that must answer; none when any node will do.
    pub(crate) expected: Option<NodeId>,
}

/// Greets from the dialling side, and checks the answer.
pub(crate) async fn greet(
    inner: &Inner,
    target: Target<'_>,
    connection: &Connection,
) -> Result<RemoteIdentity, HelloError> {
    let Target { address, lane, expected } = target;
    let lost = |error: &quinn::ConnectionError| dial_error(address, inner.config.dial_timeout, error);
    let protocol = |source| HelloError::Protocol { address: address.to_owned(), source };
    let (mut send, recv) = connection.open_bi().await.map_err(|error| lost(&error))?;
    let mut greeting = bytes::BytesMut::new();
    encode_frame(&Frame::Hello(inner.hello(lane)), &mut greeting).map_err(protocol)?;
    let sent = send.write_all(&greeting).await;
    // When writing or reading fails, the connection knows why better than the stream does.
    if sent.is_err() || send.finish().is_err() {
        return Err(ended(address, inner, connection));
    }
    let Some(frame) = read_one(recv).await else { return Err(ended(address, inner, connection)) };
    let hello = match frame {
        Ok(Frame::HelloAck(hello)) => hello,
        Ok(other) => return Err(protocol(FrameError::UnexpectedKind { kind: other.kind() })),
        Err(FrameError::OtherVersion { got }) => return Err(refused(connection, Refusal::version(got))),
        Err(error) => return Err(protocol(error)),
    };
    check(inner, connection, &hello, expected).map_err(|refusal| refused(connection, refusal))?;
    let remote = remote(hello, connection);
    if lane != Lane::Discovery {
        // A later incarnation may have dialled us while this one, or its last packet, answered.
        inner.meet(&remote).map_err(|refusal| refused(connection, refusal))?;
    }
    Ok(remote)
}

/// Reads the other side's greeting on an accepted connection. Returns it with the stream for the answer; none when the
/// stream broke.
pub(crate) async fn read_greeting(
    connection: &Connection,
) -> Option<(Result<Frame, FrameError>, quinn::SendStream)> {
    let (send, recv) = connection.accept_bi().await.ok()?;
    Some((read_one(recv).await?, send))
}

/// Checks a greeting against the certificate, this node and the membership.
pub(crate) fn check(
    inner: &Inner,
    connection: &Connection,
    hello: &Hello,
    expected: Option<NodeId>,
) -> Result<(), Refusal> {
    let certificate = certificate(connection).filter(|it| names_node(it, hello.node));
    let Some(certificate) = certificate else {
        return Err(Refusal::Certificate { refuser: inner.node(), refused: hello.node });
    };
    if let Some(until) = valid_until(&certificate) {
        inner.note_certificate(hello.node, until);
    }
    let expected_store = inner.peer(hello.node).map(|peer| peer.store);
    check_hello(&inner.own(), expected_store, expected, hello)
}

/// The identity of the greeting's sender.
pub(crate) fn remote(hello: Hello, connection: &Connection) -> RemoteIdentity {
    RemoteIdentity {
        node: hello.node,
        store: hello.store,
        incarnation: hello.incarnation,
        process: hello.process,
        cluster: hello.cluster,
        address: hello.address,
        attributes: hello.attributes,
        observed: connection.remote_address(),
    }
}

fn refused(connection: &Connection, refusal: Refusal) -> HelloError {
    refuse(connection, &refusal);
    HelloError::Refused(refusal)
}

fn ended(address: &str, inner: &Inner, connection: &Connection) -> HelloError {
    match connection.close_reason() {
        Some(error) => dial_error(address, inner.config.dial_timeout, &error),
        None => HelloError::Lost { address: address.to_owned(), reason: "no greeting came back".to_owned() },
    }
}

/// Reads the only frame of a stream; none when the stream broke.
async fn read_one(mut stream: RecvStream) -> Option<Result<Frame, FrameError>> {
    stream.read_to_end(HELLO_BYTES_MAX).await.ok().map(|bytes| decode(bytes.into()))
}

/// The certificate that the other side presented.
fn certificate(connection: &Connection) -> Option<CertificateDer<'static>> {
    let identity = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    identity.first().cloned()
}
