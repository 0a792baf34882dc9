//! The traffic on a connection that a peer dialled: messages, requests and bulk bodies in, answers out.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};
use raftkit_core::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::config::RemoteIdentity;
use super::error::{Cause, VIOLATION, cause, refuse};
use super::inbound::{Inbound, Reply};
use super::inner::Inner;
use super::lock;
use super::requests::{REQUEST_BYTES, permits};
use super::stream::{FrameReader, StreamError};
use crate::admission::{Admit, Violation, check_again, check_cluster, check_message};
use crate::frame::{Frame, FrameError, decode, encode_frame};
use crate::refusal::{Hello, Lane};

/// Name of the tasks that read a stream.
const STREAM_TASK: &str = "a task that reads a peer's stream";

/// Reason for which a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("{0}")]
    Stream(#[from] StreamError),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("a request on the bulk connection")]
    RequestOnBulk,
    /// The receiver of events is gone: the node is stopping.
    #[error("the node is stopping")]
    Stopping,
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Stream(error.into())
    }
}

struct Session {
    inner: Arc<Inner>,
    connection: Connection,
    lane: Lane,
    /// The peer's identity; replaced when the peer says that it has joined a cluster.
    remote: Mutex<Arc<RemoteIdentity>>,
}

/// Serves a connection until it ends.
pub(crate) async fn serve(inner: Arc<Inner>, connection: Connection, lane: Lane, remote: RemoteIdentity) {
    let session = Arc::new(Session { inner, connection, lane, remote: Mutex::new(Arc::new(remote)) });
    loop {
        let served = Arc::clone(&session);
        tokio::select! {
            stream = session.connection.accept_uni() => match stream {
                Ok(stream) => {
                    session.inner.tasks.start(STREAM_TASK, async move { let end = served.one_way(stream).await; served.end(end); });
                }
                Err(error) => return session.ended(&error),
            },
            streams = session.connection.accept_bi() => match streams {
                Ok((send, recv)) => {
                    session.inner.tasks.start(STREAM_TASK, async move { let end = served.requests(send, recv).await; served.end(end); });
                }
                Err(error) => return session.ended(&error),
            },
        }
    }
}

impl Session {
    fn remote(&self) -> Arc<RemoteIdentity> {
        Arc::clone(&lock(&self.remote))
    }

    /// Reads messages or bulk bodies until the stream ends.
    async fn one_way(&self, stream: RecvStream) -> Result<(), End> {
        let mut reader = FrameReader::new(stream, self.inner.config.frame_bytes_max);
        while let Some(frame) = reader.next().await? {
            match (self.lane, decode(frame)?) {
                (Lane::Control, Frame::Message(message)) => self.message(message).await?,
                (Lane::Control, Frame::Hello(hello)) => self.joined(&hello)?,
                (Lane::Bulk, Frame::Bulk { body }) => self.bulk(body).await?,
                (_, other) => return Err(FrameError::UnexpectedKind { kind: other.kind() }.into()),
            }
        }
        Ok(())
    }

    async fn message(&self, message: Message) -> Result<(), End> {
        match check_message(&self.inner.own(), &self.remote().admitted(), &message)? {
            Admit::Deliver => self.deliver(Inbound::Message(message)).await,
            Admit::Drop => Ok(()),
        }
    }

    async fn bulk(&self, body: Bytes) -> Result<(), End> {
        let remote = self.remote();
        match check_cluster(&self.inner.own(), &remote.admitted())? {
            Admit::Deliver => {}
            Admit::Drop => return Ok(()),
        }
        let permit = acquire(&self.inner.bulk_budget, body.len(), self.inner.config.bulk_bytes_max).await?;
        let body = Bytes::from_owner(Counted { body, _permit: permit });
        self.deliver(Inbound::Bulk { from: remote.node, body }).await
    }

    /// Takes a later greeting, by which the peer says that it has joined a cluster.
    fn joined(&self, hello: &Hello) -> Result<(), End> {
        let mut remote = lock(&self.remote);
        let admitted = check_again(&self.inner.own(), &remote.admitted(), hello)?;
        *remote = Arc::new(RemoteIdentity { cluster: admitted.cluster, ..RemoteIdentity::clone(&remote) });
        Ok(())
    }

    /// Reads requests and writes answers, until the peer ends the stream and all are answered.
    async fn requests(&self, send: SendStream, recv: RecvStream) -> Result<(), End> {
        if self.lane == Lane::Bulk {
            return Err(End::RequestOnBulk);
        }
        let (answers, answered) = mpsc::unbounded_channel();
        let both = async {
            let (read, ()) =
                tokio::join!(self.read_requests(recv, answers), self.write_answers(send, answered));
            read
        };
        tokio::select! {
            result = both => result,
            _ = self.connection.closed() => Ok(()),
        }
    }

    async fn read_requests(
        &self,
        recv: RecvStream,
        answers: mpsc::UnboundedSender<(u64, Option<Bytes>)>,
    ) -> Result<(), End> {
        let bytes_max = self.inner.config.request_bytes_max;
        let budget = Arc::new(Semaphore::new(permits(bytes_max)));
        let mut reader = FrameReader::new(recv, self.inner.config.frame_bytes_max);
        while let Some(frame) = reader.next().await? {
            let frame = decode(frame)?;
            let kind = frame.kind();
            let Frame::Request { id, body } = frame else {
                return Err(FrameError::UnexpectedKind { kind }.into());
            };
            let permit = acquire(&budget, body.len().saturating_add(REQUEST_BYTES), bytes_max).await?;
            let reply = Reply::new(id, answers.clone(), permit);
            self.deliver(Inbound::Request { from: self.remote(), body, reply }).await?;
        }
        Ok(())
    }

    async fn write_answers(
        &self,
        mut send: SendStream,
        mut answered: mpsc::UnboundedReceiver<(u64, Option<Bytes>)>,
    ) {
        let mut buffer = BytesMut::new();
        while let Some(first) = answered.recv().await {
            let mut next = Some(first);
            while let Some((id, body)) = next.take() {
                if encode_frame(&Frame::Response { id, body }, &mut buffer).is_err() {
                    self.inner.warn(
                        "answer too long",
                        &"an answer was too long for a frame; the asker is told of its loss",
                    );
                    let _ = encode_frame(&Frame::Response { id, body: None }, &mut buffer);
                }
                if buffer.len() < self.inner.config.batch_bytes_max {
                    next = answered.try_recv().ok();
                }
            }
            if send.write_chunk(buffer.split().freeze()).await.is_err() {
                return;
            }
        }
        // The asker may have gone already.
        let _ = send.finish();
    }

    async fn deliver(&self, inbound: Inbound) -> Result<(), End> {
        self.inner.inbound.send(inbound).await.map_err(|_| End::Stopping)
    }

    /// Logs a line when the connection ended because its dialler looked for another node.
    fn ended(&self, error: &quinn::ConnectionError) {
        if let Cause::Refused(refusal) = cause(error) {
            let remote = self.remote();
            self.inner
                .warn(&format!("node {}", remote.node), &format_args!("at {}: {refusal}", remote.observed));
        }
    }

    /// Closes the connection when the peer broke the protocol.
    fn end(&self, result: Result<(), End>) {
        let Err(end) = result else { return };
        match &end {
            // The connection has ended by itself, and whoever dialled it takes care.
            End::Stream(StreamError::Read(_) | StreamError::Truncated) => return,
            End::Stopping => {
                return self.connection.close(super::error::STOPPING, b"the node is stopping");
            }
            End::Violation(Violation::Refused(refusal)) => refuse(&self.connection, refusal),
            End::Stream(StreamError::Frame(_))
            | End::Violation(
                Violation::Forged { .. } | Violation::Misdirected(_) | Violation::ChangedIdentity,
            )
            | End::RequestOnBulk => self.connection.close(VIOLATION, end.to_string().as_bytes()),
        }
        let remote = self.remote();
        self.inner.warn(
            &format!("node {}", remote.node),
            &format_args!("ended the connection of node {} at {}: {end}", remote.node, remote.observed),
        );
    }
}

/// Acquires bytes of a budget. More than the whole budget counts as the whole, so that nothing waits for ever.
async fn acquire(budget: &Arc<Semaphore>, bytes: usize, max: usize) -> Result<OwnedSemaphorePermit, End> {
    let wanted = u32::try_from(permits(bytes.min(max))).unwrap_or(u32::MAX);
    Arc::clone(budget).acquire_many_owned(wanted).await.map_err(|_| End::Stopping)
}

/// A body with its share of a budget, which is given back with its last slice.
struct Counted {
    body: Bytes,
    _permit: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}
