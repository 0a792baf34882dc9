//! A small HTTP/1.1 client: one request at a time on a connection that stays open.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Maximum size of an answer, in bytes: no request that is made here is answered with more.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// An answer with its decoded body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether the server closes the connection behind it.
    pub(crate) close: bool,
}

/// An answer without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) status: u16,
    /// Index to continue a blocking query from (`X-Consul-Index`), if the answer has one.
    pub(crate) index: Option<u64>,
    pub(crate) body_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum HttpError {
    /// The connection failed, or no bytes arrived in time.
    Io(io::Error),
    /// The connection ended before the end of the answer.
    CutShort,
    /// The bytes received are not an HTTP/1.1 answer, or use a feature that this client lacks.
    Malformed(&'static str),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpError::Io(error) => write!(f, "{error}"),
            HttpError::CutShort => f.write_str("the connection ended before the answer did"),
            HttpError::Malformed(what) => write!(f, "malformed answer: {what}"),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        HttpError::Io(error)
    }
}

/// A connection to one node.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects; `timeout` bounds that and every later read and write.
    ///
    /// # Errors
    /// The connection is refused or not accepted in time.
    pub(crate) fn open(addr: SocketAddr, timeout: Duration) -> Result<Self, HttpError> {
        let stream = TcpStream::connect_timeout(&addr, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and waits for its answer. After an error, or an answer with `close`, the
    /// connection is of no further use.
    ///
    /// # Errors
    /// The connection fails, is too slow, or does not carry a valid answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Result<Response, HttpError> {
        self.stream.write_all(request)?;
        let mut chunk = [0; 4096];
        loop {
            let got = self.stream.read(&mut chunk)?;
            self.buffer.extend_from_slice(&chunk[..got]);
            if let Some((response, used)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(response);
            }
            if got == 0 {
                return Err(HttpError::CutShort);
            }
            if self.buffer.len() > RESPONSE_BYTES_MAX {
                return Err(HttpError::Malformed("longer than 1 MiB"));
            }
        }
    }
}

impl Connection {
    /// Like [`ask`](Self::ask), but discards the body, however long it is. The answer must state its length.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub(crate) fn skim(&mut self, request: &[u8]) -> Result<Outline, HttpError> {
        self.stream.write_all(request)?;
        let mut chunk = [0; 65_536];
        let (head, mut left) = loop {
            let got = self.stream.read(&mut chunk)?;
            self.buffer.extend_from_slice(&chunk[..got]);
            if let Some(head_len) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..head_len + 4).take(head_len).collect();
                break (head, std::mem::take(&mut self.buffer).len());
            }
            if got == 0 {
                return Err(HttpError::CutShort);
            }
        };
        let head = std::str::from_utf8(&head).map_err(|_| HttpError::Malformed("head is no text"))?;
        let head = Head::parse(head, usize::MAX)?;
        let BodyLength::Known(length) = head.body else {
            return Err(HttpError::Malformed("a body without a length is not skimmed"));
        };
        while left < length {
            match self.stream.read(&mut chunk)? {
                0 => return Err(HttpError::CutShort),
                got => left += got,
            }
        }
        Ok(Outline { status: head.status, index: head.index, body_bytes: length })
    }

    /// Returns a handle that closes this connection from another thread and so ends whatever waits on it.
    ///
    /// # Errors
    /// The process has no file descriptors left.
    pub(crate) fn end_handle(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }
}

/// Sends one GET on a connection of its own.
///
/// # Errors
/// As [`Connection::open`] and [`Connection::ask`].
pub(crate) fn get(addr: SocketAddr, path: &str, timeout: Duration) -> Result<Response, HttpError> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    Connection::open(addr, timeout)?.ask(request.as_bytes())
}

/// Parses the answer at the start of `bytes`, and returns it with its length; `None` while the answer is incomplete.
fn parse(bytes: &[u8]) -> Result<Option<(Response, usize)>, HttpError> {
    let Some(head_len) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head =
        std::str::from_utf8(&bytes[..head_len]).map_err(|_| HttpError::Malformed("head is no text"))?;
    let head = Head::parse(head, RESPONSE_BYTES_MAX)?;
    let body_start = head_len + 4;
    let body = match head.body {
        BodyLength::Known(length) => {
            bytes.get(body_start..body_start + length).map(|body| (body.to_vec(), length))
        }
        BodyLength::Chunked => parse_chunks(&bytes[body_start..])?,
    };
    Ok(body
        .map(|(body, used)| (Response { status: head.status, body, close: head.close }, body_start + used)))
}

enum BodyLength {
    Known(usize),
    Chunked,
}

struct Head {
    status: u16,
    body: BodyLength,
    close: bool,
    index: Option<u64>,
}

impl Head {
    fn parse(head: &str, bytes_max: usize) -> Result<Self, HttpError> {
        let mut lines = head.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.strip_prefix("HTTP/1."))
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or(HttpError::Malformed("no status line"))?;
        let (mut length, mut chunked, mut close, mut index) = (None, false, false, None);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(HttpError::Malformed("header without colon"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let bytes: usize = value.parse().map_err(|_| HttpError::Malformed("length is no number"))?;
                if bytes > bytes_max {
                    return Err(HttpError::Malformed("longer than 1 MiB"));
                }
                length = Some(bytes);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.eq_ignore_ascii_case("close");
            } else if name.eq_ignore_ascii_case("x-consul-index") {
                index = value.parse().ok();
            }
        }
        let body = match (chunked, length) {
            (true, _) => BodyLength::Chunked,
            (false, Some(length)) => BodyLength::Known(length),
            (false, None) if status == 204 || status == 304 => BodyLength::Known(0),
            (false, None) => return Err(HttpError::Malformed("no length")),
        };
        Ok(Self { status, body, close, index })
    }
}

/// Decodes a chunked body, and returns it with its encoded length. Trailers are not supported, as raft-node sends none.
fn parse_chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, HttpError> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line_len) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line_len])
            .ok()
            .and_then(|line| {
                usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).ok()
            })
            .filter(|&size| size <= RESPONSE_BYTES_MAX)
            .ok_or(HttpError::Malformed("bad chunk size"))?;
        let start = at + line_len + 2;
        let Some(chunk) = bytes.get(start..start + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err(HttpError::Malformed("chunk without end"));
        }
        body.extend_from_slice(&chunk[..size]);
        at = start + size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;
    use std::time::Duration;

    use super::{Connection, HttpError, get, parse};

    /// Starts a server that accepts one connection and answers each request with the next of `answers`.
    fn server(answers: Vec<&'static [u8]>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("an address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            for answer in answers {
                let got = stream.read(&mut [0; 4096]).expect("a request");
                assert!(got > 0, "the client left");
                stream.write_all(answer).expect("the client listens");
            }
        });
        addr
    }

    #[test]
    fn a_connection_serves_one_request_after_the_other() {
        let addr = server(vec![
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue",
            b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno",
        ]);
        let mut connection = Connection::open(addr, Duration::from_secs(10)).expect("it listens");
        assert_eq!(connection.ask(b"PUT 1").expect("an answer").body, b"true");
        assert_eq!(connection.ask(b"PUT 2").expect("an answer").status, 500);
        assert!(matches!(connection.ask(b"PUT 3"), Err(HttpError::CutShort | HttpError::Io(_))));
    }

    #[test]
    fn an_answer_that_ends_early_is_none() {
        let addr = server(vec![b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\ntrue"]);
        assert!(matches!(get(addr, "/x", Duration::from_secs(10)), Err(HttpError::CutShort)));
    }

    #[test]
    fn skimmed_answers_leave_the_connection_at_the_next_one() {
        let addr = server(vec![
            b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 4\r\n\r\ntrue",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        ]);
        let mut connection = Connection::open(addr, Duration::from_secs(10)).expect("it listens");
        let first = connection.skim(b"GET 1").expect("an answer");
        assert_eq!((first.status, first.index, first.body_bytes), (200, Some(7), 4));
        let second = connection.skim(b"GET 2").expect("an answer");
        assert_eq!((second.status, second.index, second.body_bytes), (404, None, 0));
    }

    fn whole(bytes: &[u8]) -> (u16, Vec<u8>, usize) {
        let (response, used) = parse(bytes).expect("well formed").expect("whole");
        (response.status, response.body, used)
    }

    #[test]
    fn an_answer_with_a_length_is_read_to_its_end_and_no_further() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Other: a:b\r\n\r\ntrueHTTP/1.1";
        assert_eq!(whole(bytes), (200, b"true".to_vec(), bytes.len() - 8));
    }

    #[test]
    fn every_prefix_of_an_answer_asks_for_more() {
        for bytes in [
            b"HTTP/1.1 500 No Luck\r\ncontent-length: 3\r\n\r\nabc".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ] {
            for end in 0..bytes.len() {
                assert!(parse(&bytes[..end]).expect("well formed so far").is_none(), "{end}");
            }
            assert_eq!(whole(bytes).1, b"abc");
        }
    }

    #[test]
    fn chunks_are_joined() {
        let bytes =
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA;x=1\r\n0123456789\r\n1\r\na\r\n0\r\n\r\n";
        assert_eq!(whole(bytes), (200, b"0123456789a".to_vec(), bytes.len()));
    }

    #[test]
    fn the_servers_wish_to_close_is_seen() {
        let bytes = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        assert!(parse(bytes).expect("well formed").expect("whole").0.close);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            b"SSH-2.0-x\r\n\r\n".as_slice(),
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(matches!(parse(bytes), Err(HttpError::Malformed(_))), "{}", bytes.escape_ascii());
        }
    }
}
