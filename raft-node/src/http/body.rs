//! Reading the bodies of requests, within bounds on bytes and time.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::header::EXPECT;
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::answer::Problem;

/// Maximum time for a body to arrive.
pub(super) const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for reading the rest of a refused body, which lets the client see the answer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of bytes of a refused body that are read.
const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// Reads a body of at most `max` bytes.
pub(crate) async fn read(headers: &HeaderMap, mut body: Body, max: usize) -> Result<Bytes, Problem> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX);
    if let Some(declared) = body.size_hint().exact().filter(|declared| *declared > limit) {
        // A client that waits for `100 Continue` has not sent the body yet and need not.
        if !headers.contains_key(EXPECT) {
            drain(body, 0).await;
        }
        return Err(too_large(declared, limit).closing());
    }
    match timeout(BODY_TIMEOUT, collect(&mut body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Failed::TooLong(read))) => {
            let got = drain(body, read).await;
            Err(too_large(got, limit).closing())
        }
        Ok(Err(Failed::Broken)) => Err(ended_early()),
        Err(_) => Err(late()),
    }
}

/// The refusal of a request whose body is not whole.
pub(super) fn ended_early() -> Problem {
    Problem::bad_request("the request body ended early or is malformed").closing()
}

/// The refusal of a request whose body took too long to arrive.
pub(super) fn late() -> Problem {
    let text = format!("the request body did not arrive within {} s", BODY_TIMEOUT.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, text).closing()
}

/// Reads and discards the rest of a body, within limits. If a connection is closed with unread bytes, it is reset, and the
/// client never sees its answer. Returns the length of the body as far as it was read, including the `read` bytes before.
pub(crate) async fn drain(mut body: Body, read: u64) -> u64 {
    let mut got = read;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            got += frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
            if got > DRAIN_BYTES_MAX {
                break;
            }
        }
    };
    // The answer is sent whether or not the body ended in time.
    drop(timeout(DRAIN_TIMEOUT, reading).await);
    got
}

enum Failed {
    TooLong(u64),
    Broken,
}

async fn collect(body: &mut Body, max: usize) -> Result<Bytes, Failed> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Failed::Broken) };
        let Ok(data) = frame.into_data() else { continue };
        let length = first.len() + all.len() + data.len();
        if length > max {
            return Err(Failed::TooLong(u64::try_from(length).unwrap_or(u64::MAX)));
        }
        // Most bodies arrive in one piece, which is not copied.
        if first.is_empty() && all.is_empty() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The refusal of a body that is too large. It begins with Consul's words, for which clients look.
fn too_large(got: u64, max: u64) -> Problem {
    let text = format!(
        "Request body({got} bytes) too large, max size: {max} bytes. The setting kv-value-max raises it, on every node."
    );
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}
