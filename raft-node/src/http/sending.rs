//! Closes connections whose client reads nothing of its answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

use super::stream::ClientStream;

/// Default maximum time that a client may read nothing of its answer. It is longer than usual interruptions of a network, and
/// short enough that silent clients do not hold memory, or an old state of the store, for long.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A stream whose writes fail once the client has read nothing for `patience`.
pub(super) struct Sending {
    stream: ClientStream,
    /// The socket of the same stream.
    socket: Arc<TcpStream>,
    patience: Duration,
    /// Timer after which a waiting write is given up. It is kept when no write waits, because creating a timer costs more than
    /// resetting one.
    deadline: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

impl Sending {
    pub(super) fn new(stream: ClientStream, socket: Arc<TcpStream>, patience: Duration) -> Self {
        Self { stream, socket, patience, deadline: None, waits: false }
    }

    fn judge<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = false;
            return written;
        }
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !self.waits {
            self.waits = true;
            deadline.as_mut().reset(Instant::now() + patience);
        }
        if deadline.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // Reset the connection, so that the kernel also drops what it holds for this client and would keep for minutes.
        if let Err(error) = self.socket.set_zero_linger() {
            tracing::debug!(%error, "a connection that is given up cannot be reset");
        }
        let text = format!("the client has read nothing of its answer for {patience:?}");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)))
    }
}

impl AsyncRead for Sending {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Sending {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.judge(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
