//! Hands single requests to the HTTP library and its router: those that the server's own loop does not answer.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::http::Request;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, BytesMut};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use raftkit_net::caught;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::Client;
use super::answer::Problem;
use super::framing::BodyRest;
use super::head::BodyLength;
use super::socket::Socket;

/// How the connection goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may follow.
    KeepAlive,
    /// The connection ends.
    Close,
    /// The connection ends, and bytes of the client were left unread, because the body was malformed.
    LeftUnread,
}

/// Has the library answer the request whose head is the first `head_bytes` of `input`. All bytes before it must be answered and
/// sent.
pub(super) async fn answer(
    socket: &mut Socket,
    input: &mut BytesMut,
    (head_bytes, body): (usize, BodyLength),
    (router, client): (&Router, Client),
    stopping: &watch::Receiver<bool>,
) -> io::Result<After> {
    let router = TowerToHyperService::new(router.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client);
        unless_it_panics(router.call(request))
    });
    let request = OneRequest::new(socket, input, head_bytes, body);
    let mut connection = http1::Builder::new()
        // A client that closes its sending side still waits for its answer.
        .half_close(true)
        // Write `X-Consul-Index` like Consul, because some clients compare the names of headers with their case.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(request), service);
    let mut stopping = stopping.clone();
    let stop = async { drop(stopping.wait_for(|stopping| *stopping).await) };
    let ended = tokio::select! {
        biased;
        ended = &mut connection => ended,
        () = stop => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let request = connection.into_parts().io.into_inner();
    match ended {
        _ if matches!(request.body, BodyRest::Broken) => Ok(After::LeftUnread),
        Ok(()) if request.asked_for_more => Ok(After::KeepAlive),
        Ok(()) => Ok(After::Close),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// Answers with 500 if the handler panics.
async fn unless_it_panics<E>(answer: impl Future<Output = Result<Response, E>>) -> Result<Response, E> {
    caught(answer).await.unwrap_or_else(|message| Ok(bug(&message).into_response()))
}

/// The answer to a request whose handler panicked. Unlike any other panic, this one does not end the node: otherwise the same
/// request, sent to one node after the other, would end the whole cluster. The only thing that a request's task shares with
/// the node is a lock on the service, and a panic while that lock is held does end the node.
pub(super) fn bug(message: &str) -> Problem {
    tracing::error!(message, "a handler panicked");
    let text = "this request hit a bug in the node, which the node has logged. Whether a write was carried out is not \
                known: read before you write again";
    Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// The stream of a connection, cut down to one request: behind it the library sees the stream's end. It answers the request
/// nevertheless, as for a client that has closed its sending side.
struct OneRequest<'a> {
    socket: &'a mut Socket,
    input: &'a mut BytesMut,
    /// Number of bytes at the beginning of `input` that are this request's and were not handed on yet.
    admitted: usize,
    /// The part of the body that is behind them.
    body: BodyRest,
    /// True once the library has begun to answer.
    answers: bool,
    /// True once the library, after an answer, has asked for a further request: it would have kept the connection.
    asked_for_more: bool,
}

impl<'a> OneRequest<'a> {
    fn new(socket: &'a mut Socket, input: &'a mut BytesMut, head_bytes: usize, body: BodyLength) -> Self {
        let mut body = BodyRest::after(body);
        let admitted = head_bytes + body.take(&input[head_bytes..]);
        Self { socket, input, admitted, body, answers: false, asked_for_more: false }
    }

    /// Hands on the admitted bytes.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.admitted.min(buf.remaining());
        buf.put_slice(&self.input[..count]);
        self.input.advance(count);
        self.admitted -= count;
    }
}

impl AsyncRead for OneRequest<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.admitted > 0 {
                this.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            if matches!(this.body, BodyRest::Broken) {
                return Poll::Ready(Err(ErrorKind::InvalidData.into()));
            }
            if this.body.is_over() {
                this.asked_for_more = this.answers;
                return Poll::Ready(Ok(()));
            }
            if ready!(this.socket.poll_receive(cx, this.input))? == 0 {
                return Poll::Ready(Ok(()));
            }
            this.admitted = this.body.take(this.input);
        }
    }
}

impl AsyncWrite for OneRequest<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answers = true;
        self.socket.poll_send(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Leaves the socket open: the library calls this after each request.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
