//! Checks the header lines of a request: where its body ends, which host it is for, and what the client asks of the connection.

use axum::http::StatusCode;

use super::answer::Problem;
use super::head::{BodyLength, Version, Wishes, bad, is_token};

/// Upper bound on the digits of a Content-Length: more than any body needs, and too few to overflow.
const LENGTH_DIGITS_MAX: usize = 18;

/// The headers that determine where a request ends, which host it is for, and whether the connection is kept.
#[derive(Debug)]
pub(super) struct Headers {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    pub(super) wishes: Wishes,
}

impl Headers {
    pub(super) fn new() -> Self {
        Self { hosts: 0, length: None, chunked: false, wishes: Wishes::KeepAlive }
    }

    pub(super) fn take(&mut self, line: &[u8]) -> Result<(), Problem> {
        if matches!(line, [b' ' | b'\t', ..]) {
            return Err(bad("a header is folded over two lines, which HTTP/1.1 does not allow any more"));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let colon = colon.ok_or_else(|| bad("a header line has no colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(bad("a header's name has characters that are not allowed in it, such as a space"));
        }
        if value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
            return Err(bad(format!("the header {} has a control character in it", text(name))));
        }
        // Compare the length first, because this runs for every header of every request.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection(value);
                Ok(())
            }
            6 | 7 if name.eq_ignore_ascii_case(b"expect") || name.eq_ignore_ascii_case(b"upgrade") => {
                self.wishes = Wishes::Unusual;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn connection(&mut self, value: &[u8]) {
        self.wishes = match self.wishes {
            Wishes::KeepAlive if value.eq_ignore_ascii_case(b"keep-alive") => Wishes::KeepAlive,
            Wishes::KeepAlive | Wishes::Close if value.eq_ignore_ascii_case(b"close") => Wishes::Close,
            Wishes::KeepAlive | Wishes::Close | Wishes::Unusual => Wishes::Unusual,
        };
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Problem> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(bad("the request has two Host headers"));
        }
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:%[]!$&'()*+,;=".contains(byte);
        if value.iter().all(allowed) {
            Ok(())
        } else {
            Err(bad("the Host header is not a host with an optional port"))
        }
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Problem> {
        if self.length.is_some() {
            return Err(bad("the request has two Content-Length headers"));
        }
        let digits = (1..=LENGTH_DIGITS_MAX).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(value).ok().filter(|_| digits).and_then(|text| text.parse().ok());
        self.length = Some(length.ok_or_else(|| bad("the Content-Length is not a number of bytes"))?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Problem> {
        if self.chunked {
            return Err(bad("the request has two Transfer-Encoding headers"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            let text = "the Transfer-Encoding is not chunked, which is the only one that is supported";
            return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, text));
        }
        self.chunked = true;
        Ok(())
    }

    /// How the end of the body is found, once all headers were read.
    pub(super) fn body(self, version: Version) -> Result<BodyLength, Problem> {
        if self.hosts == 0 && version == Version::Http11 {
            return Err(bad("the request has no Host header, which HTTP/1.1 needs"));
        }
        match (self.chunked, self.length) {
            (true, _) if version == Version::Http10 => {
                Err(bad("the request is HTTP/1.0, which has no Transfer-Encoding, but has that header"))
            }
            (true, Some(_)) => {
                Err(bad("the request has both Content-Length and Transfer-Encoding, so its end is ambiguous"))
            }
            (true, None) => Ok(BodyLength::Chunked),
            (false, length) => Ok(BodyLength::Bytes(length.unwrap_or(0))),
        }
    }
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
