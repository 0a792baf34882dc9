//! The headers that say how fresh an answer is.

use std::time::Duration;

use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use crate::Consistency;

const INDEX: HeaderName = HeaderName::from_static("x-consul-index");
const KNOWN_LEADER: HeaderName = HeaderName::from_static("x-consul-knownleader");
const LAST_CONTACT: HeaderName = HeaderName::from_static("x-consul-lastcontact");
const EFFECTIVE_CONSISTENCY: HeaderName = HeaderName::from_static("x-consul-effective-consistency");

/// As "never" is told: clients turn the number into nanoseconds that fit an `i64`.
const MILLIS_MAX: u64 = 9_223_372_036_854;

/// How fresh an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Whether a leader is known.
    pub(crate) known_leader: bool,
    /// How long ago it was heard.
    pub(crate) last_contact: Duration,
    /// How the answer was read.
    pub(crate) consistency: Consistency,
}

impl Meta {
    /// Puts the headers onto an answer.
    pub(crate) fn describe(&self, mut response: Response, index: Option<u64>) -> Response {
        let headers = response.headers_mut();
        if let Some(index) = index {
            headers.insert(INDEX, HeaderValue::from(index));
        }
        let known = if self.known_leader { "true" } else { "false" };
        headers.insert(KNOWN_LEADER, HeaderValue::from_static(known));
        let millis = u64::try_from(self.last_contact.as_millis()).unwrap_or(u64::MAX).min(MILLIS_MAX);
        headers.insert(LAST_CONTACT, HeaderValue::from(millis));
        let consistency = match self.consistency {
            Consistency::Default => "leader",
            Consistency::Consistent => "consistent",
            Consistency::Stale => "stale",
        };
        headers.insert(EFFECTIVE_CONSISTENCY, HeaderValue::from_static(consistency));
        response
    }
}

/// What a browser needs to know of a value that anyone may have stored: it is not to be run.
pub(crate) fn forbid_active_content(headers: &mut HeaderMap) {
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static("sandbox"));
}
