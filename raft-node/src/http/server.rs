//! Connections: accepts them up to a limit, applies time-outs, and ends them in an orderly way.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use super::connection::{Connection, Endpoints, Unread};
use super::socket::Socket;
use super::{Client, HttpState, client as peer, router};
use crate::seldom::Seldom;

/// Default maximum number of open connections; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 4096;
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
    reason = "a panic of one request does not end the node: see library::bug"
)]
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()>) {
    let stopping = Arc::clone(&state.stopping);
    let permits = Arc::new(Semaphore::new(state.connections_max));
    let (send_timeout, lists) = (state.send_timeout, state.lists.clone());
    let mut sweep = interval(SWEEP_EVERY);
    let endpoints = Endpoints { router: router(state.clone()), state: Arc::new(state) };
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
                    let (endpoints, stopping) = (endpoints.clone(), stopping.subscribe());
                    let client = Client(peer.ip());
                    connections.spawn(async move {
                        connection(stream, send_timeout, client, endpoints, stopping).await;
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
    endpoints: Endpoints,
    stopping: watch::Receiver<bool>,
) {
    if let Err(error) = peer::prepare(&stream) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    let stream = Arc::new(stream);
    let socket = Socket::new(Arc::clone(&stream), send_timeout);
    let mut unread = Unread::Nothing;
    let served = async { unread = Connection::new(socket, endpoints, client, stopping).serve().await };
    peer::while_there(&stream, served).await;
    if unread == Unread::Something {
        peer::linger(&stream).await;
    }
}
