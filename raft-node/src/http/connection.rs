//! The requests of one connection, one after the other.
//!
//! ```text
//!    bytes -> framing.rs, head.rs, ..: is the request well-formed, and where does it end?
//!               |                    |                        |
//!            doubtful      plain, for one key          anything else: lists, other endpoints,
//!               |                    |                 chunked bodies, HTTP/1.0, ..
//!            refused,            direct.rs                    |
//!            then closed             |                   library.rs
//!               v                    v                        v
//!             output, written when nothing more can be answered at once
//! ```

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use bytes::{Buf, Bytes, BytesMut};
use raftkit_net::caught;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

use super::answer::{Answer, Problem};
use super::body::{BODY_TIMEOUT, ended_early, late};
use super::budget::UNCOUNTED_MAX;
use super::direct::Direct;
use super::framing::{Found, HeadSearch};
use super::head::BodyLength;
use super::library::{self, After};
use super::socket::Socket;
use super::wire::{Then, write_head};
use super::{Client, HttpState};

/// Maximum time for a request's headers to arrive, and hence for a connection to be idle.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of bytes of answers that wait to be sent together. It is that of one answer whose bytes are not counted.
const OUTPUT_BYTES_MAX: usize = UNCOUNTED_MAX;
/// Maximum size of a buffer, in bytes, that a connection keeps between requests: there may be thousands of connections.
const KEPT_BYTES_MAX: usize = 16 << 10;

/// What a connection's requests are answered with.
#[derive(Clone)]
pub(super) struct Endpoints {
    pub(super) state: Arc<HttpState>,
    /// All endpoints, for the HTTP library.
    pub(super) router: Router,
}

/// An open connection.
pub(super) struct Connection {
    socket: Socket,
    /// Bytes of the client that belong to no request which has been answered.
    input: BytesMut,
    search: HeadSearch,
    /// Answers that were not sent yet.
    output: Vec<u8>,
    endpoints: Endpoints,
    client: Client,
    stopping: watch::Receiver<bool>,
    /// Ends once the server is asked to end.
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// The time-out of what is read.
    timer: Pin<Box<Sleep>>,
}

/// Whether bytes of the client were left unread at the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Nothing,
    /// The client may be sending still.
    Something,
}

/// What comes next on a connection.
enum Next {
    /// A plain request, whose head is taken from the input.
    Direct(Direct),
    /// Another request. Its head is the first so many bytes of the input.
    Other(usize, BodyLength),
    /// Something that is refused.
    Refused(Problem),
    /// Nothing, because client or server end the connection.
    End,
}

/// What came of waiting for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Bytes,
    /// The client has closed its side.
    End,
    /// The server is asked to end.
    Stop,
    TooLate,
}

impl Connection {
    pub(super) fn new(
        socket: Socket,
        endpoints: Endpoints,
        client: Client,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let mut watched = stopping.clone();
        Self {
            socket,
            input: BytesMut::new(),
            search: HeadSearch::default(),
            output: Vec::new(),
            endpoints,
            client,
            stopping,
            stop: Box::pin(async move { drop(watched.wait_for(|stopping| *stopping).await) }),
            timer: Box::pin(sleep(HEADERS_TIMEOUT)),
        }
    }

    /// Answers requests until the client or the server ends the connection.
    pub(super) async fn serve(mut self) -> Unread {
        let served = self.requests().await.and_then(|unread| {
            self.socket.shut_down()?;
            Ok(unread)
        });
        served.unwrap_or_else(|error| {
            tracing::debug!(%error, "a connection ended with an error");
            Unread::Nothing
        })
    }

    async fn requests(&mut self) -> io::Result<Unread> {
        loop {
            let then = match self.next().await? {
                Next::End => return Ok(Unread::Nothing),
                Next::Refused(problem) => {
                    let is_head = self.input.starts_with(b"HEAD ");
                    self.give(&problem.closing().into_answer(), Then::Close, is_head).await?;
                    self.flush().await?;
                    return Ok(Unread::Something);
                }
                Next::Direct(request) => self.answer(request).await?,
                Next::Other(head_bytes, body) => {
                    self.flush().await?;
                    match self.hand_over(head_bytes, body).await? {
                        After::KeepAlive => Then::KeepAlive,
                        After::Close => Then::Close,
                        After::LeftUnread => return Ok(Unread::Something),
                    }
                }
            };
            if then == Then::Close {
                self.flush().await?;
                return Ok(if self.input.is_empty() { Unread::Nothing } else { Unread::Something });
            }
        }
    }

    /// Waits for the next request's head.
    async fn next(&mut self) -> io::Result<Next> {
        let mut waits = false;
        loop {
            if let Some(next) = self.look() {
                return Ok(next);
            }
            self.flush().await?;
            if !waits {
                waits = true;
                if self.input.is_empty() && self.input.capacity() > KEPT_BYTES_MAX {
                    self.input = BytesMut::new();
                }
                self.timer.as_mut().reset(Instant::now() + HEADERS_TIMEOUT);
            }
            match self.receive().await? {
                Came::Bytes => {}
                Came::End if !self.input.is_empty() => {
                    return Ok(Next::Refused(Problem::bad_request("the request ended within its head")));
                }
                Came::End | Came::Stop | Came::TooLate => return Ok(Next::End),
            }
        }
    }

    /// Looks for a whole head in the bytes that are there.
    fn look(&mut self) -> Option<Next> {
        let (head_bytes, direct, body) = match self.search.look(&self.input) {
            Found::Part => return None,
            Found::Refused(problem) => return Some(Next::Refused(problem)),
            Found::Whole { length, head } => (length, Direct::of(&self.endpoints.state, &head), head.body),
        };
        Some(match direct {
            Some(request) => {
                self.input.advance(head_bytes);
                Next::Direct(request)
            }
            None => Next::Other(head_bytes, body),
        })
    }

    /// Waits for further bytes of the client.
    async fn receive(&mut self) -> io::Result<Came> {
        let Self { socket, input, stop, timer, .. } = self;
        tokio::select! {
            biased;
            received = poll_fn(|cx| socket.poll_receive(cx, input)) => {
                Ok(if received? == 0 { Came::End } else { Came::Bytes })
            }
            () = stop => Ok(Came::Stop),
            () = timer => Ok(Came::TooLate),
        }
    }

    /// Waits for a body of `length` bytes.
    async fn body(&mut self, length: usize) -> io::Result<Result<Bytes, Problem>> {
        if self.input.len() < length {
            self.flush().await?;
            self.timer.as_mut().reset(Instant::now() + BODY_TIMEOUT);
        }
        while self.input.len() < length {
            // The server's end does not end this: what has begun is answered.
            let Self { socket, input, timer, .. } = self;
            let received = tokio::select! {
                biased;
                received = poll_fn(|cx| socket.poll_receive(cx, input)) => received?,
                () = timer => return Ok(Err(late())),
            };
            if received == 0 {
                return Ok(Err(ended_early()));
            }
        }
        let body = self.input.split_to(length).freeze();
        if length > KEPT_BYTES_MAX {
            self.input = BytesMut::from(&self.input[..]);
        }
        Ok(Ok(body))
    }

    /// Answers a plain request.
    async fn answer(&mut self, request: Direct) -> io::Result<Then> {
        let (asked_for, is_head) = (request.then, request.is_head());
        let answer = match self.body(request.body_bytes).await? {
            Ok(body) => self.ask(request, body).await?,
            Err(problem) => problem.into_answer(),
        };
        let then = if answer.closes() || *self.stopping.borrow() { Then::Close } else { asked_for };
        self.give(&answer, then, is_head).await?;
        Ok(then)
    }

    async fn ask(&mut self, request: Direct, body: Bytes) -> io::Result<Answer> {
        let Self { socket, output, endpoints, client, .. } = self;
        let mut answer = pin!(caught(request.answer(&endpoints.state, *client, body)));
        let at_once = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Ready(None),
        });
        let answer = match at_once.await {
            Some(answer) => answer,
            None => {
                // The wait may be a blocking query's: the client gets what it asked for before.
                flush(socket, output).await?;
                answer.await
            }
        };
        Ok(answer.unwrap_or_else(|message| library::bug(&message).into_answer()))
    }

    /// Has the HTTP library answer a request. What that needs is on the heap, as most connections never need it.
    async fn hand_over(&mut self, head_bytes: usize, body: BodyLength) -> io::Result<After> {
        let Self { socket, input, endpoints, client, stopping, .. } = self;
        let to = (&endpoints.router, *client);
        Box::pin(library::answer(socket, input, (head_bytes, body), to, stopping)).await
    }

    /// Puts an answer behind those that wait to be sent. A large body is sent at once, without being copied.
    async fn give(&mut self, answer: &Answer, then: Then, is_head: bool) -> io::Result<()> {
        let body: &[u8] = if is_head { &[] } else { &answer.body };
        if self.output.len() + body.len() > OUTPUT_BYTES_MAX {
            self.flush().await?;
        }
        write_head(answer, then, &mut self.output);
        if body.len() <= OUTPUT_BYTES_MAX {
            self.output.extend_from_slice(body);
            return Ok(());
        }
        self.socket.send(&self.output, body).await?;
        self.output.clear();
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        flush(&mut self.socket, &mut self.output).await
    }
}

/// Sends all answers that wait.
async fn flush(socket: &mut Socket, output: &mut Vec<u8>) -> io::Result<()> {
    if !output.is_empty() {
        socket.send(output, &[]).await?;
        output.clear();
        output.shrink_to(KEPT_BYTES_MAX);
    }
    Ok(())
}
