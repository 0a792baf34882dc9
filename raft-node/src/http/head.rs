//! Checks the head of a request byte by byte (RFC 9112). If two parsers can read a head differently, a request can be smuggled past
//! a proxy, so everything doubtful is refused, with a reason. This holds for the requests that the HTTP library answers, too: it
//! would refuse without a reason, and not as much.

use axum::http::StatusCode;

use super::answer::Problem;
use super::headers::Headers;
use super::target::{self, TARGET_BYTES_MAX};

/// Upper bound on a whole head, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 128 << 10;
/// Upper bound on the number of header lines, the same as the HTTP library's.
const HEADERS_MAX: usize = 100;

/// How the end of a request's body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// The body has this many bytes; 0 if there is no body.
    Bytes(u64),
    /// The body ends with its last chunk.
    Chunked,
}

/// What a checked head says of its request, as far as the server needs it to find the request's end and to choose who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) body: BodyLength,
    pub(super) wishes: Wishes,
}

/// What a client asks of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wishes {
    /// The connection stays open for the next request.
    KeepAlive,
    /// The connection ends after the answer.
    Close,
    /// Something that is left to the HTTP library: HTTP/1.0, `Expect`, `Upgrade`, or an unusual `Connection`.
    Unusual,
}

/// Checks a head: the request line and the header lines with their line ends, without the empty line at the end.
pub(super) fn check(head: &[u8]) -> Result<Head<'_>, Problem> {
    let mut lines = Lines(head);
    let request_line = lines.next().ok_or_else(|| bad("the request is empty"))?;
    let RequestLine { method, target, version } = check_request_line(request_line)?;
    let mut headers = Headers::new();
    let mut count = 0;
    for line in lines {
        count += 1;
        if count > HEADERS_MAX {
            let text = format!("the request has more than {HEADERS_MAX} headers");
            return Err(Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text));
        }
        headers.take(line)?;
    }
    let wishes = if version == Version::Http10 { Wishes::Unusual } else { headers.wishes };
    Ok(Head { method, target, body: headers.body(version)?, wishes })
}

/// Refuses bytes that do not begin like a request. Waiting for the end of the line could take forever.
pub(super) fn check_first_byte(byte: u8) -> Result<(), Problem> {
    if byte == 0x16 {
        return Err(bad(
            "this port serves plain HTTP, but the client speaks TLS: use http:// instead of https://",
        ));
    }
    if !is_token(byte) {
        return Err(bad("this is not an HTTP request: it must begin with a method, such as GET"));
    }
    Ok(())
}

/// The refusal of a head that is too long.
pub(super) fn too_long(request_line_only: bool) -> Problem {
    if request_line_only {
        let text = format!("the request target is too long: at most {TARGET_BYTES_MAX} bytes are allowed");
        Problem::new(StatusCode::URI_TOO_LONG, text)
    } else {
        let text = format!("the request's headers are too long: at most {HEAD_BYTES_MAX} bytes are allowed");
        Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text)
    }
}

pub(super) fn bad(text: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::bad_request(text)
}

/// An iterator over lines that each end with CR LF.
struct Lines<'a>(&'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        // The caller has checked that each LF follows a CR.
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let line = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

/// The versions of HTTP that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http10,
    Http11,
}

struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    version: Version,
}

fn check_request_line(line: &[u8]) -> Result<RequestLine<'_>, Problem> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad(
            "the request line must be a method, a target and HTTP/1.1, with one space between them; a space in a key is \
             sent as %20",
        ));
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(bad("the request's method has characters that are not allowed in a method"));
    }
    if method == b"CONNECT" {
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "CONNECT is not supported: this server is not a proxy",
        ));
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        other if other.starts_with(b"HTTP/") => {
            let text = "this server supports HTTP/1.1 and HTTP/1.0 only";
            return Err(Problem::new(StatusCode::HTTP_VERSION_NOT_SUPPORTED, text));
        }
        _ => return Err(bad("the request line must end with HTTP/1.1; a space in a key is sent as %20")),
    };
    target::check(method, target)?;
    Ok(RequestLine { method, target, version })
}

/// Whether a byte may stand in a method or in a header's name (RFC 9110, section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(head: &str) -> Result<BodyLength, (u16, String)> {
        let checked = check(head.as_bytes()).map(|head| head.body);
        checked.map_err(|problem| (problem.status().as_u16(), problem.text().to_owned()))
    }

    #[test]
    fn wishes_beyond_keeping_or_closing_are_left_to_the_library() {
        let wishes = |version: &str, headers: &str| {
            let head = format!("GET /k HTTP/{version}\r\nHost: t\r\n{headers}");
            check(head.as_bytes()).map(|head| head.wishes).expect("the head is well-formed")
        };
        for headers in
            ["", "Connection: keep-alive\r\n", "CONNECTION: Keep-Alive \r\n", "X-Upgrade: close\r\n"]
        {
            assert_eq!(wishes("1.1", headers), Wishes::KeepAlive, "{headers:?}");
        }
        for headers in ["Connection: close\r\n", "connection:CLOSE\r\nConnection: close\r\n"] {
            assert_eq!(wishes("1.1", headers), Wishes::Close, "{headers:?}");
        }
        for headers in [
            "Connection: close, keep-alive\r\n",
            "Connection: Upgrade\r\n",
            "Connection:\r\n",
            "Connection: Upgrade\r\nConnection: close\r\n",
            "Connection: close\r\nConnection: keep-alive\r\n",
            "Upgrade: h2c\r\nConnection: close\r\n",
            "Expect: 100-continue\r\n",
            "expect: x\r\nConnection: keep-alive\r\n",
        ] {
            assert_eq!(wishes("1.1", headers), Wishes::Unusual, "{headers:?}");
        }
        assert_eq!(wishes("1.0", "Connection: keep-alive\r\n"), Wishes::Unusual);
    }

    #[test]
    fn a_body_has_one_end_or_the_request_is_refused() {
        let headers = |text: &str| check_text(&format!("PUT /k HTTP/1.1\r\nHost: t\r\n{text}"));
        assert_eq!(headers(""), Ok(BodyLength::Bytes(0)));
        assert_eq!(headers("content-LENGTH:\t7 \r\n"), Ok(BodyLength::Bytes(7)));
        assert_eq!(headers("Transfer-Encoding: Chunked\r\n"), Ok(BodyLength::Chunked));
        for (text, status) in [
            ("Content-Length: 1\r\nContent-Length: 1\r\n", 400),
            ("Content-Length: 1, 1\r\n", 400),
            ("Content-Length: +1\r\n", 400),
            ("Content-Length: 0x1\r\n", 400),
            ("Content-Length: \r\n", 400),
            ("Content-Length: 9999999999999999999\r\n", 400),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", 400),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
            ("Transfer-Encoding: gzip, chunked\r\n", 501),
            ("Transfer-Encoding: identity\r\n", 501),
            ("Transfer-Encoding : chunked\r\n", 400),
            ("Transfer-Encoding: chunked\x0b\r\n", 400),
            (" Transfer-Encoding: chunked\r\n", 400),
            ("X: a\r\n folded\r\n", 400),
            ("X: a\0b\r\n", 400),
            ("X\r\n", 400),
            (": x\r\n", 400),
            ("Host: u\r\n", 400),
        ] {
            let (got, said) = headers(text).expect_err(text);
            assert_eq!(got, status, "{text:?}: {said}");
            assert!(!said.is_empty());
        }
    }

    #[test]
    fn versions_methods_and_hosts_are_checked() {
        assert_eq!(check_text("GET / HTTP/1.0\r\n"), Ok(BodyLength::Bytes(0)), "HTTP/1.0 needs no Host");
        assert_eq!(check_text("GET / HTTP/1.1\r\nHost:\r\n"), Ok(BodyLength::Bytes(0)), "it may be empty");
        for (head, status) in [
            ("GET / HTTP/1.1\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a/b\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: u@h\r\n", 400),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
            ("GET / HTTP/2.0\r\nHost: t\r\n", 505),
            ("GET / HTTP/1.2\r\nHost: t\r\n", 505),
            ("GET / http/1.1\r\nHost: t\r\n", 400),
            ("GET /\r\n", 400),
            ("GET /a b HTTP/1.1\r\nHost: t\r\n", 400),
            ("GET  / HTTP/1.1\r\nHost: t\r\n", 400),
            ("GET\t/ HTTP/1.1\r\nHost: t\r\n", 400),
            ("G(T / HTTP/1.1\r\nHost: t\r\n", 400),
            ("CONNECT h:80 HTTP/1.1\r\nHost: t\r\n", 501),
        ] {
            let (got, said) = check_text(head).expect_err(head);
            assert_eq!(got, status, "{head:?}: {said}");
        }
        let many = format!("GET / HTTP/1.1\r\nHost: t\r\n{}", "X: y\r\n".repeat(HEADERS_MAX));
        assert_eq!(check_text(&many).map_err(|(status, _)| status), Err(431));
        let long = format!("GET /{} HTTP/1.1\r\nHost: t\r\n", "k".repeat(TARGET_BYTES_MAX));
        assert_eq!(check_text(&long).map_err(|(status, _)| status), Err(414));
    }

    #[test]
    fn what_does_not_begin_like_a_request_is_told_at_once() {
        assert!(check_first_byte(b'G').is_ok());
        assert!(check_first_byte(0x16).expect_err("TLS").text().contains("https://"));
        assert!(check_first_byte(b' ').is_err() && check_first_byte(0).is_err());
    }
}
