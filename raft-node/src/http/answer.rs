//! Answers: bodies, headers, and the text of refusals.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;

use super::meta::Meta;
use crate::{ProposeError, ReadError, ReadRefused};

/// The header that says on every answer what a request without a token may do. There are no tokens here, so it may do all.
const DEFAULT_ACL_POLICY: (&str, &str) = ("X-Consul-Default-Acl-Policy", "allow");
const CLOSE: (&str, &str) = ("Connection", "close");

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// An answer whose whole body is in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    content_type: Option<&'static str>,
    /// The freshness of what was read, and the index for the client's next blocking query.
    freshness: Option<(Meta, u64)>,
    /// Additional headers, by their names on the wire.
    headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Bytes,
}

impl Answer {
    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self { status, content_type: None, freshness: None, headers: Vec::new(), body: Bytes::new() }
    }

    fn full(status: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        Self { content_type: Some(content_type), body, ..Self::empty(status) }
    }

    /// An answer with JSON that was made by [`to_json`].
    pub(crate) fn json(status: StatusCode, body: Bytes) -> Self {
        Self::full(status, JSON, body)
    }

    /// `true` or `false`.
    pub(crate) fn truth(value: bool) -> Self {
        Self::json(StatusCode::OK, Bytes::from_static(if value { b"true" } else { b"false" }))
    }

    /// An answer to `OPTIONS`.
    pub(crate) fn options(allow: &'static str) -> Self {
        Self { headers: vec![("Allow", allow)], ..Self::empty(StatusCode::OK) }
    }

    /// The bytes of a value as they were stored. Anyone may have stored a web page: two headers keep a browser from running it
    /// as a page of this server.
    pub(crate) fn value(value: Bytes) -> Self {
        let headers = vec![("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox")];
        Self { headers, ..Self::full(StatusCode::OK, "text/plain", value) }
    }

    /// Adds the headers that say how fresh the answer is.
    pub(crate) fn fresh(self, meta: Meta, index: u64) -> Self {
        Self { freshness: Some((meta, index)), ..self }
    }

    /// Whether the connection ends after this answer, whatever the client asks for.
    pub(crate) fn closes(&self) -> bool {
        self.headers.contains(&CLOSE)
    }

    /// Calls `each` for every header but those about the transfer: length, date, and whether the connection is kept.
    pub(crate) fn each_header(&self, mut each: impl FnMut(&'static str, &[u8])) {
        each(DEFAULT_ACL_POLICY.0, DEFAULT_ACL_POLICY.1.as_bytes());
        if let Some(content_type) = self.content_type {
            each("Content-Type", content_type.as_bytes());
        }
        for (name, value) in &self.headers {
            each(name, value.as_bytes());
        }
        if let Some((meta, index)) = &self.freshness {
            meta.each_header(*index, each);
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        self.each_header(|name, value| insert(&mut response, name, value));
        if !self.body.is_empty() {
            *response.body_mut() = Body::from(self.body);
        }
        response
    }
}

/// Sets a header of a response.
pub(crate) fn insert(response: &mut Response, name: &str, value: &[u8]) {
    let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
    else {
        debug_assert!(false, "the header {name} is malformed");
        return;
    };
    response.headers_mut().insert(name, value);
}

/// The refusal of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    text: Cow<'static, str>,
    /// Additional headers.
    headers: Vec<(&'static str, &'static str)>,
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
        Self::new(StatusCode::METHOD_NOT_ALLOWED, text).with("Allow", allow)
    }

    /// Closes the connection after this answer: the request's body was not read to its end, so the next request cannot be found.
    pub(crate) fn closing(self) -> Self {
        self.with(CLOSE.0, CLOSE.1)
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
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
    pub(crate) fn into_answer(self) -> Answer {
        let body = match self.text {
            Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        };
        let answer =
            if body.is_empty() { Answer::empty(self.status) } else { Answer::full(self.status, TEXT, body) };
        Answer { headers: self.headers, ..answer }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_answer().into_response()
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
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text).with("Retry-After", "1")
    }
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
    let mut response = Answer::empty(StatusCode::OK).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    *response.body_mut() = body;
    response
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

    #[test]
    fn a_raw_value_cannot_run_in_a_browser() {
        let response = Answer::value(Bytes::from_static(b"<script>")).into_response();
        assert_eq!(response.headers()[CONTENT_TYPE], "text/plain");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        assert_eq!(response.headers()["content-security-policy"], "sandbox");
    }
}
