//! A small HTTP client for `raft-node`'s own commands, which uses a new connection for each request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Maximum time for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time for an answer: longer than any default time-out of a node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A client for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    addr: String,
    /// Where the address was given, in words.
    origin: String,
}

/// The answer of a node.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is invalid.
    #[error(
        "`{addr}`, given {origin}, is not an address: it must be a host with a port, such as 127.0.0.1:8500"
    )]
    Address {
        /// The text that was given.
        addr: String,
        /// Where the text was given, in words.
        origin: String,
    },
    /// Connecting failed.
    #[error(
        "nothing answers at {addr}, given {origin} ({source}): is the node running? --addr or RAFT_NODE_ADDR name another node"
    )]
    NobodyThere {
        /// The node's address.
        addr: String,
        /// Where the address was given, in words.
        origin: String,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The answer did not come in time.
    #[error("the node at {addr} did not answer within {} s: it may still carry the request out", after.as_secs())]
    TooLate {
        /// The node's address.
        addr: String,
        /// How long the client waited.
        after: Duration,
    },
    /// The connection broke, or the answer is not HTTP.
    #[error(
        "the connection to {addr} broke before the answer arrived ({source}): is it a raft-node's HTTP address?"
    )]
    Broken {
        /// The node's address.
        addr: String,
        /// The error of the HTTP library.
        source: hyper::Error,
    },
    /// The request cannot be expressed in HTTP.
    #[error("the request cannot be sent: {0}")]
    Request(#[from] hyper::http::Error),
}

impl Client {
    /// Creates a client for the node at `addr`: `host:port`, with or without `http://` before it. `origin` says where the
    /// address was given, such as "on the command line", for use in errors.
    ///
    /// # Errors
    /// `addr` is not an address.
    pub fn new(addr: &str, origin: impl Into<String>) -> Result<Self, ClientError> {
        let origin = origin.into();
        let bare = addr.strip_prefix("http://").unwrap_or(addr).trim_end_matches('/');
        let port =
            bare.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(['/', '@', ' ']));
        let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() && bare.parse::<SocketAddr>().is_err() {
            return Err(ClientError::Address { addr: addr.to_owned(), origin });
        }
        Ok(Self { addr: bare.to_owned(), origin })
    }

    /// The node's address, `host:port`.
    #[must_use]
    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// Sends a request for `target`, a path with its query, and returns the answer, whatever its status.
    ///
    /// # Errors
    /// No answer was received.
    pub async fn send(&self, method: Method, target: &str, body: Bytes) -> Result<Answer, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.addr)
            .header(CONTENT_LENGTH, body.len())
            .body(Full::new(body))?;
        let stream = self.connect().await?;
        match timeout(ANSWER_TIMEOUT, exchange(stream, request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(ClientError::Broken { addr: self.addr.clone(), source }),
            Err(_) => Err(ClientError::TooLate { addr: self.addr.clone(), after: ANSWER_TIMEOUT }),
        }
    }

    async fn connect(&self) -> Result<TcpStream, ClientError> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.addr)).await;
        let late = || std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out");
        connected.unwrap_or_else(|_| Err(late())).map_err(|source| ClientError::NobodyThere {
            addr: self.addr.clone(),
            origin: self.origin.clone(),
            source,
        })
    }
}

async fn exchange(stream: TcpStream, request: Request<Full<Bytes>>) -> Result<Answer, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let talk = async {
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        answer = &mut talk => answer,
        // The connection has ended, but its answer may have arrived and still has to be taken.
        _ = connection => talk.await,
    }
}

/// Encodes a key for a path: percent-encodes all bytes but letters, digits, `-_.~` and `/`.
#[must_use]
pub fn encode_path(key: &str) -> String {
    encode(key, |byte| byte == b'/')
}

/// Encodes a value for a query: percent-encodes all bytes but letters, digits and `-_.~`.
#[must_use]
pub fn encode_query(value: &str) -> String {
    encode(value, |_| false)
}

fn encode(text: &str, also: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "test")]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port() {
        for addr in ["127.0.0.1:8500", "http://127.0.0.1:8500", "http://node1:8500/", "[::1]:8500"] {
            assert!(Client::new(addr, "here").is_ok(), "{addr}");
        }
        for addr in ["", "127.0.0.1", ":8500", "https://a:8500", "a:b", "a:99999", "a/b:1"] {
            assert!(Client::new(addr, "here").is_err(), "{addr}");
        }
    }

    #[test]
    fn keys_are_encoded_for_paths() {
        assert_eq!(encode_path("a/b c%ä?"), "a/b%20c%25%C3%A4%3F");
        assert_eq!(encode_query("a/b&"), "a%2Fb%26");
    }
}
