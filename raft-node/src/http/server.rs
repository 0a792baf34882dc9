//! Connections: accepted up to a bound, with time-outs, ended in order.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::lists::Lists;
use super::sending::Sending;
use super::{Client, HttpState, router};

/// At most so many connections at a time; more wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4096;
/// How long a client may take for a request's headers; also how long an idle connection is kept.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);
/// How long requests under way may go on once the server is to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long accepting rests after it failed, e.g. for want of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// How often lists that nobody needs any more are freed.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

/// Serves `state` on `listener` until `shutdown` resolves; then takes no more requests, answers blocking queries at
/// once, and returns when the others are done or five seconds are over.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()>) {
    let stopping = Arc::clone(&state.stopping);
    let send_timeout = state.send_timeout;
    let mut sweeping = JoinSet::new();
    sweeping.spawn(sweep(state.lists.clone()));
    let router = router(state);
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
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
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_REST).await;
                }
            },
            // So that the set does not grow with every connection that ever was.
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

/// Frees what nobody needs any more, as long as connections are served.
async fn sweep(lists: Lists) {
    let mut tick = interval(SWEEP_EVERY);
    loop {
        let now = tick.tick().await;
        lists.sweep(now);
    }
}

async fn connection(
    stream: TcpStream,
    send_timeout: Duration,
    client: Client,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) {
    // Without this an answer that does not fill a packet waits for the acknowledgement of the one before it: 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let routes = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(client);
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_TIMEOUT)
        // `X-Consul-Index`, as clients see it elsewhere; some look for it as if case mattered.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(Sending::new(stream, send_timeout)), service);
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
