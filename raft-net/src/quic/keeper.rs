//! Keeps a connection to one peer, as the peer's [`Dialler`](crate::dialling::Dialler) decides.

use core::time::Duration;
use std::sync::Arc;

use quinn::Connection;
use raftkit_core::ClusterId;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::config::RemoteIdentity;
use super::dial::{dial, resolve};
use super::error::{HelloError, REPLACED, refuse};
use super::handshake::Target;
use super::inbound::Inbound;
use super::inner::{Inner, spread};
use super::link::drive;
use super::lock;
use super::peer::{Link, Peer};
use crate::dialling::Step;
use crate::refusal::Lane;

/// Keeps the connection to `peer` until the peer is stopped.
pub(crate) async fn keep(inner: Arc<Inner>, peer: Arc<Peer>) {
    let keeper = Keeper { inner: &inner, peer: &peer };
    let mut stop = peer.stopped();
    while !*stop.borrow() {
        let step = lock(&peer.dialler).step(inner.now(), spread());
        match step {
            Step::Wait { until } => keeper.wait(until, &mut stop).await,
            Step::Dial { answer_timeout } => keeper.attempt(answer_timeout, &mut stop).await,
            // An attempt that is given up is given up while it is under way, in `attempt`.
            Step::GiveUp { .. } => {}
        }
    }
    peer.close_bulk();
}

struct Keeper<'a> {
    inner: &'a Inner,
    peer: &'a Peer,
}

impl Keeper<'_> {
    /// Waits until a time, until the dialler may decide differently, or until the peer is stopped.
    async fn wait(&self, until: Option<Duration>, stop: &mut watch::Receiver<bool>) {
        let until = until.map(|until| self.inner.instant(until));
        let due = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => core::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = self.peer.called.notified() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Makes one attempt or, when the dialler says so, several; and serves the connection that they lead to.
    async fn attempt(&self, answer_timeout: Duration, stop: &mut watch::Receiver<bool>) {
        let said = self.inner.cluster();
        let Some(dialled) = self.dial(answer_timeout, stop).await else { return };
        match dialled.and_then(|(connection, remote)| self.connected(connection, remote)) {
            Ok(link) => self.serve(&link, said).await,
            Err(error) => {
                let (now, spread) = (self.inner.now(), spread());
                match error {
                    // QUIC has noticed it first.
                    HelloError::NoAnswer { .. } => lock(&self.peer.dialler).timed_out(now, spread),
                    HelloError::BadAddress { .. }
                    | HelloError::Refused(_)
                    | HelloError::TheirCertificate { .. }
                    | HelloError::OurCertificate { .. }
                    | HelloError::Lost { .. }
                    | HelloError::Protocol { .. }
                    | HelloError::Stopping => lock(&self.peer.dialler).failed(now, spread),
                }
                self.failed(error).await;
            }
        }
    }

    /// Dials until an attempt ends by itself. Returns none when the dialler has given up, which is reported here, or
    /// when the peer was stopped.
    async fn dial(
        &self,
        answer_timeout: Duration,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<Result<(Connection, RemoteIdentity), HelloError>> {
        let dialled = self.dialled(answer_timeout);
        tokio::pin!(dialled);
        loop {
            let step = lock(&self.peer.dialler).step(self.inner.now(), spread());
            let until = match step {
                Step::Wait { until } => until,
                Step::Dial { answer_timeout } => {
                    dialled.set(self.dialled(answer_timeout));
                    continue;
                }
                Step::GiveUp { waited } => {
                    let address = self.peer.address.clone();
                    self.failed(HelloError::NoAnswer { address, waited }).await;
                    return None;
                }
            };
            tokio::select! {
                result = &mut dialled => return Some(result),
                () = self.wait(until, stop) => if *stop.borrow() { return None },
            }
        }
    }

    /// Makes one attempt, from resolving the peer's name to its greeting.
    async fn dialled(&self, answer_timeout: Duration) -> Result<(Connection, RemoteIdentity), HelloError> {
        let Self { inner, peer } = self;
        let resolved = resolve(inner, &peer.address).await?;
        peer.dials(resolved);
        let target = Target { address: &peer.address, lane: Lane::Control, expected: Some(peer.node) };
        dial(inner, target, resolved, answer_timeout, |progress| {
            lock(&peer.dialler).progress(inner.now(), progress);
        })
        .await
    }

    /// Puts the connection in place, unless a later incarnation of the peer has come in the meantime.
    fn connected(&self, connection: Connection, remote: RemoteIdentity) -> Result<Arc<Link>, HelloError> {
        let link = Arc::new(Link::new(&self.inner.config, connection, remote));
        let put = self.peer.connected(self.inner.now(), &link, |remote| self.inner.meet(remote));
        put.map_err(|refusal| {
            refuse(&link.connection, &refusal);
            HelloError::Refused(refusal)
        })?;
        Ok(link)
    }

    /// Serves the connection until it ends.
    async fn serve(&self, link: &Link, said: Option<ClusterId>) {
        let Self { inner, peer } = self;
        tracing::info!(node = inner.node().0, peer = peer.node.0, address = %peer.address, "connected");
        let connected = Inbound::Connected(link.remote.clone());
        // The connection is not kept waiting for whoever reads: it is driven at the same time.
        let (reason, _) =
            tokio::join!(drive(inner, peer, link, said, peer.stopped()), inner.inbound.send(connected));
        link.connection.close(REPLACED, b"replaced");
        link.requests.end(&reason);
        peer.lost(inner.now(), link.connection.rtt(), spread());
        if !*peer.stopped().borrow() {
            tracing::info!(node = inner.node().0, peer = peer.node.0, reason, "connection lost");
            let _ = inner.inbound.send(Inbound::Unreachable(peer.node)).await;
        }
    }

    /// Reports to the log and to the node that no connection came about.
    async fn failed(&self, error: HelloError) {
        let Self { inner, peer } = self;
        inner.warn(
            &format!("peer {}", peer.node),
            &format_args!("no connection to node {} at {}: {error}", peer.node, peer.address),
        );
        peer.failed(error);
        // The receiver is gone only when the node is stopping.
        let _ = inner.inbound.send(Inbound::Unreachable(peer.node)).await;
    }
}
