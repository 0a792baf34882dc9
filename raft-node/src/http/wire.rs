//! Writes answers as the bytes of HTTP/1.1. The HTTP library writes the same headers, in the same order, for the answers that
//! it sends.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;

use super::answer::Answer;
use super::meta::Digits;

/// Whether the connection is kept after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The connection waits for the next request.
    KeepAlive,
    /// The connection ends.
    Close,
}

/// Appends the head of an answer, with the empty line behind it, to `out`.
pub(super) fn write_head(answer: &Answer, then: Then, out: &mut Vec<u8>) {
    if answer.status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    } else {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(answer.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(answer.status.canonical_reason().unwrap_or("Unknown").as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    answer.each_header(|name, value| header(name, value, out));
    let length = u64::try_from(answer.body.len()).unwrap_or(u64::MAX);
    header("Content-Length", Digits::of(length).text(), out);
    if then == Then::Close && !answer.closes() {
        header("Connection", b"close", out);
    }
    header("Date", &date(), out);
    out.extend_from_slice(b"\r\n");
}

fn header(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A date as HTTP has it: `Sun, 06 Nov 1994 08:49:37 GMT`.
type Date = [u8; 29];

thread_local! {
    /// The date that was written last, and the second since 1970 that it is of.
    static LAST: Cell<(u64, Date)> = const { Cell::new((u64::MAX, [0; 29])) };
}

/// The present date.
#[expect(clippy::disallowed_methods, reason = "HTTP puts the date on answers, and nothing is measured by it")]
fn date() -> Date {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (second, date) = LAST.get();
    if second == now {
        return date;
    }
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
    let date = text.as_bytes().try_into().unwrap_or(date);
    LAST.set((now, date));
    date
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::header::HeaderName;
    use axum::response::IntoResponse;
    use bytes::Bytes;

    use super::super::answer::Problem;
    use super::super::meta::Meta;
    use super::*;
    use crate::Consistency;

    fn head(answer: &Answer, then: Then) -> String {
        let mut out = b"before".to_vec();
        write_head(answer, then, &mut out);
        let text = String::from_utf8(out).expect("all headers are ASCII");
        text.strip_prefix("before").expect("it is appended").to_owned()
    }

    fn read(consistency: Consistency) -> Answer {
        let meta = Meta { known_leader: true, last_contact: Duration::from_millis(12), consistency };
        Answer::value(Bytes::from_static(b"abc")).fresh(meta, 345)
    }

    #[test]
    fn a_head_has_its_headers_in_order_and_ends_with_an_empty_line() {
        let text = head(&read(Consistency::Stale), Then::KeepAlive);
        let (before, date) = text.split_once("Date: ").expect("it has a date");
        assert_eq!(
            before,
            "HTTP/1.1 200 OK\r\nX-Consul-Default-Acl-Policy: allow\r\nContent-Type: text/plain\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\nX-Consul-Index: 345\r\n\
             X-Consul-Knownleader: true\r\nX-Consul-Lastcontact: 12\r\n\
             X-Consul-Effective-Consistency: stale\r\nContent-Length: 3\r\n"
        );
        assert!(date.len() == 29 + 4 && date.ends_with(" GMT\r\n\r\n"), "{date:?}");
    }

    #[test]
    fn an_answer_closes_at_most_once() {
        let empty = Answer::empty(StatusCode::NOT_FOUND);
        let text = head(&empty, Then::Close);
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
        assert!(text.contains("Content-Length: 0\r\nConnection: close\r\nDate: "), "{text}");
        assert!(!head(&empty, Then::KeepAlive).contains("Connection"));
        let closing = Problem::bad_request("no").closing().into_answer();
        let text = head(&closing, Then::Close);
        assert_eq!(text.matches("Connection: close\r\n").count(), 1, "{text}");
    }

    #[test]
    fn the_library_is_given_the_same_headers_in_the_same_order() {
        for answer in [
            read(Consistency::Default),
            read(Consistency::Consistent),
            Answer::truth(true),
            Answer::options("GET"),
            Problem::unavailable("later").into_answer(),
        ] {
            let (mut own, mut names) = (Vec::new(), Vec::new());
            answer.each_header(|name, value| own.push((name.to_ascii_lowercase(), value.to_vec())));
            let response = answer.into_response();
            names.extend(response.headers().iter());
            let given: Vec<_> = names
                .into_iter()
                .map(|(name, value): (&HeaderName, _)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect();
            assert_eq!(own, given);
        }
    }
}
