//! A client's socket: reads what is there, and gives up clients that take nothing of their answer.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use rustix::net::Shutdown;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Default maximum time that a client may read nothing of its answer. It is longer than usual interruptions of a network, and
/// short enough that silent clients do not hold memory, or an old state of the store, for long.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Minimum room for the bytes of one read.
const READ_BYTES_MIN: usize = 4 << 10;

/// A socket whose writes fail once the client has read nothing for `patience`.
pub(super) struct Socket {
    stream: Arc<TcpStream>,
    patience: Duration,
    /// Timer after which a waiting write is given up. It is kept when no write waits, because creating a timer costs more than
    /// resetting one.
    deadline: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

impl Socket {
    pub(super) fn new(stream: Arc<TcpStream>, patience: Duration) -> Self {
        Self { stream, patience, deadline: None, waits: false }
    }

    /// Appends the bytes that are there to `bytes`, and returns their number; 0 if the client has closed its side.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<io::Result<usize>> {
        if bytes.capacity() - bytes.len() < READ_BYTES_MIN {
            bytes.reserve(READ_BYTES_MIN);
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let room = bytes.capacity() - bytes.len();
            let mut received = Ok(0);
            // If fewer bytes came than there was room for, the outer call is told "would block", which clears the
            // readiness and saves the system call that would find nothing. Bytes that arrive meanwhile are a newer event,
            // so their readiness is not lost.
            let _ = self.stream.try_io(Interest::READABLE, || {
                received = self.stream.try_read_buf(bytes);
                match &received {
                    Ok(count) if *count == room || *count == 0 => Ok(()),
                    Ok(_) | Err(_) => Err(io::Error::from(ErrorKind::WouldBlock)),
                }
            });
            match received {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Writes a part of `pieces`, and returns its length.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = loop {
            match self.stream.poll_write_ready(cx) {
                Poll::Pending => break Poll::Pending,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            match self.stream.try_write_vectored(pieces) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => break Poll::Ready(done),
            }
        };
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        self.poll_patience(cx).map(Err)
    }

    /// The error of a write that has waited for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waits {
            self.waits = true;
            deadline.as_mut().reset(Instant::now() + patience);
        }
        ready!(deadline.as_mut().poll(cx));
        // Reset the connection, so that the kernel also drops what it holds for this client and would keep for minutes.
        if let Err(error) = self.stream.set_zero_linger() {
            tracing::debug!(%error, "a connection that is given up cannot be reset");
        }
        let text = format!("the client has read nothing of its answer for {patience:?}");
        Poll::Ready(io::Error::new(ErrorKind::TimedOut, text))
    }

    /// Writes `first` and then `second`, usually in one call.
    pub(super) async fn send(&mut self, mut first: &[u8], mut second: &[u8]) -> io::Result<()> {
        while !first.is_empty() || !second.is_empty() {
            let pieces = [IoSlice::new(first), IoSlice::new(second)];
            let used = if second.is_empty() { &pieces[..1] } else { &pieces[..] };
            let sent = poll_fn(|cx| self.poll_send(cx, used)).await?;
            if sent == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            let of_first = sent.min(first.len());
            first = &first[of_first..];
            second = &second[sent - of_first..];
        }
        Ok(())
    }

    /// Tells the client that nothing more will be sent.
    pub(super) fn shut_down(&self) -> io::Result<()> {
        rustix::net::shutdown(&*self.stream, Shutdown::Write).map_err(io::Error::from)
    }
}
