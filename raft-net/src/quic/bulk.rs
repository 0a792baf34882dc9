//! Sends bulk bodies to a peer, on a connection of their own so that they do not delay other traffic (measured: 138 us
//! against 571 us and more for a small round trip beside bulk).

use bytes::{Bytes, BytesMut};
use quinn::WriteError;

use super::dial::dial_once;
use super::error::{BulkError, DONE, NotSent, broken};
use super::handshake::Target;
use super::inner::Inner;
use super::lock;
use super::peer::{BulkLink, LinkState, Peer};
use crate::frame::{PREFIX_BYTES, encode_bulk_prefix};
use crate::refusal::Lane;

/// Bytes that are written at once. Between two writes the bound on what QUIC holds is adjusted to the link.
const PIECE_BYTES: usize = 64 << 10;

/// Least bound on the unacknowledged bytes that QUIC holds: a few pieces, so that it never waits for the next one.
const SEND_WINDOW_MIN: u64 = 256 << 10;

/// Sends one body. Returns when QUIC has taken all of it, which it does as fast as the link carries it and the peer
/// reads; little of it is on its way then. So a caller that awaits that before making the next body holds few in
/// memory.
pub(crate) async fn send(inner: &Inner, peer: &Peer, body: Bytes) -> Result<(), BulkError> {
    let mut prefix = BytesMut::with_capacity(2 * PREFIX_BYTES);
    encode_bulk_prefix(body.len(), &mut prefix).map_err(|_| {
        BulkError::NotSent(NotSent::TooLong {
            got: body.len(),
            max: crate::FRAME_BYTES_MAX - 2 * PREFIX_BYTES,
        })
    })?;
    let mut slot = peer.bulk.lock().await;
    // Take the link out while it is in use: if the caller drops this future half-way, the connection is dropped with the
    // half body.
    let mut link = match slot.take().filter(|link| link.connection.close_reason().is_none()) {
        Some(link) => link,
        None => open(inner, peer).await.map_err(BulkError::NotSent)?,
    };
    if write(&mut link, prefix.freeze(), body).await.is_err() {
        return Err(BulkError::Lost { reason: broken(&link.connection) });
    }
    *slot = Some(link);
    Ok(())
}

/// Writes the prefix and the body, without copying the body.
async fn write(link: &mut BulkLink, prefix: Bytes, mut body: Bytes) -> Result<(), WriteError> {
    link.stream.write_chunk(prefix).await?;
    while !body.is_empty() {
        // Twice what is on the link: enough to keep it busy until the next piece.
        let on_link = link.connection.stats().path.cwnd;
        link.connection.set_send_window(SEND_WINDOW_MIN.max(2 * on_link));
        link.stream.write_chunk(body.split_to(PIECE_BYTES.min(body.len()))).await?;
    }
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
    *lock(&peer.bulk_connection) = Some((remote.peer_incarnation(), connection.clone()));
    Ok(BulkLink { connection, stream })
}
