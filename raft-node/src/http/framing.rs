//! Follows a client's bytes through the heads and bodies of requests, so that each head is checked before the HTTP library
//! sees it.
//!
//! ```text
//!           whole and good: admitted             all bytes of the body
//!   Head -------------------------------> Body ------------------------> Head
//!    |                                      |
//!    | anything doubtful                    | a malformed chunk
//!    v                                      v
//!   refused: answered, then closed        broken: the body ends early
//! ```

use super::answer::Problem;
use super::head::{BodyLength, HEAD_BYTES_MAX, check, check_first_byte, too_long};
use super::target::TARGET_BYTES_MAX;

/// Maximum length of a request line besides its target, in bytes.
const REQUEST_LINE_OVERHEAD: usize = 64;
/// Upper bound on the empty lines before a request, in bytes.
const EMPTY_BYTES_MAX: usize = 16;
/// Upper bound on the digits of a chunk's size.
const CHUNK_DIGITS_MAX: u8 = 15;
/// Upper bound on the extensions of chunks and on trailers, each summed over a body.
const EXTRA_BYTES_MAX: usize = 8 << 10;

/// The position in the sequence of a connection's requests.
#[derive(Debug)]
pub(super) struct Framing {
    at: At,
    /// Number of heads that were admitted.
    heads: u64,
}

#[derive(Debug)]
enum At {
    /// In a head. Its end is not in the first `scanned` bytes.
    Head { scanned: usize },
    /// In a body that ends after `left` more bytes.
    Body { left: u64 },
    /// In a chunked body.
    Chunked(Chunked),
}

/// The bytes that may be handed on to the HTTP library, and what follows them.
#[derive(Debug)]
pub(super) struct Taken {
    /// Number of bytes that may be handed on.
    pub(super) admitted: usize,
    pub(super) then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    /// More bytes are needed.
    More,
    /// The request that follows is refused.
    Refused(Problem),
    /// The bytes that follow are not a valid chunked body.
    Broken,
}

impl Framing {
    pub(super) fn new() -> Self {
        Self { at: At::Head { scanned: 0 }, heads: 0 }
    }

    /// Number of heads that were admitted.
    pub(super) fn heads(&self) -> u64 {
        self.heads
    }

    /// Examines `bytes`, which are all bytes that have arrived and were not admitted yet.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Taken {
        let mut admitted = 0;
        loop {
            let rest = &bytes[admitted..];
            let step = match &mut self.at {
                At::Head { scanned } => head(rest, scanned),
                At::Body { left } => Step::body(rest, left),
                At::Chunked(chunked) => chunked.take(rest),
            };
            match step {
                Step::Next { length, at } => {
                    admitted += length;
                    self.heads += u64::from(matches!(self.at, At::Head { .. }));
                    self.at = at;
                }
                Step::Stay { length } => return Taken { admitted: admitted + length, then: Then::More },
                Step::Refused(problem) => return Taken { admitted, then: Then::Refused(problem) },
                Step::Broken => return Taken { admitted, then: Then::Broken },
            }
        }
    }
}

enum Step {
    /// `length` bytes are admitted, and the next part of the connection begins behind them.
    Next {
        length: usize,
        at: At,
    },
    /// `length` bytes are admitted, and more bytes of the same part must come.
    Stay {
        length: usize,
    },
    Refused(Problem),
    Broken,
}

impl Step {
    fn body(bytes: &[u8], left: &mut u64) -> Self {
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
        *left -= u64::try_from(here).unwrap_or(u64::MAX);
        if *left == 0 {
            Self::Next { length: here, at: At::Head { scanned: 0 } }
        } else {
            Self::Stay { length: here }
        }
    }
}

/// Looks for the end of a head, and checks the head once it is complete.
fn head(bytes: &[u8], scanned: &mut usize) -> Step {
    // Skip a few empty lines before a request, as RFC 9112, section 2.2, asks for.
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
        if start > EMPTY_BYTES_MAX {
            return Step::Refused(Problem::bad_request("the request begins with too many empty lines"));
        }
    }
    let Some(first) = bytes.get(start) else { return Step::Stay { length: 0 } };
    if *first != b'\r'
        && let Err(problem) = check_first_byte(*first)
    {
        return Step::Refused(problem);
    }
    let mut at = start.max(*scanned);
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let end = at + found;
        if end == 0 || bytes[end - 1] != b'\r' {
            return Step::Refused(Problem::bad_request(
                "a line of the request ends with LF alone, without CR",
            ));
        }
        if bytes[start..end].ends_with(b"\r\n\r") {
            return match check(&bytes[start..end - 1]) {
                Ok(body) => Step::Next { length: end + 1, at: At::after(body) },
                Err(problem) => Step::Refused(problem),
            };
        }
        at = end + 1;
    }
    *scanned = bytes.len();
    let over = bytes.len() - start > TARGET_BYTES_MAX + REQUEST_LINE_OVERHEAD;
    if over && !bytes[start..].contains(&b'\n') {
        Step::Refused(too_long(true))
    } else if bytes.len() > HEAD_BYTES_MAX {
        Step::Refused(too_long(false))
    } else {
        Step::Stay { length: 0 }
    }
}

impl At {
    fn after(body: BodyLength) -> Self {
        match body {
            BodyLength::Bytes(0) => Self::Head { scanned: 0 },
            BodyLength::Bytes(left) => Self::Body { left },
            BodyLength::Chunked => Self::Chunked(Chunked { at: Chunk::START, extra: 0 }),
        }
    }
}

/// A chunked body (RFC 9112, section 7.1).
#[derive(Debug)]
struct Chunked {
    at: Chunk,
    /// Number of bytes of extensions and trailers so far.
    extra: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// In the digits of a chunk's size.
    Size {
        digits: u8,
        size: u64,
    },
    /// Behind the digits, before the line's CR.
    Extension {
        size: u64,
    },
    /// Before the LF of a size's line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// In a line of the trailers, after `length` bytes of it.
    Trailer {
        length: usize,
    },
    /// Before the LF of a trailer's line.
    TrailerEnd {
        length: usize,
    },
}

impl Chunk {
    const START: Self = Self::Size { digits: 0, size: 0 };
}

impl Chunked {
    fn take(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let Chunk::Data { left } = self.at {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                let left = left - u64::try_from(here).unwrap_or(u64::MAX);
                self.at = if left == 0 { Chunk::DataCr } else { Chunk::Data { left } };
                at += here;
                continue;
            }
            if self.at == (Chunk::TrailerEnd { length: 0 }) && *byte == b'\n' {
                return Step::Next { length: at + 1, at: At::Head { scanned: 0 } };
            }
            match self.next(*byte) {
                Some(next) => self.at = next,
                None => return Step::Broken,
            }
            at += 1;
        }
        Step::Stay { length: at }
    }

    /// The state after a byte that is not data; none if the byte is not allowed in this state.
    fn next(&mut self, byte: u8) -> Option<Chunk> {
        match (self.at, byte) {
            (Chunk::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16)?;
                (digits < CHUNK_DIGITS_MAX)
                    .then(|| Chunk::Size { digits: digits + 1, size: size * 16 + u64::from(digit) })
            }
            (Chunk::Size { digits: 1.., size } | Chunk::Extension { size }, b'\r') => {
                Some(Chunk::SizeEnd { size })
            }
            (Chunk::Size { digits: 1.., size }, b';' | b' ' | b'\t') => Some(Chunk::Extension { size }),
            (Chunk::Extension { size }, byte) if is_text(byte) => {
                self.count().map(|()| Chunk::Extension { size })
            }
            (Chunk::SizeEnd { size: 0 }, b'\n') => Some(Chunk::Trailer { length: 0 }),
            (Chunk::SizeEnd { size }, b'\n') => Some(Chunk::Data { left: size }),
            (Chunk::DataCr, b'\r') => Some(Chunk::DataLf),
            (Chunk::DataLf, b'\n') => Some(Chunk::START),
            (Chunk::Trailer { length }, b'\r') => Some(Chunk::TrailerEnd { length }),
            (Chunk::Trailer { length }, byte) if is_text(byte) => {
                self.count().map(|()| Chunk::Trailer { length: length + 1 })
            }
            (Chunk::TrailerEnd { .. }, b'\n') => Some(Chunk::Trailer { length: 0 }),
            (
                Chunk::Size { .. }
                | Chunk::Extension { .. }
                | Chunk::SizeEnd { .. }
                | Chunk::Data { .. }
                | Chunk::DataCr
                | Chunk::DataLf
                | Chunk::Trailer { .. }
                | Chunk::TrailerEnd { .. },
                _,
            ) => None,
        }
    }

    fn count(&mut self) -> Option<()> {
        self.extra += 1;
        (self.extra <= EXTRA_BYTES_MAX).then_some(())
    }
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "PUT /c HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// Feeds `bytes` in pieces of `size`, as a connection would; returns what was admitted, and how it ended.
    fn feed(bytes: &[u8], size: usize) -> (Vec<u8>, Then) {
        let (mut framing, mut pending, mut admitted) = (Framing::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            pending.extend_from_slice(piece);
            let taken = framing.take(&pending);
            admitted.extend(pending.drain(..taken.admitted));
            match taken.then {
                Then::More => {}
                then @ (Then::Refused(_) | Then::Broken) => return (admitted, then),
            }
        }
        (admitted, Then::More)
    }

    #[test]
    fn good_requests_in_a_row_are_admitted_whole_however_they_are_cut() {
        let text = format!(
            "\r\nPUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 12\r\n\r\nGET /#b\r\n\r\n!\
             {CHUNKED}5\r\n#\r\n\r\n\r\nA;x=\"y\" \r\n0123456789\r\n0\r\nX: y\r\n\r\n\
             GET /e HTTP/1.0\r\n\r\n"
        );
        for size in [1, 2, 3, 7, 1000] {
            let (admitted, then) = feed(text.as_bytes(), size);
            assert!(matches!(then, Then::More), "in pieces of {size}: {then:?}");
            assert_eq!(String::from_utf8_lossy(&admitted), text, "in pieces of {size}");
        }
    }

    #[test]
    fn a_head_is_admitted_only_when_it_is_whole_and_a_body_as_it_comes() {
        let mut framing = Framing::new();
        let head = b"PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r";
        assert_eq!(framing.take(head).admitted, 0);
        let more = [head, &b"\n01234"[..]].concat();
        assert_eq!(framing.take(&more).admitted, more.len());
    }

    #[test]
    fn what_is_refused_stops_before_its_head_whatever_came_before() {
        let (get, put) =
            ("GET /a HTTP/1.1\r\nHost: t\r\n", "PUT /a HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n");
        let (without_body, with_body) = (format!("{get}\r\n"), format!("{put}\r\n123"));
        for bad in [
            "DELETE /app#old HTTP/1.1\r\nHost: t\r\n\r\n",
            "GET /a HTTP/1.1\nHost: t\n\n",
            "GET /a HTTP/1.1\r\nHost: t\n\r\n",
            "\n",
            "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
            "\u{16}\u{3}\u{1}",
            "\0",
        ] {
            for (size, good) in
                [1, 5, 1000].into_iter().flat_map(|size| [(size, &without_body), (size, &with_body)])
            {
                let (admitted, then) = feed(format!("{good}{bad}").as_bytes(), size);
                assert!(matches!(then, Then::Refused(_)), "{bad:?} in pieces of {size}: {then:?}");
                assert_eq!(String::from_utf8_lossy(&admitted), *good, "{bad:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn heads_without_an_end_are_refused_when_they_are_too_long() {
        let status = |text: &str| match feed(text.as_bytes(), 4096).1 {
            Then::Refused(problem) => problem.status().as_u16(),
            then @ (Then::More | Then::Broken) => panic!("{then:?}"),
        };
        assert_eq!(status(&format!("GET /{}", "k".repeat(70_000))), 414);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}", "X: 0123456789\r\n".repeat(20_000))), 431);
    }

    #[test]
    fn malformed_chunks_break_the_body() {
        for chunks in [
            "x\r\n",
            "\r\n",
            "-1\r\n",
            " 5\r\n",
            "5 5\n",
            "0x5\r\n",
            "5\n01234\r\n",
            "5\r01234",
            "5\r\n01234X",
            "5\r\n01234\rX",
            "5\r\n01234\n",
            "ffffffffffffffff\r\n",
            "0\r\nX: y\n\r\n",
            "0\r\nX\0\r\n",
        ] {
            for size in [1, 1000] {
                let (admitted, then) = feed(format!("{CHUNKED}{chunks}").as_bytes(), size);
                assert!(matches!(then, Then::Broken), "{chunks:?} in pieces of {size}: {then:?}");
                assert!(admitted.starts_with(CHUNKED.as_bytes()));
            }
        }
        let endless = format!("{CHUNKED}1;{}", "x".repeat(EXTRA_BYTES_MAX + 1));
        assert!(matches!(feed(endless.as_bytes(), 1000).1, Then::Broken));
    }
}
