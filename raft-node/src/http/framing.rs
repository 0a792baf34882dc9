//! Follows a client's bytes through the head and the body of a request.
//!
//! ```text
//!           whole and good                       all bytes of the body
//!   Head -------------------------------> Body ------------------------> the next Head
//!    |                                      |
//!    | anything doubtful                    | a malformed chunk
//!    v                                      v
//!   refused: answered, then closed        broken: the body ends early
//! ```

use super::answer::Problem;
use super::head::{BodyLength, HEAD_BYTES_MAX, Head, check, check_first_byte, too_long};
use super::target::TARGET_BYTES_MAX;

/// Maximum length of a request line besides its target, in bytes.
const REQUEST_LINE_OVERHEAD: usize = 64;
/// Upper bound on the empty lines before a request, in bytes.
const EMPTY_BYTES_MAX: usize = 16;
/// Upper bound on the digits of a chunk's size.
const CHUNK_DIGITS_MAX: u8 = 15;
/// Upper bound on the extensions of chunks and on trailers, each summed over a body.
const EXTRA_BYTES_MAX: usize = 8 << 10;

/// The search for the end of a request's head.
#[derive(Debug, Default)]
pub(super) struct HeadSearch {
    /// The end is not in the first `scanned` bytes.
    scanned: usize,
}

/// What the bytes of a connection begin with.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A part of a head: more bytes are needed.
    Part,
    /// A whole head of `length` bytes, with the empty lines before it and the one at its end.
    Whole { length: usize, head: Head<'a> },
    /// Something that is refused.
    Refused(Problem),
}

impl HeadSearch {
    /// Looks at the bytes that have arrived and belong to no earlier request. They must begin with those of the last call until
    /// a head is found.
    pub(super) fn look<'a>(&mut self, bytes: &'a [u8]) -> Found<'a> {
        let found = head(bytes, &mut self.scanned);
        if matches!(found, Found::Whole { .. }) {
            self.scanned = 0;
        }
        found
    }
}

/// The rest of a request's body.
#[derive(Debug)]
pub(super) enum BodyRest {
    /// The body ends after `left` more bytes.
    Bytes { left: u64 },
    /// The body is chunked.
    Chunked(Chunked),
    /// The body was malformed, so that its end cannot be found.
    Broken,
}

impl BodyRest {
    /// The whole body that follows a head.
    pub(super) fn after(length: BodyLength) -> Self {
        match length {
            BodyLength::Bytes(left) => Self::Bytes { left },
            BodyLength::Chunked => Self::Chunked(Chunked { at: Chunk::START, extra: 0 }),
        }
    }

    /// Whether all of the body has been taken.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Bytes { left: 0 })
    }

    /// Takes bytes that have arrived. Returns how many at their beginning are the body's.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Bytes { left } => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= u64::try_from(here).unwrap_or(u64::MAX);
                here
            }
            Self::Chunked(chunked) => match chunked.take(bytes) {
                Step::End { length } => {
                    *self = Self::Bytes { left: 0 };
                    length
                }
                Step::More { length } => length,
                Step::Broken => {
                    *self = Self::Broken;
                    0
                }
            },
            Self::Broken => 0,
        }
    }
}

/// The bytes of a chunked body among those that have arrived.
enum Step {
    /// The body ends after `length` bytes.
    End {
        length: usize,
    },
    /// All `length` bytes are the body's, and more must come.
    More {
        length: usize,
    },
    Broken,
}

/// Looks for the end of a head, and checks the head once it is complete.
fn head<'a>(bytes: &'a [u8], scanned: &mut usize) -> Found<'a> {
    // Skip a few empty lines before a request, as RFC 9112, section 2.2, asks for.
    let mut start = 0;
    while bytes[start..].starts_with(b"\r\n") {
        start += 2;
        if start > EMPTY_BYTES_MAX {
            return Found::Refused(Problem::bad_request("the request begins with too many empty lines"));
        }
    }
    let Some(first) = bytes.get(start) else { return Found::Part };
    if *first != b'\r'
        && let Err(problem) = check_first_byte(*first)
    {
        return Found::Refused(problem);
    }
    let mut at = start.max(*scanned);
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let end = at + found;
        if end == 0 || bytes[end - 1] != b'\r' {
            return Found::Refused(Problem::bad_request(
                "a line of the request ends with LF alone, without CR",
            ));
        }
        if bytes[start..end].ends_with(b"\r\n\r") {
            return match check(&bytes[start..end - 1]) {
                Ok(head) => Found::Whole { length: end + 1, head },
                Err(problem) => Found::Refused(problem),
            };
        }
        at = end + 1;
    }
    *scanned = bytes.len();
    let over = bytes.len() - start > TARGET_BYTES_MAX + REQUEST_LINE_OVERHEAD;
    if over && !bytes[start..].contains(&b'\n') {
        Found::Refused(too_long(true))
    } else if bytes.len() > HEAD_BYTES_MAX {
        Found::Refused(too_long(false))
    } else {
        Found::Part
    }
}

/// A chunked body (RFC 9112, section 7.1).
#[derive(Debug)]
pub(super) struct Chunked {
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
                return Step::End { length: at + 1 };
            }
            match self.next(*byte) {
                Some(next) => self.at = next,
                None => return Step::Broken,
            }
            at += 1;
        }
        Step::More { length: at }
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

    /// What follows the bytes that were admitted.
    #[derive(Debug)]
    enum Then {
        More,
        Refused(Problem),
        Broken,
    }

    /// The requests of a connection, one after the other.
    struct Framing {
        search: HeadSearch,
        body: BodyRest,
    }

    impl Framing {
        fn new() -> Self {
            Self { search: HeadSearch::default(), body: BodyRest::Bytes { left: 0 } }
        }

        fn take(&mut self, bytes: &[u8]) -> (usize, Then) {
            let mut admitted = 0;
            loop {
                admitted += self.body.take(&bytes[admitted..]);
                if matches!(self.body, BodyRest::Broken) {
                    return (admitted, Then::Broken);
                }
                if !self.body.is_over() {
                    return (admitted, Then::More);
                }
                match self.search.look(&bytes[admitted..]) {
                    Found::Part => return (admitted, Then::More),
                    Found::Refused(problem) => return (admitted, Then::Refused(problem)),
                    Found::Whole { length, head } => {
                        admitted += length;
                        self.body = BodyRest::after(head.body);
                    }
                }
            }
        }
    }

    /// Feeds `bytes` in pieces of `size`, as a connection would; returns what was admitted, and how it ended.
    fn feed(bytes: &[u8], size: usize) -> (Vec<u8>, Then) {
        let (mut framing, mut pending, mut admitted) = (Framing::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(size) {
            pending.extend_from_slice(piece);
            let (taken, then) = framing.take(&pending);
            admitted.extend(pending.drain(..taken));
            match then {
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
        assert_eq!(framing.take(head).0, 0);
        let more = [head, &b"\n01234"[..]].concat();
        assert_eq!(framing.take(&more).0, more.len());
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
