//! Connections: accepts them up to a limit, applies time-outs, and ends them in an orderly way.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use raftkit_net::caught;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::answer::Problem;
use super::sending::Sending;
use super::stream::{ClientStream, Objection};
use super::{Client, HttpState, client as peer, router};
use crate::seldom::Seldom;

/// Default maximum number of open connections; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4096;
/// Maximum time for a request's headers to arrive, and hence for a connection to be idle.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum time for requests under way once the server is asked to end.
const GRACE: Duration = Duration::from_secs(5);
/// Minimum interval between two log lines about connections that cannot be accepted.
const ACCEPT_SAID_EVERY: Duration = Duration::from_secs(30);
/// Pause after accepting failed, for example because there are no file descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Interval at which lists that nobody needs any more are freed.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Serves `state` on `listener` until `shutdown` resolves. From then on it accepts no more requests, answers blocking queries
/// at once, and returns when all other requests are done, at most after five seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "a panic of one request does not end the node: see unless_it_panics"
)]
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()>) {
    let stopping = Arc::clone(&state.stopping);
    let permits = Arc::new(Semaphore::new(state.connections_max));
    let (send_timeout, lists) = (state.send_timeout, state.lists.clone());
    let mut sweep = interval(SWEEP_EVERY);
    let router = router(state);
    tracing::debug!(connections = permits.available_permits(), "HTTP is served");
    let mut connections = JoinSet::new();
    let mut refused = Seldom::new(ACCEPT_SAID_EVERY);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            (permit, accepted) = accept => match accepted {
                Ok((stream, peer)) => {
                    let (router, stopping) = (router.clone(), stopping.subscribe());
                    let client = Client(peer.ip());
                    connections.spawn(async move {
                        connection(stream, send_timeout, client, router, stopping).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    if let Some(before) = refused.due(Instant::now()) {
                        tracing::warn!(%error, times_before = before, "connections could not be accepted");
                    }
                    sleep(ACCEPT_REST).await;
                }
            },
            // Lists that nobody needs any more are freed.
            now = sweep.tick() => lists.sweep(now),
            // Take finished tasks out of the set, which would otherwise grow with every connection.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let ended = timeout(GRACE, async { while connections.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut off with requests under way");
    }
}

async fn connection(
    stream: TcpStream,
    send_timeout: Duration,
    client: Client,
    router: Router,
    stopping: watch::Receiver<bool>,
) {
    if let Err(error) = peer::prepare(&stream) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let stream = Arc::new(stream);
    let objection = Objection::default();
    let io = ClientStream::new(Arc::clone(&stream), objection.clone());
    let io = Sending::new(io, Arc::clone(&stream), send_timeout);
    let served = serve_client(io, client, router, objection.clone(), stopping);
    peer::while_there(&stream, served).await;
    if objection.left_unread() {
        peer::linger(&stream).await;
    }
}

/// Answers a client's requests until the client or the server closes the connection.
async fn serve_client(
    io: Sending,
    client: Client,
    router: Router,
    objection: Objection,
    mut stopping: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let number = AtomicU64::new(0);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(client);
        let refused = objection.to(number.fetch_add(1, Ordering::Relaxed));
        let answer = refused.is_none().then(|| router.call(request));
        async move {
            match (refused, answer) {
                (None, Some(answer)) => unless_it_panics(answer).await,
                (refused, _) => Ok(refused.map(Problem::into_response).unwrap_or_default()),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        // A client that closes its sending side still waits for its answer.
        .half_close(true)
        // Write `X-Consul-Index` like Consul, because some clients compare the names of headers with their case.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let stop = async { drop(stopping.wait_for(|stopping| *stopping).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Answers with 500 if the handler panics. Unlike any other panic, this one does not end the node: otherwise the same request,
/// sent to one node after the other, would end the whole cluster. The only thing that a request's task shares with the node
/// is a lock on the service, and a panic while that lock is held does end the node.
async fn unless_it_panics<E>(answer: impl Future<Output = Result<Response, E>>) -> Result<Response, E> {
    caught(answer).await.unwrap_or_else(|message| {
        tracing::error!(message, "a handler panicked");
        let text = "this request hit a bug in the node, which the node has logged. Whether a write was carried out is not \
                    known: read before you write again";
        Ok(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text).into_response())
    })
}
