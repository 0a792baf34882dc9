//! Answers: bodies, headers, and the text of refusals.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Serialize;

use crate::{ProposeError, ReadError, ReadRefused};

/// The header that says on every answer what a request without a token may do. There are no tokens here, so it may do all.
pub(crate) const DEFAULT_ACL_POLICY: HeaderName = HeaderName::from_static("x-consul-default-acl-policy");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    text: Cow<'static, str>,
    /// Additional headers.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A refusal with this status and text.
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, text: text.into(), headers: Vec::new() }
    }

    /// The refusal of a request that makes no sense (400).
    pub(crate) fn bad_request(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    /// The refusal of a method that the path does not support (405).
    pub(crate) fn method(method: &Method, allow: &'static str) -> Self {
        let text = format!("method {method} not allowed");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, text).with(ALLOW, HeaderValue::from_static(allow))
    }

    /// Closes the connection after this answer: the request's body was not read to its end, so the next request cannot be found.
    pub(crate) fn closing(self) -> Self {
        self.with(CONNECTION, HeaderValue::from_static("close"))
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The text.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The status.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// Makes the answer.
    pub(crate) fn into_response(self) -> Response {
        let body = match self.text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        let mut response = if body.is_empty() { empty(self.status) } else { full(self.status, TEXT, body) };
        response.headers_mut().extend(self.headers.into_iter().map(|(name, value)| (Some(name), value)));
        response
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        let text = error.to_string();
        match error {
            // Both are 500 and differ in their text, as in Consul. In particular an unknown outcome must not be 503: clients
            // would send the write again, and it could be applied twice.
            ProposeError::NoLeader | ProposeError::Unknown(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
            // 503 rather than 429, because the cluster as a whole is overloaded, and not this client's share of it. The write
            // was certainly not applied, so the client may try again.
            ProposeError::Overloaded | ProposeError::Stopping => Self::unavailable(text),
            ProposeError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, text),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let text = error.to_string();
        match error {
            ReadError::Refused(ReadRefused::NoLeader | ReadRefused::NotConfirmed) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
            ReadError::Machine(error) => {
                tracing::error!(%error, "a read failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
            ReadError::Refused(ReadRefused::Stopping) => Self::unavailable(text),
        }
    }
}

impl Problem {
    /// The refusal of a request that may be tried again soon (503).
    pub(crate) fn unavailable(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text).with(RETRY_AFTER, HeaderValue::from_static("1"))
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(DEFAULT_ACL_POLICY, HeaderValue::from_static("allow"));
    response
}

/// An answer with a body.
pub(crate) fn full(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = empty(status);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    *response.body_mut() = Body::from(body);
    response
}

/// An answer to `OPTIONS`.
pub(crate) fn options(allow: &'static str) -> Response {
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// `true` or `false`.
pub(crate) fn truth(value: bool) -> Response {
    full(StatusCode::OK, JSON, Bytes::from_static(if value { b"true" } else { b"false" }))
}

/// Whether JSON is indented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layout {
    /// No white space.
    Compact,
    /// Indented for people (`?pretty`).
    Pretty,
}

/// Writes a value as JSON.
pub(crate) fn to_json(value: &impl Serialize, layout: Layout) -> Result<Bytes, Problem> {
    let mut out = Vec::new();
    let written = match layout {
        Layout::Compact => serde_json::to_writer(&mut out, value),
        Layout::Pretty => {
            let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
            let written = value.serialize(&mut serializer);
            out.push(b'\n');
            written
        }
    };
    written.map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written as JSON")
    })?;
    Ok(out.into())
}

/// An answer whose body is JSON that is sent in pieces.
pub(crate) fn json_body(body: Body) -> Response {
    let mut response = empty(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    *response.body_mut() = body;
    response
}

/// An answer with JSON that was made by [`to_json`].
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response {
    full(status, JSON, body)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_refused_write_says_whether_it_may_have_been_applied() {
        let problem = Problem::from(ProposeError::NoLeader);
        assert_eq!((problem.status().as_u16(), problem.text()), (500, "No cluster leader"));
        let problem = Problem::from(ProposeError::Unknown(Duration::from_secs(1)));
        assert_eq!(problem.status().as_u16(), 500);
        assert!(problem.text().contains("serverPartialFail"));
        for error in [ProposeError::Overloaded, ProposeError::Stopping] {
            let response = Problem::from(error).into_response();
            assert_eq!(response.status().as_u16(), 503);
            assert_eq!(response.headers()["retry-after"], "1");
        }
        assert_eq!(Problem::from(ProposeError::TooLarge { got: 2, limit: 1 }).status().as_u16(), 413);
    }

    #[test]
    fn a_refused_read_has_the_words_that_clients_match() {
        let problem = Problem::from(ReadError::from(ReadRefused::NoLeader));
        assert_eq!((problem.status().as_u16(), problem.text()), (500, "No cluster leader"));
        let problem = Problem::from(ReadError::from(ReadRefused::NotConfirmed));
        assert_eq!((problem.status().as_u16(), problem.text()), (500, "Not ready to serve consistent reads"));
        assert_eq!(Problem::from(ReadError::from(ReadRefused::Stopping)).status().as_u16(), 503);
    }
}
