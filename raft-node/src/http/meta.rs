//! The headers that say how fresh an answer is.

use std::time::Duration;

use axum::response::Response;

use super::answer::insert;
use crate::Consistency;

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
    /// Calls `each` for every header. `index` is the one that the client's next blocking query should name.
    pub(crate) fn each_header(&self, index: u64, mut each: impl FnMut(&'static str, &[u8])) {
        each("X-Consul-Index", Digits::of(index).text());
        each("X-Consul-Knownleader", if self.known_leader { b"true" } else { b"false" });
        let millis = u64::try_from(self.last_contact.as_millis()).unwrap_or(u64::MAX).min(MILLIS_MAX);
        each("X-Consul-Lastcontact", Digits::of(millis).text());
        let consistency: &[u8] = match self.consistency {
            Consistency::Default => b"leader",
            Consistency::Consistent => b"consistent",
            Consistency::Stale => b"stale",
        };
        each("X-Consul-Effective-Consistency", consistency);
    }

    /// Adds the headers to a response whose body is sent in pieces.
    pub(crate) fn describe(&self, mut response: Response, index: u64) -> Response {
        self.each_header(index, |name, value| insert(&mut response, name, value));
        response
    }
}

/// A number in decimal digits, made without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digits {
    /// The digits are at the end.
    digits: [u8; 20],
    start: usize,
}

impl Digits {
    /// The digits of `number`.
    pub(crate) fn of(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] += u8::try_from(number % 10).unwrap_or(0);
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    /// The digits as ASCII text.
    pub(crate) fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderValue;

    use super::*;

    fn last_contact(last_contact: Duration) -> HeaderValue {
        let meta = Meta { known_leader: false, last_contact, consistency: Consistency::Stale };
        meta.describe(Response::new(Body::empty()), 1).headers()["x-consul-lastcontact"].clone()
    }

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 1, 9, 10, 99, 100, 1_000_007, u64::MAX - 1, u64::MAX] {
            assert_eq!(Digits::of(number).text(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_leader_that_was_never_heard_fits_the_nanoseconds_of_clients() {
        assert_eq!(last_contact(Duration::from_millis(1500)), "1500");
        let never = last_contact(Duration::MAX);
        let millis: i64 = never.to_str().ok().and_then(|text| text.parse().ok()).expect("a number");
        assert!(millis.checked_mul(1_000_000).is_some(), "{millis}");
    }
}
