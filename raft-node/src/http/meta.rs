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

/// Maximum number of milliseconds in a header, which also stands for "never": clients convert the number to nanoseconds in an
/// `i64`.
const MILLIS_MAX: u64 = 9_223_372_036_854;

/// The freshness of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Whether the node knows a leader.
    pub(crate) known_leader: bool,
    /// How long ago the node heard from the leader.
    pub(crate) last_contact: Duration,
    /// The consistency of the read.
    pub(crate) consistency: Consistency,
}

impl Meta {
    /// Adds the headers to an answer.
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

/// Adds headers that keep a browser from running a stored value as a page: anyone may have stored it.
pub(crate) fn forbid_active_content(headers: &mut HeaderMap) {
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("content-security-policy", HeaderValue::from_static("sandbox"));
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn last_contact(last_contact: Duration) -> HeaderValue {
        let meta = Meta { known_leader: false, last_contact, consistency: Consistency::Stale };
        meta.describe(Response::new(Body::empty()), None).headers()[LAST_CONTACT].clone()
    }

    #[test]
    fn a_leader_that_was_never_heard_fits_the_nanoseconds_of_clients() {
        assert_eq!(last_contact(Duration::from_millis(1500)), "1500");
        let never = last_contact(Duration::MAX);
        let millis: i64 = never.to_str().ok().and_then(|text| text.parse().ok()).expect("a number");
        assert!(millis.checked_mul(1_000_000).is_some(), "{millis}");
    }
}
