//! Bulk bodies to one peer: a connection of their own, so that they do not delay the others (measured: 138 us against
//! 571 us and more for a small round trip beside bulk).

use bytes::{Bytes, BytesMut};
use quinn::{Connection, SendStream};

use super::dial::{Target, dial_once};
use super::error::{BulkError, DONE, NotSent};
use super::inner::Inner;
use super::link::{broken, write_parts};
use super::lock;
use super::peer::{LinkState, Peer};
use crate::frame::{PREFIX_BYTES, encode_bulk_prefix};
use crate::refusal::Lane;

/// A live bulk connection and its one stream.
pub(crate) struct BulkLink {
    connection: Connection,
    stream: SendStream,
}

/// Sends one body; returns when QUIC has taken all of it, which it does as fast as the peer reads.
pub(crate) async fn send(inner: &Inner, peer: &Peer, body: Bytes) -> Result<(), BulkError> {
    let mut prefix = BytesMut::with_capacity(2 * PREFIX_BYTES);
    encode_bulk_prefix(body.len(), &mut prefix).map_err(|_| {
        BulkError::NotSent(NotSent::TooLong {
            got: body.len(),
            max: crate::FRAME_BYTES_MAX - 2 * PREFIX_BYTES,
        })
    })?;
    let mut slot = peer.bulk.lock().await;
    // Taken out while it is used: when the caller loses patience half-way, the connection goes with the half body.
    let mut link = match slot.take().filter(|link| link.connection.close_reason().is_none()) {
        Some(link) => link,
        None => open(inner, peer).await.map_err(BulkError::NotSent)?,
    };
    if write_parts(&mut link.stream, prefix.freeze(), body).await.is_err() {
        return Err(BulkError::Lost { reason: broken(&link.connection) });
    }
    *slot = Some(link);
    Ok(())
}

async fn open(inner: &Inner, peer: &Peer) -> Result<BulkLink, NotSent> {
    if inner.cluster().is_none() {
        return Err(NotSent::NoCluster);
    }
    if let LinkState::Down(error) = peer.state() {
        return Err(NotSent::Down(error));
    }
    let target = Target { address: &peer.address, lane: Lane::Bulk, expected: Some(peer.node) };
    let (connection, remote) = dial_once(inner, target).await.map_err(NotSent::Down)?;
    if remote.cluster.is_none() {
        connection.close(DONE, b"no cluster yet");
        return Err(NotSent::PeerHasNoCluster { node: peer.node });
    }
    let stream = connection.open_uni().await.map_err(|_| NotSent::Disconnected { node: peer.node })?;
    *lock(&peer.bulk_connection) = Some((remote.life(), connection.clone()));
    Ok(BulkLink { connection, stream })
}
