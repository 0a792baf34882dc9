//! The traffic on a connection that this node dialled: messages and requests out, answers in.

use bytes::BytesMut;
use quinn::SendStream;
use raftkit_core::ClusterId;
use tokio::sync::watch;

use super::error::{STOPPING, VIOLATION, broken, describe};
use super::inbound::Inbound;
use super::inner::Inner;
use super::peer::{Link, Peer};
use crate::frame::{Frame, encode_frame, encode_message};
use crate::queue::Urgency;
use crate::refusal::Lane;

/// Priorities of the streams: urgent messages go before entries, and entries before requests, packet by packet.
const URGENT_PRIORITY: i32 = 2;
const BULKY_PRIORITY: i32 = 1;

/// Round trips within which what is sent is acknowledged: one, and four more for one lost packet.
pub(crate) const FLUSH_ROUND_TRIPS: u32 = 5;

/// Serves a link until it ends, and returns the reason. `said` is the cluster that our greeting named.
pub(crate) async fn drive(
    inner: &Inner,
    peer: &Peer,
    link: &Link,
    said: Option<ClusterId>,
    mut stop: watch::Receiver<bool>,
) -> String {
    let connection = &link.connection;
    let opened = async {
        let (urgent, bulky) = (connection.open_uni().await?, connection.open_uni().await?);
        let requests = connection.open_bi().await?;
        // Fails only on a stream that is closed already, which the first write reports.
        let _ = urgent.set_priority(URGENT_PRIORITY);
        let _ = bulky.set_priority(BULKY_PRIORITY);
        Ok((urgent, bulky, requests))
    };
    let (urgent, bulky, (requests_out, answers_in)) = match opened.await {
        Ok(streams) => streams,
        Err(error) => return describe(&error),
    };
    let stopped = async {
        let _ = stop.wait_for(|stop| *stop).await;
        // The message loop flushes and closes; this is for one that cannot.
        let limit = inner.config.close_timeout.max(connection.rtt().saturating_mul(FLUSH_ROUND_TRIPS));
        tokio::time::sleep(limit).await;
        connection.close(STOPPING, b"the node is stopping");
        "this node let go of it".to_owned()
    };
    let flushed = async {
        let mut urgent = MessageWriter::new(Urgency::Urgent, urgent, said);
        let mut bulky = MessageWriter::new(Urgency::Bulky, bulky, said);
        let written =
            tokio::try_join!(urgent.run(inner, peer, peer.stopped()), bulky.run(inner, peer, peer.stopped()));
        match written {
            Ok(((), ())) => {
                connection.close(STOPPING, b"the node is stopping");
                "this node let go of it".to_owned()
            }
            Err(_) => broken(connection),
        }
    };
    let (batch, frame) = (inner.config.batch_bytes_max, inner.config.frame_bytes_max);
    tokio::select! {
        reason = flushed => reason,
        _ = link.requests.write(requests_out, batch) => broken(connection),
        error = link.requests.read(answers_in, frame) => {
            let text = error.to_string();
            connection.close(VIOLATION, text.as_bytes());
            connection.close_reason().map_or(text, |error| describe(&error))
        }
        error = connection.closed() => describe(&error),
        () = overflow(inner, peer) => "this node is stopping".to_owned(),
        reason = stopped => reason,
    }
}

/// Reports to the node when an append was dropped because the queue was full. Ends when the receiver is gone.
async fn overflow(inner: &Inner, peer: &Peer) {
    loop {
        peer.overflowed.notified().await;
        if inner.inbound.send(Inbound::Unreachable(peer.node)).await.is_err() {
            return;
        }
    }
}

/// Writes the messages of one lane to its stream.
struct MessageWriter {
    urgency: Urgency,
    stream: SendStream,
    buffer: BytesMut,
    /// The cluster of ours that was last stated on this stream.
    said: Option<ClusterId>,
}

impl MessageWriter {
    fn new(urgency: Urgency, stream: SendStream, said: Option<ClusterId>) -> Self {
        Self { urgency, stream, buffer: BytesMut::new(), said }
    }

    /// Writes messages as they are queued. When told to stop, writes those that are left and waits until they have
    /// arrived.
    async fn run(
        &mut self,
        inner: &Inner,
        peer: &Peer,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), quinn::WriteError> {
        let mut cluster = inner.cluster.subscribe();
        loop {
            let stopping = *stop.borrow_and_update();
            let current = *cluster.borrow_and_update();
            if current != self.said {
                self.said = current;
                // A greeting fit once and is as long as it was.
                let _ = encode_frame(&Frame::Hello(inner.hello(Lane::Control)), &mut self.buffer);
            }
            self.encode_queued(inner, peer);
            if !self.buffer.is_empty() {
                self.stream.write_chunk(self.buffer.split().freeze()).await?;
            } else if stopping {
                // Already finished or stopped by the other side: nothing to wait for.
                if self.stream.finish().is_ok() {
                    let _ = self.stream.stopped().await;
                }
                return Ok(());
            } else {
                tokio::select! {
                    () = peer.queued(self.urgency).notified() => {}
                    _ = cluster.changed() => {}
                    _ = stop.changed() => {}
                }
            }
        }
    }

    fn encode_queued(&mut self, inner: &Inner, peer: &Peer) {
        for message in peer.take_batch(self.urgency, inner.config.batch_bytes_max) {
            if let Err(error) = encode_message(&message, &mut self.buffer) {
                inner.warn(
                    "message too long",
                    &format_args!("a message to node {} was dropped: {error}", peer.node),
                );
                peer.overflowed.notify_one();
            }
        }
    }
}
