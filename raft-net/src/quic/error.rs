//! What can go wrong, said so that an operator knows what to do.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use bytes::BytesMut;
use quinn::{Connection, ConnectionError, VarInt};
use raftkit_core::NodeId;

use super::tls_words;
use crate::frame::{Frame, FrameError, decode, encode_frame};
use crate::refusal::Refusal;

/// The connection has done its duty.
pub(crate) const DONE: VarInt = VarInt::from_u32(0);
/// The node is stopping.
pub(crate) const STOPPING: VarInt = VarInt::from_u32(1);
/// The reason bytes are a `Refused` frame.
pub(crate) const REFUSED: VarInt = VarInt::from_u32(2);
/// The other side broke the protocol; the reason is text.
pub(crate) const VIOLATION: VarInt = VarInt::from_u32(3);
/// A newer connection or a change of membership took the place of this one.
pub(crate) const REPLACED: VarInt = VarInt::from_u32(4);

/// Why a transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process listens there.
    #[error("{addr} is already in use; stop the process that listens there, or choose another address")]
    AddressInUse {
        /// Where it was to listen.
        addr: SocketAddr,
    },
    /// The socket could not be made.
    #[error("cannot listen on {addr}: {source}")]
    Socket {
        /// Where it was to listen.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificate is another node's.
    #[error(
        "the certificate does not name node {node} (node-{node}.raftkit); use the one that was made for this node"
    )]
    OtherNodesCertificate {
        /// This node.
        node: NodeId,
    },
    /// The attributes would not fit a greeting.
    #[error("{got} bytes of address and attributes, the limit is {max}")]
    GreetingTooLong {
        /// Their length.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// Not called from within tokio.
    #[error("the transport must be started within a tokio runtime")]
    NoRuntime,
}

/// Why there is no connection to an address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HelloError {
    /// The address does not resolve.
    #[error("{address:?} is no address that can be dialled: {reason}")]
    BadAddress {
        /// As given.
        address: String,
        /// Why not.
        reason: String,
    },
    /// Silence.
    #[error("nobody answered at {address} within {waited:?}; is the node running there, and does UDP pass?")]
    NoAnswer {
        /// Whom it was to reach.
        address: String,
        /// For how long.
        waited: Duration,
    },
    /// One of the two nodes does not want the other.
    #[error("{0}")]
    Refused(Refusal),
    /// The other's certificate is not good under our CA.
    #[error("the certificate shown at {address} is refused here: {reason}")]
    TheirCertificate {
        /// Where.
        address: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Our certificate is not good under the other's CA.
    #[error(
        "the node at {address} refused our certificate: {reason} (`raft-node cert check --config FILE` looks at the files)"
    )]
    OurCertificate {
        /// Where.
        address: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The connection ended during the greeting.
    #[error("the connection to {address} ended during the greeting: {reason}")]
    Lost {
        /// Where.
        address: String,
        /// How.
        reason: String,
    },
    /// What answered does not speak this protocol.
    #[error("what answers at {address} does not keep to the protocol: {source}")]
    Protocol {
        /// Where.
        address: String,
        /// What it sent.
        source: FrameError,
    },
    /// This transport is closed.
    #[error("this node is stopping")]
    Stopping,
}

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// It was certainly not delivered, and may be sent again elsewhere.
    #[error("the request was not sent: {0}")]
    NotSent(NotSent),
    /// It was sent; whether it was done is not known.
    #[error("the request was sent and its answer is lost: {reason}; whether it was done is not known")]
    Lost {
        /// How.
        reason: String,
    },
}

/// Why a bulk body did not arrive.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BulkError {
    /// Nothing of it was delivered.
    #[error("the bulk body was not sent: {0}")]
    NotSent(NotSent),
    /// The connection ended while it was being sent; it may have arrived whole or not at all.
    #[error("the connection ended while a bulk body was being sent: {reason}")]
    Lost {
        /// How.
        reason: String,
    },
}

/// Why something was certainly not delivered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSent {
    /// No address is known for the node.
    #[error("node {node} is not known to this node")]
    UnknownPeer {
        /// The node.
        node: NodeId,
    },
    /// There is no connection.
    #[error("{0}")]
    Down(HelloError),
    /// The connection ended before it was written.
    #[error("the connection to node {node} ended before it was sent")]
    Disconnected {
        /// The node.
        node: NodeId,
    },
    /// It exceeds a limit.
    #[error("{got} bytes, the limit is {max}")]
    TooLong {
        /// Its length.
        got: usize,
        /// The limit.
        max: usize,
    },
    /// This node has no cluster yet, and bulk bodies belong to one.
    #[error("this node does not belong to a cluster yet")]
    NoCluster,
    /// The other node has none.
    #[error("node {node} does not belong to a cluster yet")]
    PeerHasNoCluster {
        /// The node.
        node: NodeId,
    },
}

/// Ends a connection and says why in words that the other side can show too.
pub(crate) fn refuse(connection: &Connection, refusal: &Refusal) {
    let mut reason = BytesMut::new();
    // A refusal is far below any limit; without its words the connection still ends.
    let _ = encode_frame(&Frame::Refused(*refusal), &mut reason);
    connection.close(REFUSED, &reason);
}

/// What a connection's end means for who dialled `address`.
pub(crate) fn dial_error(address: &str, waited: Duration, error: &ConnectionError) -> HelloError {
    let address = address.to_owned();
    match error {
        ConnectionError::TimedOut => HelloError::NoAnswer { address, waited },
        ConnectionError::LocallyClosed => HelloError::Stopping,
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::CidsExhausted => match cause(error) {
            Cause::Refused(refusal) => HelloError::Refused(refusal),
            Cause::TheirCertificate(reason) => HelloError::TheirCertificate { address, reason },
            Cause::OurCertificate(reason) => HelloError::OurCertificate { address, reason },
            Cause::Other(reason) => HelloError::Lost { address, reason },
        },
    }
}

/// Why a connection ended.
pub(crate) enum Cause {
    /// The other side refused this node.
    Refused(Refusal),
    /// The other's certificate is not good here.
    TheirCertificate(String),
    /// Ours is not good there.
    OurCertificate(String),
    /// Anything else.
    Other(String),
}

/// Reads the cause out of quinn's error.
pub(crate) fn cause(error: &ConnectionError) -> Cause {
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == REFUSED => {
            match decode(close.reason.clone()) {
                Ok(Frame::Refused(refusal)) => Cause::Refused(refusal),
                Ok(_) | Err(_) => Cause::Other("it was refused without a readable reason".to_owned()),
            }
        }
        ConnectionError::ApplicationClosed(close) => {
            Cause::Other(String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::TransportError(error) => match tls_words::ours(error.code.into()) {
            Some(_) => Cause::TheirCertificate(tls_words::theirs(&error.reason)),
            None => Cause::Other(error.to_string()),
        },
        ConnectionError::ConnectionClosed(close) => match tls_words::ours(close.error_code.into()) {
            Some(why) => Cause::OurCertificate(why),
            None => Cause::Other(close.to_string()),
        },
        ConnectionError::Reset => {
            Cause::Other("the other process no longer knows this connection".to_owned())
        }
        ConnectionError::TimedOut => Cause::Other("it fell silent".to_owned()),
        ConnectionError::VersionMismatch
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => Cause::Other(error.to_string()),
    }
}

/// A connection's end in words.
pub(crate) fn describe(error: &quinn::ConnectionError) -> String {
    match cause(error) {
        Cause::Refused(refusal) => refusal.to_string(),
        Cause::TheirCertificate(reason) | Cause::OurCertificate(reason) | Cause::Other(reason) => reason,
    }
}

/// A stream of ours broke: the connection's own end says why, or it ends now.
pub(crate) fn broken(connection: &Connection) -> String {
    const REASON: &str = "a stream was ended by the other side";
    match connection.close_reason() {
        Some(error) => describe(&error),
        None => {
            connection.close(VIOLATION, REASON.as_bytes());
            REASON.to_owned()
        }
    }
}
