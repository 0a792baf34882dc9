//! A client's TCP stream, as the HTTP library reads and writes it. The head of each request is checked before the library
//! sees it.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::answer::Problem;
use super::framing::{Framing, Then};

/// The placeholder that the library reads instead of a refused request, so that the refusal is answered in its turn, after the
/// requests before it. The server recognizes the placeholder by its number in the connection and not by its content, so no
/// client can send one.
const REFUSED: &[u8] = b"GET / HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n";
/// The placeholder for a refused HEAD request, whose answer has no body.
const REFUSED_HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: -\r\nConnection: close\r\n\r\n";

/// The reason why a connection ends, if its client has sent something that is refused. Clones share the reason.
#[derive(Clone, Debug, Default)]
pub(super) struct Objection(Arc<Mutex<Objected>>);

#[derive(Debug, Default)]
struct Objected {
    /// The number of the refused request, from 0, and the reason.
    refused: Option<(u64, Problem)>,
    /// True if bytes of the client were left unread.
    left_unread: bool,
}

impl Objection {
    fn lock(&self) -> MutexGuard<'_, Objected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reason why the request with this number is refused, if it is.
    pub(super) fn to(&self, request: u64) -> Option<Problem> {
        self.lock()
            .refused
            .as_ref()
            .filter(|(refused, _)| *refused == request)
            .map(|(_, problem)| problem.clone())
    }

    /// Whether bytes of the client were left unread.
    pub(super) fn left_unread(&self) -> bool {
        self.lock().left_unread
    }
}

/// A client's stream.
#[derive(Debug)]
pub(super) struct ClientStream {
    stream: Arc<TcpStream>,
    framing: Framing,
    /// Bytes that have arrived and were not handed on to the library yet.
    pending: BytesMut,
    /// Number of bytes of `pending` that may be handed on.
    admitted: usize,
    goes_on: GoesOn,
    objection: Objection,
}

/// What follows after all admitted bytes were handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GoesOn {
    /// More bytes are read from the client.
    Reading,
    /// The stream ends: the last request was refused, or the client has closed its side.
    Ended,
    /// Reading fails: the body that was being read is malformed.
    Broken,
}

impl ClientStream {
    pub(super) fn new(stream: Arc<TcpStream>, objection: Objection) -> Self {
        Self {
            stream,
            framing: Framing::new(),
            pending: BytesMut::new(),
            admitted: 0,
            goes_on: GoesOn::Reading,
            objection,
        }
    }

    /// Reads the bytes that are there. If it reads none, the client has closed its side.
    fn poll_receive(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let room = buf.remaining();
            let mut received = Ok(0);
            // If fewer bytes came than there was room for, the outer call is told "would block", which clears the
            // readiness and saves the system call that would find nothing. Bytes that arrive meanwhile are a newer event,
            // so their readiness is not lost.
            let _ = self.stream.try_io(Interest::READABLE, || {
                received = self.stream.try_read_buf(buf);
                match &received {
                    Ok(count) if *count == room || *count == 0 => Ok(()),
                    Ok(_) | Err(_) => Err(io::Error::from(ErrorKind::WouldBlock)),
                }
            });
            match received {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done.map(drop)),
            }
        }
    }

    /// Hands on the admitted bytes.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.admitted.min(buf.remaining());
        buf.put_slice(&self.pending[..count]);
        self.pending.advance(count);
        self.admitted -= count;
    }

    fn heed(&mut self, then: Then) {
        match then {
            Then::More => {}
            Then::Refused(problem) => self.refuse(problem),
            Then::Broken => {
                self.objection.lock().left_unread = true;
                self.goes_on = GoesOn::Broken;
            }
        }
    }

    /// Puts the placeholder of a refused request behind the admitted bytes.
    fn refuse(&mut self, problem: Problem) {
        let head = self.pending[self.admitted..].starts_with(b"HEAD ");
        self.pending.truncate(self.admitted);
        self.pending.extend_from_slice(if head { REFUSED_HEAD } else { REFUSED });
        self.admitted = self.pending.len();
        let mut objected = self.objection.lock();
        objected.refused = Some((self.framing.heads(), problem));
        objected.left_unread = true;
        drop(objected);
        self.goes_on = GoesOn::Ended;
    }

    /// Examines the bytes that came into `buf` behind position `before`, and leaves there only those that may be handed on.
    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let came = &buf.filled()[before..];
        if came.is_empty() {
            if self.pending.is_empty() {
                self.goes_on = GoesOn::Ended;
            } else {
                self.refuse(Problem::bad_request("the request ended within its head"));
            }
            return;
        }
        // Usually one whole request arrives, which is not copied then.
        if self.pending.is_empty() {
            let taken = self.framing.take(came);
            self.pending.extend_from_slice(&came[taken.admitted..]);
            buf.set_filled(before + taken.admitted);
            self.heed(taken.then);
        } else {
            self.pending.extend_from_slice(came);
            buf.set_filled(before);
            let taken = self.framing.take(&self.pending);
            self.admitted = taken.admitted;
            self.heed(taken.then);
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        loop {
            if this.admitted > 0 {
                this.hand_on(buf);
            }
            if buf.filled().len() > before || buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match this.goes_on {
                GoesOn::Reading => {
                    ready!(this.poll_receive(cx, buf))?;
                    this.look(buf, before);
                }
                GoesOn::Ended => return Poll::Ready(Ok(())),
                GoesOn::Broken => return Poll::Ready(Err(ErrorKind::InvalidData.into())),
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match self.stream.try_write_vectored(pieces) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(rustix::net::shutdown(&*self.stream, Shutdown::Write).map_err(io::Error::from))
    }
}
