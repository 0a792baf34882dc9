//! Errors of the transport, with words that tell an operator what to do.

use core::net::SocketAddr;
use core::time::Duration;
use std::io;

use bytes::BytesMut;
use quinn::{Connection, ConnectionError, VarInt};
use raftkit_core::NodeId;

use super::tls_words;
use crate::frame::{Frame, FrameError, decode, encode_frame};
use crate::refusal::Refusal;

/// Close code: the connection is no longer needed.
pub(crate) const DONE: VarInt = VarInt::from_u32(0);
/// Close code: the node is stopping.
pub(crate) const STOPPING: VarInt = VarInt::from_u32(1);
/// Close code: the reason bytes are a `Refused` frame.
pub(crate) const REFUSED: VarInt = VarInt::from_u32(2);
/// Close code: the other side broke the protocol; the reason is text.
pub(crate) const VIOLATION: VarInt = VarInt::from_u32(3);
/// Close code: a newer connection or a change of membership has replaced this connection.
pub(crate) const REPLACED: VarInt = VarInt::from_u32(4);

/// Error of starting a transport.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process listens on the address.
    #[error("{addr} is already in use; stop the process that listens there, or choose another address")]
    AddressInUse {
        /// The address to listen on.
        addr: SocketAddr,
    },
    /// The socket could not be opened.
    #[error("cannot listen on {addr}: {source}")]
    Socket {
        /// The address to listen on.
        addr: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The certificate names another node.
    #[error(
        "the certificate does not name node {node} (node-{node}.raftkit); use the one that was made for this node"
    )]
    OtherNodesCertificate {
        /// Id of this node.
        node: NodeId,
    },
    /// The attributes would not fit a greeting.
    #[error("{got} bytes of address and attributes, the limit is {max}")]
    GreetingTooLong {
        /// Their length in bytes.
        got: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The caller is not within a tokio runtime.
    #[error("the transport must be started within a tokio runtime")]
    NoRuntime,
}

/// Error of connecting to an address.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HelloError {
    /// The address does not resolve.
    #[error("{address:?} is no address that can be dialled: {reason}")]
    BadAddress {
        /// The address as it was given.
        address: String,
        /// The reason, in words.
        reason: String,
    },
    /// Nothing was heard in time.
    #[error("nobody answered at {address} within {waited:?}; is the node running there, and does UDP pass?")]
    NoAnswer {
        /// The address that was dialled.
        address: String,
        /// The time for which an answer was awaited.
        waited: Duration,
    },
    /// One of the two nodes has refused the other.
    #[error("{0}")]
    Refused(Refusal),
    /// The other node's certificate is not valid under our CA.
    #[error("the certificate shown at {address} is refused here: {reason}")]
    TheirCertificate {
        /// The address that was dialled.
        address: String,
        /// The reason, and what to do about it.
        reason: String,
    },
    /// Our certificate is not valid under the other node's CA.
    #[error(
        "the node at {address} refused our certificate: {reason} (`raft-node cert check --config FILE` looks at the files)"
    )]
    OurCertificate {
        /// The address that was dialled.
        address: String,
        /// The reason, and what to do about it.
        reason: String,
    },
    /// The connection ended during the greeting.
    #[error("the connection to {address} ended during the greeting: {reason}")]
    Lost {
        /// The address that was dialled.
        address: String,
        /// The reason, in words.
        reason: String,
    },
    /// The other side does not speak this protocol.
    #[error("what answers at {address} does not keep to the protocol: {source}")]
    Protocol {
        /// The address that was dialled.
        address: String,
        /// The error in what it sent.
        source: FrameError,
    },
    /// This transport is closed.
    #[error("this node is stopping")]
    Stopping,
}

/// Error of a request.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// The request was certainly not delivered, and may be sent again elsewhere.
    #[error("the request was not sent: {0}")]
    NotSent(NotSent),
    /// The request was sent, and its outcome is unknown.
    #[error("the request was sent and its answer is lost: {reason}; whether it was done is not known")]
    Lost {
        /// The reason, in words.
        reason: String,
    },
}

/// Error of sending a bulk body.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BulkError {
    /// No part of the body was delivered.
    #[error("the bulk body was not sent: {0}")]
    NotSent(NotSent),
    /// The connection ended while the body was being sent. It may have arrived whole or not at all.
    #[error("the connection ended while a bulk body was being sent: {reason}")]
    Lost {
        /// The reason, in words.
        reason: String,
    },
}

/// Reason for which a request or body was certainly not delivered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NotSent {
    /// No address is known for the node.
    #[error("node {node} is not known to this node")]
    UnknownPeer {
        /// The node that the request or body was for.
        node: NodeId,
    },
    /// There is no connection.
    #[error("{0}")]
    Down(HelloError),
    /// The connection ended before the request or body was written.
    #[error("the connection to node {node} ended before it was sent")]
    Disconnected {
        /// The node that the request or body was for.
        node: NodeId,
    },
    /// The request or body exceeds a limit.
    #[error("{got} bytes, the limit is {max}")]
    TooLong {
        /// Its length in bytes.
        got: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// This node has no cluster yet, and bulk bodies belong to one.
    #[error("this node does not belong to a cluster yet")]
    NoCluster,
    /// The other node has no cluster yet.
    #[error("node {node} does not belong to a cluster yet")]
    PeerHasNoCluster {
        /// The node that the request or body was for.
        node: NodeId,
    },
}

/// Closes a connection with a refusal that the other side can show too.
pub(crate) fn refuse(connection: &Connection, refusal: &Refusal) {
    let mut reason = BytesMut::new();
    // A refusal is far below any limit; without its words the connection still ends.
    let _ = encode_frame(&Frame::Refused(*refusal), &mut reason);
    connection.close(REFUSED, &reason);
}

/// Converts a connection's end into the error of dialling `address`.
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

/// Cause of a connection's end.
pub(crate) enum Cause {
    /// The other side refused this node.
    Refused(Refusal),
    /// The other side's certificate is not valid here.
    TheirCertificate(String),
    /// Our certificate is not valid at the other side.
    OurCertificate(String),
    /// Any other cause, in words.
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

/// Describes a connection's end.
pub(crate) fn describe(error: &quinn::ConnectionError) -> String {
    match cause(error) {
        Cause::Refused(refusal) => refusal.to_string(),
        Cause::TheirCertificate(reason) | Cause::OurCertificate(reason) | Cause::Other(reason) => reason,
    }
}

/// Describes why a stream of ours broke: by the connection's end, if it has ended. If not, closes it.
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
